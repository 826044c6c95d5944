"""Max-pooling, a ladder of three rungs.  There is almost nothing to compute: what counts is how memory is read.

              loops                 channels last            shared out
    reads     cells of a window,    the channels of a cell,  the channels of a cell,
              one by one            a vector at once         a vector at once
    threads   one                   one                      all

The result is the maximum of each window and its place y*W + x in the image: the first of equals, the last NaN, -inf
and -1 for a window that meets no cell.
"""
import numpy as np
from numba import njit

from ..cpu.layout import nchw, nhwc
from ..cpu.max_pool import max_pool2d as in_parallel
from .rung import Rung


def loops(x, win):
    """The definition: for each window of each channel, look at its cells one after the other.

        x[n, c]     +-------+
        . . . . . . | a b c | . .      best = a;  b > best?  c > best?  ...  i > best?
        . . . . . . | d e f | . .
        . . . . . . | g h i | . .      nine comparisons, nine jumps the processor has to guess
                    +-------+
    """
    y = np.empty((*x.shape[:2], win.OH, win.OW), x.dtype)
    indices = np.empty(y.shape, np.int64)
    _loops(np.ascontiguousarray(x), win, y, indices)
    return y, indices


@njit(cache=True)
def _loops(x, win, y, indices):
    N, C, H, W = x.shape
    for n in range(N):
        for c in range(C):
            for oy in range(win.OH):
                for ox in range(win.OW):
                    best, where = -np.inf, -1
                    for i in range(win.KH):
                        for j in range(win.KW):
                            iy, ix = oy * win.SH - win.PH + i * win.DH, ox * win.SW - win.PW + j * win.DW
                            if 0 <= iy < H and 0 <= ix < W:
                                value = x[n, c, iy, ix]
                                if value > best or value != value or where < 0:
                                    best, where = value, iy * W + ix
                    y[n, c, oy, ox], indices[n, c, oy, ox] = best, where


def channels_last(x, win):
    """The same comparisons with the channels innermost: the cell is chosen once for all channels, not once for each.

        memory of x[n]:   | cell 0: c0 c1 c2 ... | cell 1: c0 c1 c2 ... | cell 2: ...
                                   -->

    The innermost loop runs along memory and no longer asks whether the cell lies inside the image; so the compiler can
    turn it into vector code that compares and chooses without a jump:

        value     | 3 | 7 | 1 | 5 | ...
        best      | 4 | 2 | 6 | 5 | ...
        larger?   | 0 | 1 | 0 | 0 | ...        one comparison of vectors
        best   =  | 4 | 7 | 6 | 5 | ...        one choice of vectors, and one more for the index
    """
    x = nhwc(x)
    N, _, _, C = x.shape
    y, indices = np.empty((N, win.OH, win.OW, C), x.dtype), np.empty((N, win.OH, win.OW, C), np.int64)
    _channels_last(x, win, y, indices)
    return nchw(y), nchw(indices)


@njit(cache=True)
def _channels_last(x, win, y, indices):
    N, H, W, C = x.shape
    for n in range(N):
        for oy in range(win.OH):
            for ox in range(win.OW):
                best, where = y[n, oy, ox], indices[n, oy, ox]
                best[:] = -np.inf
                where[:] = -1
                for i in range(win.KH):
                    for j in range(win.KW):
                        iy, ix = oy * win.SH - win.PH + i * win.DH, ox * win.SW - win.PW + j * win.DW
                        if 0 <= iy < H and 0 <= ix < W:
                            for c in range(C):
                                value = x[n, iy, ix, c]
                                if value > best[c] or value != value or where[c] < 0:
                                    best[c] = value
                                    where[c] = iy * W + ix


def shared_out(x, win):
    """The kernel of the engine: the same comparisons of vectors, rows of y shared out to all threads.

        row 0 of y   -->  thread 0         row 1   -->  thread 1         row 2   -->  whoever is free        ...

    Which cells of a window lie inside the image is worked out before, for each row and column of y, so that no loop
    asks for it (kernels/cpu/max_pool.py).
    """
    return in_parallel(x, win)


RUNGS = [
    Rung("loops", loops, "NCHW"),
    Rung("channels last", channels_last, "NHWC"),
    Rung("shared out", shared_out, "NHWC"),
]
