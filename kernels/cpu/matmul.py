"""Matrix product by tiles of the micro-kernel.

    A (M, K)            panels of B, NR columns each            C (M, N)
    +--------------+    +----+ +----+ +----+                    +----+----+----+
    | BM rows, BK  |    | K  | | K  | | K  |                    | one task     |
    +--------------+    |    | |    | |    |                    +----+----+----+
    |              |    +----+ +----+ +----+                    |              |

    memory     C order; B is copied once into panels, a strip of A into scratch of the task (padded to whole tiles)
    parallel   over strips of BM rows and blocks of BN panels, fixed by the shapes alone; nothing is shared, and each
               element is one sum over k = 0 .. K-1 in order: the same bits on any number of threads
"""
import math

import numpy as np
from numba import prange

from .microkernel import ROWS, panels, tiles
from .threads import parallel

__all__ = ["matmul"]

BM, BK, BN = 8 * ROWS, 1024, 4


def matmul(a, b):
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading dimensions broadcast; any strides."""
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (M, K), N, B = a.shape[-2:], b.shape[-1], math.prod(lead)
    if not B * M * K * N:
        return np.zeros((*lead, M, N), a.dtype)
    a3 = np.ascontiguousarray(np.broadcast_to(a, (*lead, M, K))).reshape(B, M, K)
    if b.size == K * N:                              # one matrix for all: theirs under each other make one
        a3, b3 = a3.reshape(1, B * M, K), b.reshape(1, K, N)
    else:
        b3 = np.broadcast_to(b, (*lead, K, N)).reshape(B, K, N)
    c = np.empty((*a3.shape[:2], N), a.dtype)
    _product(a3, panels(b3), c)
    return c.reshape(*lead, M, N)


@parallel
def _product(a, b, c):                               # (B, M, K), (B, panels, K, NR) -> c (B, M, N)
    B, M, K = a.shape
    N, P, NR = c.shape[2], b.shape[1], b.shape[3]
    strips, blocks = (M + BM - 1) // BM, (P + BN - 1) // BN
    flat_b = b.reshape(-1)
    for task in prange(B * strips * blocks):
        batch, block = task // (strips * blocks), task % blocks
        first = task // blocks % strips * BM
        rows = min(BM, M - first)
        padded = (rows + ROWS - 1) // ROWS * ROWS
        p0, p1 = block * BN, min(P, block * BN + BN)
        width = (p1 - p0) * NR
        out = np.empty(padded * width, c.dtype)
        strip = np.zeros(padded * min(K, BK), c.dtype)
        for k0 in range(0, K, BK):
            depth = min(BK, K - k0)
            for m in range(rows):
                for k in range(depth):
                    strip[m * depth + k] = a[batch, first + m, k0 + k]
            for p in range(p0, p1):
                at = ((batch * P + p) * K + k0) * NR
                tiles(out, (p - p0) * NR, width, strip, 0, depth, 1, padded, depth, flat_b, at, NR, k0 > 0)
        n0 = p0 * NR
        for m in range(rows):
            for n in range(min(width, N - n0)):
                c[batch, first + m, n0 + n] = out[m * width + n]
