"""What a kernel computed, beside what it should have."""
from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from tinycnn.cases.kernels import outcome

from .device import Device

is_half = import_module("tinycnn.kernels.half").is_half
cuda, reference = (import_module(f"tinycnn.kernels.{name}") for name in ("cuda", "reference"))
PRODUCTS = ("conv2d", "conv2d_input", "conv2d_weight", "matmul")
# The largest error of a sum of products, as a multiple of the sum of their absolute values: a factor is rounded by at
# most a unit of its last bit (half a unit by our kernels, cuBLAS promises nothing); float32 sums add some 2^-24 each.
BOUNDS = {"highest": 2 ** -20, "high": 2 * 2 ** -10 * 1.01, "medium": 2 * 2 ** -7 * 1.01}
ULPS = 256                                           # of everything else: roundings of the largest number
UNITS = {"float16": 2.0 ** -11, "bfloat16": 2.0 ** -8}      # what a stored number is rounded by, relative, at most


def shown(worst: float) -> float | None:
    """Three digits; None, which JSON has, for what is infinite."""
    return float(f"{worst:.3g}") if np.isfinite(worst) else None


def run_once(device: Device, name: str, arguments: tuple, last: bool = False, again: bool = False,
             kernels: ModuleType = cuda) -> Any:
    """What the kernel makes of the arguments, on the host."""
    with device.poisoned(again):
        return device.get(outcome(kernels, name, arguments, partial(device.put, last=last)))


def bits(found: Any) -> list[bytes]:
    """The bytes of all arrays of a result."""
    return [np.ascontiguousarray(a).tobytes() for a in (found if isinstance(found, tuple) else (found,))
            if a is not None]


def error(name: str, arguments: tuple, found: Any, mode: str) -> float:
    """The largest error as a part of what is allowed; infinite where shape, dtype, NaN or infinity are others.

    Reference: the specification's result for the same numbers in float64.
    """
    exact = outcome(reference, name, in_float64(arguments), lambda a: a)
    term = _largest_term(name, arguments)
    if is_half(arguments[0]):
        return _error_of_16_bits(arguments[0].dtype, found, exact, term)
    dtype = np.result_type(*(a.dtype for a in flat(arguments) if a.dtype.kind == "f"))
    bound = None
    if name in PRODUCTS and dtype == np.float32:
        sizes = in_float64(tuple(abs(a) if isinstance(a, np.ndarray) else a for a in arguments))
        bound = BOUNDS[mode] * outcome(reference, name, sizes, lambda a: a) + 1e-30
    if term:
        bound = ULPS * np.finfo(dtype).eps * max(term, np.abs(exact[0]).max(initial=0))
    pairs = zip(found, exact) if isinstance(exact, tuple) else [(found, exact)]
    return max((distance(a, e, dtype, bound if i == 0 else None) for i, (a, e) in enumerate(pairs) if e is not None),
               default=0.0)


def _largest_term(name, arguments):
    """The largest term of the sum that batch norm's gradient of x is, g weight / sqrt(var + eps); 0 for other kernels.

    The sum itself is nearly 0 for a channel of two values, whatever is rounded in its terms.
    """
    if name not in ("batch_norm_backward", "batch_norm_relu_backward"):
        return 0.0
    var, weight, eps = in_float64(arguments)[3 + ("relu" in name):][:3]
    slope = (1 if weight is None else np.abs(weight)) / np.sqrt(var + eps)
    return float(np.abs(arguments[0].astype(np.float64)).max(initial=0) * slope.max(initial=0))


def _error_of_16_bits(dtype, found, exact, term):
    """Computed in float32, rounded once; further results are float32."""
    found, exact = (v if isinstance(v, tuple) else (v,) for v in (found, exact))
    if found[0].dtype != dtype:
        return np.inf
    worst = 0.0
    for i, (a, e) in enumerate(zip(found, exact)):
        if e is not None and e.dtype.kind == "f":
            sizes = np.abs(np.where(np.isfinite(e), e, 0))
            largest = max(sizes.max(initial=0), 0 if i else term)
            worst = max(worst, distance(a.astype(np.float32), e, np.float32,
                                        UNITS[dtype.name] * sizes + 2e-6 * largest))
        elif e is not None:
            worst = max(worst, distance(a, e, dtype))
    return worst


def flat(value: Any) -> Iterator[np.ndarray]:
    """All arrays in the arguments."""
    if isinstance(value, (tuple, list)):
        for v in value:
            yield from flat(v)
    elif isinstance(value, np.ndarray):
        yield value


def in_float64(value: Any) -> Any:
    """The arguments, with arrays of floats in float64.  A namedtuple, such as a Window, stays as it is."""
    if type(value) in (tuple, list):
        return type(value)(map(in_float64, value))
    is_float = is_half(value) or isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return value.astype(np.float64) if is_float else value


def distance(found: Any, exact: np.ndarray, dtype: Any, bound: Any = None, ulps: float = ULPS) -> float:
    """|found - exact| as a part of the bound, by default of `ulps` roundings of the largest number."""
    if found is None or found.shape != exact.shape or (exact.dtype.kind == "f" and found.dtype != dtype):
        return np.inf
    if exact.dtype.kind != "f":
        return 0.0 if np.array_equal(found, exact) else np.inf
    finite = np.isfinite(exact)
    if not np.array_equal(np.where(finite, 0, exact), np.where(np.isfinite(found), 0, found), equal_nan=True):
        return np.inf
    if bound is None:
        bound = ulps * np.finfo(dtype).eps * np.abs(exact, where=finite, out=np.zeros_like(exact)).max(initial=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(np.where(finite, found.astype(np.float64) - exact, 0))
        return float(np.where(off > 0, off / bound, 0).max(initial=0))
