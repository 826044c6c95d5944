"""Convolution as products of patches with the weights: see conv.cu.  Results lie channels-last.

    forward          y (G, pixels, O/G)              =  patches  @  weight', which gathers them (implicit_gemm)
    input gradient   patches                         =  gy (G, pixels, O/G)  @  weight, then added back (col2im)
    weight gradient  gw (G, O/G, C/G*KH*KW)          =  gy'  @  patches (G, pixels, C/G*KH*KW), unfolded (im2col)

Gradients are products by cuBLAS, of patches in memory.  There these are KH*KW times as large as the image, so that
only some images are unfolded at a time; their weight gradients are added in the images' order.
"""
from __future__ import annotations

from .arrays import dense, new, new_like, plain
from .blas import gemm
from .launch import launch
from .pointwise import by_group, rows

__all__ = ["conv2d", "conv2d_input", "conv2d_weight"]
FILE, TILE = "conv.cu", 64
WORKSPACE = 256 << 20                                # bytes of patches there may be at a time


def conv2d(x, weight, bias, win, groups):
    """(N, C, H, W), (O, C/G, KH, KW), (O,) or None -> (N, O, OH, OW)"""
    y = new_like(x, x.shape[0], weight.shape[0], win.OH, win.OW, last=True)
    w = plain(weight, x).reshape(groups, -1, *weight.shape[1:])           # (G, O/G, C/G, KH, KW)
    w, O, pixels = plain(w.transpose(0, 3, 4, 2, 1)), w.shape[1], y.size // weight.shape[0]    # (G, KH, KW, C/G, O/G)
    launch(FILE, "implicit_gemm", y.dtype, y.size,
           (dense(x, True), w, plain(bias, x), dense(y, True), win, x.shape[1], groups * O, groups, pixels),
           (-(-pixels // TILE), -(-O // TILE), groups))
    return y


def conv2d_input(gy, weight, win, groups):
    """The gradient with respect to x: (N, O, OH, OW), (O, C/G, KH, KW) -> (N, C, H, W)"""
    gx = new_like(gy, gy.shape[0], groups * weight.shape[1], win.H, win.W, last=True)
    w = by_group(plain(weight, gy), groups)
    for part in _parts(gx.shape, win, gx.itemsize):
        g, some = rows(gy[part], groups), dense(gx[part], True)
        patches = new(gy, g.shape[1], groups, w.shape[2])                 # (N*OH*OW, G, C/G*KH*KW)
        gemm(g, w, patches.transpose(1, 0, 2))
        launch(FILE, "col2im", gx.dtype, some.size, (patches, some, win, gx.shape[1], True, some.size))
    return gx


def conv2d_weight(x, gy, win, groups):
    """The gradient with respect to the weight: (N, C, H, W), (N, O, OH, OW) -> (O, C/G, KH, KW)"""
    gy = gy.astype(x.dtype, copy=False)
    C, O = x.shape[1] // groups, gy.shape[1]
    gw = new(x, O, C, win.KH, win.KW)
    out = by_group(gw, groups)
    for part in _parts(x.shape, win, x.itemsize):
        gemm(rows(gy[part], groups).swapaxes(1, 2), _patches(x[part], win, groups), out, part.start > 0)
    return gw


def _parts(shape, win, itemsize):
    """Slices of images whose patches fit into the workspace, one image at least."""
    (N, C), taps = shape[:2], win.KH * win.KW
    step = max(1, WORKSPACE // (C * taps * win.OH * win.OW * itemsize))
    return [slice(i, i + step) for i in range(0, N, step)]


def _patches(x, win, groups):
    """(N, C, H, W) -> (G, N*OH*OW, C/G*KH*KW): row p holds the patch that output pixel p sees, of each group."""
    C, pixels = x.shape[1], x.shape[0] * win.OH * win.OW
    patches = new(x, pixels, groups, C // groups * win.KH * win.KW)
    launch(FILE, "im2col", x.dtype, patches.size, (dense(x, True), patches, win, C, True, patches.size))
    return patches.transpose(1, 0, 2)
