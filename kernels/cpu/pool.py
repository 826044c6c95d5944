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
and as starts and ends of windows only ever move on, those outputs are neighbours.  Of windows that do not overlap each
pixel has one at most, and a line that is worked out once serves all rows of its windows.
"""
from functools import lru_cache

import numpy as np

from ..reference.pool import window_divisors
from .layout import nchw, nhwc
from .threads import inside, mine, parallel

__all__ = ["max_pool2d", "max_pool2d_backward", "max_pool2d_gather", "avg_pool2d", "avg_pool2d_backward",
           "adaptive_avg_pool2d", "adaptive_avg_pool2d_backward", "adaptive_max_pool2d"]
BAND = 32
FEW = 64                                             # cells that are added up in the images' own dtype


# ---------------------------------------------------------------------------------------- where the windows lie

def _sliding(n, k, step, pad, dilation, out):
    """(out, 2): first position and number of positions of each window along an axis of n, inside it."""
    start = np.arange(out) * step - pad
    end = np.minimum(start + (k - 1) * dilation + 1, n)
    first = np.where(start < 0, start % dilation, start)
    return np.stack([first, np.maximum(0, (end - first + dilation - 1) // dilation)], 1)


@lru_cache(256)
def _sliding_windows(win):
    """Rows and columns of a Window; worked out once, for it takes longer than to pool a small image."""
    return (_sliding(win.H, win.KH, win.SH, win.PH, win.DH, win.OH),
            _sliding(win.W, win.KW, win.SW, win.PW, win.DW, win.OW))


@lru_cache(256)
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

@inside
def _start(low, at, best, where):
    for c in range(len(best)):
        best[c] = low
        where[c] = at


@inside
def _one(a, at, best, where):
    """Compare one cell, number `at`, with the best so far."""
    for c in range(len(best)):
        wins = (a[c] > best[c]) | (a[c] != a[c])
        best[c] = a[c] if wins else best[c]
        where[c] = at if wins else where[c]


@inside
def _two(a, b, at, next, best, where):
    """Two cells side by side, numbers `at` and `next`: the best so far is read and written once for both."""
    for c in range(len(best)):
        wins, later = (a[c] > best[c]) | (a[c] != a[c]), b[c] != b[c]
        top = a[c] if wins else best[c]
        place = at if wins else where[c]
        later = later | (b[c] > top)
        best[c] = b[c] if later else top
        where[c] = next if later else place


@parallel
def _max_windows(thread, x, rows, columns, DH, DW, y, indices):
    """The last NaN of each window, or else the first of its largest; index -1 and -inf of no cells."""
    N, H, W, C = x.shape
    OH, OW = len(rows), len(columns)
    for task in mine(thread, N * OH):
        n, oy = task // OH, task % OH
        number = indices.dtype.type
        for ox in range(OW):
            best, where, taken = y[n, oy, ox], indices[n, oy, ox], columns[ox, 1] // 2 * 2
            top, left = rows[oy, 0], columns[ox, 0]
            _start(x.dtype.type(-np.inf), number(top * W + left if rows[oy, 1] * columns[ox, 1] else -1), best, where)
            for i in range(rows[oy, 1]):
                iy = top + i * DH
                for j in range(0, taken, 2):
                    ix = left + j * DW
                    _two(x[n, iy, ix], x[n, iy, ix + DW], number(iy * W + ix), number(iy * W + ix + DW), best, where)
                if taken < columns[ox, 1]:
                    ix = left + taken * DW
                    _one(x[n, iy, ix], number(iy * W + ix), best, where)


def _max_pool(x, rows, columns, DH, DW):
    x = nhwc(x)
    y = np.empty((x.shape[0], len(rows), len(columns), x.shape[3]), x.dtype)
    indices = np.empty(y.shape, np.int32 if x.shape[1] * x.shape[2] < 1 << 31 else np.int64)
    _max_windows(x, rows, columns, DH, DW, y, indices)
    return nchw(y), nchw(indices)


def max_pool2d(x, win):
    return _max_pool(x, *_sliding_windows(win), win.DH, win.DW)


def adaptive_max_pool2d(x, output_size):
    return _max_pool(x, *_adaptive_windows(x.shape[2:], tuple(output_size))[:2], 1, 1)


@parallel
def _scatter(thread, g, indices, gx):
    """Add each g (N, OH*OW, C) to the cell of gx (N, H*W, C) that its index names; gx is zeroed first."""
    N, P, C = g.shape
    bands = (C + BAND - 1) // BAND
    for task in mine(thread, N * bands):
        n, first = task // bands, task % bands * BAND
        last, cells = min(C, first + BAND), gx[n].reshape(-1)
        for cell in range(gx.shape[1]):
            gx[n, cell, first:last] = 0
        for p in range(P):
            gs, where = g[n, p, first:last], indices[n, p, first:last]
            for c in range(len(gs)):
                if where[c] >= 0:
                    cells[np.uint64(where[c]) * np.uint64(C) + np.uint64(first + c)] += gs[c]


def max_pool2d_backward(g, indices, size, win=None):
    N, C = g.shape[:2]
    g, indices = (nhwc(a).reshape(N, -1 if a.size else 0, C) for a in (g, indices))    # (N, OH*OW, C)
    gx = np.empty((N, size[0] * size[1], C), g.dtype)
    _scatter(g, indices, gx)
    return nchw(gx.reshape(N, *size, C))


@parallel
def _gather(thread, x, indices, y):
    """y (N, OH*OW, C) = the cells of x (N, H*W, C) at the indices, 0 for index -1."""
    N, P, C = indices.shape
    for task in mine(thread, N * P):
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

@inside
def _add(x, total):
    for c in range(len(total)):
        total[c] += x[c]


@parallel
def _sum_windows(thread, x, rows, columns, divisors, kind, y):
    """Each window's sum, added up in the dtype of `kind`, by its divisor: rows first, whole lines of the image."""
    N, H, W, C = x.shape
    OH, OW = len(rows), len(columns)
    for task in mine(thread, N * OH):
        n, oy = task // OH, task % OH
        line, total = np.empty(W * C, kind.dtype), np.empty(C, kind.dtype)
        line[:] = 0
        for iy in range(rows[oy, 0], rows[oy, 0] + rows[oy, 1]):
            _add(x[n, iy].reshape(-1), line)
        for ox in range(OW):
            to, divisor = y[n, oy, ox], kind.dtype.type(divisors[oy, ox])
            total[:] = 0
            for ix in range(columns[ox, 0], columns[ox, 0] + columns[ox, 1]):
                _add(line[ix * C:ix * C + C], total)
            for c in range(C):
                to[c] = total[c] / divisor


