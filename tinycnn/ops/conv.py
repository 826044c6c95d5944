"""Convolution.  Its output and its two gradients are the three sides of one bilinear map: fix two of (x, weight,
gradient of y) and the third is linear in each.  So the vjps of each are the other two, and derivatives of every
order follow without another line.

            conv2d_output(x, w) -> y
             /                    \\
    conv2d_input(gy, w) -> gx      conv2d_weight(x, gy) -> gw

conv1d is the same with H = 1, conv_transpose the side conv2d_input read forwards.
"""
from __future__ import annotations

from ..autograd import op
from ..backend import kernels
from ..methods import function
from .activation import relu, relu_gradient
from .arguments import as_images, as_tensor, check_dtypes, from_images, sizes, sliding
from .basic import add, reshape, sum_to


@op
def conv2d_output(x, weight, bias, win, groups):
    """(N, C, H, W), (O, C/G, KH, KW), (O,) or None -> (N, O, OH, OW): convolution with its geometry `win` given."""
    y = kernels(x.data).conv2d(x.data, weight.data, None if bias is None else bias.data, win, groups)
    O = weight.shape[0]
    return y, (
        lambda g: conv2d_input(g, weight, win, groups),
        lambda g: conv2d_weight(x, g, win, groups),
        lambda g: reshape(sum_to(g, (1, O, 1, 1)), (O,)))


@op
def conv2d_relu_output(x, weight, bias, residual, win, groups):
    """relu(conv2d_output(x, weight, bias) + residual); residual: (N, O, OH, OW) or None."""
    k = kernels(x.data)
    y = k.conv2d(x.data, weight.data, None if bias is None else bias.data, win, groups, residual is None)
    if residual is not None:
        y = k.add_relu(y, residual.data)
    O = weight.shape[0]

    def vjp(g, wanted, y):
        g = relu_gradient(g, y.detach())
        return (conv2d_input(g, weight, win, groups) if wanted[0] else None,
                conv2d_weight(x, g, win, groups) if wanted[1] else None,
                reshape(sum_to(g, (1, O, 1, 1)), (O,)) if wanted[2] else None, g, None, None)
    return y, vjp


@op
def conv2d_input(gy, weight, win, groups):
    """The gradient of conv2d_output for x: (N, O, OH, OW), (O, C/G, KH, KW) -> (N, C, H, W)."""
    return kernels(gy.data).conv2d_input(gy.data, weight.data, win, groups), (
        lambda g: conv2d_output(g, weight, None, win, groups),
        lambda g: conv2d_weight(g, gy, win, groups))


@op
def conv2d_weight(x, gy, win, groups):
    """The gradient of conv2d_output for the weight: (N, C, H, W), (N, O, OH, OW) -> (O, C/G, KH, KW)."""
    return kernels(x.data).conv2d_weight(x.data, gy.data, win, groups), (
        lambda g: conv2d_input(gy, g, win, groups),
        lambda g: conv2d_output(x, g, None, win, groups))


# ---------------------------------------------------------------------------------------- convolution

@function
def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """2-d convolution (cross-correlation) of a batch of images.

    input    (N, C, H, W) or (C, H, W)
    weight   (O, C/groups, KH, KW)
    bias     (O,) or None
    stride, padding, dilation   an int or (vertical, horizontal); padding may be "valid" (none) or "same" (OH = H,
             OW = W; stride 1; an odd number of zeros has its larger half below and to the right)
    returns  (N, O, OH, OW) or (O, OH, OW),  OH = (H + 2*padding - dilation*(KH - 1) - 1) // stride + 1

    Raises ValueError if the channels, groups or bias do not fit or the kernel is larger than the padded input;
    TypeError if the dtypes differ.  As torch.nn.functional.conv2d.  Goodfellow et al., Deep Learning (2016),
    section 9.1; groups: Krizhevsky et al. (2012), section 3.5.
    """
    return _convolve("conv2d", input, weight, bias, stride, padding, dilation, groups, 2)


