"""Convolutions of narrow groups: 1 (depthwise), 2, 4, 8 or 16 channels, as many out as in, several groups to a vector.

Lane l of a vector holds an output channel.  It needs the channels of its own group only, which lie in the same vector:
the c-th of them is fetched by a shuffle, the same for all groups.

    width 4:   lane            0  1  2  3 | 4  5  6  7 | ...
               x               a  b  c  d | e  f  g  h | ...
               shuffled, c=1   b  b  b  b | f  f  f  f | ...    times the weights of c = 1, one for each lane

Neighbouring outputs of a row share inputs: a tile holds T outputs in registers, loads each of the inputs that they meet
in a row of taps once, and uses it for all (rows of k taps):

    inputs     q = 0    1    2    3    4    5              T = 4, k = 3:  6 loads for 12 products
    outputs        [ y0 ][ y1 ][ y2 ][ y3 ]
                     y0 += x0*w0 + x1*w1 + x2*w2,   y1 += x1*w0 + ...

k, the width, and whether the last vector is partly filled are lengths of tuples (see vector.py): each combination is
compiled when it is first met.  For kernels and strides that are met rarely every tap is a row of its own, k = 1.

    memory     channels last; the table says where the inputs of a tile lie, zeros where they are outside
    parallel   forward: over rows of outputs.  Weights: over parts of the rows, whose sums are added up in order
    work       2 * N*OH*OW * O * width*KH*KW FLOPs; bound by memory when it is depthwise and small
"""
import numpy as np

from .panels import aligned
from .threads import inside, mine, parallel
from .vector import BYTES, distance, lanes, vector_code

WIDEST = 16
T = 7                                                # outputs of a tile: maps are 56, 28, 14, 7 wide, or 24, 12, 6, 3
REGISTERS = 24                                       # sums held at a time
PARTS = 8