@parallel
def _hand_out(thread, g, rows, columns, divisors, C, gx):
    """gx (N, H, W*C): each pixel's share of the one window that holds it, g (N, OH, OW*C) by the divisor."""
    N, OH, _ = g.shape
    for task in mine(thread, N * OH):
        n, oy = task // OH, task % OH
        share, first, count = g[n, oy] / divisors[oy], rows[oy, 0], rows[oy, 1]
        for ox in range(len(columns)):
            for ix in range(columns[ox, 0], columns[ox, 0] + columns[ox, 1] if count else 0):
                for c in range(C):
                    gx[n, first, ix * C + c] = share[ox * C + c]
        for iy in range(first + 1, first + count):
            for i in range(gx.shape[2]):
                gx[n, iy, i] = gx[n, first, i]


def _mean(x, rows, columns, divisors):
    x = nhwc(x)
    y = np.empty((x.shape[0], len(rows), len(columns), x.shape[3]), x.dtype)
    few = not y.size or rows[:, 1].max() * columns[:, 1].max() <= FEW
    _sum_windows(x, rows, columns, divisors, np.empty(0, x.dtype if few else np.float64), y)
    return nchw(y)


@lru_cache(256)
def _sliding_means(*options):
    """Rows, columns and divisors of `avg_pool2d`, and of its adjoint."""
    win, divisors = options[0], window_divisors(np, *options, np.float64)
    return _with_adjoint(*_sliding_windows(win), divisors, (win.H, win.W))


@lru_cache(256)
def _adaptive_means(size, output_size):
    return _with_adjoint(*_adaptive_windows(size, output_size), size)


def _with_adjoint(rows, columns, divisors, size):
    return (rows, columns, divisors), (_covering(rows, size[0]), _covering(columns, size[1]), np.ones(size)), divisors


def _spread(g, means):
    """The adjoint of `_mean`: divide first, then sum over the windows that cover each pixel."""
    (rows, columns, _), adjoint, divisors = means
    last, (N, C), (H, W) = nhwc(g), g.shape[:2], map(len, adjoint[:2])
    lines = last.reshape(*last.shape[:2], last.shape[2] * C)                           # (N, OH, OW*C): long inner loops
    divisors = np.repeat(divisors.astype(g.dtype), C, 1)
    most = [covering[:, 1].max(initial=0) for covering in adjoint[:2]]
    if max(most) > 1:
        return _mean(nchw((lines / divisors).reshape(last.shape)), *adjoint)
    gx = np.empty((N, H, W * C), g.dtype)
    if not all(covering[:, 1].all() for covering in adjoint[:2]):
        gx.fill(0)                                   # pixels of no window
    _hand_out(lines, rows, columns, divisors, C, gx)
    return nchw(gx.reshape(N, H, W, C))


def avg_pool2d(x, *options):
    return _mean(x, *_sliding_means(*options)[0])


def avg_pool2d_backward(g, *options):
    return _spread(g, _sliding_means(*options))


def adaptive_avg_pool2d(x, output_size):
    return _mean(x, *_adaptive_means(x.shape[2:], tuple(output_size))[0])


def adaptive_avg_pool2d_backward(g, size):
    return _spread(g, _adaptive_means(tuple(size), g.shape[2:]))
