"""Pooling over channels-last images.

    memory      x (N, H, W, C): the inner loops run along C, from one cell of a window to the next
    windows     rows[oy] = (first, count): output row oy meets the input rows first, first + DH, ..., count of them, all
                inside the image; columns likewise, so sliding and adaptive windows are the same to the kernels
    parallel    over the output rows of all images; the scatter over images and bands of 32 channels, so that no two
                tasks add to the same cell

                columns[ox] = (2, 3)
                0 1 2 3 4 5 6
              0 . . . . . . .
    rows[oy]  1 . . a b c . .
     = (1, 2) 2 . . d e f . .        y[n, oy, ox, :] = the maximum or the sum of a ... f, channel by channel
              3 . . . . . . .

The gradient of a sum over windows is a sum over windows, too: pixel y collects from the outputs whose windows cover it,
and as starts and ends of windows only ever move on, those outputs are neighbours.
"""
import numpy as np
from numba import prange

from ..reference.pool import window_divisors
from .layout import nchw, nhwc
from .threads import parallel

__all__ = ["max_pool2d", "max_pool2d_backward", "max_pool2d_gather", "avg_pool2d", "avg_pool2d_backward",
           "adaptive_avg_pool2d", "adaptive_avg_pool2d_backward", "adaptive_max_pool2d"]
BAND = 32


# ---------------------------------------------------------------------------------------- where the windows lie

