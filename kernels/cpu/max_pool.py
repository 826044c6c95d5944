"""Max pooling over channels-last images.

    memory      x (N, H, W, C), and where the windows lie: as in pool.py
    parallel    over the output rows of all images

Of a window, the largest number and its place stay in registers while its cells go by, for two vectors of channels:

    +---+---+---+        best    | L channels | L channels |     value > best, or value is nan:
    | a | b | c |        where   | L places   | L places   |     both are replaced
    +---+---+---+
    | d | e | f |        one comparison for each cell and channel, three blends; each number is read once
    +---+---+---+

The gradient is collected: each pixel asks the windows that reach over it whether their largest number is its own.
Where the windows are not known, or channels are few, it is scattered; then tasks are images and bands of 32 channels,
so that no two of them add to the same cell.

bytes: the forward reads x and writes y and the indices, the backward reads g and the indices and writes gx.
"""
import numpy as np

from .layout import nchw, nhwc
from .pool import adaptive_windows, covering, sliding_windows
from .threads import inside, mine, parallel
from .vector import BYTES, lanes, vector_code

__all__ = ["max_pool2d", "max_pool2d_backward", "max_pool2d_gather", "adaptive_max_pool2d"]
BAND = 32
SEVERAL = 2                                          # vectors of channels at a time


@vector_code("y", "y_at", "indices", "count", "x", "x_at", "apart", "rows", "down", "columns", "right", "first")
def _largest(v, a):
    """The last nan of a window, or else the first of its largest numbers, and its cell: for up to SEVERAL vectors.

    y, indices     the results belong at y_at, `count` of them
    x, x_at        where the window begins; neighbouring cells lie `apart` numbers apart
    rows, columns  cells of the window; the next is `down`, or `right`, cells further
    first          the number of the window's first cell
    """
    def window(load, store):
        shifts = [k * v.lanes for k in range(SEVERAL)]
        best = [v.variable(v.constant(-np.inf)) for _ in shifts]
        where = [v.variable(v.alike(a.first, a.indices)) for _ in shifts]
        with v.loop(a.rows) as i:
            with v.loop(a.columns) as j:
                cell = v.sum(v.times(i, a.down), v.times(j, a.right))
                at, number = v.sum(a.x_at, v.times(cell, a.apart)), v.alike(v.sum(a.first, cell), a.indices)
                for shift, top, place in zip(shifts, best, where):
                    value = load(a.x, v.plus(at, shift), shift)
                    wins = v.exceeds(value, top.get())
                    top.set(v.choose(wins, value, top.get()))
                    place.set(v.choose(wins, number, place.get()))
        for shift, top, place in zip(shifts, best, where):
            store(top.get(), a.y, v.plus(a.y_at, shift), shift)
            store(place.get(), a.indices, v.plus(a.y_at, shift), shift)

    with v.either(v.reaches(a.count, SEVERAL * v.lanes)) as (whole, partial):
        with whole:                                  # masks cost more than all the rest
            window(lambda x, at, _: v.load(x, at), lambda value, y, at, _: v.store(value, y, at))
        with partial:
            window(lambda x, at, shift: v.load_some(x, at, v.below(a.count, shift)),
                   lambda value, y, at, shift: v.store_some(value, y, at, v.below(a.count, shift)))


@parallel
def _max_windows(thread, x, shape, rows, columns, DH, DW, y, indices):
    """Index -1 and -inf of a window without cells."""
    N, H, W, C = shape
    OH, OW = len(rows), len(columns)
    several = SEVERAL * BYTES // x.itemsize
    for task in mine(thread, N * OH):
        n, oy = task // OH, task % OH
        for ox in range(OW):
            first = rows[oy, 0] * W + columns[ox, 0]
            at, to = (n * H * W + first) * C, (task * OW + ox) * C
            some = rows[oy, 1] > 0 and columns[ox, 1] > 0
            for c in range(0, C, several):
                _largest(y, to + c, indices, C - c, x, at + c, C, rows[oy, 1], DH * W, columns[ox, 1], DW,
                         first if some else -1)


def _max_pool(x, rows, columns, DH, DW):
    x = nhwc(x)
    y = np.empty((x.shape[0], len(rows), len(columns), x.shape[3]), x.dtype)
    indices = np.empty(y.shape, np.int32 if x.shape[1] * x.shape[2] < 1 << 31 else np.int64)
    _max_windows(x.reshape(-1), x.shape, rows, columns, DH, DW, y.reshape(-1), indices.reshape(-1))
    return nchw(y), nchw(indices)


def max_pool2d(x, win):
    return _max_pool(x, *sliding_windows(win), win.DH, win.DW)


def adaptive_max_pool2d(x, output_size):
    return _max_pool(x, *adaptive_windows(x.shape[2:], tuple(output_size))[:2], 1, 1)


# ---------------------------------------------------------------------------------------- gradient

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


@inside
def _take(g, where, at, total):
    """Add what belongs to cell `at`."""
    for c in range(len(total)):
        before = total[c]
        more = before + g[c]
        total[c] = more if where[c] == at else before


@parallel
def _collect(thread, g, indices, OH, W, C, rows, columns, DW, gx):
    """gx (N, H, W, C): of each pixel, the sum of g (N, OH, OW, C) over the windows around it whose index it is.

    rows (H, 2): the windows that reach over each row of pixels; columns (OW, 2): the pixels of each window
    """
    H, OW, number = len(rows), len(columns), indices.dtype.type
    for task in mine(thread, gx.size // max(1, W * C)):
        n, y, line = task // H, task % H, task * W * C
        gx[line:line + W * C] = 0
        for oy in range(rows[y, 0], rows[y, 0] + rows[y, 1]):
            for ox in range(OW):
                at = ((n * OH + oy) * OW + ox) * C
                for j in range(columns[ox, 1]):
                    x = columns[ox, 0] + j * DW
                    to = line + x * C
                    _take(g[at:at + C], indices[at:at + C], number(y * W + x), gx[to:to + C])


def max_pool2d_backward(g, indices, size, win=None):
    N, C = g.shape[:2]
    g, indices, gx = nhwc(g), nhwc(indices), np.empty((N, *size, C), g.dtype)
    if win is not None and C >= lanes(g.dtype):       # with fewer the inner loops are too short
        rows, columns = sliding_windows(win)
        _collect(g.reshape(-1), indices.reshape(-1), win.OH, win.W, C, covering(rows, win.H, win.DH), columns, win.DW,
                 gx.reshape(-1))
    else:
        places, cells = (N, g.shape[1] * g.shape[2], C), (N, size[0] * size[1], C)
        _scatter(g.reshape(places), indices.reshape(places), gx.reshape(cells))
    return nchw(gx)


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
