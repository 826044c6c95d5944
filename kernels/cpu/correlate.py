"""One pass over the pixels of an image: every output pixel is its patch of the input times the weights.

A patch is T runs of numbers, one for each tap of the kernel: the channels of the pixel that the tap meets.  Where they
begin goes into a table; a tap that meets the border meets a run of zeros instead.  That table is all there is of
im2col's matrix, whose rows would be the patches.  (Where no tap meets the border, a line for tap 0 is enough.)  Taps
that meet nothing but the border are left out.  That pays in small maps, where for this pixels at the same place of all
images follow each other: of a 3x3 kernel's 81 meetings with a 3x3 map, 32 are with the border.

    input, channels last                table of a strip of output pixels        weights, in panels
    +---+---+---+---+---+                         tap 0  tap 1  tap 2 ...        +--------+ +--------+
    |   | a | b | c |   |               pixel 0   [ 0 ]  [ a ]  [ b ]            | K rows | | K rows |
    +---+---+---+---+---+               pixel 1   [ a ]  [ b ]  [ c ]      @     |        | |        |
    |   |   |   |   |   |               pixel 2   [ b ]  [ c ]  [ . ]            | 64     | | 32     |
    +---+---+---+---+---+               ...                                      +--------+ +--------+

How the pixels of input and output meet along one axis is a `Walk`.  The forward pass is a walk along each axis, the
input's gradient one for each phase of the stride (conv.py).  A matrix product is the case of an image of one row and
of one tap (matmul.py).

    memory     the input is read where it is; weights are packed into panels, a row of a panel next to the other
    parallel   over strips of up to 96 output pixels, and (slowest, so that a thread keeps to its own) blocks of panels
               and of groups, which share the strip's table.  A sum is cut after BK terms, never between threads: its
               bits depend neither on their number nor on what else is in the batch
    work       2 * M * K * columns FLOPs; per block of BK rows, a panel (64 KB) is read from the second cache
"""
from typing import NamedTuple

import numpy as np

from .microkernel import ROWS, WIDE, tiles
from .panels import panel_vectors
from .threads import inside, mine, parallel
from .vector import BYTES, distance, lanes

BM, BK = 8 * ROWS, 256
TASKS = 16                                           # enough for any balance
SMALL = 0.7                                          # in a small map less than this share of taps meets the image


class Walk(NamedTuple):
    """Along one axis: output cell first + a*every, for a < count, meets input cell a*step + offsets[t] by taps[t]."""
    first: int
    every: int
    count: int
    step: int
    taps: np.ndarray
    offsets: np.ndarray


ALONE = Walk(0, 1, 1, 1, np.zeros(1, np.int64), np.zeros(1, np.int64))     # an axis of one cell


class Image(NamedTuple):
    """Where numbers lie in a flat array: pixel (n, y, x) of group g at ((n*H + y)*W + x)*C + g*group."""
    N: int
    H: int
    W: int
    C: int
    group: int


