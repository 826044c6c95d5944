"""Optimizer updates of all parameters in one launch, running statistics and dropout: see optim.cu."""
from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..capture import Varying, constant, is_capturing
from ..reference import optim, random
from ..reference._xp import array_module
from .arrays import in_float, new, plain
from .launch import TYPES, launch

__all__ = ["sgd_update", "adam_update", "rmsprop_update", "running_update", "dropout"]
FILE = "optim.cu"
CHUNK = 4096                                         # elements of a block: 16 for each of its threads


@in_float(random)
def dropout(x, p, seed):
    """Zero each element with probability p and divide the others by 1 - p.  Linear in x for a given seed."""
    if p in (0, 1):
        return random.dropout(x, p, seed)
    y = new(x, *x.shape)
    seed = Varying.of(seed).on(x, np.uint64, (1,), _bits)
    launch(FILE, "dropout", x.dtype, x.size, (plain(x), y, seed, p, 1 / (1 - p), x.size))
    return y


def _bits(seed):
    return seed & random.MASK


def sgd_update(params, grads, bufs, numbers, nesterov, maximize, first):
    """Stochastic gradient descent; bufs are the velocities (None without momentum), `first`: they are still empty."""
    if params[0].dtype.name not in TYPES:
        return optim.sgd_update(params, grads, bufs, numbers, nesterov, maximize, first)
    _update("sgd", params, grads, (bufs,), Varying.of(numbers), (4,), _sgd_numbers,
            (bufs is not None, nesterov, maximize, first))


def _sgd_numbers(numbers):
    lr, momentum, dampening, weight_decay = numbers
    return lr, momentum, 1 - dampening, weight_decay


def adam_update(params, grads, ms, vs, vmaxs, numbers, decoupled, maximize):
    """Adam, AdamW (decoupled: Loshchilov & Hutter 2019) and AMSGrad (vmaxs given: Reddi et al. 2018)."""
    if params[0].dtype.name not in TYPES:
        return optim.adam_update(params, grads, ms, vs, vmaxs, numbers, decoupled, maximize)
    _update("adam", params, grads, (ms, vs, vmaxs), Varying.of(numbers), (8,),
            _decoupled_numbers if decoupled else _coupled_numbers, (vmaxs is not None, maximize))


def _coupled_numbers(numbers):
    lr, beta1, beta2, eps, weight_decay, step = numbers
    return (lr / (1 - beta1 ** step), (1 - beta2 ** step) ** 0.5, 1 - beta1, beta2, 1 - beta2, eps, weight_decay, 1)


def _decoupled_numbers(numbers):
    lr, _, _, _, weight_decay, _ = numbers
    return (*_coupled_numbers(numbers)[:6], 0, 1 - lr * weight_decay)


def rmsprop_update(params, grads, vs, bufs, gavgs, numbers, maximize):
    """RMSprop, centred if gavgs (the running means of g) are given, with momentum if bufs are."""
    if params[0].dtype.name not in TYPES:
        return optim.rmsprop_update(params, grads, vs, bufs, gavgs, numbers, maximize)
    _update("rmsprop", params, grads, (vs, bufs, gavgs), Varying.of(numbers), (6,), _rmsprop_numbers,
            (bufs is not None, gavgs is not None, maximize))


def _rmsprop_numbers(numbers):
    lr, alpha, eps, weight_decay, momentum = numbers
    return lr, alpha, 1 - alpha, eps, weight_decay, momentum


def running_update(kept, now, momentum, unbias):
    """Running mean and variance (C,) move towards a batch's; see the reference."""
    arrays = [a for a in (*kept, *now) if a is not None]
    like = now[0]
    if like.dtype.name not in TYPES or any(a.dtype != like.dtype or not a.flags.c_contiguous for a in arrays):
        return optim.running_update(kept, now, momentum, unbias)
    launch(FILE, "running", like.dtype, like.size, (*kept, *now, 1 - momentum, momentum, unbias, like.size))


# ---------------------------------------------------------------------------------------- many arrays, one launch

def _update(kernel, params, grads, states, numbers, shape, derive, options):
    """Run an update on plain memory; what it wrote goes back into arrays that are not plain."""
    like, lists = params[0], [params, grads, *(s for s in states if s is not None)]
    plains = [[plain(a, like) for a in arrays] for arrays in lists]
    sizes = tuple(a.size for a in params)
    addresses, chunks = _tables(like, tuple(a.data.ptr if a.size else 0 for arrays in plains for a in arrays), sizes)
    launch(FILE, kernel, like.dtype, sum(sizes),
           (addresses, chunks, len(params), numbers.on(like, like.dtype, shape, derive), *options),
           blocks=chunks.shape[0])
    for given, own in zip(lists, plains):
        for a, b in zip(given, own):
            if a is not b and given is not grads:
                a[...] = b


def _tables(like, addresses, sizes):
    """The arguments `arrays` and `chunks` of the kernels.

    They are copied to the device once while the arrays stay where they are; a graph gets its own, in its own memory.
    """
    made = (_addresses, _chunks) if not is_capturing() else (_addresses.__wrapped__, _chunks.__wrapped__)
    return made[0](array_module(like), addresses), made[1](array_module(like), sizes)


@lru_cache(maxsize=32)
def _addresses(library, addresses):
    return constant(library, np.array(addresses, np.uint64))


@lru_cache(maxsize=32)
def _chunks(library, sizes):
    """(chunks, 3): array, first element, end."""
    return constant(library, np.array([(i, start, min(start + CHUNK, size)) for i, size in enumerate(sizes)
                                       for start in range(0, size, CHUNK)], np.int64))
