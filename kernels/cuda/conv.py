"""Convolution on the GPU: im2col and a matrix product by cuBLAS; depthwise convolutions directly."""
from __future__ import annotations

from ..reference import conv as reference
from ..reference._xp import array_module
from .arrays import in_float, new, plain
from .launch import launch

__all__ = ["im2col", "col2im", "conv2d", "conv2d_input", "conv2d_weight", "matmul"]


@in_float(reference)
def im2col(x, win):
    """(N, C, H, W) -> (N, C*KH*KW, OH*OW): column p holds the patch under output pixel p."""
    N, C = x.shape[:2]
    cols = new(x, N, C * win.KH * win.KW, win.OH * win.OW)
    launch("conv.cu", "im2col", x.dtype, cols.size, (plain(x), cols, win, cols.size))
    return cols


@in_float(reference)
def col2im(cols, win):
    """The adjoint of `im2col`: add every patch back where it came from.  -> (N, C, H, W)"""
    x = new(cols, cols.shape[0], cols.shape[1] // (win.KH * win.KW), win.H, win.W)
    launch("conv.cu", "col2im", x.dtype, x.size, (plain(cols), x, win, x.size))
    return x


@in_float(reference)
def conv2d(x, weight, bias, win, groups):
    """(N, C, H, W), (O, C/G, KH, KW), (O,) or None -> (N, O, OH, OW)"""
    (N, C), O, size = x.shape[:2], weight.shape[0], win.OH * win.OW
    if groups == C and C > 1:
        y = new(x, N, O, win.OH, win.OW)
        launch("conv.cu", "depthwise", x.dtype, y.size,
               (plain(x), plain(weight, x), plain(bias, x), y, win, C, O, y.size))
        return y
    K = weight[0].size
    cols = im2col(x, win).reshape(N, groups, K, size)                     # (N, G, C/G*KH*KW, OH*OW)
    w = plain(weight, x).reshape(groups, O // groups, K)                  # (G, O/G, C/G*KH*KW)
    y = plain((w @ cols).reshape(N, O, win.OH, win.OW))
    if bias is not None:
        launch("conv.cu", "add_bias", x.dtype, y.size, (y, plain(bias, x), O, size, y.size))
    return y


@in_float(reference)
def conv2d_input(gy, weight, win, groups):
    """The gradient with respect to x: (N, O, OH, OW), (O, C/G, KH, KW) -> (N, C, H, W)"""
    N, O = gy.shape[:2]
    w = plain(weight, gy).reshape(groups, O // groups, weight[0].size)    # (G, O/G, C/G*KH*KW)
    g = plain(gy).reshape(N, groups, O // groups, win.OH * win.OW)        # (N, G, O/G, OH*OW)
    cols = w.swapaxes(1, 2) @ g                                           # (N, G, C/G*KH*KW, OH*OW)
    return col2im(cols.reshape(N, groups * weight[0].size, win.OH * win.OW), win)


@in_float(reference)
def conv2d_weight(x, gy, win, groups):
    """The gradient with respect to the weight: (N, C, H, W), (N, O, OH, OW) -> (O, C/G, KH, KW)"""
    (N, C), O = x.shape[:2], gy.shape[1]
    K = C // groups * win.KH * win.KW
    cols = im2col(x, win).reshape(N, groups, K, win.OH * win.OW)          # (N, G, C/G*KH*KW, OH*OW)
    g = plain(gy, x).reshape(N, groups, O // groups, win.OH * win.OW)     # (N, G, O/G, OH*OW)
    return (g @ cols.swapaxes(2, 3)).sum(0).reshape(O, C // groups, win.KH, win.KW)


def matmul(a, b):
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading dimensions broadcast; by cuBLAS."""
    return array_module(a).matmul(a, b)
