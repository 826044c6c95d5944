"""Convolution on the GPU: four ways, of which `_way` chooses one for each geometry."""
from __future__ import annotations

import numpy as np

from ..precision import get_float32_matmul_precision
from ..reference import conv as reference
from . import columns, direct, elementwise, igemm, pointwise
from .arrays import in_float, new, plain
from .blas import gemm
from .launch import launch

__all__ = ["im2col", "col2im", "conv2d", "conv2d_input", "conv2d_weight", "channel_sums", "matmul"]
FILE = "conv.cu"
NARROW = 32                                          # so many channels of a group are worth a tile of igemm.cu


def _way(images, C, O, win, groups):
    """The module that computes a convolution of C to O channels, and its gradients.

        pointwise    1x1: one matrix product by cuBLAS, with nothing to gather; not of float32 with float32's accuracy,
                     for which cuBLAS has no tensor cores
        direct       few channels, or groups of few: a tile would be padding for the most part; memory is the limit
        igemm        float32 and 16 bits otherwise: patches are gathered into products on tensor cores
        columns      float64 otherwise: plain products of patches; gradients unfold them into memory for cuBLAS
    """
    if not images.size:
        return reference
    narrow = max(C, O) < NARROW * groups
    exact = images.dtype == np.float32 and get_float32_matmul_precision() == "highest"
    if win.KH * win.KW == 1 and _inside(win) and (groups == 1 or not narrow) and (narrow or not exact):
        return pointwise
    if narrow:
        return direct
    return columns if images.dtype == np.float64 else igemm


def _inside(win):
    """Whether a 1x1 kernel never meets padding."""
    return win.PH == win.PW == 0 and (win.OH - 1) * win.SH < win.H and (win.OW - 1) * win.SW < win.W


@in_float(reference)
def im2col(x, win):
    """(N, C, H, W) -> (N, C*KH*KW, OH*OW): column p holds the patch under output pixel p."""
    (N, C), size = x.shape[:2], win.OH * win.OW
    cols = new(x, N, C * win.KH * win.KW, size)
    launch(FILE, "im2col", x.dtype, cols.size, (plain(x), cols, win, C, False, cols.size))
    return cols


@in_float(reference)
def col2im(cols, win):
    """The adjoint of `im2col`: add every patch back where it came from.  -> (N, C, H, W)"""
    x = new(cols, cols.shape[0], cols.shape[1] // (win.KH * win.KW), win.H, win.W)
    launch(FILE, "col2im", x.dtype, x.size, (plain(cols), x, win, x.shape[1], False, x.size))
    return x


@in_float(reference)
def conv2d(x, weight, bias, win, groups, relu=False):
    """(N, C, H, W), (O, C/G, KH, KW), (O,) or None -> (N, O, OH, OW); relu: what is below 0 becomes 0"""
    y = _way(x, x.shape[1], weight.shape[0], win, groups).conv2d(x, weight, bias, win, groups)
    return elementwise.relu(y) if relu else y


@in_float(reference)
def conv2d_input(gy, weight, win, groups):
    """The gradient with respect to x: (N, O, OH, OW), (O, C/G, KH, KW) -> (N, C, H, W)"""
    return _way(gy, groups * weight.shape[1], gy.shape[1], win, groups).conv2d_input(gy, weight, win, groups)


@in_float(reference)
def conv2d_weight(x, gy, win, groups):
    """The gradient with respect to the weight: (N, C, H, W), (N, O, OH, OW) -> (O, C/G, KH, KW)"""
    return _way(x, x.shape[1], gy.shape[1], win, groups).conv2d_weight(x, gy, win, groups)


channel_sums = reference.channel_sums                # the array library's sum


def matmul(a, b, bias=None):
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading dimensions broadcast; by cuBLAS.  bias (N,): for every row."""
    c = gemm(a, b)
    if bias is not None:
        c += bias
    return c
