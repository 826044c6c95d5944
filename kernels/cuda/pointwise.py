"""1x1 convolution: the results of a pixel are one row of a matrix product, by cuBLAS on images as they lie.

    channels-last    pixels (N*OH*OW, C)  @  weight (O, C)'    =  y (N*OH*OW, O)         one product
    C order          weight (O, C)  @  pixels (N, C, OH*OW)    =  y (N, O, OH*OW)        N products that share a factor

A result lies as the image does; G groups are G products each.
"""
from __future__ import annotations

from .arrays import dense, new_like, plain
from .blas import gemm

__all__ = ["conv2d", "conv2d_input", "conv2d_weight"]


def conv2d(x, weight, bias, win, groups):
    """(N, C, H, W), (O, C/G, 1, 1), (O,) or None -> (N, O, OH, OW)"""
    N, O, last, x, w = x.shape[0], weight.shape[0], is_last(x) or groups > 1, _seen(x, win), plain(weight, x)
    y = biased(x, bias, N, O, win.OH, win.OW, last)
    if last:
        gemm(rows(x, groups), by_group(w, groups).swapaxes(1, 2), rows(y, groups), bias is not None)
    else:
        pixels = plain(x).reshape(N, -1, win.OH * win.OW)                 # (N, C, OH*OW)
        gemm(w.reshape(O, -1), pixels, y.reshape(N, O, -1), bias is not None)
    return y


def conv2d_input(gy, weight, win, groups):
    """The gradient with respect to x: (N, O, OH, OW), (O, C/G, 1, 1) -> (N, C, H, W)"""
    weight = plain(weight, gy)
    N, O, C = *gy.shape[:2], groups * weight.shape[1]
    if groups == 1 and not is_last(gy):
        pixels = plain(gy).reshape(N, O, -1)                              # (N, O, OH*OW)
        gx = gemm(weight.reshape(O, C).T, pixels).reshape(N, C, win.OH, win.OW)
    else:
        gx = new_like(gy, N, C, win.OH, win.OW, last=True)
        gemm(rows(gy, groups), by_group(weight, groups), rows(gx, groups))
    if (win.OH, win.OW) == (win.H, win.W):
        return gx
    wide = new_like(gx, N, C, win.H, win.W, last=is_last(gx))
    wide[...] = 0
    _seen(wide, win)[...] = gx
    return wide


def conv2d_weight(x, gy, win, groups):
    """The gradient with respect to the weight: (N, C, H, W), (N, O, OH, OW) -> (O, C/G, 1, 1)"""
    g, seen = rows(gy.astype(x.dtype, copy=False), groups), rows(_seen(x, win), groups)     # (G, N*OH*OW, O/G), C/G
    return gemm(g.swapaxes(1, 2), seen).reshape(gy.shape[1], -1, 1, 1)


def _seen(x, win):
    """The pixels (N, C, OH, OW) of x that a 1x1 convolution sees, a view."""
    return x[:, :, :(win.OH - 1) * win.SH + 1:win.SH, :(win.OW - 1) * win.SW + 1:win.SW]


# ---------------------------------------------------------------------------------------- matrices of what lies there

def is_last(x):
    """Whether x is channels-last, even if it is C order as well, as one pixel is."""
    return x.transpose(0, 2, 3, 1).flags.c_contiguous


def rows(x, groups):
    """(N, G*C, H, W), channels-last -> (G, N*H*W, C), a view"""
    laid = dense(x, True)                                                 # (N, H, W, G*C)
    return laid.reshape(-1, groups, x.shape[1] // groups).transpose(1, 0, 2)


def by_group(weight, groups):
    """(O, C/G, KH, KW) -> (G, O/G, C/G*KH*KW), a view"""
    return weight.reshape(groups, -1, weight[0].size)


def biased(x, bias, N, O, OH, OW, last):
    """Memory (N, O, OH, OW) for the results of x: the bias everywhere, for a product to be added to it."""
    y = new_like(x, N, O, OH, OW, last=last)
    if bias is not None:
        dense(y, last)[...] = bias if last else bias.reshape(O, 1, 1)
    return y
