"""Convolution: which pixels meet which, and what computes it.

    conv2d          every output pixel is its patch of the input times the weights
    conv2d_input    the same over gy, with the weights transposed: input pixel y was met by tap i from output
                    oy = (y + padding - i*dilation) / stride, for the taps where that is whole.  Pixels with the same
                    y mod stride have the same taps: one pass for each, and no product with a zero

                        stride 2, kernel 3, padding 1          y = 0, 2, 4, ...   meet tap 1
                                                               y = 1, 3, 5, ...   meet taps 0 and 2

    conv2d_weight   the patches, transposed, times gy (weights.py)

Three algorithms compute these passes; choose.py says which one and why:

    direct     implicit im2col and a register tile (correlate.py, weights.py): any shape
    winograd   3x3 kernels with 2.25 or 4 times fewer multiplications, 5x5 kernels with 2.8 times (winograd.py)
    grouped    groups of 1, 2, 4 or 8 channels, several of them in one vector (grouped.py)

    memory     channels last; for the gradient of weights, and where channels are few, a copy with its border of
               zeros
"""
from functools import lru_cache

import numpy as np

from . import grouped, winograd
from .band import band_panels, banded, unbanded
from .choose import algorithm
from .correlate import Image, Walk, correlate
from .layout import nchw, nhwc
from .panels import aligned, move, pack_columns, pack_rows, unpack
from .threads import mine, parallel
from .weights import patches_times

__all__ = ["im2col", "col2im", "conv2d", "conv2d_input", "conv2d_weight"]

TILES = {"winograd4": 4, "winograd2": 2}
FEW = 16                                             # channels below which the taps of a row are joined to one run
remembered = lru_cache(1024)                         # geometry is worked out once: a small layer's takes longer to
                                                     # work out than the layer does to compute


# ---------------------------------------------------------------------------------------- which pixels meet

@remembered
def forward(win):
    """The walks of the forward pass along both axes."""
    def axis(K, S, P, D, count):
        return Walk(0, 1, count, S, np.arange(K), np.arange(K) * D - P)
    return axis(win.KH, win.SH, win.PH, win.DH, win.OH), axis(win.KW, win.SW, win.PW, win.DW, win.OW)


