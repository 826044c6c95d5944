"""float16 and bfloat16: every kernel as its float32 twin computes it, what is stored rounded once.

    inputs   16 bits --widen--> float32 --kernel--> float32 --round--> 16 bits

The first result is rounded to the dtype of the first argument; further results (statistics, gradients of parameters)
stay float32, in which sums belong.  Optimizers' updates are rounded into all the arrays they write.  A module of
kernels that has some for 16 bits of its own names them in SIXTEEN_BITS; those are called as they are.
"""
from __future__ import annotations

from functools import wraps
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from .reference import __all__ as NAMES


def widened(kernels: ModuleType) -> Any:
    """The names of a module of kernels, for arrays of 16-bit floats."""
    own = getattr(kernels, "SIXTEEN_BITS", ())
    return SimpleNamespace(**{name: getattr(kernels, name) if name in own else _rounded(getattr(kernels, name))
                              for name in NAMES})


def is_half(value: Any) -> bool:
    """Whether it is an array of float16 or bfloat16."""
    dtype = getattr(value, "dtype", None)
    return dtype is not None and dtype.itemsize == 2 and (dtype.kind == "f" or dtype.name == "bfloat16")


def _rounded(kernel):
    if kernel.__name__.endswith("_update"):
        return _in_place(kernel)

    @wraps(kernel)
    def call(first, *rest):
        results = kernel(*map(_wide, (first, *rest)))
        if isinstance(results, tuple):
            return (results[0].astype(first.dtype), *results[1:])
        return results.astype(first.dtype)
    return call


def _in_place(update):
    """An update of lists of arrays: computed on float32 copies, which are then rounded back."""
    @wraps(update)
    def call(*arguments):
        wide = [_wide(a) for a in arguments]
        update(*wide)
        for before, after in zip(arguments, wide):
            if isinstance(before, (list, tuple)):
                for old, new in zip(before, after):
                    if old is not new:
                        old[...] = new.astype(old.dtype)
    return call


def _wide(value):
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(map(_wide, value))
    return value.astype(np.float32) if is_half(value) else value
