"""Optimizer updates in one pass over memory and one launch: each number of each array is read once and written once.

    memory      C-contiguous arrays as lines of numbers; arrays of other strides go to the reference
    parallel    over blocks of at most 4 Ki numbers of one parameter, which stay in the cache from the first short loop
                over them to the last

      parameter  0                      1       2  ...
      param  |#########|#########|####|#####|####|
      grad   |#########|#########|####|#####|####|       a task: one block of all arrays of one parameter
      state  |#########|#########|####|#####|####|

A net has hundreds of parameters, many of them small: a launch for each would take longer than their updates.  Numba
takes no lists of arrays in microseconds, so kernels are given addresses, table[k, i] that of the k-th array of
parameter i, 0 for an array that is not used.  The loops are short so that each is turned into vector code.
"""
import math
from functools import lru_cache

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from ..reference import optim as reference
from .layout import address
from .threads import inside, mine, parallel

__all__ = ["sgd_update", "adam_update", "rmsprop_update"]
BLOCK = 4096


@intrinsic
def _pointer(context, address, like):
    """The address of numbers of the dtype of the array `like`."""
    def code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))
    return types.CPointer(like.dtype)(types.intp, like), code


@inside
def _block(table, k, which, start, n, like):
    """Numbers start .. start + n of the k-th array of a parameter; none if that array is not used."""
    address = table[k, which]
    return carray(_pointer(address + start * like.itemsize, like), n if address else 0)


@lru_cache(64)
def _tasks(sizes):
    """(T, 3): parameter, first number and number of numbers of each block."""
    return np.array([(i, start, min(BLOCK, size - start)) for i, size in enumerate(sizes)
                     for start in range(0, size, BLOCK)], np.int64).reshape(-1, 3)


def _launch(kernel, update, lists, *numbers):
    """Run kernel(table, tasks, like, *numbers in the arrays' dtype); update(*lists of one) is for other strides.

    lists   of params, grads and states, None for a list that is not used
    """
    rows = list(zip(*[[None] * len(lists[0]) if arrays is None else arrays for arrays in lists]))
    lines, kept = [], []                             # kept: copies of gradients, which must outlive the launch
    for row in rows:
        if not all(a is None or a.flags.c_contiguous for a in (row[0], *row[2:])):
            update(*(None if a is None else [a] for a in row))
            continue
        if not row[1].flags.c_contiguous or row[1].dtype != row[0].dtype:
            row = (row[0], np.ascontiguousarray(row[1], row[0].dtype), *row[2:])
            kept.append(row)
        lines.append(row)
    if lines:
        like = max((row[0] for row in lines), key=np.size).reshape(-1)
        table = np.array([[0 if a is None else address(a) for a in row] for row in lines], np.int64).T.copy()
        kernel(table, _tasks(tuple([row[0].size for row in lines])), like, *map(like.dtype.type, numbers))


@inside
def _gradient(param, grad, sign, weight_decay):
    return sign * grad + (weight_decay * param if weight_decay else weight_decay)    # an integer 0 would be a float64


@parallel
def _sgd(thread, table, tasks, like, lr, momentum, fresh, weight_decay, nesterov, sign):
    """fresh: the gradient's share of the velocity."""
    for task in mine(thread, len(tasks)):
        which, start, n = tasks[task, 0], tasks[task, 1], tasks[task, 2]
        p, g = _block(table, 0, which, start, n, like), _block(table, 1, which, start, n, like)
        v = _block(table, 2, which, start, n, like)
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
    if momentum and first:
        for buf in bufs:
            buf[...] = 0
    _launch(_sgd, lambda p, g, b: reference.sgd_update(p, g, b, numbers, nesterov, maximize, first),
            (params, grads, bufs if momentum else None), lr, momentum, 1 if first else 1 - dampening, weight_decay,
            bool(nesterov), -1 if maximize else 1)


@parallel
def _adam(thread, table, tasks, like, step_size, root, new1, beta2, new2, eps, decay, shrink, sign):
    """new1, new2: 1 - beta1, 1 - beta2, rounded once; root: sqrt(1 - beta2^step); decay coupled, shrink decoupled."""
    for task in mine(thread, len(tasks)):
        which, start, n = tasks[task, 0], tasks[task, 1], tasks[task, 2]
        p, g = _block(table, 0, which, start, n, like), _block(table, 1, which, start, n, like)
        m = _block(table, 2, which, start, n, like)
        v, top = _block(table, 3, which, start, n, like), _block(table, 4, which, start, n, like)
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
    _launch(_adam, lambda p, g, m, v, top: reference.adam_update(p, g, m, v, top, numbers, decoupled, maximize),
            (params, grads, ms, vs, vmaxs), lr / (1 - beta1 ** step), (1 - beta2 ** step) ** 0.5, 1 - beta1, beta2,
            1 - beta2, eps, coupled, shrink, -1 if maximize else 1)


@parallel
def _rmsprop(thread, table, tasks, like, lr, alpha, new, eps, weight_decay, momentum, sign):
    """new: 1 - alpha, rounded once."""
    for task in mine(thread, len(tasks)):
        which, start, n = tasks[task, 0], tasks[task, 1], tasks[task, 2]
        p, g = _block(table, 0, which, start, n, like), _block(table, 1, which, start, n, like)
        v = _block(table, 2, which, start, n, like)
        b, m = _block(table, 3, which, start, n, like), _block(table, 4, which, start, n, like)
        d = np.empty(len(p), like.dtype)
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
    _launch(_rmsprop, lambda p, g, v, b, m: reference.rmsprop_update(p, g, v, b, m, numbers, maximize),
            (params, grads, vs, bufs if momentum else None, gavgs), lr, alpha, 1 - alpha, eps, weight_decay, momentum,
            -1 if maximize else 1)
