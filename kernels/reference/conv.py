"""Convolution as matrix multiplication: unfold the patches under the kernel into columns (im2col), multiply.

    x (C, H, W)                cols (C*KH*KW, OH*OW)             weight (O, C*KH*KW) @ cols = y (O, OH*OW)
    +---+---+---+
    | a b | c |                column p holds, from top to         Chellapilla et al., High Performance
    | d e | f |     im2col     bottom, the C*KH*KW inputs under    Convolutional Neural Networks for Document
    +---+---+---+   ------->   output pixel p: a b d e for p = 0   Processing (2006), section 3.1

A grouped convolution is G independent products: the channels are split into a group axis, and matmul broadcasts
over (N, G).  The three functions conv2d, conv2d_input and conv2d_weight are the three sides of one bilinear map.
"""
from . import activation
from ._xp import array_module

__all__ = ["im2col", "col2im", "conv2d", "conv2d_input", "conv2d_weight", "channel_sums", "matmul"]


def _taps(win):
    """For each tap (i, j) of the kernel, the rows and columns of the padded input that it meets."""
    for i in range(win.KH):
        for j in range(win.KW):
            y, x = i * win.DH, j * win.DW
            yield i, j, slice(y, y + win.SH * win.OH, win.SH), slice(x, x + win.SW * win.OW, win.SW)


def _padded_size(win):
    """Height and width that every tap's slice fits in, and that hold the whole input."""
    return (max(win.H + win.PH, (win.KH - 1) * win.DH + win.SH * win.OH),
            max(win.W + win.PW, (win.KW - 1) * win.DW + win.SW * win.OW))


def im2col(x, win):
    """(N, C, H, W) -> (N, C*KH*KW, OH*OW): column p holds the patch under output pixel p."""
    xp, (N, C), (PH, PW) = array_module(x), x.shape[:2], _padded_size(win)
    padded = xp.zeros((N, C, PH, PW), x.dtype)
    padded[:, :, win.PH:win.PH + win.H, win.PW:win.PW + win.W] = x
    cols = xp.empty((N, C, win.KH, win.KW, win.OH, win.OW), x.dtype)
    for i, j, rows, columns in _taps(win):
        cols[:, :, i, j] = padded[:, :, rows, columns]
    return cols.reshape(N, C * win.KH * win.KW, win.OH * win.OW)


def col2im(cols, win):
    """The adjoint of `im2col`: add every patch back where it came from.  -> (N, C, H, W)"""
    xp, N, (PH, PW) = array_module(cols), cols.shape[0], _padded_size(win)
    C = cols.shape[1] // (win.KH * win.KW)
    cols = cols.reshape(N, C, win.KH, win.KW, win.OH, win.OW)
    padded = xp.zeros((N, C, PH, PW), cols.dtype)
    for i, j, rows, columns in _taps(win):
        padded[:, :, rows, columns] += cols[:, :, i, j]
    return xp.ascontiguousarray(padded[:, :, win.PH:win.PH + win.H, win.PW:win.PW + win.W])


def conv2d(x, weight, bias, win, groups, relu=False):
    """(N, C, H, W), (O, C/G, KH, KW), (O,) or None -> (N, O, OH, OW); relu: what is below 0 becomes 0"""
    N, O = x.shape[0], weight.shape[0]
    K = weight[0].size
    cols = im2col(x, win).reshape(N, groups, K, win.OH * win.OW)          # (N, G, C/G*KH*KW, OH*OW)
    w = weight.reshape(groups, O // groups, K)                            # (G, O/G, C/G*KH*KW)
    y = (w @ cols).reshape(N, O, win.OH, win.OW)
    y = y if bias is None else y + bias.reshape(O, 1, 1)
    return activation.relu(y) if relu else y


def conv2d_input(gy, weight, win, groups):
    """The gradient with respect to x: (N, O, OH, OW), (O, C/G, KH, KW) -> (N, C, H, W)"""
    N, O = gy.shape[:2]
    w = weight.reshape(groups, O // groups, weight[0].size)
    g = gy.reshape(N, groups, O // groups, win.OH * win.OW)
    cols = w.swapaxes(1, 2) @ g                                           # (N, G, C/G*KH*KW, OH*OW)
    return col2im(cols.reshape(N, groups * weight[0].size, win.OH * win.OW), win)


def conv2d_weight(x, gy, win, groups):
    """The gradient with respect to the weight: (N, C, H, W), (N, O, OH, OW) -> (O, C/G, KH, KW)"""
    (N, C), O = x.shape[:2], gy.shape[1]
    K = C // groups * win.KH * win.KW
    cols = im2col(x, win).reshape(N, groups, K, win.OH * win.OW)
    g = gy.reshape(N, groups, O // groups, win.OH * win.OW)
    gw = (g @ cols.swapaxes(2, 3)).sum(0)                                 # (G, O/G, C/G*KH*KW)
    return gw.reshape(O, C // groups, win.KH, win.KW)


def channel_sums(g):
    """What each channel adds up to, (N, C, ...) -> (C,): the gradient of a bias."""
    return g.sum((0, *range(2, g.ndim)))


def matmul(a, b, bias=None):
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading dimensions broadcast; bias (N,) is added to every row."""
    c = a @ b
    return c if bias is None else c + bias
