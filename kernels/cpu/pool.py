"""Average pooling over channels-last images, and where windows lie (for max_pool.py, too).

    memory      x (N, H, W, C): the inner loops run along C, from one cell of a window to the next
    windows     rows[oy] = (first, count): output row oy meets the input rows first, first + DH, ..., count of them, all
                inside the image; columns likewise, so sliding and adaptive windows are the same to the kernels
    parallel    over all images' rows of windows, or of pixels that collect from windows

                columns[ox] = (2, 3)
                0 1 2 3 4 5 6
              0 . . . . . . .
    rows[oy]  1 . . a b c . .
     = (1, 2) 2 . . d e f . .        y[n, oy, ox, :] = the mean of a ... f, channel by channel
              3 . . . . . . .

The gradient of a sum over windows is a sum over windows, too: pixel y collects from the outputs whose windows cover it,
and as starts and ends of windows only ever move on, those outputs are neighbours.  Of windows that do not overlap each
pixel has one at most, and a line that is worked out once serves all rows of its windows.
"""
from functools import lru_cache

import numpy as np

from ..reference.pool import window_divisors
from .layout import nchw, nhwc
from .panels import move
from .threads import inside, mine, parallel

__all__ = ["avg_pool2d", "avg_pool2d_backward", "adaptive_avg_pool2d", "adaptive_avg_pool2d_backward"]
FEW = 64                                             # cells that are added up in the images' own dtype


# ---------------------------------------------------------------------------------------- where the windows lie