def correlate(x, image, run, step, ys, xs, panels, columns, out, out_image, bias=None, relu=False):
    """out = patches @ panels + bias, raised to 0 with `relu`, at the pixels of the walks ys and xs.

    x, out   flat arrays; `image` and `out_image` say where their pixels lie
    run      numbers of a patch from one pixel, `step` apart
    columns  how many there are for each group; bias (groups * columns,)
    """
    groups, dtype = panels.groups, out.dtype
    starts = np.zeros((groups, panels.columns), dtype)
    if bias is not None:
        starts[:, :columns] = bias.reshape(-1, columns)
    rows = image.N * ys.count * xs.count
    strip, several = cut(rows, -(-panels.columns // (WIDE * lanes(dtype))) * groups)
    share = _share_inside(ys, image.H) * _share_inside(xs, image.W)
    together, portion = (image.N, ROWS) if share < SMALL else (1, strip)  # images, and pixels that share their taps
    zeros = np.zeros((groups - 1) * image.group + run * step if share < 1 else 0, dtype)
    _correlate(x, image, run, step, ys, xs, panels.data, panels.K, panels.columns, columns, groups, starts.reshape(-1),
               np.array([-np.inf, 0 if relu else -np.inf], dtype), out, out_image, together, strip, portion, several,
               zeros)


def cut(rows, blocks):
    """How many of so many rows, and of so many blocks of panels, make one task."""
    strip = min(BM, max(1, -(-rows * blocks // (TASKS * ROWS))) * ROWS)   # short ones only if there are few panels
    several = max(1, blocks * -(-rows // strip) // TASKS)
    return strip, -(-blocks // -(-blocks // several))                     # as many in each


def _share_inside(walk, size):
    """The share of all pairs of an output and a tap along an axis that meets one of its so many cells.  (Offsets only
    rise.)"""
    count, step, offsets = walk.count, walk.step, walk.offsets.tolist()
    if not offsets or not count or offsets[0] >= 0 and (count - 1) * step + offsets[-1] < size:
        return 1
    met = sum(max(0, min(count, (size - 1 - offset) // step + 1) - max(0, -(offset // step))) for offset in offsets)
    return met / (count * len(offsets))


@inside
def _places(begin, vertical, horizontal, dy, dx, image, nothing, table):
    """Where the pixels that one tap meets begin, and how many of them there are."""
    met = 0
    for m in range(len(table)):
        y, x = vertical[m] + dy, horizontal[m] + dx
        inside = (y >= 0) & (y < image.H) & (x >= 0) & (x < image.W)
        table[m] = begin[m] + (y * image.W + x) * image.C if inside else nothing
        met += inside
    return met


@inside
def _find(x, image, ys, xs, m0, count, together, portion, zeros, table, taps, met, places, out_image):
    """For output pixels m0 ...: where the patch of each begins, and where its result belongs.

    With a border, where each tap's run begins, for the taps that any pixel of a portion meets: in portion q these are
    taps[q, 0], taps[q, 1] ..., and met[q, t] of them come before tap t.
    """
    ld, vertical, horizontal = len(places), np.empty(len(places), np.int64), np.empty(len(places), np.int64)
    begin = np.empty(ld, np.int64)
    cell, n = m0 // together, m0 % together
    n += cell // xs.count // ys.count * together
    a, b = cell // xs.count % ys.count, cell % xs.count
    for m in range(ld):
        vertical[m], horizontal[m] = a * ys.step, b * xs.step
        begin[m] = n * image.H * image.W * image.C
        y, x_ = ys.first + a * ys.every, xs.first + b * xs.every
        places[m] = ((n * out_image.H + y) * out_image.W + x_) * out_image.C
        if m < count - 1:                            # past the end, the last one again
            n += 1
            if n % together:
                continue
            n, b = n - together, b + 1
            if b == xs.count:
                b, a = 0, a + 1
                if a == ys.count:
                    a, n = 0, n + together
    if not len(zeros):
        for m in range(ld):
            table[m] = begin[m] + (vertical[m] * image.W + horizontal[m]) * image.C
        for t in range(taps.shape[1]):
            taps[:, t], met[:, t + 1] = t, t + 1
        return
    nothing = distance(x, zeros)
    for q in range(len(taps)):
        found, first, last = 0, q * portion, min(ld, q * portion + portion)
        for t in range(taps.shape[1]):
            dy, dx = ys.offsets[t // len(xs.offsets)], xs.offsets[t % len(xs.offsets)]
            some = _places(begin[first:last], vertical[first:last], horizontal[first:last], dy, dx, image, nothing,
                           table[found * ld + first:found * ld + last])
            taps[q, found] = t
            found += 1 if some else 0
            met[q, t + 1] = found


@parallel
def _correlate(thread, x, image, run, step, ys, xs, b, K, b_columns, columns, groups, starts, least, out, out_image,
               together, strip, portion, several, zeros):
    M, T, vector = image.N * ys.count * xs.count, len(ys.offsets) * len(xs.offsets), BYTES // x.itemsize
    strips, wide = (M + strip - 1) // strip, WIDE * vector
    blocks = (b_columns + wide - 1) // wide          # of one group
    a_runs = np.zeros(T, np.int64)                   # from where a patch begins to each tap's run; with a border the
    for t in range(0 if len(zeros) else T):          # table has a line for each tap
        i, j = t // len(xs.offsets), t % len(xs.offsets)
        a_runs[t] = (ys.offsets[i] * image.W + xs.offsets[j]) * image.C
    for task in mine(thread, (groups * blocks + several - 1) // several * strips):
        m0, first = task % strips * strip, task // strips * several
        count = min(strip, M - m0)
        ld = (count + ROWS - 1) // ROWS * ROWS
        line = ld if len(zeros) else 0               # from one tap's line of the table to the next one's
        portions = (count + portion - 1) // portion
        table, places, b_rows = np.empty(max(ld, T * line), np.int64), np.empty(ld, np.int64), np.empty(T, np.int64)
        taps, met = np.empty((portions, T), np.int64), np.zeros((portions, T + 1), np.int64)
        _find(x, image, ys, xs, m0, count, together, portion, zeros, table, taps, met, places, out_image)
        # A chunk of a sum is several taps, or where runs are long, `depth` numbers of one.
        depth, some = max(1, min(run, BK)), max(1, BK // max(1, run))
        for t0 in range(0, max(1, T), some):
            for i0 in range(0, max(1, run), depth):
                fresh, last = t0 == 0 and i0 == 0, t0 + some >= T and i0 + depth >= run
                for block in range(first, min(groups * blocks, first + several)):
                    g, n0 = block // blocks, block % blocks * wide
                    end = min(b_columns, n0 + wide)
                    while n0 < end:
                        width = panel_vectors(b_columns - n0, vector)
                        NR = width * vector
                        for q in range(portions):
                            start, stop = met[q, t0], met[q, min(T, t0 + some)]
                            if start == stop and not fresh and not last:
                                continue             # all of this chunk meet the border
                            for t in range(start, stop):
                                b_rows[t - start] = taps[q, t] * run * NR
                            tiles(out, g * out_image.group + n0, places, q * portion, min(portion, count - q * portion),
                                  columns - n0, width, starts, g * b_columns + n0, fresh, least[1 if last else 0], x,
                                  g * image.group + i0 * step, table[start * line:], line, a_runs[start:], stop - start,
                                  min(depth, run - i0), step, b, (g * b_columns + n0) * K + i0 * NR, b_rows)
                        n0 += NR
