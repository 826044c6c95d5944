"""Pooling.  All of it is linear once the places are known, so the ops come as pairs of adjoints, each the vjp of the
other, and derivatives of every order follow:

    pick_pooled (a value from each given place)  <->  place_pooled (a value to each given place, added up)
    mean_windows (the mean of each window)       <->  spread_windows (each value spread over its window)
    mean_bins (the mean of each adaptive bin)    <->  spread_bins

1-d pooling is the same with H = KH = 1.
"""
from __future__ import annotations

from ..autograd import Tensor, op
from ..backend import Window, array_module, kernels
from ..methods import function
from .arguments import as_images, as_tensor, check_dtypes, from_images, sizes, sliding
from .basic import mul, to_dtype
from .math import abs, pow
from .reduce import safe_root


# ---------------------------------------------------------------------------------------- the adjoint pairs

@op
def pick_pooled(x, indices, y=None, win=None):
    """x (N, C, H, W) at `indices` (N, C, OH, OW), each a flat place y*W + x -> (N, C, OH, OW).

    y    the result, if it is known already
    win  the Window whose cells the indices are, if it is known
    """
    size = x.shape[2:]
    data = kernels(x.data).max_pool2d_gather(x.data, indices.data) if y is None else y.data
    return data, (lambda g: place_pooled(g, indices, size, win),)


@op
def place_pooled(g, indices, size, win=None):
    """The adjoint of pick_pooled: (N, C, OH, OW) added up at `indices` in zeros (N, C, *size)."""
    gx = kernels(g.data).max_pool2d_backward(g.data, indices.data, size, win)
    return gx, (lambda h: pick_pooled(h, indices, None, win),)


@op
def mean_windows(x, win, count_include_pad, divisor_override, pad_after):
    """(N, C, H, W) -> (N, C, OH, OW): the mean, or sum / divisor_override, of each window.

    pad_after  how far the padding that count_include_pad counts reaches below and to the right
    """
    options = (win, count_include_pad, divisor_override, pad_after)
    return kernels(x.data).avg_pool2d(x.data, *options), (lambda g: spread_windows(g, *options),)


@op
def spread_windows(g, win, count_include_pad, divisor_override, pad_after):
    """The adjoint of mean_windows: (N, C, OH, OW) -> (N, C, H, W)."""
    options = (win, count_include_pad, divisor_override, pad_after)
    return kernels(g.data).avg_pool2d_backward(g.data, *options), (lambda h: mean_windows(h, *options),)


@op
def mean_bins(x, output_size):
    """(N, C, H, W) -> (N, C, OH, OW): the mean over rows floor(i*H/OH) .. ceil((i+1)*H/OH), columns likewise."""
    size = x.shape[2:]
    return kernels(x.data).adaptive_avg_pool2d(x.data, output_size), (lambda g: spread_bins(g, size),)


@op
def spread_bins(g, size):
    """The adjoint of mean_bins: (N, C, OH, OW) -> (N, C, *size)."""
    output_size = g.shape[2:]
    return kernels(g.data).adaptive_avg_pool2d_backward(g.data, size), (lambda h: mean_bins(h, output_size),)


# ---------------------------------------------------------------------------------------- maximum

