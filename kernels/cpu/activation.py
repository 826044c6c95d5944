"""Elementwise kernels of activation functions.

    memory     both arrays flat, in the memory order of the first; the result keeps it
    parallel   over blocks of 16 Ki numbers
    bound by   memory: read each array once, write one
"""
import numpy as np

from .layout import flat_alike
from .threads import inside, mine, parallel

__all__ = ["add_relu", "relu", "relu_backward"]

BLOCK = 1 << 14


def relu(x):
    (x,), restore = flat_alike(x)
    y = np.empty_like(x)
    _relu(x, y)
    return restore(y)


def add_relu(x, residual):
    (x, residual), restore = flat_alike(x, residual)
    _add_relu(x, residual)
    return restore(x)


def relu_backward(g, y):
    (y, g), restore = flat_alike(y, g)
    gx = np.empty_like(y)
    _relu_backward(g, y, gx)
    return restore(gx)


@parallel
def _relu(thread, x, y):
    for block in mine(thread, (x.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(x.size, block * BLOCK + BLOCK)):
            y[i] = 0 if x[i] < 0 else x[i]           # nan is not below 0


@parallel
def _add_relu(thread, x, residual):
    for block in mine(thread, (x.size + BLOCK - 1) // BLOCK):
        low, high = block * BLOCK, block * BLOCK + BLOCK
        _raise(x[low:high], residual[low:high], x.dtype.type(0))


@inside
def _raise(x, residual, zero):
    for i in range(len(x)):
        total = x[i] + residual[i]
        x[i] = zero if total < zero else total


@parallel
def _relu_backward(thread, g, y, gx):
    for block in mine(thread, (y.size + BLOCK - 1) // BLOCK):
        low, high = block * BLOCK, block * BLOCK + BLOCK
        pass_on(g[low:high], y[low:high], y.dtype.type(0), gx[low:high])


@inside
def pass_on(g, y, zero, gx):
    """gx = g where y, what a ReLU gave, is not 0; zero: of their dtype."""
    for i in range(len(gx)):
        passed = g[i]                                # read in any case: so there is no branch
        gx[i] = zero if y[i] <= zero else passed