@function
def conv2d_relu(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, residual=None):
    """relu(conv2d(input, ...) + residual): what ends a layer or a residual block, without a pass over memory for each.

    residual   None: nothing is added; a tensor of another shape or dtype than the result's is added as x + y does

    Other arguments and errors as conv2d.
    """
    return _convolve("conv2d", input, weight, bias, stride, padding, dilation, groups, 2, True, residual)


@function
def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """1-d convolution (cross-correlation) of a batch of sequences.

    input    (N, C, L) or (C, L);  weight (O, C/groups, K);  bias (O,) or None
    returns  (N, O, OL) or (O, OL)

    Options and errors as conv2d, of which it is the case H = KH = 1.  As torch.nn.functional.conv1d.
    """
    return _convolve("conv1d", input, weight, bias, stride, padding, dilation, groups, 1)


def _convolve(name, input, weight, bias, stride, padding, dilation, groups, dims, with_relu=False, residual=None):
    input, weight, bias = map(as_tensor, (input, weight, bias))
    x, w = as_images(name, input, dims), _as_kernels(name, weight, dims)
    _check(name, input, weight, bias, groups)
    C, needed = x.shape[1], w.shape[1] * groups
    if C != needed:
        raise ValueError(f"{name}: input {input.shape} has {C} channels, but weight {weight.shape} with "
                         f"groups={groups} takes {w.shape[1]} * {groups} = {needed}: make the weight "
                         f"(out_channels, in_channels/groups, ...) for in_channels={C}, or give it {needed} channels")
    if w.shape[0] % groups:
        raise ValueError(f"{name}: groups={groups} does not divide the {w.shape[0]} output channels of weight "
                         f"{weight.shape}: it must divide both input and output channels")
    win = _window(name, x.shape[2:], w.shape[2:], stride, padding, dilation, dims)
    if not with_relu:
        return from_images(conv2d_output(x, w, bias, win, groups), input.ndim, dims)
    residual, alike = as_tensor(residual), ((*input.shape[:-3], w.shape[0], win.OH, win.OW), input.dtype)
    if residual is not None and (residual.shape, residual.dtype) != alike:
        return relu(add(from_images(conv2d_output(x, w, bias, win, groups), input.ndim, dims), residual))
    residual = None if residual is None else as_images(name, residual, dims)
    return from_images(conv2d_relu_output(x, w, bias, residual, win, groups), input.ndim, dims)


