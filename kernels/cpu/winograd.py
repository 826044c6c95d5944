"""Convolution with fewer multiplications: Winograd's F(2x2, 3x3), F(4x4, 3x3) and F(2x2, 5x5).

An output tile of m x m pixels depends on an input tile of n x n, n = m + r - 1 for an r x r kernel.  Transformed by
two small constant matrices, tile and kernel need only be multiplied number by number, and the sum over channels is a
matrix product for each of the n*n places:

    y  =  A' [ (G w G') * (B' x B) ] A                  Lavin and Gray (2015), arXiv:1509.09308, equation 12

    input, channels last       V: n*n matrices            M: n*n matrices           output
    +---------+                +----------+               +----------+              +------+
    |  n x n  |   -- B' B -->  | tiles, C |  @ U (C, O)   | tiles, O |  -- A' A --> | m x m|  + bias
    |  tile   |                +----------+     for each  +----------+              +------+
    +---------+                                 place

    multiplications of a pixel:   3x3: direct 9,   m = 2: 16/4 = 4,   m = 4: 36/16 = 2.25
                                  5x5: direct 25,  m = 2: 36/4 = 9

Transforms take whole vectors of channels, so both channel counts are multiples of a vector.  The gradient of the input
is the same over gy with turned weights; the gradient of the weights is  gw = G' [ (B' x B) * (A gy A') ] G  (the
products now summed over tiles).

    accuracy   the entries of the matrices of n = 6 are up to 8: sums of large numbers that cancel, errors about 5 times
               those of the direct sum; n = 4 has only 0, 1 and 1/2, and is as exact.  float32 only.  An inf or nan of
               the input reaches all of its tile's outputs
    memory     V and M of a task's tiles are its scratch, of about the size of its second cache.  Weights: V and M of as
               many tiles as fit into the third cache, or take no more than AGAIN times U, at a time
    parallel   forward: over blocks of tiles.  Weights: over tiles, then over places, then over channels; in a small map
               over tiles, then over channels
"""
import numpy as np

from .microkernel import ROWS, WIDE, tiles
from .panels import aligned, odd_lines, panel_vectors, turn
from .threads import inside, mine, parallel
from .vector import BYTES, distance, vector_code

SCRATCH = 1 << 21                                    # bytes of V and M of one task
TASKS = 4
BLOCK, FEW = 96, 12                                  # tiles of a block in the gradient of the weights, and of a task
PRODUCTS, AGAIN = 1 << 22, 4                         # bytes of V and M at a time; or more, for U is then read again
SUMS, COLUMNS = 1 << 16, 64                          # in a small map: numbers of U of one task, and its output channels

# A tile's size n chooses B (input).  Rows of A (output) and columns of G (kernel) are powers of n - 1 points and of
# infinity: 0, 1, -1, 2, -2 for n = 6; 0, 1, -1 for n = 4.
B6 = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0),
      (0, 4, 0, -5, 0, 1))
A43 = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
G43 = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6), (1 / 24, 1 / 12, 1 / 6),
      (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))
B4 = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
A23 = ((1, 1, 1, 0), (0, 1, -1, -1))
G23 = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
A25 = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 1))
G25 = ((1 / 4, 0, 0, 0, 0), (-1 / 6, -1 / 6, -1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6, 1 / 6, -1 / 6),
       (1 / 24, 1 / 12, 1 / 6, 1 / 3, 2 / 3), (1 / 24, -1 / 12, 1 / 6, -1 / 3, 2 / 3), (0, 0, 0, 0, 1))


def _turned(matrix):
    return tuple(zip(*matrix))


def _combined(v, row, values):
    """The sum of row[i] * values[i], without the zeros, and without multiplying by 1."""
    total = None
    for factor, value in zip(row, values):
        if factor == 0:
            continue
        if total is None:
            total = value if factor == 1 else v.multiply(value, v.constant(factor))
        elif factor == 1:
            total = v.add(total, value)
        elif factor == -1:
            total = v.subtract(total, value)
        else:
            total = v.fma(value, v.constant(factor), total)
    return total


