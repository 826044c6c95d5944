"""One pass over the pixels of an image: every output pixel is its patch of the input times the weights.

A patch is T runs of numbers, one for each tap of the kernel: the channels of the pixel that the tap meets.  Where they
begin goes into a table; a tap that meets the border meets a run of zeros instead.  That table is all there is of
im2col's matrix, whose rows would be the patches.  (Where no tap meets the border, a line for tap 0 is enough.)

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
    outside = _outside(ys, image.H) or _outside(xs, image.W)
    zeros = np.zeros((groups - 1) * image.group + run * step if outside else 0, dtype)
    _correlate(x, image, run, step, ys, xs, panels.data, panels.K, panels.columns, columns, groups, starts.reshape(-1),
               np.array([-np.inf, 0 if relu else -np.inf], dtype), out, out_image, strip, several, zeros)


def cut(rows, blocks):
    """How many of so many rows, and of so many blocks of panels, make one task."""
    strip = min(BM, max(1, -(-rows * blocks // (TASKS * ROWS))) * ROWS)   # short ones only if there are few panels
    several = max(1, blocks * -(-rows // strip) // TASKS)
    return strip, -(-blocks // -(-blocks // several))                     # as many in each


def _outside(walk, size):
    """Whether it goes beyond an axis of so many cells.  (Offsets only rise.)"""
    return len(walk.offsets) and (walk.offsets[0] < 0 or (walk.count - 1) * walk.step + walk.offsets[-1] >= size)


@inside
def _find(x, image, ys, xs, m0, count, zeros, table, places, out_image):
    """For output pixels m0 ...: where the patch of each begins (with a border: for every tap), and where its result
    belongs."""
    ld, vertical, horizontal = len(places), np.empty(len(places), np.int64), np.empty(len(places), np.int64)
    begin = np.empty(ld, np.int64)
    n, a, b = m0 // xs.count // ys.count, m0 // xs.count % ys.count, m0 % xs.count
    for m in range(ld):
        vertical[m], horizontal[m] = a * ys.step, b * xs.step
        begin[m] = n * image.H * image.W * image.C
        y, x_ = ys.first + a * ys.every, xs.first + b * xs.every
        places[m] = ((n * out_image.H + y) * out_image.W + x_) * out_image.C
        if m < count - 1:                            # past the end, the last one again
            b += 1
            if b == xs.count:
                b, a = 0, a + 1
                if a == ys.count:
                    a, n = 0, n + 1
    if not len(zeros):
        for m in range(ld):
            table[m] = begin[m] + (vertical[m] * image.W + horizontal[m]) * image.C
        return
    nothing = distance(x, zeros)
    for i in range(len(ys.offsets)):
        for j in range(len(xs.offsets)):
            line = table[(i * len(xs.offsets) + j) * ld:]
            for m in range(ld):
                y, x_ = vertical[m] + ys.offsets[i], horizontal[m] + xs.offsets[j]
                inside = (y >= 0) & (y < image.H) & (x_ >= 0) & (x_ < image.W)
                line[m] = begin[m] + (y * image.W + x_) * image.C if inside else nothing


@parallel
def _correlate(thread, x, image, run, step, ys, xs, b, K, b_columns, columns, groups, starts, least, out, out_image,
               strip, several, zeros):
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
        table, places, b_rows = np.empty(max(ld, T * line), np.int64), np.empty(ld, np.int64), np.empty(T, np.int64)
        _find(x, image, ys, xs, m0, count, zeros, table, places, out_image)
        depth, taps = max(1, min(run, BK)), max(1, BK // max(1, run))
        for t0 in range(0, max(1, T), taps):
            for i0 in range(0, max(1, run), depth):
                last = t0 + taps >= T and i0 + depth >= run
                for block in range(first, min(groups * blocks, first + several)):
                    g, n0 = block // blocks, block % blocks * wide
                    end = min(b_columns, n0 + wide)
                    while n0 < end:
                        width = panel_vectors(b_columns - n0, vector)
                        NR = width * vector
                        for t in range(min(taps, T)):
                            b_rows[t] = t * run * NR
                        tiles(out, g * out_image.group + n0, places, 0, count, columns - n0, width, starts,
                              g * b_columns + n0, t0 == 0 and i0 == 0, least[1 if last else 0], x,
                              g * image.group + i0 * step, table[t0 * line:], line, a_runs[t0:], min(taps, T - t0),
                              min(depth, run - i0), step, b, (g * b_columns + n0) * K + (t0 * run + i0) * NR, b_rows)
                        n0 += NR