def _window(name, size, kernel_size, stride, padding, dilation, dims):
    """The geometry, with padding="same" or "valid" worked out."""
    stride, dilation = sizes(name, "stride", stride, dims, 1), sizes(name, "dilation", dilation, dims, 1)
    if padding != "same":
        padding = sizes(name, "padding", 0 if padding == "valid" else padding, dims, 0)
        return sliding(name, size, kernel_size, stride, padding, dilation)
    if stride != (1, 1):
        raise ValueError(f'{name}: padding="same" needs stride 1, got {stride[-dims:]}: give the padding as a number')
    total = [d * (k - 1) for d, k in zip(dilation, kernel_size)]
    win = sliding(name, size, kernel_size, 1, tuple(t - t // 2 for t in total), dilation)
    return win._replace(PH=total[0] // 2, PW=total[1] // 2, OH=win.H, OW=win.W)   # the smaller half comes first


@function
def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed 2-d convolution: the gradient of conv2d with respect to its input, read forwards.

    input    (N, C, H, W) or (C, H, W)
    weight   (C, O/groups, KH, KW)
    bias     (O,) or None
    output_padding   rows and columns added below and to the right, fewer than stride or dilation
    returns  (N, O, OH, OW) or (O, OH, OW),
             OH = (H - 1)*stride - 2*padding + dilation*(KH - 1) + output_padding + 1

    Raises as conv2d.  As torch.nn.functional.conv_transpose2d.  Dumoulin and Visin (2016), arXiv:1603.07285, section 4.
    """
    return _convolve_transposed("conv_transpose2d", input, weight, bias, stride, padding, output_padding, groups,
                                dilation, 2)


@function
def conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed 1-d convolution: (N, C, L) or (C, L), weight (C, O/groups, K) -> (N, O, OL) or (O, OL).

    Options and errors as conv_transpose2d, of which it is the case H = KH = 1.
    As torch.nn.functional.conv_transpose1d.
    """
    return _convolve_transposed("conv_transpose1d", input, weight, bias, stride, padding, output_padding, groups,
                                dilation, 1)


def _convolve_transposed(name, input, weight, bias, stride, padding, output_padding, groups, dilation, dims):
    input, weight, bias = map(as_tensor, (input, weight, bias))
    x, w = as_images(name, input, dims), _as_kernels(name, weight, dims)
    _check(name, input, weight, bias, groups, out_channels=w.shape[1] * groups)
    if x.shape[1] != w.shape[0] or w.shape[0] % groups:
        raise ValueError(f"{name}: input {input.shape} has {x.shape[1]} channels; weight {weight.shape} is "
                         f"(in_channels, out_channels/groups, ...) and takes {w.shape[0]}, which groups={groups} "
                         "must divide")
    win = _transposed_window(name, x.shape[2:], w.shape[2:], stride, padding, output_padding, dilation, dims)
    y = conv2d_input(x, w, win, groups)
    if bias is not None:
        y = add(y, reshape(bias, (-1, 1, 1)))                             # (O, 1, 1)
    return from_images(y, input.ndim, dims)


def _transposed_window(name, size, kernel_size, stride, padding, output_padding, dilation, dims):
    """The geometry of the convolution this one transposes: its output is our input."""
    strides, paddings, extras, dilations = (sizes(name, what, v, dims, fill) for what, v, fill in (
        ("stride", stride, 1), ("padding", padding, 0), ("output_padding", output_padding, 0),
        ("dilation", dilation, 1)))
    if min(strides + dilations) < 1 or min(paddings + extras) < 0:
        raise ValueError(f"{name}: stride {stride} and dilation {dilation} must be at least 1, padding {padding} and "
                         f"output_padding {output_padding} at least 0")
    if any(e and e >= max(s, d) for e, s, d in zip(extras, strides, dilations)):
        raise ValueError(f"{name}: output_padding {output_padding} must be smaller than the stride {stride} or the "
                         f"dilation {dilation}: pad the result instead")
    out = tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, s, p, d, k, e in
                zip(size, strides, paddings, dilations, kernel_size, extras))
    if min(out) < 1:
        raise ValueError(f"{name}: input {size[0]}x{size[1]} and kernel {kernel_size[0]}x{kernel_size[1]} with padding "
                         f"{padding} would give an output of {out[0]}x{out[1]}: use less padding or a larger input")
    win = sliding(name, out, kernel_size, strides, paddings, dilations)
    return win._replace(OH=size[0], OW=size[1])


def _as_kernels(name, weight, dims):
    """The weight with two spatial dimensions: (O, C/G, K) -> (O, C/G, 1, K)."""
    if weight.ndim != dims + 2:
        raise ValueError(f"{name}: the weight must have {dims + 2} dimensions, got shape {weight.shape}")
    return weight if dims == 2 else reshape(weight, (*weight.shape[:2], 1, weight.shape[2]))


def _check(name, input, weight, bias, groups, out_channels=None):
    check_dtypes(name, input, weight=weight, bias=bias)
    if groups < 1:
        raise ValueError(f"{name}: groups must be at least 1, got {groups}")
    out_channels = weight.shape[0] if out_channels is None else out_channels
    if bias is not None and bias.shape != (out_channels,):
        raise ValueError(f"{name}: bias has shape {bias.shape}, weight {weight.shape} with groups={groups} gives "
                         f"{out_channels} output channels: bias must be ({out_channels},)")
