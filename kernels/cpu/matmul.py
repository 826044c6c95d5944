"""Matrix products: the convolution of an image of one row by a kernel of one tap (correlate.py).

    A (M, K)                       B (K, N)                        C (M, N)
    pixel 0   [ K channels ]       packed into panels              pixel 0   [ N channels ]
    pixel 1   [ K channels ]   @   of 64, 32 or 16 columns    =    pixel 1   [ N channels ]
    ...                                                            ...

Packing costs two passes over B.  Where A has few rows the product is worked out transposed, C' = B' A', so that it is
A that is packed: a layer's large matrix of weights is then read once, for a batch of few.  Where the columns of A lie
in memory, not its rows, it is the gradient of a layer's weights, and computed as such (weights.py).

    memory     any strides of the two matrices that are multiples of one of their sides; else a copy is made
    parallel   as correlate.py and weights.py
"""
import math

import numpy as np

from .correlate import ALONE, Image, correlate
from .panels import pack_columns, pack_rows
from .weights import patches_times

__all__ = ["matmul"]

FEW = 48                                             # rows of A below which B is not packed


def matmul(a, b):
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading dimensions broadcast; any strides."""
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (M, K), N, B = a.shape[-2:], b.shape[-1], math.prod(lead)
    if b.size == K * N > 0 and B > 1:                # one matrix for all: theirs, one below the other, are one matrix
        return matmul(a.reshape(-1, K), b.reshape(K, N)).reshape(*lead, M, N)
    if M < min(FEW, N):
        turned = _product(b.swapaxes(-1, -2), a.swapaxes(-1, -2), lead)
        return np.ascontiguousarray(turned.swapaxes(-1, -2))
    return _product(a, b, lead)


def _product(a, b, lead):
    """The product; b is packed."""
    (M, K), N, B = a.shape[-2:], b.shape[-1], math.prod(lead)
    c = np.empty((*lead, M, N), a.dtype)
    if not c.size:
        return c
    a, group, m, k = _flat(a, lead)
    b, b_group, row, column = _flat(b, lead)
    if B == 1 and m == column == 1 and row == N and K:                    # b is gy, a the transpose of x
        sums = patches_times(a, Image(1, 1, K, k, 0), M, ALONE, ALONE._replace(count=K), b, 1, N, c.reshape(-1))
        if not np.may_share_memory(sums, c):
            c[:] = sums[0, :, :N]
        return c
    if column == 1:
        panels = pack_rows(b, B, b_group, np.arange(K) * row, N)
    else:
        panels = pack_columns(b, B, b_group, (1, 0), K, np.arange(K), K, N, column)
    correlate(a, Image(1, 1, M, m, group), K, k, ALONE, ALONE._replace(count=M), panels, N, c.reshape(-1),
              Image(1, 1, M, N, M * N))
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
