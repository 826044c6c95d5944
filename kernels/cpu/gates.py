"""Smooth activation functions and their gradients, each in one pass over memory.

    memory     both arrays flat, in the memory order of the first; the result keeps it
    parallel   over blocks of 4 Ki numbers
    bound by   memory on two cores, given the vector code of exponential.py; libm's calls would take ten times longer
"""
import numpy as np

from ..reference.gates import C, D
from .exponential import exp, normal, sigmoid, tanh
from .layout import flat_alike
from .threads import mine, parallel

__all__ = ["gate", "gate_backward"]
BLOCK = 4096
# By tuples of so many zeros, whose length is part of their type: what is not used is not compiled.
KINDS = {kind: (0,) * i for i, kind in enumerate(("sigmoid", "tanh", "silu", "gelu", "gelu_tanh"))}
DENSITY = 1 / np.sqrt(2 * np.pi)


def gate(x, kind):
    (x,), restore = flat_alike(x)
    y = np.empty_like(x)
    _gate(x, KINDS[kind], *_constants(x.dtype), y)
    return restore(y)


def gate_backward(g, saved, kind):
    (saved, g), restore = flat_alike(saved, g)
    gx = np.empty_like(saved)
    _gate_backward(g, saved, KINDS[kind], *_constants(saved.dtype), saved.dtype.type(DENSITY), gx)
    return restore(gx)


def _constants(dtype):
    """1, 1/2, c and c*d of gelu's formula by tanh, in the arrays' dtype: the arithmetic stays in it."""
    return dtype.type(1), dtype.type(0.5), dtype.type(C), dtype.type(C * D)


@parallel
def _gate(thread, x, kind, one, half, c, cd, y):
    for block in mine(thread, (x.size + BLOCK - 1) // BLOCK):
        xs, ys = x[block * BLOCK:block * BLOCK + BLOCK], y[block * BLOCK:block * BLOCK + BLOCK]
        if len(kind) == 0:
            for i in range(len(ys)):
                ys[i] = sigmoid(xs[i])
        elif len(kind) == 1:
            for i in range(len(ys)):
                ys[i] = tanh(xs[i])
        elif len(kind) == 2:
            for i in range(len(ys)):
                ys[i] = xs[i] * sigmoid(xs[i])
        elif len(kind) == 3:
            for i in range(len(ys)):
                ys[i] = xs[i] * normal(xs[i], exp(-half * (xs[i] * xs[i])))
        else:
            for i in range(len(ys)):
                ys[i] = xs[i] * (half * (one + tanh(xs[i] * (xs[i] * xs[i] * cd + c))))


@parallel
def _gate_backward(thread, g, saved, kind, one, half, c, cd, density, gx):
    for block in mine(thread, (gx.size + BLOCK - 1) // BLOCK):
        low, high = block * BLOCK, block * BLOCK + BLOCK
        gs, xs, to = g[low:high], saved[low:high], gx[low:high]
        if len(kind) == 0:
            for i in range(len(to)):
                to[i] = gs[i] * (xs[i] * (one - xs[i]))
        elif len(kind) == 1:
            for i in range(len(to)):
                to[i] = gs[i] * (one - xs[i] * xs[i])
        elif len(kind) == 2:
            for i in range(len(to)):
                s = sigmoid(xs[i])
                to[i] = gs[i] * (s * (one + xs[i] * (one - s)))
        elif len(kind) == 3:
            for i in range(len(to)):
                x = xs[i]
                bell = exp(-half * (x * x))
                to[i] = gs[i] * (normal(x, bell) + x * bell * density)
        else:
            for i in range(len(to)):
                x = xs[i]
                t = tanh(x * (x * x * cd + c))
                to[i] = gs[i] * (half * (one + t + x * (one - t * t) * (c + (cd + cd + cd) * (x * x))))
