"""Convolution: im2col times the weights, without ever writing the im2col matrix.

    input, channels last, with its border           im2col: a row per output pixel,      weights, in panels
    of zeros                                        a column per channel and tap
    . . . . . . . . . . . .                         +-------------------------+          +----+ +----+
    . +-------+           .                         | patch of output pixel 0 |          | K  | | K  |
    . | patch |           .        element (m, k)   | patch of output pixel 1 |    @     |    | |    |
    . |    0  |           .        lies at          | ...                     |          |    | |    |
    . +-------+           .     pixels[m] + taps[k] +-------------------------+          +----+ +----+
    . . . . . . . . . . . .                            K = C/G*KH*KW columns              O/G columns

Where an element lies in the input is a sum: the place of the pixel's patch, plus the place of channel and tap in a
patch.  So two short tables of offsets say all there is to know of stride, dilation and padding, and the matrix product
of matmul.py reads the input through them.  All passes are this product:

    forward                 rows = pixels, steps = taps,        B = weights
    gradient of the weight  rows = taps,   steps = pixels,      B = gy: the same matrix, transposed
    gradient of the input   the forward pass over gy, weights transposed: input pixel y was met by tap i from output
                            oy = (y + padding - i*dilation) / stride, for the taps where that is whole.  Pixels with the
                            same y mod stride have the same taps: one pass for each, and no product with a zero
    depthwise (C/G = 1)     a vector of channels for each element, so that lane n meets channel n only

    memory     channels last: pixels and taps next to each other share their cache lines.  Padded input: one copy
    parallel   as matmul.py: over tiles of pixels, blocks of channels and groups; same bits on any number of threads
    work       2 * N*OH*OW * O * C/G*KH*KW floating-point operations
"""
from typing import NamedTuple

import numpy as np
from numba import prange

from .layout import nchw
from .matmul import BM, NEAR, Panels, in_place, pack, product
from .microkernel import BYTES
from .threads import parallel

__all__ = ["im2col", "col2im", "conv2d", "conv2d_input", "conv2d_weight"]


# ---------------------------------------------------------------------------------------- channels

class Cut(NamedTuple):
    """How the channels are cut into independent products: groups of so many in- and out-channels."""
    each: bool                                       # depthwise: one vector of channels is a group
    groups: int
    inside: int
    outside: int