def _sliding(n, k, step, pad, dilation, out):
    """(out, 2): first position and number of positions of each window along an axis of n, inside it."""
    start = np.arange(out) * step - pad
    end = np.minimum(start + (k - 1) * dilation + 1, n)
    first = np.where(start < 0, start % dilation, start)
    return np.stack([first, np.maximum(0, (end - first + dilation - 1) // dilation)], 1)


@lru_cache(256)
def sliding_windows(win):
    """Rows and columns of a Window; worked out once, for it takes longer than to pool a small image."""
    return (_sliding(win.H, win.KH, win.SH, win.PH, win.DH, win.OH),
            _sliding(win.W, win.KW, win.SW, win.PW, win.DW, win.OW))


@lru_cache(256)
def adaptive_windows(size, output_size):
    """Rows and columns of bins floor(i*n/out) .. ceil((i+1)*n/out), and how many cells each of OH x OW bins has."""
    bins = []
    for n, out in zip(size, output_size):
        i = np.arange(out)
        bins.append(np.stack([i * n // out, -(-(i + 1) * n // out) - i * n // out], 1))
    rows, columns = bins
    return rows, columns, np.multiply.outer(rows[:, 1], columns[:, 1]).astype(np.float64)


def covering(windows, n, dilation=1):
    """(n, 2): for each position along an axis, the first and the number of the windows from the first to the last that
    reach over it.  (Of dilated windows that a border cuts, a later one may begin or end earlier.)"""
    at, starts, ends = np.arange(n), windows[:, 0], windows[:, 0] + (windows[:, 1] - 1) * dilation + 1
    first = np.searchsorted(np.maximum.accumulate(ends), at, "right")
    last = np.searchsorted(np.minimum.accumulate(starts[::-1])[::-1], at, "right")
    return np.stack([first, np.maximum(0, last - first)], 1)


# ---------------------------------------------------------------------------------------- mean

# Loops over slices, from 0 on: of x[at + i] LLVM would have to know that it is not negative to make vector code.

@inside
def _add(x, total):
    for c in range(len(total)):
        total[c] += x[c]


@inside
def _divide(total, divisor, to):
    for c in range(len(to)):
        to[c] = total[c] / divisor


@parallel
def _sum_windows(thread, x, H, W, C, rows, columns, divisors, kind, y):
    """Each window's sum, added up in the dtype of `kind`, by its divisor: rows first, whole lines of the image."""
    OH, OW, length = len(rows), len(columns), W * C
    line, total = np.empty(length, kind.dtype), np.empty(C, kind.dtype)
    for task in mine(thread, y.size // max(1, OW * C)):
        n, oy = task // OH, task % OH
        line[:] = 0
        for iy in range(rows[oy, 0], rows[oy, 0] + rows[oy, 1]):
            at = (n * H + iy) * length
            _add(x[at:at + length], line)
        for ox in range(OW):
            to, divisor = (task * OW + ox) * C, kind.dtype.type(divisors[oy, ox])
            total[:] = 0
            for ix in range(columns[ox, 0], columns[ox, 0] + columns[ox, 1]):
                _add(line[ix * C:ix * C + C], total)
            _divide(total, divisor, y[to:to + C])


@parallel
def _hand_out(thread, g, H, W, C, rows, columns, divisors, gx):
    """Each pixel's share of the one window that holds it: the first line of a window's row is copied to the others."""
    OH, OW, length = len(rows), len(columns), W * C
    for task in mine(thread, g.size // max(1, OW * C)):
        n, oy = task // OH, task % OH
        line, count = (n * H + rows[oy, 0]) * length, rows[oy, 1]
        for ox in range(OW if count else 0):
            at, divisor = (task * OW + ox) * C, divisors[oy, ox]
            for ix in range(columns[ox, 0], columns[ox, 0] + columns[ox, 1]):
                to = line + ix * C
                _divide(g[at:at + C], divisor, gx[to:to + C])
        for i in range(1, count):
            move(gx, line + i * length, gx, line, length)


def _mean(x, rows, columns, divisors):
    x = nhwc(x)
    y = np.empty((x.shape[0], len(rows), len(columns), x.shape[3]), x.dtype)
    few = not y.size or rows[:, 1].max() * columns[:, 1].max() <= FEW
    _sum_windows(x.reshape(-1), *x.shape[1:], rows, columns, divisors, np.empty(0, x.dtype if few else np.float64),
                 y.reshape(-1))
    return nchw(y)


@lru_cache(256)
def _sliding_means(*options):
    """Rows, columns and divisors of `avg_pool2d`, and of its adjoint."""
    win, divisors = options[0], window_divisors(np, *options, np.float64)
    return _with_adjoint(*sliding_windows(win), divisors, (win.H, win.W))


@lru_cache(256)
def _adaptive_means(size, output_size):
    return _with_adjoint(*adaptive_windows(size, output_size), size)


def _with_adjoint(rows, columns, divisors, size):
    return (rows, columns, divisors), (covering(rows, size[0]), covering(columns, size[1]), np.ones(size)), divisors


def _spread(g, means):
    """The adjoint of `_mean`: divide first, then sum over the windows that cover each pixel."""
    (rows, columns, _), adjoint, divisors = means
    last, (N, C), (H, W) = nhwc(g), g.shape[:2], map(len, adjoint[:2])
    divisors = divisors.astype(g.dtype)
    most = [covering[:, 1].max(initial=0) for covering in adjoint[:2]]
    if max(most) > 1:
        return _mean(nchw(last / divisors[..., None]), *adjoint)
    gx = np.empty((N, H, W, C), g.dtype)
    if not all(covering[:, 1].all() for covering in adjoint[:2]):
        gx.fill(0)                                   # pixels of no window
    _hand_out(last.reshape(-1), H, W, C, rows, columns, divisors, gx.reshape(-1))
    return nchw(gx)


def avg_pool2d(x, *options):
    return _mean(x, *_sliding_means(*options)[0])


def avg_pool2d_backward(g, *options):
    return _spread(g, _sliding_means(*options))


def adaptive_avg_pool2d(x, output_size):
    return _mean(x, *_adaptive_means(x.shape[2:], tuple(output_size))[0])


def adaptive_avg_pool2d_backward(g, size):
    return _spread(g, _adaptive_means(tuple(size), g.shape[2:]))
