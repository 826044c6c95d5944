"""Convolution.  conv2d, conv2d_input and conv2d_weight are the three sides of one bilinear map: fix two of
(x, weight, gradient of y) and the third is linear in each.  So the vjps of each are the other two, and derivatives
of every order follow without another line.

              conv2d(x, w) -> y
             /                 \\
    conv2d_input(gy, w) -> gx   conv2d_weight(x, gy) -> gw
"""
from __future__ import annotations

from ..autograd import Tensor, op
from ..backend import Window, kernels, pair, window
from ..methods import function
from .basic import reshape, sum_to


@op
def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """2-d convolution (cross-correlation) of a batch of images.

    input    (N, C, H, W) or (C, H, W)
    weight   (O, C/groups, KH, KW)
    bias     (O,) or None
    stride, padding, dilation   an int or (vertical, horizontal); padding may be "valid" or "same" (stride 1)
    returns  (N, O, OH, OW),  OH = (H + 2*padding - dilation*(KH - 1) - 1) // stride + 1

    Raises ValueError if the channels, groups or bias do not fit or the kernel is larger than the padded input;
    TypeError if the dtypes differ.  As torch.nn.functional.conv2d.  Goodfellow et al., Deep Learning (2016),
    section 9.1; groups: Krizhevsky et al. (2012), section 3.5.
    """
    x, w = input.data, weight.data
    _check("conv2d", x, w, bias, groups)
    win = _window("conv2d", x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = kernels(x).conv2d(x, w, None if bias is None else bias.data, win, groups)
    return y, (
        lambda g: conv2d_input(g, weight, win, groups),
        lambda g: conv2d_weight(input, g, win, groups),
        lambda g: reshape(sum_to(g, (1, w.shape[0], 1, 1)), (w.shape[0],)))


@op
def conv2d_input(gy, weight, win, groups):
    """The gradient of conv2d with respect to its input: (N, O, OH, OW), (O, C/G, KH, KW) -> (N, C, H, W).

    Read forwards it is the transposed convolution.
    """
    return kernels(gy.data).conv2d_input(gy.data, weight.data, win, groups), (
        lambda g: _conv2d_window(g, weight, win, groups),
        lambda g: conv2d_weight(g, gy, win, groups))


@op
def conv2d_weight(x, gy, win, groups):
    """The gradient of conv2d with respect to its weight: (N, C, H, W), (N, O, OH, OW) -> (O, C/G, KH, KW)."""
    return kernels(x.data).conv2d_weight(x.data, gy.data, win, groups), (
        lambda g: conv2d_input(gy, g, win, groups),
        lambda g: _conv2d_window(x, g, win, groups))


@op
def _conv2d_window(x, weight, win, groups):
    """conv2d with its geometry given: the third side of the triangle when reached from the other two."""
    return kernels(x.data).conv2d(x.data, weight.data, None, win, groups), (
        lambda g: conv2d_input(g, weight, win, groups),
        lambda g: conv2d_weight(x, g, win, groups))


def _window(name, size, kernel_size, stride, padding, dilation) -> Window:
    """The geometry, with padding="same" or "valid" worked out; errors carry the op's name."""
    if isinstance(padding, str):
        padding = _named_padding(name, padding, kernel_size, stride, dilation)
    try:
        return window(size, kernel_size, stride, padding, dilation)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