def _transform(matrices, finish=False):
    """Y = matrix X matrix', for `count` vectors of channels: X at x[x_at[i]], Y to y[y_at[i]], both row by row.

    matrices   for each (m, r), the lengths of the tuples `tile` and `kernel` (see vector.py): what is not used is not
               compiled
    With `finish` start[0:] is added to Y, which is then raised to at least `least`.
    """
    @vector_code("y", "y_at", "x", "x_at", "count", "tile", "kernel", *("start", "least") * finish)
    def transform(v, a):
        matrix = matrices[a.tile, a.kernel]
        m, n = len(matrix), len(matrix[0])
        sources = [v.element(a.x_at, v.number(i)) for i in range(n * n)]
        targets = [v.element(a.y_at, v.number(i)) for i in range(m * m)]
        least = v.everywhere(a.least) if finish else None
        with v.loop(a.count) as i:
            shift = v.times(i, v.number(v.lanes))
            columns = []
            for j in range(n):                       # matrix X, column by column
                column = [v.load(a.x, v.sum(sources[k * n + j], shift)) for k in range(n)]
                columns.append([_combined(v, row, column) for row in matrix])
            for r in range(m):                       # times matrix', row by row
                for k in range(m):
                    value = _combined(v, matrix[k], [column[r] for column in columns])
                    if finish:
                        value = v.at_least(v.add(value, v.load(a.start, shift)), least)
                    v.store(value, a.y, v.sum(targets[r * m + k], shift))
    return transform


_A, _G = {(4, 3): A43, (2, 3): A23, (2, 5): A25}, {(4, 3): G43, (2, 3): G23, (2, 5): G25}
_input, _kernel, _output = _transform({(4, 3): B6, (2, 3): B4, (2, 5): B6}), _transform(_G), _transform(_A, finish=True)
_gradient, _weights = (_transform({which: _turned(matrix) for which, matrix in m.items()}) for m in (_A, _G))


# ---------------------------------------------------------------------------------------- forward

