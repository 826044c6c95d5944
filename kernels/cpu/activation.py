"""Elementwise kernels of activation functions.

    memory     both arrays flat, in the memory order of the first; the result keeps it
    parallel   over blocks of 16 Ki numbers
    bound by   memory: read each array once, write one
"""
import numpy as np
from numba import prange

from .layout import flat_alike
from .threads import parallel

__all__ = ["relu", "relu_backward"]

BLOCK = 1 << 14


def relu(x):
    (x,), restore = flat_alike(x)
    y = np.empty_like(x)
    _relu(x, x, False, y)
    return restore(y)


def relu_backward(g, y):
    (y, g), restore = flat_alike(y, g)
    gx = np.empty_like(y)
    _relu_backward(g, y, gx)
    return restore(gx)


def relu_of_sum(y, residual):
    """relu(y + residual), residual like y or None, written over y where y lies in a known order."""
    flat, restore = flat_alike(*((y,) if residual is None else (y, residual)))
    _relu(flat[0], flat[-1], residual is not None, flat[0])
    return restore(flat[0])


@parallel
def _relu(x, residual, add, y):
    """y = relu(x), or relu(x + residual) with `add`."""
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(x.size, block * BLOCK + BLOCK)):
            value = x[i] + residual[i] if add else x[i]
            y[i] = 0 if value < 0 else value         # nan is not below 0


@parallel
def _relu_backward(g, y, gx):
    for block in prange((y.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(y.size, block * BLOCK + BLOCK)):
            gx[i] = g[i] if y[i] > 0 else 0
