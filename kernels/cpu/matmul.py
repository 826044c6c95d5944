"""Matrix products: the convolution of an image of one row by a kernel of one tap (correlate.py).

    A (M, K)                       B (K, N)                        C (M, N)
    pixel 0   [ K channels ]       packed into panels              pixel 0   [ N channels ]
    pixel 1   [ K channels ]   @   of 64, 32 or 16 columns    =    pixel 1   [ N channels ]
    ...                                                            ...

Packing costs two passes over B.  Where A has few rows, a batch of few, and B is a layer's large matrix of weights, B is
read once, where it is: row by row, if its rows lie in memory (`_row_by_row`; so too where A has few columns), or else
the product is worked out transposed, C' = B' A', so that it is A that is packed.  Where the columns of A lie in memory,
not its rows, it is the gradient of a layer's weights, and computed as such (weights.py).

    memory     any strides of the two matrices that are multiples of one of their sides; else a copy is made
    parallel   as correlate.py and weights.py; `_row_by_row` over blocks of the result
"""
import math

import numpy as np

from .correlate import ALONE, Image, correlate
from .microkernel import ROWS, WIDE, WIDE_ROWS, tiles
from .panels import aligned, pack_columns, pack_rows, panel_vectors, room_for, unpack
from .threads import mine, parallel
from .vector import BYTES, lanes
from .weights import patches_times

__all__ = ["matmul"]

FEW = 48                                             # rows or columns of A below which B is not packed
CHEAPER = 3                                          # so many times less to copy: the product is computed transposed
DEPTH, PANELS = 16, 16                                # rows and panels of B that are taken at a time, not packed


def matmul(a, b, bias=None):
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading dimensions broadcast; any strides.

    bias (N,) is added to every row.
    """
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (M, K), N, B = a.shape[-2:], b.shape[-1], math.prod(lead)
    if b.size == K * N > 0 and B > 1:                # one matrix for all: theirs, one below the other, are one matrix
        return matmul(a.reshape(-1, K), b.reshape(K, N), bias).reshape(*lead, M, N)
    if B == 1 and 0 < min(M, K) < min(FEW, N) and b.flags.c_contiguous and not N % lanes(b.dtype):
        c = _unpacked(a.reshape(M, K), b.reshape(K, N)).reshape(*lead, M, N)
    elif M < min(FEW, N) or CHEAPER * M * (K + N) < K * N and not b.flags.c_contiguous:
        c = _turned(a, b, lead)
    else:
        return _product(a, b, lead, N, bias)
    return c if bias is None else np.add(c, bias, out=c)


def _turned(a, b, lead):
    """The product by way of its transpose."""
    M, N = a.shape[-2], b.shape[-1]
    c = _product(b.swapaxes(-1, -2), a.swapaxes(-1, -2), lead, room_for(M, a.dtype))     # (..., N, M filled up)
    turned = aligned(math.prod(lead) * M * N, c.dtype).reshape(math.prod(lead), M, N)
    if turned.size:
        unpack(c.reshape(-1, *c.shape[-2:]), np.arange(N), M, turned)
    return turned.reshape(*lead, M, N)


def _product(a, b, lead, room, bias=None):
    """The product, its rows filled up to so much room; b is packed."""
    (M, K), N, B = a.shape[-2:], b.shape[-1], math.prod(lead)
    c = aligned(B * M * room, a.dtype).reshape(*lead, M, room)
    if not c.size:
        return c
    a, group, m, k = _flat(a, lead)
    b, b_group, row, column = _flat(b, lead)
    if B == 1 and m == column == 1 and row == N and K and bias is None:   # b is gy, a the transpose of x
        sums = patches_times(a, Image(1, 1, K, k, 0), M, ALONE, ALONE._replace(count=K), b, 1, N, c.reshape(-1))
        if not np.may_share_memory(sums, c):
            c[..., :N] = sums[0, :, :N]
        return c
    if column == 1:
        panels = pack_rows(b, B, b_group, np.arange(K) * row, N)
    else:
        panels = pack_columns(b, B, b_group, (1, 0), K, np.arange(K), K, N, column)
    correlate(a, Image(1, 1, M, m, group), K, k, ALONE, ALONE._replace(count=M), panels, N, c.reshape(-1),
              Image(1, 1, M, room, M * room), bias)
    return c


def _unpacked(a, b):
    """The product of a with few rows or few columns; b, whose rows are whole vectors, is read where it is."""
    (M, K), N = a.shape, b.shape[1]
    c = aligned(M * N, a.dtype)
    a, _, row, column = _flat(a, ())
    panel = WIDE * lanes(c.dtype)
    strip, wide = (WIDE_ROWS, N) if M >= FEW else (M, panel * max(1, min(PANELS, N // (panel * 4))))
    _row_by_row(a, row, column, M, b.reshape(-1), K, N, c, np.zeros(WIDE * lanes(c.dtype), c.dtype), strip, wide)
    return c.reshape(M, N)


@parallel
def _row_by_row(thread, a, a_row, a_column, M, b, K, N, c, zeros, strip, wide):
    """c (M, N) = a @ b (K, N): blocks of `strip` rows and `wide` columns, whose sums take DEPTH rows of b at a time."""
    vector, blocks = BYTES // b.itemsize, (N + wide - 1) // wide
    for task in mine(thread, (M + strip - 1) // strip * blocks):
        m0, start = task // blocks * strip, task % blocks * wide
        count = min(strip, M - m0)
        ld = (count + ROWS - 1) // ROWS * ROWS
        table, places = np.empty(ld, np.int64), np.empty(ld, np.int64)
        a_runs, b_rows = np.empty(DEPTH, np.int64), np.empty(DEPTH, np.int64)
        for i in range(ld):
            table[i], places[i] = (m0 + min(i, count - 1)) * a_row, (m0 + min(i, count - 1)) * N
        for i in range(DEPTH):
            a_runs[i], b_rows[i] = i * a_column, i * N
        for k0 in range(0, K, DEPTH):
            n0 = start
            while n0 < min(N, start + wide):
                width = panel_vectors(N - n0, vector)
                tiles(c, n0, places, 0, count, N - n0, width, zeros, 0, k0 == 0, b.dtype.type(-np.inf), a,
                      k0 * a_column, table, 0, a_runs, min(DEPTH, K - k0), 1, 1, b, k0 * N + n0, b_rows)
                n0 += width * vector


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