def correlate(x, panels, m, r, top, left, y, bias=None, relu=False):
    """y = x correlated with the r x r kernels, + bias.

    x        (N, H, W, C), y (N, OH, OW, O): output (0, 0) has its first tap at input (-top, -left)
    panels   the weights (panels.py): rows are taps and C, columns O
    m        outputs of a tile: 4 or 2 with r = 3, 2 with r = 5
    """
    (N, _, _, C), (_, OH, OW, O), places = x.shape, y.shape, (m + r - 1) ** 2
    U = aligned(places * C * O, x.dtype)
    _transform_weights(panels.data, (0,) * m, (0,) * r, C, O, U)
    tiles_in_all = N * -(-OH // m) * -(-OW // m)
    block = min(SCRATCH // (4 * places * (C + O)), -(-tiles_in_all // TASKS)) // ROWS * ROWS
    start = np.zeros(O, x.dtype) if bias is None else np.ascontiguousarray(bias)
    least = x.dtype.type(0 if relu else -np.inf)
    _correlate(x.reshape(-1), x.shape, U, (0,) * m, (0,) * r, top, left, max(ROWS, block), start, least, y.reshape(-1),
               y.shape, np.zeros(max(C, O), x.dtype))


@parallel
def _transform_weights(thread, w, tile, kernel, C, O, U):
    """U (places, panels of O, C, NR) = G w G' of w (panels of O, taps, C, NR)."""
    places, taps, vector = (len(tile) + len(kernel) - 1) ** 2, len(kernel) ** 2, BYTES // w.itemsize
    wide, chunk = WIDE * vector, 16
    blocks, chunks = (O + wide - 1) // wide, (C + chunk - 1) // chunk
    for task in mine(thread, blocks * chunks):
        x_at, y_at = np.empty(taps, np.int64), np.empty(places, np.int64)
        n0, c0 = task // chunks * wide, task % chunks * chunk
        end = min(O, n0 + wide)
        while n0 < end:
            NR = panel_vectors(O - n0, vector) * vector
            for c in range(c0, min(C, c0 + chunk)):
                for tap in range(taps):
                    x_at[tap] = (n0 * taps + tap * NR) * C + c * NR
                for place in range(places):
                    y_at[place] = (place * O + n0) * C + c * NR
                _kernel(U, y_at, w, x_at, NR // vector, tile, kernel)
            n0 += NR


@inside
def _tile_places(shape, n, y0, x0, side, nothing, at):
    """Where the pixels of a square tile lie in an image of shape (N, H, W, C), `nothing` for those outside."""
    _, H, W, C = shape
    for i in range(side):
        for j in range(side):
            inside = 0 <= y0 + i < H and 0 <= x0 + j < W
            at[i * side + j] = ((n * H + y0 + i) * W + x0 + j) * C if inside else nothing


@parallel
def _correlate(thread, x, shape, U, tile, kernel, top, left, block, start, least, y, y_shape, zeros):
    (N, _, _, C), (_, OH, OW, O) = shape, y_shape
    m, side, vector = len(tile), len(tile) + len(kernel) - 1, BYTES // x.itemsize
    places, TH, TW = side * side, (OH + m - 1) // m, (OW + m - 1) // m
    count = N * TH * TW
    nothing = distance(x, zeros)
    for task in mine(thread, (count + block - 1) // block):
        first, few = task * block, min(block, count - task * block)
        V, M, waste = np.empty(places * block * C, x.dtype), np.empty(places * block * O, x.dtype), np.empty(O, x.dtype)
        x_at, y_at, v_at, m_at = (np.empty(side * side, np.int64), np.empty(m * m, np.int64),
                                  np.empty(places, np.int64), np.empty(places, np.int64))
        for t in range(few):
            n, ty, tx = (first + t) // TW // TH, (first + t) // TW % TH, (first + t) % TW
            _tile_places(shape, n, ty * m - top, tx * m - left, side, nothing, x_at)
            for place in range(places):
                v_at[place] = (place * block + t) * C
            _input(V, v_at, x, x_at, C // vector, tile, kernel)
        table, rows, none = np.empty(block, np.int64), np.empty(block, np.int64), np.zeros(1, np.int64)
        for t in range(block):
            table[t], rows[t] = min(t, few - 1) * C, min(t, few - 1) * O
        for place in range(places):
            n0 = 0
            while n0 < O:
                width = panel_vectors(O - n0, vector)
                tiles(M, place * block * O + n0, rows, 0, few, O - n0, width, zeros, 0, True, x.dtype.type(-np.inf), V,
                      place * block * C, table, block, none, 1, C, 1, U, (place * O + n0) * C, none)
                n0 += width * vector
        nowhere = distance(y, waste)
        for t in range(few):
            n, ty, tx = (first + t) // TW // TH, (first + t) // TW % TH, (first + t) % TW
            _tile_places(y_shape, n, ty * m, tx * m, m, nowhere, y_at)
            for place in range(places):
                m_at[place] = (place * block + t) * O
            _output(y, y_at, M, m_at, O // vector, tile, kernel, start, least)
        waste[0] = 0                                 # kept alive: only its address was taken


# ---------------------------------------------------------------------------------------- gradient of the weights

def weights(x, gy, m, r, top, left):
    """(O, C, r, r): the sums over all pixels of gy (N, OH, OW, O) times what x (N, H, W, C) each tap meets."""
    C, (N, OH, OW, O) = x.shape[3], gy.shape
    places, count, apart = (m + r - 1) ** 2, N * -(-OH // m) * -(-OW // m), odd_lines(C, x.itemsize)
    gw, zeros, tile, kernel = np.empty((O, C, r, r), x.dtype), np.zeros(max(C, O), x.dtype), (0,) * m, (0,) * r
    small = C * O > count * (C + O)                  # a map so small that the sums U would be larger than V and M
    some = max(PRODUCTS // (x.itemsize * places * (apart + O)), AGAIN * C * O // (C + O)) // BLOCK * BLOCK + BLOCK
    some = count if small else min(count, some)      # tiles at a time
    V, M, U = (aligned(places * n, x.dtype) for n in (some * apart, some * O, 0 if small else C * O))
    for first in range(0, count, some):
        few = min(some, count - first)
        _transform_both(x.reshape(-1), x.shape, gy.reshape(-1), gy.shape, tile, kernel, top, left, first, few, zeros,
                        apart, V, M)
        if not small:
            _multiply(V, M, few, C, O, places, zeros, apart, first == 0, U)
    if small:
        _multiply_and_transform(V, M, count, tile, kernel, C, O, zeros, apart, gw.reshape(-1))
    else:
        _transform_back(U, tile, kernel, C, O, gw.reshape(-1))
    return gw


@parallel
def _transform_both(thread, x, shape, gy, gy_shape, tile, kernel, top, left, tile0, count, zeros, apart, V, M):
    """V = B' x B and M = A gy A' of `count` tiles, BLOCK at a time: V (blocks, places, BLOCK, C), its rows `apart`
    numbers apart, and M (blocks, places, panels of O, BLOCK, NR).  The last block is as long as it is."""
    (_, _, _, C), (_, OH, OW, O) = shape, gy_shape
    m, side, vector = len(tile), len(tile) + len(kernel) - 1, BYTES // x.itemsize
    places, TH, TW = side * side, (OH + m - 1) // m, (OW + m - 1) // m
    outside, beyond = distance(x, zeros), distance(gy, zeros)
    for task in mine(thread, (count + FEW - 1) // FEW):
        x_at, g_at, to = np.empty(places, np.int64), np.empty(m * m, np.int64), np.empty(places, np.int64)
        for t in range(task * FEW, min(count, task * FEW + FEW)):
            line, tx = (tile0 + t) // TW, (tile0 + t) % TW
            n, ty = line // TH, line % TH
            first, i = t // BLOCK * BLOCK, t % BLOCK
            few = min(BLOCK, count - first)
            _tile_places(shape, n, ty * m - top, tx * m - left, side, outside, x_at)
            for place in range(places):
                to[place] = (first * places + place * few + i) * apart
            _input(V, to, x, x_at, C // vector, tile, kernel)
            _tile_places(gy_shape, n, ty * m, tx * m, m, beyond, g_at)
            n0 = 0
            while n0 < O:
                width = panel_vectors(O - n0, vector)
                for place in range(places):
                    to[place] = (first * places + place * few) * O + n0 * few + i * width * vector
                _gradient(M, to, gy, g_at, width, tile, kernel)
                for k in range(m * m):
                    g_at[k] += width * vector
                n0 += width * vector


@inside
def _sums(V, M, count, place, places, C, O, apart, channels, o0, columns, zeros, none, rows, fresh, U, u_at):
    """U[u_at:], its lines where `rows` says, = or (not `fresh`) += V' M of one place, for some `channels` of C and
    columns from o0 of O on."""
    n0 = 0
    while n0 < columns:
        width = panel_vectors(O - o0 - n0, BYTES // V.itemsize)
        for first in range(0, count, BLOCK):
            few = min(BLOCK, count - first)
            at = first * places + place * few
            tiles(U, u_at + n0, rows, 0, C, columns - n0, width, zeros, 0, fresh and first == 0,
                  V.dtype.type(-np.inf), V, at * apart, channels, len(channels), none, 1, few, apart, M,
                  at * O + (o0 + n0) * few, none)
        n0 += width * (BYTES // V.itemsize)


@inside
def _back(U, u_at, tile, kernel, columns, sums, to, gw, gw_at, O_step):
    """gw = G' U G for one input channel and some output channels, whose weights begin O_step apart from gw_at on."""
    taps, vector = len(kernel) ** 2, BYTES // U.itemsize
    x_at, y_at = np.empty(vector, np.int64), np.empty(vector, np.int64)
    _weights(sums, to, U, u_at, columns // vector, tile, kernel)
    for o in range(0, columns, vector):
        for t0 in range(0, taps, vector):
            for i in range(vector):
                x_at[i], y_at[i] = min(taps - 1, t0 + i) * columns + o, gw_at + (o + i) * O_step + t0
            turn(gw, y_at, sums, x_at, vector, taps - t0)


@parallel
def _multiply(thread, V, M, count, C, O, places, zeros, apart, fresh, U):
    """U (places, C, O) = or += V' M, summed over the tiles."""
    wide = WIDE * (BYTES // V.itemsize)
    blocks = (O + wide - 1) // wide
    for task in mine(thread, places * blocks):
        place, o0 = task // blocks, task % blocks * wide
        padded = (C + ROWS - 1) // ROWS * ROWS
        channels, rows, none = np.empty(padded, np.int64), np.empty(padded, np.int64), np.zeros(1, np.int64)
        for c in range(padded):
            channels[c], rows[c] = min(c, C - 1), min(c, C - 1) * O
        _sums(V, M, count, place, places, C, O, apart, channels, o0, min(wide, O - o0), zeros, none, rows,
              fresh, U, place * C * O + o0)


@parallel
def _transform_back(thread, U, tile, kernel, C, O, gw):
    """gw (O, C, r, r) = G' U G."""
    places, taps = (len(tile) + len(kernel) - 1) ** 2, len(kernel) ** 2
    for c in mine(thread, C):
        sums, u_at, to = np.empty(taps * O, U.dtype), np.empty(places, np.int64), np.empty(taps, np.int64)
        for place in range(places):
            u_at[place] = (place * C + c) * O
        for tap in range(taps):
            to[tap] = tap * O
        _back(U, u_at, tile, kernel, O, sums, to, gw, c * taps, C * taps)


@parallel
def _multiply_and_transform(thread, V, M, count, tile, kernel, C, O, zeros, apart, gw):
    """gw (O, C, r, r) = G' (V' M) G: of some input channels times COLUMNS output channels at a time, whose U stays in
    the second cache."""
    places, taps = (len(tile) + len(kernel) - 1) ** 2, len(kernel) ** 2
    rows, blocks = SUMS // (places * COLUMNS * ROWS) * ROWS, (O + COLUMNS - 1) // COLUMNS
    for task in mine(thread, (C + rows - 1) // rows * blocks):
        c0, o0 = task // blocks * rows, task % blocks * COLUMNS
        few, columns = min(rows, C - c0), min(COLUMNS, O - o0)
        padded = (few + ROWS - 1) // ROWS * ROWS
        U, sums = np.empty(places * few * columns, V.dtype), np.empty(taps * columns, V.dtype)
        channels, lines, none = np.empty(padded, np.int64), np.empty(padded, np.int64), np.zeros(1, np.int64)
        u_at, to = np.empty(places, np.int64), np.empty(taps, np.int64)
        for c in range(padded):
            channels[c], lines[c] = c0 + min(c, few - 1), min(c, few - 1) * columns
        for tap in range(taps):
            to[tap] = tap * columns
        for place in range(places):
            _sums(V, M, count, place, places, few, O, apart, channels, o0, columns, zeros, none, lines,
                  True, U, place * few * columns)
        for c in range(few):
            for place in range(places):
                u_at[place] = (place * few + c) * columns
            _back(U, u_at, tile, kernel, columns, sums, to, gw, (o0 * C + c0 + c) * taps, C * taps)