@remembered
def backward(win):
    """The walks of the input gradient along both axes, and the taps they take, for each phase of the strides."""
    def axis(size, K, S, P, D):
        for first in range(min(S, size)):
            taps = np.flatnonzero((first + P - np.arange(K) * D) % S == 0)[::-1].copy()  # by rising offsets
            yield Walk(first, S, -(-(size - first) // S), 1, taps, (first + P - taps * D) // S)
    columns = list(axis(win.W, win.KW, win.SW, win.PW, win.DW))
    return [(ys, xs, tuple((ys.taps[:, None] * win.KW + xs.taps).reshape(-1).tolist()))
            for ys in axis(win.H, win.KH, win.SH, win.PH, win.DH) for xs in columns]


def bordered(x, ys, xs):
    """(N, H, W, C) with the zeros around it that the walks reach into, and the walks as they are there.

    No copy where they stay inside.
    """
    N, H, W, C = x.shape

    def reach(walk, size):
        """Cells wanted before the first and after the last, and the walk with the first ones there."""
        offsets = walk.offsets
        low, high = min(0, offsets.min()), max(0, (walk.count - 1) * walk.step + offsets.max() - (size - 1))
        return -low, high, walk._replace(offsets=offsets - low)
    (top, below, ys), (left, right, xs) = reach(ys, H), reach(xs, W)
    if not top + below + left + right:
        return x, ys, xs
    out = aligned(N * (top + H + below) * (left + W + right) * C, x.dtype).reshape(N, top + H + below, -1, C)
    _border(x, top, left, out)
    return out, ys, xs


@parallel
def _border(thread, x, top, left, out):
    N, H, W, C = x.shape
    flat, pixels, line = out.reshape(-1), x.reshape(-1), out.shape[2] * C
    for task in mine(thread, N * out.shape[1]):
        n, y = task // out.shape[1], task % out.shape[1] - top
        first, last = (left * C, (left + W) * C) if 0 <= y < H else (line, line)
        for i in range(first):
            flat[task * line + i] = 0
        move(flat, task * line + first, pixels, (n * H + y) * W * C, last - first)
        for i in range(last, line):
            flat[task * line + i] = 0


def neighbours(walk):
    """Whether neighbouring taps, of which there are several, meet neighbouring cells.  (Offsets only rise.)"""
    several = len(walk.offsets) - 1
    return several > 0 and walk.offsets[-1] - walk.offsets[0] == several


def joined(x, ys, xs):
    """x, its walks, and how many numbers of each patch lie in a row: a pixel's channels, or where these are few, and
    neighbouring taps meet neighbouring pixels, those of a whole row of taps."""
    few = x.shape[3] < FEW and ys.offsets.size and neighbours(xs)
    if not few:
        return x, ys, xs, x.shape[3]
    x, ys, xs = bordered(x, ys, xs)
    return x, ys, xs._replace(offsets=xs.offsets[:1]), x.shape[3] * xs.offsets.size


# ---------------------------------------------------------------------------------------- the three passes

def conv2d(x, weight, bias, win, groups, relu=False, how=None):
    """(N, C, H, W), (O, C/G, KH, KW), (O,) or None -> (N, O, OH, OW); relu: what is below 0 becomes 0

    how   the algorithm, in place of the table's
    """
    (O, Cg), KK, x, (ys, xs) = weight.shape[:2], win.KH * win.KW, nhwc(x), forward(win)
    y = _empty(len(x), win.OH, win.OW, O, x.dtype)
    how = how or algorithm("output", win, Cg, O // groups, groups, x.dtype)
    if not y.size:
        pass
    elif how == "grouped":
        kernels = weight.reshape(O, Cg, KK).transpose(2, 1, 0)                           # (taps, C/G, O)
        _grouped(_repeated(x, O), ys, xs, kernels, Cg, y, bias, relu)
    elif band := how == "direct" and groups == 1 and banded(win, False, Cg, O, x.dtype):
        _several(band, x, ys, band_panels(band, weight, ys.taps), y, bias, relu)
    else:
        panels = pack_columns(_flat(weight), groups, O // groups * Cg * KK, (1, 0), Cg * KK, _by_tap(Cg, KK), Cg * KK,
                              O // groups, Cg * KK)
        _dense(how, x, ys, xs, panels, groups, O // groups, y, bias, relu)
    return nchw(y)


def conv2d_input(gy, weight, win, groups):
    """The gradient with respect to x: (N, O, OH, OW), (O, C/G, KH, KW) -> (N, C, H, W)"""
    (O, Cg), Og, gy = weight.shape[:2], len(weight) // groups, nhwc(gy)
    how = algorithm("input", win, Cg, Og, groups, gy.dtype)
    C = O if how == "grouped" else Cg * groups       # with several kernels to a channel: one gradient for each of them
    gx = _empty(len(gy), win.H, win.W, C, gy.dtype)
    band = how == "direct" and groups == 1 and gx.size and banded(win, True, Og, Cg, gy.dtype)
    phases = backward(win) if gx.size else []
    if not all(taps for _, _, taps in phases):       # strides that leave pixels out
        gx.fill(0)
    for ys, xs, taps in phases:
        if band:                                     # all phases along a line at once
            if xs.first == 0 and ys.taps.size:
                _several(band, gy, ys, band_panels(band, weight.swapaxes(0, 1), ys.taps), gx)
        elif taps and how == "grouped":
            width = Og if Cg > 1 else 1
            turned = weight.reshape(-1, width, Cg, win.KH * win.KW)[..., taps]           # (G, O/G, C/G, taps)
            turned = turned.transpose(3, 1, 0, 2).reshape(len(taps), width, C)
            _grouped(gy, ys, xs, turned, width, gx)
        elif taps:
            _dense(how, gy, ys, xs, _turned_panels(weight, taps, groups), groups, Cg, gx)
    if C > Cg * groups:
        gx = gx.reshape(*gx.shape[:3], groups, Og).sum(4)
    return nchw(gx)


def conv2d_weight(x, gy, win, groups):
    """The gradient with respect to the weight: (N, C, H, W), (N, O, OH, OW) -> (O, C/G, KH, KW)"""
    O, Cg, KK, x, gy, (ys, xs) = gy.shape[1], x.shape[1] // groups, win.KH * win.KW, nhwc(x), nhwc(gy), forward(win)
    if not x.size or not gy.size:
        return np.zeros((O, Cg, win.KH, win.KW), x.dtype)
    how = algorithm("weight", win, Cg, O // groups, groups, x.dtype)
    if how in TILES:
        return winograd.weights(x, gy, TILES[how], win.KH, win.PH, win.PW)
    gw = np.empty((O, Cg, win.KH, win.KW), x.dtype)
    if how == "grouped":
        x = _repeated(x, O)
        sums = grouped.weights(x.reshape(-1), Image(*x.shape, 0), ys, xs, gy.reshape(-1), O, Cg)
        gw.reshape(O, Cg, KK)[:] = sums.transpose(2, 1, 0)
        return gw
    if groups == KK == 1 and win == (*x.shape[1:3], 1, 1, 1, 1, 0, 0, win.DH, win.DW, *x.shape[1:3]):
        # Every pixel meets itself alone: gy' x is the weights' own order.
        sums = patches_times(gy.reshape(-1), Image(*gy.shape, 0), O, *forward(win), x.reshape(-1), 1, Cg,
                             gw.reshape(-1))
        if not np.may_share_memory(sums, gw):
            gw[..., 0, 0] = sums[0, :, :Cg]
        return gw
    band = groups == 1 and banded(win, False, Cg, O, x.dtype)
    inside, pixels = Cg, band.pixels if band else 1
    if groups == 1:
        x, ys, xs, inside = joined(x, ys, band.walk if band else xs)
    sums = patches_times(x.reshape(-1), Image(*x.shape, inside), inside, ys, xs, gy.reshape(-1), groups,
                         O // groups * pixels)
    if band:
        unbanded(band, sums[0], gw)
    else:
        unpack(sums, _by_tap(Cg, KK), O // groups, gw)
    return gw


def _empty(N, H, W, C, dtype):
    return aligned(N * H * W * C, dtype).reshape(N, H, W, C)


def _flat(weight):
    return np.ascontiguousarray(weight).reshape(-1)


@remembered
def _by_tap(C, KK):
    """For each channel and tap of a kernel as it lies in memory: which step of the sum it is, taps first."""
    return (np.arange(C)[:, None] + np.arange(KK) * C).reshape(-1)                       # (C, taps) -> (K,)


def _turned_panels(weight, taps, groups):
    """`Panels` of the weights for the gradient of the input: rows are taps and output channels, columns C/G."""
    Cg, KK, Og = weight.shape[1], weight[0, 0].size, len(weight) // groups
    K = len(taps) * Og
    if KK == 1:
        return pack_rows(_flat(weight), groups, Og * Cg, np.arange(Og) * Cg, Cg)
    return pack_columns(_flat(weight), groups, Og * Cg * KK, (Og, Cg * KK), KK, _taken(Og, KK, taps), K, Cg, KK)


@remembered
def _taken(O, KK, taps):
    """For each output channel and tap of a kernel as it lies in memory: which step of the sum it is; -1: of none."""
    rows = np.full((O, KK), -1)
    rows[:, taps] = np.arange(len(taps)) * O + np.arange(O)[:, None]
    return rows.reshape(-1)                                                              # (O, taps) -> (O * taps,)


def _repeated(x, channels):
    """Every channel as often as it has kernels."""
    return x if x.shape[3] == channels else np.repeat(x, channels // x.shape[3], 3)


def _grouped(x, ys, xs, kernels, width, out, bias=None, relu=False):
    grouped.correlate(x.reshape(-1), Image(*x.shape, 0), ys, xs, kernels, width, out.reshape(-1), Image(*out.shape, 0),
                      bias, relu)


def _dense(how, x, ys, xs, panels, groups, columns, out, bias=None, relu=False):
    """One pass over all output pixels of one walk along each axis, written into out (N, OH, OW, groups * columns)."""
    if how in TILES:
        winograd.correlate(x, panels, TILES[how], len(ys.offsets), -ys.offsets[0], -xs.offsets[0], out, bias,
                           relu)
        return
    inside = x.shape[3] // groups
    if groups == 1:
        x, ys, xs, inside = joined(x, ys, xs)
    correlate(x.reshape(-1), Image(*x.shape, inside), inside, 1, ys, xs, panels, columns, out.reshape(-1),
              Image(*out.shape, columns), bias, relu)


def _several(band, x, ys, panels, out, bias=None, relu=False):
    """`_dense` for blocks of neighbouring pixels (band.py)."""
    N, H, W, C = out.shape
    blocks = out.reshape(N, H, W // band.pixels, band.pixels * C)
    _dense("direct", x, ys, band.walk, panels, 1, blocks.shape[3], blocks,
           None if bias is None else np.tile(bias, band.pixels), relu)


# ---------------------------------------------------------------------------------------- im2col for its own sake

def im2col(x, win):
    """(N, C, H, W) -> (N, C*KH*KW, OH*OW): column p holds the patch under output pixel p."""
    N, C = x.shape[:2]
    cols = np.empty((N, C, win.KH * win.KW, win.OH * win.OW), x.dtype)
    if cols.size:
        _im2col(np.ascontiguousarray(x), cols, win)
    return cols.reshape(N, C * win.KH * win.KW, win.OH * win.OW)


def col2im(cols, win):
    """The adjoint of `im2col`: add every patch back where it came from.  -> (N, C, H, W)"""
    N, C = cols.shape[0], cols.shape[1] // (win.KH * win.KW)
    x = np.zeros((N, C, win.H, win.W), cols.dtype)
    if x.size and cols.size:
        _col2im(np.ascontiguousarray(cols).reshape(N, C, win.KH * win.KW, win.OH * win.OW), x, win)
    return x


@parallel
def _im2col(thread, x, cols, win):                   # x (N, C, H, W) -> cols (N, C, KH*KW, OH*OW)
    C = x.shape[1]
    for plane in mine(thread, x.shape[0] * C):       # no two tasks write the same cell
        n, c = plane // C, plane % C
        for tap in range(win.KH * win.KW):
            i, j = tap // win.KW, tap % win.KW
            for oy in range(win.OH):
                y = oy * win.SH - win.PH + i * win.DH
                for ox in range(win.OW):
                    xx = ox * win.SW - win.PW + j * win.DW
                    inside = 0 <= y < win.H and 0 <= xx < win.W
                    cols[n, c, tap, oy * win.OW + ox] = x[n, c, y, xx] if inside else 0


@parallel
def _col2im(thread, cols, x, win):                   # cols (N, C, KH*KW, OH*OW) -> x (N, C, H, W), += into zeros
    C = x.shape[1]
    for plane in mine(thread, x.shape[0] * C):
        n, c = plane // C, plane % C
        for tap in range(win.KH * win.KW):
            i, j = tap // win.KW, tap % win.KW
            for oy in range(win.OH):
                y = oy * win.SH - win.PH + i * win.DH
                for ox in range(win.OW):
                    xx = ox * win.SW - win.PW + j * win.DW
                    if 0 <= y < win.H and 0 <= xx < win.W:
                        x[n, c, y, xx] += cols[n, c, tap, oy * win.OW + ox]