def _cut(weight, groups):
    O, channels = weight.shape[:2]
    if groups == 1 or channels > 1:
        return Cut(False, groups, channels, O // groups)
    lanes = BYTES // weight.itemsize
    return Cut(True, -(-O // lanes), lanes, lanes)   # O: a channel with several kernels is taken several times


def _images(x, cut, channels):
    """(N, C, H, W) -> (N, H, W, C), not copied; for depthwise, every channel as often as it has kernels."""
    x = x.transpose(0, 2, 3, 1)
    return np.repeat(x, channels // x.shape[3], 3) if cut.each and x.shape[3] < channels else x


def _taps_last(weight, cut):
    """(O, 1, KH, KW) -> (KH*KW, O filled up to whole vectors)"""
    out = np.zeros((weight[0].size, cut.groups * cut.outside), weight.dtype)
    out[:, :len(weight)] = weight.reshape(len(weight), -1).T
    return out


def _vectors(b, cut):
    """(K, whole vectors of channels), C order, as the `Panels` of a depthwise product: in place."""
    return Panels(b.reshape(-1), cut.outside, cut.outside, 0, cut.groups * cut.outside)


# ---------------------------------------------------------------------------------------- geometry

class Walk(NamedTuple):
    """Along one axis: output cell first + a*every, for a < count, meets input cell a*step + offsets[t] by taps[t]."""
    first: int
    every: int
    count: int
    step: int
    taps: np.ndarray
    offsets: np.ndarray


def _forward(win):
    """The walks of the forward pass along both axes."""
    def axis(K, S, P, D, count):
        return Walk(0, 1, count, S, np.arange(K), np.arange(K) * D - P)
    return axis(win.KH, win.SH, win.PH, win.DH, win.OH), axis(win.KW, win.SW, win.PW, win.DW, win.OW)


def _backward(win):
    """The walks of the input gradient along both axes, a list for each: one per phase of the stride."""
    def axis(size, K, S, P, D):
        for first in range(min(S, size)):
            taps = np.flatnonzero((first + P - np.arange(K) * D) % S == 0)
            yield Walk(first, S, -(-(size - first) // S), 1, taps, (first + P - taps * D) // S)
    return list(axis(win.H, win.KH, win.SH, win.PH, win.DH)), list(axis(win.W, win.KW, win.SW, win.PW, win.DW))


def _bordered(x, ys, xs, channels):
    """(N, H, W, C), C order or not -> the same with the border that the walks reach into, and so many channels, in
    C order; the row and the column where x begins.  No copy where nothing is to be added."""
    def border(walks, size):
        low = min([0, *(w.offsets.min() for w in walks if w.taps.size)])
        high = max([0, *((w.count - 1) * w.step + w.offsets.max() - (size - 1) for w in walks if w.taps.size)])
        return int(-low), int(high)
    (N, H, W, C), (top, bottom), (left, right) = x.shape, border(ys, x.shape[1]), border(xs, x.shape[2])
    if top + bottom + left + right == 0 and channels == C:
        return np.ascontiguousarray(x), (0, 0)
    out = np.zeros((N, top + H + bottom, left + W + right, channels), x.dtype)
    out[:, top:top + H, left:left + W, :C] = x
    return out, (top, left)


def _offsets(shape, N, ys, xs):
    """Where pixels (n, y, x) begin in memory of the given (N, H, W, C) shape, for n < N, y in ys, x in xs."""
    _, H, W, C = shape
    n = np.arange(N)[:, None, None] * (H * W * C)
    return (n + (ys * (W * C))[:, None] + xs * C).reshape(-1)             # (N, len(ys), len(xs)) -> (M,)


def _pixels(x, origin, y, w):
    """Where the patch of every output pixel begins."""
    return _offsets(x.shape, len(x), origin[0] + np.arange(y.count) * y.step, origin[1] + np.arange(w.count) * w.step)


def _taps(x, cut, y, w):
    """Where channel and tap (c, i, j) lie in a patch."""
    taps = _offsets(x.shape, 1, y.offsets, w.offsets)
    return (np.arange(1 if cut.each else cut.inside)[:, None] + taps).reshape(-1)


def _correlate(x, origin, y, w, panels, cut, out, bias=None):
    """One pass over all output pixels of one walk along each axis, written into out."""
    ys, xs = y.first + np.arange(y.count) * y.every, w.first + np.arange(w.count) * w.every
    product(x.reshape(-1), cut.inside, _pixels(x, origin, y, w), _taps(x, cut, y, w), panels, cut.groups, cut.outside,
            out.reshape(-1), cut.outside, _offsets(out.shape, len(out), ys, xs), bias=bias, each=cut.each)


# ---------------------------------------------------------------------------------------- the three passes

def conv2d(x, weight, bias, win, groups):
    """(N, C, H, W), (O, C/G, KH, KW), (O,) or None -> (N, O, OH, OW)"""
    O, cut, (rows, columns) = len(weight), _cut(weight, groups), _forward(win)
    x, origin = _bordered(_images(x, cut, O), [rows], [columns], cut.groups * cut.inside)
    y = np.empty((len(x), win.OH, win.OW, cut.groups * cut.outside), x.dtype)
    if y.size:
        if cut.each:
            panels = _vectors(_taps_last(weight, cut), cut)
        else:
            K = weight[0].size
            w = np.ascontiguousarray(weight).reshape(-1)
            panels = pack(w, groups, cut.outside * K, np.arange(K), cut.outside, K)
        if bias is not None:
            bias = np.append(bias, np.zeros(y.shape[3] - O, x.dtype))
        _correlate(x, origin, rows, columns, panels, cut, y, bias)
    return nchw(np.ascontiguousarray(y[..., :O]))


def conv2d_input(gy, weight, win, groups):
    """The gradient with respect to x: (N, O, OH, OW), (O, C/G, KH, KW) -> (N, C, H, W)"""
    (O, Cg), KK, cut, (ys, xs) = weight.shape[:2], win.KH * win.KW, _cut(weight, groups), _backward(win)
    gy, origin = _bordered(gy.transpose(0, 2, 3, 1), ys, xs, cut.groups * cut.outside)
    cut = cut._replace(inside=cut.outside, outside=cut.inside)           # what goes in now came out then
    gx = np.empty((len(gy), win.H, win.W, cut.groups * cut.outside), gy.dtype)
    if gx.size:
        w = _taps_last(weight, cut) if cut.each else np.ascontiguousarray(weight).reshape(-1)
        for y in ys:
            for x in xs:
                taps = (y.taps[:, None] * win.KW + x.taps).reshape(-1)
                if cut.each:
                    panels = _vectors(w[taps], cut)
                else:
                    k = (np.arange(cut.inside)[:, None] * (Cg * KK) + taps).reshape(-1)       # (O/G, taps) -> (K,)
                    panels = pack(w, groups, cut.inside * Cg * KK, k, Cg, KK)
                _correlate(gy, origin, y, x, panels, cut, gx)
    if cut.each:
        gx = np.ascontiguousarray(gx[..., :O])
        if O > groups:                               # the kernels of a channel: add up what they give
            gx = gx.reshape(*gx.shape[:3], groups, O // groups).sum(4)
    return nchw(gx)


def conv2d_weight(x, gy, win, groups):
    """The gradient with respect to the weight: (N, C, H, W), (N, O, OH, OW) -> (O, C/G, KH, KW)"""
    O, Cg = gy.shape[1], x.shape[1] // groups
    gw = np.zeros((O, Cg, win.KH, win.KW), x.dtype)
    if not x.size or not gy.size:
        return gw
    cut, (rows, columns) = _cut(gw, groups), _forward(win)
    x, origin = _bordered(_images(x, cut, O), [rows], [columns], cut.groups * cut.inside)
    gy, _ = _bordered(gy.transpose(0, 2, 3, 1), [], [], cut.groups * cut.outside)
    pixels, taps = _pixels(x, origin, rows, columns), _taps(x, cut, rows, columns)
    places, K = np.arange(len(taps)), len(taps)
    if cut.each:
        sums = np.empty((K, gy.shape[3]), x.dtype)
        product(x.reshape(-1), cut.inside, taps, pixels, _vectors(gy, cut), cut.groups, cut.outside, sums.reshape(-1),
                cut.outside, places * gy.shape[3], each=True)
        return np.ascontiguousarray(sums[:, :O].T).reshape(gw.shape)
    if O <= NEAR:
        panels = in_place(gy.reshape(-1), cut.outside, O, cut.outside)
    else:
        panels = pack(gy.reshape(-1), groups, cut.outside, np.arange(len(pixels)) * O, cut.outside, 1)
    product(x.reshape(-1), Cg, taps, pixels, panels, groups, cut.outside, gw.reshape(-1), cut.outside * K, places, K,
            most=8 * BM)                             # many rows: neighbouring taps read the same pixels
    return gw


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
def _im2col(x, cols, win):                           # x (N, C, H, W) -> cols (N, C, KH*KW, OH*OW)
    C = x.shape[1]
    for plane in prange(x.shape[0] * C):             # no two tasks write the same cell
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
def _col2im(cols, x, win):                           # cols (N, C, KH*KW, OH*OW) -> x (N, C, H, W), += into zeros
    C = x.shape[1]
    for plane in prange(x.shape[0] * C):
        n, c = plane // C, plane % C
        for tap in range(win.KH * win.KW):
            i, j = tap // win.KW, tap % win.KW
            for oy in range(win.OH):
                y = oy * win.SH - win.PH + i * win.DH
                for ox in range(win.OW):
                    xx = ox * win.SW - win.PW + j * win.DW
                    if 0 <= y < win.H and 0 <= xx < win.W:
                        x[n, c, y, xx] += cols[n, c, tap, oy * win.OW + ox]
