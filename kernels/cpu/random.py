"""Dropout: the hash of (seed, i) decides, i the element's place in C order whatever the memory's order.

    memory      (N, P, C): images, pixels, channels; an array in C order is one with P = 1, all else in C
    parallel    over blocks of an image's pixels, about 16 Ki numbers each

    place in memory   0  1  2 ... C-1 | C    C+1 ...          x[n, p, c] is number (n*P + p)*C + c in memory
    place in C order  0  P  2P ...    | 1    P+1 ...                     and number (n*C + c)*P + p in C order
"""
import math

import numpy as np
from numba import uint64

from ..reference.random import GOLDEN, MASK, MIX1, MIX2
from .threads import inside, mine, parallel

__all__ = ["dropout"]
BLOCK = 16384


@inside
def _top_bits(seed, i):
    """24 random bits for element i, as the reference's `uniform`."""
    z = seed + uint64(i) * uint64(GOLDEN)
    z = (z ^ (z >> uint64(30))) * uint64(MIX1)
    z = (z ^ (z >> uint64(27))) * uint64(MIX2)
    return (z ^ (z >> uint64(31))) >> uint64(40)


@parallel
def _dropout(thread, x, seed, threshold, scale, step, y):
    N, P, C = x.shape
    B = (P + step - 1) // step
    for task in mine(thread, N * B):
        n, b = task // B, task % B
        for p in range(b * step, min(P, b * step + step)):
            for c in range(C):
                y[n, p, c] = x[n, p, c] * scale if _top_bits(seed, (n * C + c) * P + p) >= threshold else 0


def dropout(x, p, seed):
    if p == 0 or p == 1 or not x.size:
        return x.copy() if p == 0 else np.zeros_like(x)
    last = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    by_pixel = last.flags.c_contiguous and not x.flags.c_contiguous
    rows = last if by_pixel else np.ascontiguousarray(x)
    N = x.shape[0] if x.ndim > 1 else 1
    rows = rows.reshape(N, -1, x.shape[1]) if by_pixel else rows.reshape(N, 1, -1)   # (N, P, C)
    y = np.empty_like(rows)
    threshold = math.ceil(p * 2 ** 24)                                               # u >= p, with u = bits / 2^24
    _dropout(rows, np.uint64(int(seed) & MASK), np.uint64(threshold), x.dtype.type(1 / (1 - p)),
             max(1, BLOCK // rows.shape[2]), y)
    return np.moveaxis(y.reshape(last.shape), -1, 1) if by_pixel else y.reshape(x.shape)
