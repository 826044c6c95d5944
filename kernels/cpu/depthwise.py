"""Depthwise convolution: each channel has a kernel of its own, so there is no sum over channels and no matrix product.

    y[n, oy, ox, :] = bias + sum over the taps (i, j) of  x[n, oy*SH - PH + i*DH, ox*SW - PW + j*DW, :] * w[i, j, :]

    memory     channels last: one step of the inner loop is a run of channels, neighbours in memory
    parallel   over rows of the output; each row is written by one task
    work       2 * N*OH*OW * O * KH*KW floating-point operations, each input read KH*KW times from the cache

With a channel multiplier, O = M*C, the outputs m*C .. are the M kernels of channel c; x is repeated M times to match.
"""
import numpy as np
from numba import njit, prange

from .threads import parallel

PARTS = 16                                           # a sum over pixels is cut into so many parts, added up in order


def _taps_last(weight):
    """(O, 1, KH, KW) -> (KH, KW, O)"""
    return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))


def _repeated(x, O):
    """(N, H, W, C) -> (N, H, W, O), every channel O/C times."""
    return x if x.shape[3] == O else np.repeat(x, O // x.shape[3], 3)


def correlate(x, weight, bias, win, y):
    """x (N, H, W, C), weight (O, 1, KH, KW), bias (O,) -> y (N, OH, OW, O), written."""
    _correlate(_repeated(x, weight.shape[0]), _taps_last(weight), bias, y, win)


def spread(gy, weight, win, gx):
    """The gradient of x: gy (N, OH, OW, O) -> gx (N, H, W, C), written."""
    O, C = weight.shape[0], gx.shape[3]
    if O == C:
        _spread(gy, _taps_last(weight), gx, win)
    else:
        wide = np.empty((*gx.shape[:3], O), gx.dtype)
        _spread(gy, _taps_last(weight), wide, win)
        gx[...] = wide.reshape(*gx.shape, O // C).sum(4)                  # (N, H, W, C, M)


def weight(x, gy, win):
    """The gradient of the weight: x (N, H, W, C), gy (N, OH, OW, O) -> (O, 1, KH, KW)"""
    O, rows = gy.shape[3], gy.shape[0] * gy.shape[1]
    sums = np.zeros((min(PARTS, rows), win.KH, win.KW, O), x.dtype)
    _weight_sums(_repeated(x, O), gy, sums, win)
    total = sums[0]
    for part in sums[1:]:
        total += part
    return np.ascontiguousarray(total.transpose(2, 0, 1))[:, None]


@njit(cache=True, nogil=True, error_model="numpy")
def _range(first, step, count, size):
    """The o < count for which first + step*o lies in 0 .. size-1, as a half-open range."""
    low = 0 if first >= 0 else (-first + step - 1) // step
    high = 0 if first >= size else min(count, (size - 1 - first) // step + 1)
    return low, max(low, high)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_products(out, a, b):
    """out += a * b, over the channels of a pixel."""
    for c in range(out.size):
        out[c] += a[c] * b[c]


@parallel
def _correlate(x, w, bias, y, win):
    for row in prange(y.shape[0] * win.OH):
        n, oy = row // win.OH, row % win.OH
        for ox in range(win.OW):
            y[n, oy, ox] = bias
        for i in range(win.KH):
            iy = oy * win.SH - win.PH + i * win.DH
            if 0 <= iy < win.H:
                for j in range(win.KW):
                    first = j * win.DW - win.PW
                    low, high = _range(first, win.SW, win.OW, win.W)
                    for ox in range(low, high):
                        _add_products(y[n, oy, ox], x[n, iy, first + ox * win.SW], w[i, j])


@parallel
def _spread(gy, w, gx, win):
    for row in prange(gx.shape[0] * win.H):
        n, iy = row // win.H, row % win.H
        gx[n, iy] = 0
        for i in range(win.KH):
            oy = iy + win.PH - i * win.DH
            if oy >= 0 and oy % win.SH == 0 and oy // win.SH < win.OH:
                for j in range(win.KW):
                    first = j * win.DW - win.PW
                    low, high = _range(first, win.SW, win.OW, win.W)
                    for ox in range(low, high):
                        _add_products(gx[n, iy, first + ox * win.SW], gy[n, oy // win.SH, ox], w[i, j])


@parallel
def _weight_sums(x, gy, sums, win):
    """sums[part] (KH, KW, C) over the part's rows of gy."""
    parts, rows = sums.shape[0], gy.shape[0] * win.OH
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            n, oy = row // win.OH, row % win.OH
            for i in range(win.KH):
                iy = oy * win.SH - win.PH + i * win.DH
                if 0 <= iy < win.H:
                    for j in range(win.KW):
                        first = j * win.DW - win.PW
                        low, high = _range(first, win.SW, win.OW, win.W)
                        for ox in range(low, high):
                            _add_products(sums[part, i, j], x[n, iy, first + ox * win.SW], gy[n, oy, ox])
