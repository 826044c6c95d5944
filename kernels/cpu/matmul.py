"""Matrix product by tiles of the micro-kernel, and `product`, the form of it that convolutions use, too.

    A (M, K)            panels of B, NR columns each            C (M, N)
    +--------------+    +----+ +----+ +----+                    +----+----+----+
    | BM rows      |    | BK | |    | |    |                    | one task     |
    +--------------+    +----+ |    | |    |                    +----+----+----+
    |              |    |    | |    | |    |                    |              |
    |              |    +----+ +----+ +----+                    |              |

`product` reads A where it is: element (m, k) lies at a[rows[m] + steps[k]].  Only B is copied, into panels: NR columns
side by side in memory, the last panel filled up with zeros.  G such products (a batch, or the groups of a convolution)
are G steps of fixed length through a, b and c.

    memory     C order; the result of a task is summed in scratch that stays in its cache, BK terms at a time
    parallel   over strips of BM rows, blocks of BN panels, and groups; where these are few and the sum is long, over
               parts of the sum, added up in order.  All cuts depend on the shapes alone, so the bits do not depend on
               the number of threads
"""
import math
from typing import NamedTuple

import numpy as np
from numba import prange

from .microkernel import BYTES, ROWS, WIDE_NV, tiles
from .threads import parallel

__all__ = ["matmul"]

BM, BN, BK = 8 * ROWS, 4, 256
NEAR = 512                                           # longer rows of B are packed: they evict each other from the cache
TASKS, PART = 16, 1024                               # enough tasks for any balance; the shortest part of a sum


def matmul(a, b):
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading dimensions broadcast; any strides."""
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (M, K), N, B = a.shape[-2:], b.shape[-1], math.prod(lead)
    c = np.empty((*lead, M, N), a.dtype)
    if c.size:
        if b.size == K * N:                          # one matrix for all: theirs, one below the other, are one matrix
            a, b, M, B = a.reshape(B * M, K), b.reshape(K, N), B * M, 1
        a, a_group, m, k = _flat(a, lead)
        b, b_group, row, column = _flat(b, lead)
        if column == 1 and row <= NEAR:
            panels = in_place(b, b_group, row, N)
        else:
            panels = pack(b, B, b_group, np.arange(K) * row, N, column)
        product(a, a_group, np.arange(M) * m, np.arange(K) * k, panels, B, N, c.reshape(-1), M * N, np.arange(M) * N)
    return c


def _flat(x, lead):
    """(..., R, C) -> its numbers in a row; the distances in it of matrices (0: one for all), rows and columns."""
    R, C = x.shape[-2:]
    group = 0 if x.size == R * C else R * C
    if group and x.shape[:-2] != lead:
        x = np.broadcast_to(x, (*lead, R, C)).copy()
    turned = x.swapaxes(-1, -2)
    if turned.flags.c_contiguous and not x.flags.c_contiguous:
        return turned.reshape(-1), group, 1, R
    return np.ascontiguousarray(x).reshape(-1), group, C, 1


class Panels(NamedTuple):
    """B by panels of NR columns: row k of panel p of group g begins at data[g*group + p*panel + k*row]."""
    data: np.ndarray
    NR: int
    group: int
    panel: int
    row: int


def panel_width(columns, dtype):
    """How many columns the panels of a matrix with so many columns have: a wide tile's, or one vector."""
    lanes = BYTES // np.dtype(dtype).itemsize
    full = lanes * WIDE_NV
    waste = -columns % full
    return full if waste <= full // 4 or columns > 4 * full else lanes


def in_place(b, group, row, columns):
    """`Panels` of B, whose element (k, n) of group g is b[g*group + k*row + n], uncopied."""
    NR = panel_width(columns, b.dtype)
    if columns % NR:                                 # the last panel is wider: it reads on into what follows
        b = np.append(b, np.zeros(NR, b.dtype))
    return Panels(b, NR, group, NR, row)


