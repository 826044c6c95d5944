"""Optimizer updates in one pass over memory: parameter, gradient and state are each read once and written once.

    memory      C-contiguous arrays as one line of numbers; arrays of other strides go to the reference
    parallel    over blocks of 4 Ki numbers, which stay in the cache from the first short loop over them to the last

      param  |#########|#########|####|
      grad   |#########|#########|####|       one block of all arrays at a time
      state  |#########|#########|####|

The loops are short so that each is turned into vector code.  A state array that is not used is passed empty.
"""
import math

import numpy as np
from numba import njit, prange

from ..reference import optim as reference
from .threads import parallel

__all__ = ["sgd_update", "adam_update", "rmsprop_update"]
BLOCK = 4096


def _lines(*arrays):
    """The arrays as lines of numbers, None as an empty one; None instead if one that is written cannot be a view."""
    param, grad, *states = arrays
    if not all(a is None or a.flags.c_contiguous for a in (param, *states)):
        return None
    empty = param.reshape(-1)[:0]
    return [param.reshape(-1), np.ascontiguousarray(grad).reshape(-1),
            *(empty if a is None else a.reshape(-1) for a in states)]


@njit(cache=True)
def _gradient(param, grad, sign, weight_decay):
    return sign * grad + (weight_decay * param if weight_decay else 0)


@parallel
def _sgd(param, grad, buf, lr, momentum, fresh, weight_decay, nesterov, sign):
    """fresh: the gradient's share of the velocity."""
    for block in prange((len(param) + BLOCK - 1) // BLOCK):
        here = slice(block * BLOCK, block * BLOCK + BLOCK)
        p, g, v = param[here], grad[here], buf[here]
        if len(v):
            for i in range(len(p)):
                d = _gradient(p[i], g[i], sign, weight_decay)
                v[i] = momentum * v[i] + fresh * d
                p[i] -= lr * (d + momentum * v[i] if nesterov else v[i])
        else:
            for i in range(len(p)):
                p[i] -= lr * _gradient(p[i], g[i], sign, weight_decay)


def sgd_update(params, grads, bufs, numbers, nesterov, maximize, first):
    lr, momentum, dampening, weight_decay = numbers
    for param, grad, buf in reference.rows(params, grads, bufs):
        lines = _lines(param, grad, buf if momentum else None)
        if lines is None:
            reference.sgd_update([param], [grad], [buf], numbers, nesterov, maximize, first)
            continue
        if momentum and first:
            buf[...] = 0
        _sgd(*lines, *map(param.dtype.type, (lr, momentum, 1 if first else 1 - dampening, weight_decay)), nesterov,
             param.dtype.type(-1 if maximize else 1))


@parallel
def _adam(param, grad, mean, square, largest, step_size, root, new1, beta2, new2, eps, decay, shrink, sign):
    """new1, new2: 1 - beta1, 1 - beta2, rounded once; root: sqrt(1 - beta2^step); decay coupled, shrink decoupled."""
    for block in prange((len(param) + BLOCK - 1) // BLOCK):
        here = slice(block * BLOCK, block * BLOCK + BLOCK)
        p, g, m, v, top = param[here], grad[here], mean[here], square[here], largest[here]
        for i in range(len(p)):
            d = _gradient(p[i], g[i], sign, decay)
            m[i] += new1 * (d - m[i])
            v[i] = beta2 * v[i] + new2 * d * d
        if len(top):
            for i in range(len(p)):
                top[i] = v[i] if (v[i] > top[i]) | (v[i] != v[i]) else top[i]
            v = top
        for i in range(len(p)):
            p[i] = shrink * p[i] - step_size * m[i] / (math.sqrt(v[i]) / root + eps)


def adam_update(params, grads, ms, vs, vmaxs, numbers, decoupled, maximize):
    lr, beta1, beta2, eps, weight_decay, step = numbers
    coupled, shrink = (0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1)
    for param, grad, m, v, vmax in reference.rows(params, grads, ms, vs, vmaxs):
        lines = _lines(param, grad, m, v, vmax)
        if lines is None:
            reference.adam_update([param], [grad], [m], [v], vmax if vmax is None else [vmax], numbers, decoupled,
                                  maximize)
            continue
        _adam(*lines, *map(param.dtype.type, (lr / (1 - beta1 ** step), (1 - beta2 ** step) ** 0.5, 1 - beta1,
                                              beta2, 1 - beta2, eps, coupled, shrink, -1 if maximize else 1)))


@parallel
def _rmsprop(param, grad, square, buf, mean, lr, alpha, new, eps, weight_decay, momentum, sign):
    """new: 1 - alpha, rounded once."""
    for block in prange((len(param) + BLOCK - 1) // BLOCK):
        here = slice(block * BLOCK, block * BLOCK + BLOCK)
        p, g, v, b, m = param[here], grad[here], square[here], buf[here], mean[here]
        d = np.empty(len(p), param.dtype)
        for i in range(len(p)):
            d[i] = _gradient(p[i], g[i], sign, weight_decay)
            v[i] = alpha * v[i] + new * d[i] * d[i]
        if len(m):
            for i in range(len(p)):
                m[i] += new * (d[i] - m[i])
                d[i] /= math.sqrt(v[i] - m[i] * m[i]) + eps
        else:
            for i in range(len(p)):
                d[i] /= math.sqrt(v[i]) + eps
        if len(b):
            for i in range(len(p)):
                b[i] = momentum * b[i] + d[i]
                d[i] = b[i]
        for i in range(len(p)):
            p[i] -= lr * d[i]


def rmsprop_update(params, grads, vs, bufs, gavgs, numbers, maximize):
    lr, alpha, eps, weight_decay, momentum = numbers
    for param, grad, v, buf, gavg in reference.rows(params, grads, vs, bufs, gavgs):
        lines = _lines(param, grad, v, buf if momentum else None, gavg)
        if lines is None:
            reference.rmsprop_update([param], [grad], [v], [buf], gavg if gavg is None else [gavg], numbers, maximize)
            continue
        _rmsprop(*lines, *map(param.dtype.type, (lr, alpha, 1 - alpha, eps, weight_decay, momentum,
                                                 -1 if maximize else 1)))
