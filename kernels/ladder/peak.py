"""What this machine can do at best, measured: the yardstick of a race."""
from time import perf_counter

import numpy as np

from ..cpu.matmul import matmul
from ..cpu.threads import mine, parallel

SIDE = 1024                                          # of the matrices: each fills the caches, none stays in one
BLOCK = 1 << 14


@parallel
def _copy(thread, x, y):
    for task in mine(thread, (len(x) + BLOCK - 1) // BLOCK):
        for i in range(task * BLOCK, min(len(x), task * BLOCK + BLOCK)):
            y[i] = x[i]


def product_rate(dtype, seconds):
    """Floating-point operations per second of the faster of two matrix products: the engine's and NumPy's."""
    a, b = (np.full((SIDE, SIDE), value, dtype) for value in (0.5, 0.25))
    return 2 * SIDE ** 3 / min(_best(lambda: matmul(a, b), seconds / 2), _best(lambda: a @ b, seconds / 2))


def copy_rate(count, dtype, seconds):
    """Bytes read and written per second when `count` numbers are copied by all threads."""
    x, y = np.ones(count, dtype), np.zeros(count, dtype)
    return 2 * x.nbytes / _best(lambda: _copy(x, y), seconds)


def _best(function, seconds):
    function()                                       # compiled, and its memory touched
    best, end = np.inf, perf_counter() + seconds
    while best == np.inf or perf_counter() < end:
        start = perf_counter()
        function()
        best = min(best, perf_counter() - start)
    return best
