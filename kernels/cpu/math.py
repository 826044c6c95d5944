"""Elementwise functions that NumPy does not have.  Parallel over blocks; one number in, one number out."""
import math

import numpy as np

from .layout import flat_alike
from .threads import mine, parallel

__all__ = ["erf"]

BLOCK = 4096


def erf(x):
    """2/sqrt(pi) * the integral of exp(-t^2) from 0 to x, elementwise.  Abramowitz & Stegun 7.1.1."""
    (x,), restore = flat_alike(x)
    y = np.empty_like(x)
    _erf(x, y)
    return restore(y)


@parallel
def _erf(thread, x, y):
    for block in mine(thread, (x.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(x.size, block * BLOCK + BLOCK)):
            y[i] = math.erf(x[i])
