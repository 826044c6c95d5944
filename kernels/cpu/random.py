"""Dropout: the hash of (seed, i) decides, i the element's place in C order whatever the memory's order.

    memory      (N, P, C): C order is the case N = P = 1, channels last has P pixels; the result has x's order
    parallel    over blocks of 16 Ki numbers of memory

    m, place in memory   0  1  2 ... C-1 | C ...          x[n, p, c] is number m = (n*P + p)*C + c in memory
    i, place in C order  0  P  2P ...    | 1 P+1 ...                   number i = (n*C + c)*P + p in C order
"""
import math

import numpy as np
from numba import njit, prange, uint64

from ..reference.random import GOLDEN, MASK, MIX1, MIX2
from .threads import parallel

__all__ = ["dropout"]
BLOCK = 16384


@njit(cache=True)
def _top_bits(seed, i):
    """24 random bits for element i, as the reference's `uniform`."""
    z = seed + uint64(i) * uint64(GOLDEN)
    z = (z ^ (z >> uint64(30))) * uint64(MIX1)
    z = (z ^ (z >> uint64(27))) * uint64(MIX2)
    return (z ^ (z >> uint64(31))) >> uint64(40)


@parallel
def _dropout(x, P, C, seed, threshold, scale, y):
    """x and y as lines of numbers in memory order."""
    for block in prange((len(x) + BLOCK - 1) // BLOCK):
        m, end = block * BLOCK, min(len(x), block * BLOCK + BLOCK)
        while m < end:
            pixel, channel = m // C, m % C
            count = min(C - channel, end - m)                       # numbers of the same pixel
            i = (pixel // P * C + channel) * P + pixel % P
            for j in range(count):
                y[m + j] = x[m + j] * scale if _top_bits(seed, i + j * P) >= threshold else 0
            m += count


def dropout(x, p, seed):
    if p == 0 or p == 1 or not x.size:
        return x.copy() if p == 0 else np.zeros_like(x)
    last = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    pixels = 1 if x.ndim <= 2 or x.flags.c_contiguous or not last.flags.c_contiguous else math.prod(x.shape[2:])
    line = (np.ascontiguousarray(x) if pixels == 1 else last).reshape(-1)
    y = np.empty_like(line)
    threshold = math.ceil(p * 2 ** 24)                              # u >= p, with u = bits / 2^24
    _dropout(line, pixels, x.size if pixels == 1 else x.shape[1], np.uint64(seed & MASK), np.uint64(threshold),
             x.dtype.type(1 / (1 - p)), y)
    return y.reshape(x.shape) if pixels == 1 else np.moveaxis(y.reshape(last.shape), -1, 1)