def pack(b, groups, group, rows, columns, column):
    """`Panels` of B, whose element (k, n) of group g is b[g*group + rows[k] + n*column]."""
    NR, K = panel_width(columns, b.dtype), len(rows)
    P = -(-columns // NR)
    room = np.empty(groups * P * K * NR + BYTES, b.dtype)
    start = -room.ctypes.data % BYTES // b.itemsize  # vectors that lie across two cache lines take twice as long
    data = room[start:start + groups * P * K * NR]
    _pack(b, group, rows, columns, column, groups, NR, data)
    return Panels(data, NR, P * K * NR, K * NR, NR)


@parallel
def _pack(b, group, rows, columns, column, groups, NR, out):
    K, P = len(rows), (columns + NR - 1) // NR
    chunks = (K + BK - 1) // BK
    for task in prange(groups * P * chunks):
        g, p, k0 = task // chunks // P, task // chunks % P, task % chunks * BK
        filled = min(NR, columns - p * NR)
        for k in range(k0, min(K, k0 + BK)):
            at, start = ((g * P + p) * K + k) * NR, g * group + rows[k] + p * NR * column
            for n in range(filled):
                out[at + n] = b[start + n * column]
            for n in range(filled, NR):
                out[at + n] = 0


def product(a, a_group, rows, steps, b, groups, columns, c, c_group, places, c_column=1, bias=None, each=False,
            most=BM):
    """C = A @ B + bias for each of the groups g, written into c.

    A's element (m, k) is a[g*a_group + rows[m] + steps[k]], B comes as `Panels`, C's element (m, n) belongs at
    c[g*c_group + places[m] + n*c_column], bias (groups * columns,).  `each`: depthwise, where lane n of B's row meets
    the number n places after A's element, and not A's element itself.  `most`: rows of A for one task.
    """
    M, K, P = len(places), len(steps), -(-columns // b.NR)
    strip, parts = _cut(M, K, -(-P // BN) * groups, most)
    starts = np.zeros((groups + 1, P * b.NR), c.dtype)                    # the last one for parts without a bias
    if bias is not None:
        starts[:groups, :columns] = bias.reshape(groups, columns)
    out = c if parts == 1 else np.empty(parts * c.size, c.dtype)
    _product(a, a_group, _whole_tiles(rows), steps, *b, groups, columns, starts.reshape(-1), out, c_group, c_column,
             _whole_tiles(places), M, strip, parts, each)
    if parts > 1:
        sums, mine = out.reshape(parts, c.size), slice(None)
        if groups * M * columns < c.size:            # one phase of a strided gradient: the other places are not ours
            mine = np.arange(groups)[:, None, None] * c_group + places[:, None] + np.arange(columns) * c_column
            mine = mine.reshape(-1)                  # (G, M, columns) -> all in a row
        total = sums[0][mine]
        for part in sums[1:]:
            total += part[mine]
        c[mine] = total


def _cut(M, K, others, most):
    """How many rows a task has, and into how many parts the sums are cut, so that there are about TASKS tasks."""
    parts = max(1, min(-(-TASKS // (-(-M // most) * others)), K // PART))
    return min(most, max(2, -(-M * others * parts // (TASKS * ROWS))) * ROWS), parts


def _whole_tiles(table):
    """The table, its last entry repeated up to a multiple of ROWS."""
    return np.append(table, np.full(-len(table) % ROWS, table[-1]))


@parallel
def _product(a, a_group, rows, steps, b, NR, b_group, b_panel, b_row, groups, columns, starts, out, c_group, c_column,
             places, M, strip, parts, each):
    K, P = len(steps), (columns + NR - 1) // NR
    strips, blocks, size = (M + strip - 1) // strip, (P + BN - 1) // BN, out.size // parts
    for task in prange(parts * blocks * strips * groups):
        g, m0 = task % groups, task // groups % strips * strip
        block, part = task // groups // strips % blocks, task // groups // strips // blocks
        count, p0, p1 = min(strip, M - m0), block * BN, min(P, block * BN + BN)
        k_first, k_last, at = part * K // parts, (part + 1) * K // parts, part * size + g * c_group
        whole = min(p1, columns // NR) if c_column == 1 else p0          # these panels go straight to their place
        ld = (p1 - whole) * NR                                            # the others to scratch
        lines = np.arange((count + ROWS - 1) // ROWS * ROWS) * ld
        scratch = np.empty(lines.size * ld, out.dtype)
        for k0 in range(k_first, max(k_last, k_first + 1), BK):
            depth = min(BK, k_last - k0)
            for p in range(p0, p1):
                start = (g if part == 0 else groups) * P * NR + p * NR
                b_at = g * b_group + p * b_panel + k0 * b_row
                if p < whole:
                    tiles(out, at + p * NR, places, m0, starts, start, k0 == k_first, a, g * a_group, rows, m0, count,
                          steps, k0, depth, b, b_at, b_row, NR, each)
                else:
                    tiles(scratch, (p - whole) * NR, lines, 0, starts, start, k0 == k_first, a, g * a_group, rows,
                          m0, count, steps, k0, depth, b, b_at, b_row, NR, each)
        n0 = whole * NR
        width = min(ld, columns - n0)
        if c_column == 1:
            for m in range(count):
                for n in range(width):
                    out[at + places[m0 + m] + n0 + n] = scratch[m * ld + n]
        else:
            for n in range(width):
                for m in range(count):
                    out[at + places[m0 + m] + (n0 + n) * c_column] = scratch[m * ld + n]
