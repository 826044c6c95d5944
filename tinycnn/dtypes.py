"""Floating-point dtypes: NumPy's, and bfloat16, which the package ml_dtypes adds to NumPy (and CuPy).

             sign  exponent  fraction     largest    spacing at 1
    float32     1         8        23     3.4e38     1.2e-7
    bfloat16    1         8         7     3.4e38     7.8e-3      float32's range, so no loss scaling
    float16     1         5        10      65504     9.8e-4
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

_FLOATING = "f"                                      # kinds of NumPy's dtypes


def is_floating(dtype: Any) -> bool:
    """Whether elements are floating-point numbers.  NumPy knows bfloat16 only as "some other kind"."""
    return dtype.kind in _FLOATING or dtype.name == "bfloat16"


@contextmanager
def complex_is_floating(on: bool = True) -> Iterator[None]:
    """`with` block in which complex numbers are taken for floating-point ones, for derivatives by a complex step."""
    global _FLOATING
    before, _FLOATING = _FLOATING, "fc" if on else _FLOATING
    try:
        yield
    finally:
        _FLOATING = before


def sixteen_bits(dtype: Any) -> bool:
    """Whether it is float16 or bfloat16."""
    return dtype.itemsize == 2 and is_floating(dtype)


def bfloat16() -> Any:
    """The dtype bfloat16.  Raises RuntimeError, with the cure, without ml_dtypes."""
    try:
        return import_module("ml_dtypes").bfloat16
    except ImportError:
        raise RuntimeError("bfloat16 is a dtype of the package ml_dtypes, which is not installed: pip install "
                           "'tinycnn[half]', or use float16 with a GradScaler") from None


def finfo(dtype: Any) -> Any:
    """The limits of a floating-point dtype: eps, tiny, max, ..."""
    return (import_module("ml_dtypes") if dtype.name == "bfloat16" else np).finfo(dtype)


def floating(dtype: Any) -> np.dtype:
    """A dtype, or its name, as a NumPy dtype.  Raises TypeError unless it is floating point."""
    found = np.dtype(bfloat16() if dtype == "bfloat16" else dtype)
    if not is_floating(found):
        raise TypeError(f"expected a floating-point dtype, got {found}")
    return found
