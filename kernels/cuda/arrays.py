"""What all wrappers of kernels need: plain memory, new arrays, and which arrays there are kernels for."""
from __future__ import annotations

from functools import wraps
from types import ModuleType
from typing import Any, Callable

import numpy as np

from ..reference._xp import array_module
from .launch import TYPES


def plain(array: Any, like: Any = None) -> Any:
    """The array in C order, in the dtype of `like` if given; None stays None."""
    if array is None:
        return None
    return array_module(array).ascontiguousarray(array if like is None else array.astype(like.dtype, copy=False))


def new(like: Any, *shape: int, dtype: Any = None) -> Any:
    """Memory for an array beside `like`: what is in it is undefined."""
    return array_module(like).empty(tuple(shape), like.dtype if dtype is None else dtype)


def in_float(reference: ModuleType) -> Callable:
    """Decorator: the function for float32 and float64, the reference's of the same name for other dtypes."""
    def choose(function):
        other = getattr(reference, function.__name__)

        @wraps(function)
        def call(first, *rest):
            return (function if np.dtype(first.dtype) in TYPES else other)(first, *rest)
        return call
    return choose
