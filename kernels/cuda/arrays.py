"""What all wrappers of kernels need: memory as it lies, new arrays, and which arrays there are kernels for.

Images are N C H W to their user.  In memory they are either in that order or channels-last; kernels take what lies
there, and make their result lie as their input does, so that a net converts its images once:

    logical                   in memory         dense(x)
    x (N, C, H, W), C order   n, c, y, x        x itself
    channels_last(x)          n, y, x, c        x.transpose(0, 2, 3, 1), in C order, no copy
    any other strides                           a copy in C order
"""
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
    laid = array_module(array).ascontiguousarray(array if like is None else array.astype(like.dtype, copy=False))
    return laid if array.ndim else laid.reshape(())  # which had become (1,)


def channels_last(x: Any) -> bool:
    """Whether x (N, C, ...) lies in memory as (N, ..., C); False if that is C order as well, as for one channel."""
    return x.ndim > 2 and not x.flags.c_contiguous and _last(x).flags.c_contiguous


def _last(x):
    """(N, C, ...) seen as (N, ..., C)"""
    return x.transpose(0, *range(2, x.ndim), 1)


def dense(array: Any, last: bool | None = None, like: Any = None) -> Any:
    """What lies in memory, in C order, in the dtype of `like` if given; None stays None.

    last   True: as (N, ..., C); False: as (N, C, ...); None: as the array lies already.  No copy if it lies so.
    """
    if array is None:
        return None
    return plain(_last(array) if (channels_last(array) if last is None else last) else array, like)


def new(like: Any, *shape: int, dtype: Any = None) -> Any:
    """Memory for an array beside `like`, in C order: what is in it is undefined."""
    return array_module(like).empty(tuple(shape), like.dtype if dtype is None else dtype)


def new_like(x: Any, *shape: int, dtype: Any = None, last: bool | None = None) -> Any:
    """Memory for an array (N, C, ...) of that shape, by default x's, lying as x does or as `last` says."""
    shape = shape or x.shape
    if not (channels_last(x) if last is None else last):
        return new(x, *shape, dtype=dtype)
    laid = new(x, shape[0], *shape[2:], shape[1], dtype=dtype)           # (N, ..., C)
    return laid.transpose(0, laid.ndim - 1, *range(1, laid.ndim - 1))


def wide(x: Any) -> Any:
    """The dtype of what belongs to x but is no image: statistics, parameters; float32 for 16 bits, else x's own."""
    return np.dtype("float32") if x.dtype.itemsize == 2 else x.dtype


def parameter(array: Any, x: Any) -> Any:
    """A statistic or parameter that belongs to x, in C order, in the dtype kernels expect; None stays None."""
    return None if array is None else plain(array.astype(wide(x), copy=False))


def team(M: int, D: int) -> tuple[int, int]:
    """How many threads share a row of D elements (a warp or a block), and how many blocks of 256 M rows take."""
    threads = 32 if D <= 1024 else 256
    return threads, -(-M * threads // 256)


def in_float(reference: ModuleType) -> Callable:
    """Decorator: the function for float32 and float64, the reference's of the same name for other dtypes."""
    def choose(function):
        other = getattr(reference, function.__name__)

        @wraps(function)
        def call(first, *rest):
            return (function if first.dtype.name in TYPES else other)(first, *rest)
        return call
    return choose