def _same(width, c, lanes_):
    """The shuffle that fetches the c-th channel of each lane's group."""
    return [lane // width * width + c for lane in range(lanes_)]


class _Channels:
    """How vectors of channels are read and written: whole, or where `partial` holds for some, so many `columns`.

    (Reads and writes through a mask take some processors longer, writes a dozen cycles.)
    """

    def __init__(self, v, a):
        self._v, self._mask = v, v.below(a.columns) if a.partial else None

    def load(self, array, at):
        """The vector at array[at:]."""
        return self._v.load_some(array, at, self._mask) if self._mask else self._v.load(array, at)

    def store(self, value, array, at):
        """array[at:] = value"""
        return self._v.store_some(value, array, at, self._mask) if self._mask else self._v.store(value, array, at)


@vector_code("y", "places", "b", "x", "table", "ld", "w", "shift", "columns", "w_at", "rows", "start", "least", "k",
             "width", "partial")
def _outputs(v, a):
    """T outputs of one vector of channels: y[places[b + t] + shift] = start + the sum over rows of taps."""
    channels = _Channels(v, a)
    sums = [v.variable(channels.load(a.start, a.shift)) for _ in range(T)]
    with v.loop(a.rows) as i:
        row = v.sum(a.b, v.times(i, a.ld))
        w = v.sum(a.w_at, v.times(i, v.number(a.k * a.width * v.lanes)))
        for q in range(T - 1 + a.k):
            met = [(q - j, j) for j in range(a.k) if 0 <= q - j < T]              # output, tap
            x = channels.load(a.x, v.sum(v.element(a.table, v.plus(row, q)), a.shift))
            for c in range(a.width):
                value = v.shuffle(x, _same(a.width, c, v.lanes)) if a.width > 1 else x
                for t, j in met:
                    factor = v.load(a.w, v.plus(w, (j * a.width + c) * v.lanes))
                    sums[t].set(v.fma(value, factor, sums[t].get()))
    least = v.everywhere(a.least)
    for t in range(T):
        at = v.sum(v.element(a.places, v.plus(a.b, t)), a.shift)
        channels.store(v.at_least(sums[t].get(), least), a.y, at)


@vector_code("sums", "sums_at", "x", "table", "gy", "places", "shift", "columns", "tiles", "k", "width", "partial")
def _products(v, a):
    """For one row of taps and one vector of channels: sums[j, c] += the sum over tiles of gy times what the tap met."""
    vectors = _Channels(v, a)
    several = max(1, REGISTERS // a.k)               # channels of a group at a time
    for first in range(0, a.width, several):
        channels = range(first, min(a.width, first + several))
        at = {(j, c): v.plus(a.sums_at, (j * a.width + c) * v.lanes) for j in range(a.k) for c in channels}
        totals = {key: v.variable(v.load(a.sums, place)) for key, place in at.items()}
        with v.loop(a.tiles) as i:
            begin = v.times(i, v.number(T))
            g = [vectors.load(a.gy, v.sum(v.element(a.places, v.plus(begin, t)), a.shift)) for t in range(T)]
            for q in range(T - 1 + a.k):
                met = [(q - j, j) for j in range(a.k) if 0 <= q - j < T]          # output, tap
                x = vectors.load(a.x, v.sum(v.element(a.table, v.plus(begin, q)), a.shift))
                for c in channels:
                    value = v.shuffle(x, _same(a.width, c, v.lanes)) if a.width > 1 else x
                    for t, j in met:
                        totals[j, c].set(v.fma(value, g[t], totals[j, c].get()))
        for key, place in at.items():
            v.store(totals[key].get(), a.sums, place)


# ---------------------------------------------------------------------------------------- what a tile meets

def suits(width, out_width, dtype):
    """Whether groups of this width go several to a vector."""
    return width == out_width and width <= min(WIDEST, lanes(dtype)) and lanes(dtype) % width == 0


def _taps(ys, xs, width):
    """Where rows of taps begin (rows, 2), and how long they are."""
    k = len(xs.offsets)
    if xs.step == 1 and (k == 3 or width == 1 and k in (5, 7)) and xs.offsets[-1] - xs.offsets[0] == k - 1:
        begins = [(y, xs.offsets[0]) for y in ys.offsets]
    else:
        begins, k = [(y, x) for y in ys.offsets for x in xs.offsets], 1
    return np.array(begins, np.int64).reshape(-1, 2), k


@inside
def _find(image, n, y, step, first, nothing, table):
    """Where the pixels first, first + step, ... of line y of image n lie."""
    inside, line = 0 <= y < image.H, (n * image.H + y) * image.W
    for q in range(len(table)):
        x = first + q * step
        table[q] = (line + x) * image.C if inside & (x >= 0) & (x < image.W) else nothing


# ---------------------------------------------------------------------------------------- passes

def correlate(x, image, ys, xs, weight, width, y, y_image, bias=None, relu=False):
    """y = x correlated with the kernels of its own group, + bias, at the pixels of the walks.

    x, y     flat arrays, and where their pixels lie (correlate.py)
    weight   (taps, width, C): of tap and channel of the group, for each output channel
    """
    C, dtype, (begins, k) = weight.shape[2], x.dtype, _taps(ys, xs, width)
    L = lanes(dtype)
    blocks = -(-C // L)
    w = np.zeros((len(weight) * width, blocks * L), dtype)
    w[:, :C] = weight.reshape(-1, C)
    w = np.ascontiguousarray(w.reshape(-1, blocks, L).swapaxes(0, 1)).reshape(-1)        # (blocks, taps * width, L)
    start = np.zeros(C, dtype) if bias is None else np.ascontiguousarray(bias)
    _correlate(x, image, ys, xs, begins, w, blocks, start, dtype.type(0 if relu else -np.inf), y, y_image, C,
               np.zeros(C, dtype), (0,) * k, (0,) * width, (0,) * (C % L > 0))


@parallel
def _correlate(thread, x, image, ys, xs, begins, w, blocks, start, least, y, y_image, C, zeros, k, width, partial):
    L, rows, tiles = BYTES // x.itemsize, len(begins), (xs.count + T - 1) // T
    ld, nothing = tiles * T + len(k) - 1, distance(x, zeros)
    for task in mine(thread, image.N * ys.count):
        n, a = task // ys.count, task % ys.count
        table, places, waste = np.empty(rows * ld, np.int64), np.empty(tiles * T, np.int64), np.empty(C, x.dtype)
        for i in range(rows):
            _find(image, n, a * ys.step + begins[i, 0], xs.step, begins[i, 1], nothing, table[i * ld:(i + 1) * ld])
        for b in range(tiles * T):
            pixel = (n * y_image.H + ys.first + a * ys.every) * y_image.W + xs.first + b * xs.every
            places[b] = pixel * C if b < xs.count else distance(y, waste)
        for b in range(0, xs.count, T):
            for block in range(blocks):
                _outputs(y, places, b, x, table, ld, w, block * L, C - block * L,
                         block * rows * len(k) * len(width) * L, rows, start, least, k, width, partial)
        waste[0] = 0                                 # kept alive: only its address was taken


def weights(x, image, ys, xs, gy, C, width):
    """(taps, width, C): of tap and channel of the group, the sums over all pixels of gy times what the tap meets.

    x, gy    flat arrays, gy (N, OH, OW, C)
    """
    begins, k = _taps(ys, xs, width)
    L = lanes(x.dtype)
    blocks, parts = -(-C // L), min(PARTS, image.N * ys.count)
    sums = aligned(parts * blocks * len(begins) * k * width * L, x.dtype)
    sums[:] = 0
    _weights(x, image, ys, xs, begins, gy, C, np.zeros(C, x.dtype), sums, parts, blocks,
             (0,) * k, (0,) * width, (0,) * (C % L > 0))
    parts = sums.reshape(parts, blocks, -1, width, L)
    for part in parts[1:]:
        parts[0] += part
    return np.moveaxis(parts[0], 0, 2).reshape(-1, width, blocks * L)[:, :, :C]


@parallel
def _weights(thread, x, image, ys, xs, begins, gy, C, zeros, sums, parts, blocks, k, width, partial):
    size, rows = len(sums) // parts, len(begins)
    L, tiles, lines = BYTES // x.itemsize, (xs.count + T - 1) // T, image.N * ys.count
    per_row = len(k) * len(width) * L
    nothing, beyond = distance(x, zeros), distance(gy, zeros)
    for part in mine(thread, parts):
        table, places = np.empty(tiles * T + len(k) - 1, np.int64), np.empty(tiles * T, np.int64)
        for line in range(part * lines // parts, (part + 1) * lines // parts):
            n, a = line // ys.count, line % ys.count
            for b in range(tiles * T):
                places[b] = (line * xs.count + b) * C if b < xs.count else beyond
            for i in range(rows):
                _find(image, n, a * ys.step + begins[i, 0], xs.step, begins[i, 1], nothing, table)
                for block in range(blocks):
                    _products(sums, part * size + (block * rows + i) * per_row, x, table, gy, places, block * L,
                              C - block * L, tiles, k, width, partial)