@function
def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The maximum of each window; padding counts as -inf, nan wins.

    input    (N, C, H, W) or (C, H, W), floating point
    kernel_size, stride, padding, dilation   an int or (vertical, horizontal); stride: by default kernel_size; padding
             at most half the (dilated) kernel
    ceil_mode        round the output size up: the last windows may reach over the edge
    return_indices   also return where the maxima are, each as y*W + x, int64; the first of equals
    returns  (N, C, OH, OW) or (C, OH, OW), or that and the indices

    Raises ValueError if the window does not fit or the padding is too large.  As torch.nn.functional.max_pool2d.
    """
    return _max_pool("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 2)


@function
def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The maximum of each window of (N, C, L) or (C, L).  As max_pool2d, and as torch.nn.functional.max_pool1d."""
    return _max_pool("max_pool1d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, 1)


def _max_pool(name, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, dims):
    input = as_tensor(input)
    check_dtypes(name, input)
    x = as_images(name, input, dims)
    win = _window(name, x, kernel_size, stride, padding, dilation, ceil_mode, dims)
    y, indices = kernels(x.data).max_pool2d(x.data, win)
    return _picked(x, y, indices, win, input.ndim, dims, return_indices)


def _picked(x, y, indices, win, ndim, dims, return_indices):
    indices = Tensor(indices)
    y = from_images(pick_pooled(x, indices, Tensor(y), win), ndim, dims)
    if return_indices:                               # kernels may give smaller integers
        return y, from_images(Tensor(indices.data.astype("int64", copy=False)), ndim, dims)
    return y


def _window(name, x, kernel_size, stride, padding, dilation, ceil_mode, dims):
    """The geometry; a missing stride is the kernel's size, and no window may lie in the padding alone."""
    kernel = sizes(name, "kernel_size", kernel_size, dims, 1)
    strides = kernel if stride is None or stride == [] or stride == () else sizes(name, "stride", stride, dims, 1)
    paddings, dilations = sizes(name, "padding", padding, dims, 0), sizes(name, "dilation", dilation, dims, 1)
    if any(2 * p > d * (k - 1) + 1 for p, k, d in zip(paddings, kernel, dilations)):
        raise ValueError(f"{name}: padding {padding} is more than half of kernel_size {kernel_size} (dilation "
                         f"{dilation}): a window would lie in the padding alone; pad less, or use a larger kernel")
    return sliding(name, x.shape[2:], kernel, strides, paddings, dilations, ceil_mode)


@function
def adaptive_max_pool2d(input, output_size, return_indices=False):
    """The maximum of each of output_size bins that cover the image evenly.

    input        (N, C, H, W) or (C, H, W)
    output_size  an int or (OH, OW); None: that of the input
    returns      (N, C, OH, OW) or (C, OH, OW), or that and the indices (as max_pool2d)

    As torch.nn.functional.adaptive_max_pool2d.  He et al. (2015), arXiv:1406.4729, section 2.2.
    """
    return _adaptive_max_pool("adaptive_max_pool2d", input, output_size, return_indices, 2)


@function
def adaptive_max_pool1d(input, output_size, return_indices=False):
    """The maxima of output_size bins of (N, C, L) or (C, L).  As torch.nn.functional.adaptive_max_pool1d."""
    return _adaptive_max_pool("adaptive_max_pool1d", input, output_size, return_indices, 1)


def _adaptive_max_pool(name, input, output_size, return_indices, dims):
    input = as_tensor(input)
    check_dtypes(name, input)
    x = as_images(name, input, dims)
    (H, W), (OH, OW) = x.shape[2:], _bins(name, x, output_size, dims)
    y, indices = kernels(x.data).adaptive_max_pool2d(x.data, (OH, OW))
    win = None
    if OH and OW and H and W and not (H % OH or W % OW):                  # bins of equal size are windows
        KH, KW = H // OH, W // OW
        win = Window(H, W, KH, KW, KH, KW, 0, 0, 1, 1, OH, OW)
    return _picked(x, y, indices, win, input.ndim, dims, return_indices)


def _bins(name, x, output_size, dims):
    """output_size as (OH, OW), with None filled in."""
    listed = list(output_size) if isinstance(output_size, (tuple, list)) else [output_size] * dims
    given = x.shape[4 - dims:]
    out = sizes(name, "output_size", [n if m is None else m for n, m in zip(given, listed)], dims, 1)
    if len(listed) != dims or min(out) < 0:
        raise ValueError(f"{name}: output_size must hold {dims} sizes of at least 0, got {output_size}")
    return out


@function
def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The values of a max_pool2d put back where `indices` says they came from, zeros elsewhere.

    Where windows overlapped, several values, all equal, go to one place: their mean is put there.

    input, indices   (N, C, OH, OW) or (C, OH, OW)
    output_size      the last two sizes of the result, (..., H, W); by default (OH - 1)*stride - 2*padding + kernel_size

    Raises ValueError if the shapes differ or an index is outside the result.  As torch.nn.functional.max_unpool2d.
    """
    return _max_unpool("max_unpool2d", input, indices, kernel_size, stride, padding, output_size, 2)


@function
def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """As max_unpool2d, for (N, C, OL) or (C, OL).  As torch.nn.functional.max_unpool1d."""
    return _max_unpool("max_unpool1d", input, indices, kernel_size, stride, padding, output_size, 1)


def _max_unpool(name, input, indices, kernel_size, stride, padding, output_size, dims):
    input, indices = as_tensor(input), as_tensor(indices)
    check_dtypes(name, input)
    if input.shape != indices.shape or indices.dtype.kind not in "iu":
        raise ValueError(f"{name}: input {input.shape} and indices {indices.shape} ({indices.dtype}) must have the "
                         "same shape, and indices be integers")
    x, places = as_images(name, input, dims), as_images(name, to_dtype(indices, "int64"), dims)
    size = _unpooled_size(name, x, kernel_size, stride, padding, output_size, dims)
    if places.numel() and not 0 <= int(places.data.min()) <= int(places.data.max()) < size[0] * size[1]:
        raise ValueError(f"{name}: indices {int(places.data.min())}..{int(places.data.max())} in a result of "
                         f"{size[0]}x{size[1]}: pass the size of the image that was pooled as output_size")
    xp = array_module(x.data)
    counts = place_pooled(Tensor(xp.ones_like(x.data)), places, size).data
    y = mul(place_pooled(x, places, size), Tensor(1 / xp.maximum(counts, 1)))
    return from_images(y, input.ndim, dims)


def _unpooled_size(name, x, kernel_size, stride, padding, output_size, dims):
    """(H, W) of the image: as asked for, if pooling it could have given x."""
    kernel = sizes(name, "kernel_size", kernel_size, dims, 1)
    strides = kernel if stride is None else sizes(name, "stride", stride, dims, 1)
    paddings = sizes(name, "padding", padding, dims, 0)
    size = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[2:], strides, paddings, kernel))
    if output_size is None:
        return size
    wanted = (1, *output_size[-dims:])[-2:]
    if len(output_size) not in (dims, dims + 2) or any(not -s < w - n < s for w, n, s in zip(wanted, size, strides)):
        raise ValueError(f"{name}: output_size {tuple(output_size)} cannot be pooled to {x.shape[2:]}: each size must "
                         f"be within a stride {strides} of {size}")
    return wanted


# ---------------------------------------------------------------------------------------- mean

@function
def avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
               divisor_override=None):
    """The mean of each window.

    input    (N, C, H, W) or (C, H, W)
    kernel_size, stride, padding, ceil_mode   as max_pool2d
    count_include_pad   divide by the window's size, padding included; otherwise by the pixels inside the image
    divisor_override    divide by this instead
    returns  (N, C, OH, OW) or (C, OH, OW)

    Raises ValueError if the window does not fit, the padding is too large or divisor_override is 0.
    As torch.nn.functional.avg_pool2d.
    """
    if divisor_override == 0:
        raise ValueError("avg_pool2d: divisor_override must not be 0: leave it out to divide by the window's size")
    return _avg_pool("avg_pool2d", input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                     divisor_override, 2)


@function
def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window of (N, C, L) or (C, L).  As avg_pool2d, and as torch.nn.functional.avg_pool1d."""
    return _avg_pool("avg_pool1d", input, kernel_size, stride, padding, ceil_mode, count_include_pad, None, 1)


def _avg_pool(name, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, dims):
    input = as_tensor(input)
    check_dtypes(name, input)
    x = as_images(name, input, dims)
    win = _window(name, x, kernel_size, stride, padding, 1, ceil_mode, dims)
    y = mean_windows(x, win, bool(count_include_pad), divisor_override, (win.PH, win.PW))
    return from_images(y, input.ndim, dims)


@function
def adaptive_avg_pool2d(input, output_size):
    """The mean of each of output_size bins that cover the image evenly; output_size=1 is global average pooling.

    Arguments as adaptive_max_pool2d.  As torch.nn.functional.adaptive_avg_pool2d.  Lin et al. (2014), arXiv:1312.4400,
    section 3.2.
    """
    return _adaptive_avg_pool("adaptive_avg_pool2d", input, output_size, 2)


@function
def adaptive_avg_pool1d(input, output_size):
    """The means of output_size bins of (N, C, L) or (C, L).  As torch.nn.functional.adaptive_avg_pool1d."""
    return _adaptive_avg_pool("adaptive_avg_pool1d", input, output_size, 1)


def _adaptive_avg_pool(name, input, output_size, dims):
    input = as_tensor(input)
    check_dtypes(name, input)
    x = as_images(name, input, dims)
    return from_images(mean_bins(x, _bins(name, x, output_size, dims)), input.ndim, dims)


# ---------------------------------------------------------------------------------------- power mean

@function
def lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """(sum of x^p)^(1/p) over each window, p = norm_type.

    Arguments as avg_pool2d.  As torch.nn.functional.lp_pool2d.  Sermanet et al. (2012), arXiv:1204.3968, equation 1.
    """
    return _lp_pool("lp_pool2d", input, norm_type, kernel_size, stride, ceil_mode, 2)


@function
def lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """As lp_pool2d, for (N, C, L) or (C, L).  As torch.nn.functional.lp_pool1d."""
    return _lp_pool("lp_pool1d", input, norm_type, kernel_size, stride, ceil_mode, 1)


def _lp_pool(name, input, norm_type, kernel_size, stride, ceil_mode, dims):
    input, size = as_tensor(input), sizes(name, "kernel_size", kernel_size, dims, 1)
    if norm_type == float("inf"):
        return _max_pool(name, abs(input), kernel_size, stride, 0, 1, ceil_mode, False, dims)
    means = _avg_pool(name, pow(input, norm_type), kernel_size, stride, 0, ceil_mode, True, None, dims)
    return safe_root(mul(means, size[0] * size[1]), norm_type)
