"""Derivatives without backward: differences at two steps, and a step along the imaginary axis.

    D(h) = (f(x + h v) - f(x - h v)) / 2h  = f'(x) v + c h^2 + ...      f'(x) v = (4 D(h/2) - D(h)) / 3
    f(x + i h v) = f(x) + i h f'(x) v - ...                             f'(x) v = Im f(x + i h v) / h

Richardson's extrapolation: the h^2 term cancels, which in float64 leaves an error near 1e-11.  The complex step takes
no difference, so h can be as small as one likes and the error is that of f itself, 1e-16; but f must run on complex
arrays and be analytic: made of + - * / exp sin and the like, without abs, conj or real.  Comparisons and maxima look
at the real part, as NumPy's do, so piecewise analytic is enough.
"""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .bound import Arrays, Bound

METHODS = ("auto", "difference", "complex")
TINY = 1e-50                                         # of a complex step: its square must vanish beside 1e-16


def shifted(point: Arrays, direction: list, h: Any) -> Arrays:
    """The point moved by h along a direction: an array for each of its own, None where it stays."""
    return [x if d is None else x + h * d for x, d in zip(point, direction)]


def slopes(bound: Bound, point: Arrays, direction: list, eps: float, method: str) -> tuple[Arrays, Arrays]:
    """The derivative of each output along a direction, and how far rounding may have put it off.

    eps     the larger of the two steps
    method  "difference" or "complex"
    """
    if method == "complex":
        return _complex_step(bound, point, direction)
    right, left, near_right, near_left = (bound.values(shifted(point, direction, h))
                                          for h in (eps, -eps, eps / 2, -eps / 2))
    wide = [(a - b) / (2 * eps) for a, b in zip(right, left)]
    narrow = [(a - b) / eps for a, b in zip(near_right, near_left)]
    return [(4 * n - w) / 3 for n, w in zip(narrow, wide)], [_rounding(y, eps) for y in right]


def _rounding(y, eps):
    return np.full(y.shape, 8 * np.finfo(np.float64).eps * np.abs(y).max(initial=0, where=np.isfinite(y)) / eps)


def _complex_step(bound, point, direction):
    complex_point = [x.astype(np.complex128) for x in point]
    found = [y.imag / TINY for y in bound.values(shifted(complex_point, direction, 1j * TINY))]
    return found, [np.zeros(y.shape) for y in found]


def chosen(bound: Bound, point: Arrays, eps: float, method: str) -> str:
    """"difference" or "complex".

    auto  a complex step, if it takes the same code as real numbers do and gives what differences do along a random
          direction

    Raises ValueError for an unknown method, and for "complex" where it does not give the derivative, saying why.
    """
    if method not in METHODS:
        raise ValueError(f"gradcheck: method={method!r}: expected one of {', '.join(METHODS)}")
    if method == "difference" or method == "auto" and not bound.subject.one_code:
        return "difference"
    reason = _why_not(bound, point, eps)
    if reason and method == "complex":
        raise ValueError(f"gradcheck: no derivative by a complex step: {reason}; use method='difference'")
    return "difference" if reason else "complex"


def _why_not(bound, point, eps):
    """Why a complex step does not give the derivative, or ""."""
    rng = np.random.default_rng(6)
    direction = [rng.standard_normal(x.shape) for x in point]
    expected, noise = slopes(bound, point, direction, eps, "difference")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            found, _ = _complex_step(bound, point, direction)
    except Exception as error:                       # whatever a function does that was not written for them
        return f"the function does not run on complex arrays ({type(error).__name__}: {error})"
    for o, (a, b, n) in enumerate(zip(found, expected, noise)):
        size = np.abs(b).max(initial=0)
        off = np.abs(a - b)
        if a.shape != b.shape or not (off <= 1e-7 + 1e-6 * size + n).all():
            return (f"output {o} is not analytic around there, as abs, conj, real and norms are not, or it has a kink "
                    f"(along a random direction it is {off.max():.3g} off differences)")
    return ""
