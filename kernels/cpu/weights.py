"""The gradient of a convolution with respect to its weights: the patches of the input, transposed, times gy.

    gw[tap, c, o]  =  sum over pixels   x[the pixel that the tap meets, c] * gy[pixel, o]

        x, at one tap                        gy, packed by the task
        +----+ +----+                        +--------+
        | c0 | | c1 |  ...  a column         | pixel 0|           6 rows (c) x 64 columns (o) of gw
        | ...| | ...|       for each c   @   | pixel 1|     -->   stay in registers while a block of
        +----+ +----+                        | ...    |           pixels goes by
          pixels, down                       +--------+

A tile's rows are neighbouring channels of one tap: its numbers of x share their cache lines.  The pixels that a tap
meets from one row of outputs are one run of the micro-kernel; x has its border of zeros, so that all runs are alike.

    memory     x and gy channels last, where they are; a task packs its columns of gy block by block (64 KB), and sums
               in scratch
    parallel   over panels of output channels, strips of up to 384 rows, groups; where these are few, over parts of the
               images, added up in order.  All cuts depend on the shapes alone
    work       2 * N*OH*OW * O * C/G*KH*KW FLOPs
"""
import numpy as np
from numba import njit, prange

from .correlate import BK, ROWS, WIDE, aligned, panel_vectors, room_for
from .microkernel import tiles
from .threads import parallel
from .vector import BYTES, lanes

STRIP, TASKS = 384, 8


def patches_times(x, inside, ys, xs, gy, groups, columns):
    """(groups, taps * inside, columns): for each tap the sums over all pixels of x times gy.

    x        (N, H, W, C) and walks that say which of its pixels the taps meet, all inside
    inside   how many numbers of x from the first channel of a group on belong to it
    gy       (N, OH, OW, groups * columns)
    """
    taps, room = len(ys.offsets) * len(xs.offsets), room_for(columns, x.dtype)
    pieces = -(-inside // STRIP)
    several = max(1, STRIP // inside)                # taps that make one strip
    strips, blocks = -(-taps // several) * pieces, -(-room // (WIDE * lanes(x.dtype)))
    lines = len(x) * ys.count                        # output rows
    parts = min(max(1, TASKS // (strips * blocks * groups)), lines)
    sums = aligned(parts * groups * taps * inside * room, x.dtype)
    _patches_times(x.reshape(-1), x.shape, inside, ys, xs, gy.reshape(-1), gy.shape[3], groups, columns, room, several,
                   pieces, parts, sums)
    sums = sums.reshape(parts, groups, taps * inside, room)
    for part in sums[1:]:
        sums[0] += part
    return sums[0, :, :, :columns]


@njit(cache=True, nogil=True, error_model="numpy")
def _pack_lines(gy, begin, pixels, C, columns, width, out):
    """Columns `begin` ... of so many pixels, filled up with zeros to the width."""
    filled = min(columns, width)
    for p in range(pixels):
        at = begin + p * C
        for n in range(filled):
            out[p * width + n] = gy[at + n]
        for n in range(filled, width):
            out[p * width + n] = 0


@parallel
def _patches_times(x, shape, inside, ys, xs, gy, gy_channels, groups, columns, room, several, pieces, parts, sums):
    N, H, W, C = shape
    taps, vector, OH, OW = len(ys.offsets) * len(xs.offsets), BYTES // x.itemsize, ys.count, xs.count
    strips, blocks = (taps + several - 1) // several * pieces, (room + WIDE * vector - 1) // (WIDE * vector)
    piece = (inside + pieces - 1) // pieces
    height = max(1, BK // OW)                        # output rows of one block
    for task in prange(parts * groups * blocks * strips):
        strip, block = task % strips, task // strips % blocks
        g, part = task // strips // blocks % groups, task // strips // blocks // groups
        first, last = part * N * OH // parts, (part + 1) * N * OH // parts
        c0 = strip % pieces * piece
        count, t0 = min(piece, inside - c0), strip // pieces * several
        packed = np.empty(height * OW * WIDE * vector + vector, x.dtype)
        rows, b_rows, places = np.empty(height, np.int64), np.empty(height, np.int64), np.empty(ROWS, np.int64)
        table = np.empty(height * ROWS, np.int64)
        n0 = block * WIDE * vector
        while n0 < min(room, (block + 1) * WIDE * vector):
            width = panel_vectors(room - n0, vector)
            NR, base = width * vector, (part * groups + g) * taps * inside * room + n0
            for t in range(t0, min(taps, t0 + several)):
                for c in range(c0, c0 + count):
                    at = base + (t * inside + c) * room
                    sums[at:at + NR] = 0
            for block_first in range(first, last, height):
                block_last = min(last, block_first + height)
                _pack_lines(gy, block_first * OW * gy_channels + g * columns + n0, (block_last - block_first) * OW,
                            gy_channels, columns - n0, NR, packed)
                for t in range(t0, min(taps, t0 + several)):
                    dy, dx = ys.offsets[t // len(xs.offsets)], xs.offsets[t % len(xs.offsets)]
                    found = block_last - block_first
                    for r in range(found):
                        n, y = (block_first + r) // OH, (block_first + r) % OH * ys.step + dy
                        rows[r], b_rows[r] = ((n * H + y) * W + dx) * C + g * inside, r * OW * NR
                    for c in range(c0, c0 + count, ROWS):
                        few = min(ROWS, c0 + count - c)
                        for m in range(ROWS):
                            places[m] = base + (t * inside + c + min(m, few - 1)) * room
                            for r in range(found):
                                table[r * ROWS + m] = rows[r] + c + min(m, few - 1)
                        tiles(sums, 0, places, 0, few, NR, width, sums, 0, False, sums.dtype.type(-np.inf), x, 0, table,
                              ROWS, found, OW, xs.step * C, packed, 0, b_rows)
            n0 += NR