def _sliding(n, k, step, pad, dilation, out):
    """(out, 2): first position and number of positions of each window along an axis of n, inside it."""
    start = np.arange(out) * step - pad
    end = np.minimum(start + (k - 1) * dilation + 1, n)
    first = np.where(start < 0, start % dilation, start)
    return np.stack([first, np.maximum(0, (end - first + dilation - 1) // dilation)], 1)


def _sliding_windows(win):
    return (_sliding(win.H, win.KH, win.SH, win.PH, win.DH, win.OH),
            _sliding(win.W, win.KW, win.SW, win.PW, win.DW, win.OW))


def _adaptive_windows(size, output_size):
    """Rows and columns of bins floor(i*n/out) .. ceil((i+1)*n/out), and how many cells each of OH x OW bins has."""
    bins = []
    for n, out in zip(size, output_size):
        i = np.arange(out)
        bins.append(np.stack([i * n // out, -(-(i + 1) * n // out) - i * n // out], 1))
    rows, columns = bins
    return rows, columns, np.multiply.outer(rows[:, 1], columns[:, 1]).astype(np.float64)


def _covering(windows, n):
    """(n, 2): for each position along an axis, the first and the number of the windows that hold it."""
    at, starts, ends = np.arange(n), windows[:, 0], windows.sum(1)
    first = np.searchsorted(ends, at, "right")
    return np.stack([first, np.searchsorted(starts, at, "right") - first], 1)


# ---------------------------------------------------------------------------------------- maximum

@parallel
def _max_windows(x, rows, columns, DH, DW, y, indices):
    """The last NaN of each window, or else the first of its largest; index -1 and -inf of no cells."""
    N, H, W, C = x.shape
    OH, OW = len(rows), len(columns)
    for task in prange(N * OH):
        n, oy = task // OH, task % OH
        for ox in range(OW):
            best, where = y[n, oy, ox], indices[n, oy, ox]
            top, left = rows[oy, 0], columns[ox, 0]
            first = top * W + left if rows[oy, 1] * columns[ox, 1] else -1
            for c in range(C):
                best[c] = -np.inf
                where[c] = first
            for i in range(rows[oy, 1]):
                for j in range(columns[ox, 1]):
                    iy, ix = top + i * DH, left + j * DW
                    at = iy * W + ix
                    for c in range(C):
                        value = x[n, iy, ix, c]
                        wins = (value > best[c]) | (value != value)
                        best[c] = value if wins else best[c]
                        where[c] = at if wins else where[c]


def _max_pool(x, rows, columns, DH, DW):
    x = nhwc(x)
    y = np.empty((x.shape[0], len(rows), len(columns), x.shape[3]), x.dtype)
    indices = np.empty(y.shape, np.int64)
    _max_windows(x, rows, columns, DH, DW, y, indices)
    return nchw(y), nchw(indices)


def max_pool2d(x, win):
    return _max_pool(x, *_sliding_windows(win), win.DH, win.DW)


def adaptive_max_pool2d(x, output_size):
    return _max_pool(x, *_adaptive_windows(x.shape[2:], output_size)[:2], 1, 1)


@parallel
def _scatter(g, indices, gx):
    """Add each g (N, OH*OW, C) to the cell of gx (N, H*W, C) that its index names."""
    N, P, C = g.shape
    bands = (C + BAND - 1) // BAND
    for task in prange(N * bands):
        n, first = task // bands, task % bands * BAND
        last = min(C, first + BAND)
        for p in range(P):
            for c in range(first, last):
                if indices[n, p, c] >= 0:
                    gx[n, indices[n, p, c], c] += g[n, p, c]


def max_pool2d_backward(g, indices, size, win=None):
    N, C = g.shape[:2]
    g, indices = (nhwc(a).reshape(N, -1 if a.size else 0, C) for a in (g, indices))    # (N, OH*OW, C)
    gx = np.zeros((N, size[0] * size[1], C), g.dtype)
    _scatter(g, indices, gx)
    return nchw(gx.reshape(N, *size, C))


@parallel
def _gather(x, indices, y):
    """y (N, OH*OW, C) = the cells of x (N, H*W, C) at the indices, 0 for index -1."""
    N, P, C = indices.shape
    for task in prange(N * P):
        n, p = task // P, task % P
        for c in range(C):
            at = indices[n, p, c]
            y[n, p, c] = x[n, at, c] if at >= 0 else 0


def max_pool2d_gather(x, indices):
    N, C = x.shape[:2]
    shape = (N, *indices.shape[2:], C)
    x, indices = (nhwc(a).reshape(N, a.shape[2] * a.shape[3], C) for a in (x, indices))    # (N, H*W, C), (N, OH*OW, C)
    y = np.empty(indices.shape, x.dtype)
    _gather(x, indices, y)
    return nchw(y.reshape(shape))


# ---------------------------------------------------------------------------------------- mean

@parallel
def _sum_windows(x, rows, columns, divisors, y):
    """Each window's sum, added up in float64, by its divisor."""
    N, H, W, C = x.shape
    OH, OW = len(rows), len(columns)
    for task in prange(N * OH):
        n, oy = task // OH, task % OH
        total = np.empty(C, np.float64)
        for ox in range(OW):
            for c in range(C):
                total[c] = 0
            for i in range(rows[oy, 1]):
                for j in range(columns[ox, 1]):
                    for c in range(C):
                        total[c] += x[n, rows[oy, 0] + i, columns[ox, 0] + j, c]
            for c in range(C):
                y[n, oy, ox, c] = total[c] / divisors[oy, ox]


def _mean(x, rows, columns, divisors):
    x = nhwc(x)
    y = np.empty((x.shape[0], len(rows), len(columns), x.shape[3]), x.dtype)
    _sum_windows(x, rows, columns, divisors, y)
    return nchw(y)


def _spread(g, rows, columns, divisors, size):
    """The adjoint of `_mean`: divide first, then sum over the windows that cover each pixel."""
    share = nhwc(g) / divisors[:, :, None].astype(g.dtype)
    return _mean(nchw(share), _covering(rows, size[0]), _covering(columns, size[1]), np.ones(size))


def avg_pool2d(x, win, count_include_pad, divisor_override, pad_after):
    divisors = window_divisors(np, win, count_include_pad, divisor_override, pad_after, np.float64)
    return _mean(x, *_sliding_windows(win), divisors)


def avg_pool2d_backward(g, win, count_include_pad, divisor_override, pad_after):
    divisors = window_divisors(np, win, count_include_pad, divisor_override, pad_after, np.float64)
    return _spread(g, *_sliding_windows(win), divisors, (win.H, win.W))


def adaptive_avg_pool2d(x, output_size):
    return _mean(x, *_adaptive_windows(x.shape[2:], output_size))


def adaptive_avg_pool2d_backward(g, size):
    return _spread(g, *_adaptive_windows(size, g.shape[2:]), size)
