"""Optimizer updates in one pass over memory: parameter, gradient and state are each read once and written once.

    memory      C-contiguous arrays as one line of numbers; arrays of other strides go to the reference
    parallel    over blocks of 16 Ki numbers

      param  |#########|#########|####|
      grad   |#########|#########|####|       one block of all arrays at a time, through the registers
      state  |#########|#########|####|

A state array that is not used is passed empty.
"""
import math

import numpy as np
from numba import prange

from ..reference import optim as reference
from .threads import parallel

__all__ = ["sgd_update", "adam_update", "rmsprop_update"]
BLOCK = 16384


def _lines(*arrays):
    """The arrays as lines of numbers, None as an empty one; None instead if one that is written cannot be a view."""
    param, grad, *states = arrays
    if not all(a is None or a.flags.c_contiguous for a in (param, *states)):
        return None
    empty = param.reshape(-1)[:0]
    return [param.reshape(-1), np.ascontiguousarray(grad).reshape(-1),
            *(empty if a is None else a.reshape(-1) for a in states)]


@parallel
def _sgd(param, grad, buf, lr, momentum, fresh, weight_decay, nesterov, sign):
    """fresh: the gradient's share of the velocity."""
    for block in prange((len(param) + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(len(param), block * BLOCK + BLOCK)):
            g = sign * grad[i] + (weight_decay * param[i] if weight_decay else 0)
            if len(buf):
                buf[i] = momentum * buf[i] + fresh * g
                g = g + momentum * buf[i] if nesterov else buf[i]
            param[i] -= lr * g


def sgd_update(param, grad, buf, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    lines = _lines(param, grad, buf if momentum else None)
    if lines is None:
        return reference.sgd_update(param, grad, buf, lr, momentum, dampening, weight_decay, nesterov, maximize, first)
    if momentum and first:
        buf[...] = 0
    number = param.dtype.type
    _sgd(*lines, number(lr), number(momentum), number(1 if first else 1 - dampening), number(weight_decay), nesterov,
         number(-1 if maximize else 1))


@parallel
def _adam(param, grad, m, v, vmax, step_size, root, beta1, new1, beta2, new2, eps, decay, shrink, sign):
    """new1, new2: 1 - beta1, 1 - beta2, rounded once; root: sqrt(1 - beta2^step); decay coupled, shrink decoupled."""
    for block in prange((len(param) + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(len(param), block * BLOCK + BLOCK)):
            g = sign * grad[i] + (decay * param[i] if decay else 0)
            m[i] += new1 * (g - m[i])
            v[i] = beta2 * v[i] + new2 * g * g
            largest = v[i]
            if len(vmax):
                largest = v[i] if v[i] > vmax[i] or v[i] != v[i] else vmax[i]
                vmax[i] = largest
            param[i] = shrink * param[i] - step_size * m[i] / (math.sqrt(largest) / root + eps)


def adam_update(param, grad, m, v, vmax, lr, beta1, beta2, eps, weight_decay, step, decoupled, maximize):
    lines = _lines(param, grad, m, v, vmax)
    if lines is None:
        return reference.adam_update(param, grad, m, v, vmax, lr, beta1, beta2, eps, weight_decay, step, decoupled,
                                     maximize)
    coupled, shrink = (0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1)
    _adam(*lines, *map(param.dtype.type, (lr / (1 - beta1 ** step), (1 - beta2 ** step) ** 0.5, beta1, 1 - beta1, beta2,
                                          1 - beta2, eps, coupled, shrink, -1 if maximize else 1)))


@parallel
def _rmsprop(param, grad, v, buf, gavg, lr, alpha, new, eps, weight_decay, momentum, sign):
    """new: 1 - alpha, rounded once."""
    for block in prange((len(param) + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(len(param), block * BLOCK + BLOCK)):
            g = sign * grad[i] + (weight_decay * param[i] if weight_decay else 0)
            v[i] = alpha * v[i] + new * g * g
            spread = v[i]
            if len(gavg):
                gavg[i] += new * (g - gavg[i])
                spread -= gavg[i] * gavg[i]
            g /= math.sqrt(spread) + eps
            if len(buf):
                buf[i] = momentum * buf[i] + g
                g = buf[i]
            param[i] -= lr * g


def rmsprop_update(param, grad, v, buf, gavg, lr, alpha, eps, weight_decay, momentum, maximize):
    lines = _lines(param, grad, v, buf if momentum else None, gavg)
    if lines is None:
        return reference.rmsprop_update(param, grad, v, buf, gavg, lr, alpha, eps, weight_decay, momentum, maximize)
    _rmsprop(*lines, *map(param.dtype.type, (lr, alpha, 1 - alpha, eps, weight_decay, momentum,
                                             -1 if maximize else 1)))
