"""Derivatives of any order against differences: order k along k directions, from order k - 1 at moved points.

For a scalar s(x) and directions v1, ..., vk (see `directional`)

    D^k s(x)[v1, ..., vk]  =  d/dt D^(k-1) s(x + t vk)[v1, ..., v(k-1)]  at t = 0

whose right side is taken by central differences at three steps, extrapolated twice (Romberg), so that each order is
held by the one below it and order 1 by the function itself.  A function's outputs y become the scalar
sum(u * sin(y)), u random: behind the sine also a linear function has derivatives of every order that are not zero.
"""
from __future__ import annotations

from typing import Callable, Iterator, NamedTuple, Sequence

import numpy as np

from ..autograd import Tensor
from ..backend import device_of, to_device
from ..derivatives import directional
from ..dtypes import is_floating
from ..methods import FUNCTIONS

STEP = 4e-3                           # of the inputs: the directions' largest entry is 1


class Order(NamedTuple):
    """One derivative, twice."""
    order: int
    analytic: float
    numeric: float

    @property
    def error(self) -> float:
        """|analytic - numeric|, relative to numeric where that is above 1."""
        return abs(self.analytic - self.numeric) / max(1.0, abs(self.numeric))


def orders(func: Callable, inputs: Sequence[Tensor], highest: int = 4, seed: int = 0) -> Iterator[Order]:
    """The directional derivatives of orders 1 to `highest` of `func` at float64 inputs, along random directions.

    func    function of the inputs that returns a Tensor or several; those that are not floating point are left out
    """
    rng, inputs = np.random.default_rng(seed), tuple(inputs)
    scalar = _scalar(func, rng)
    directions = [tuple(_placed(_unit(rng.standard_normal(t.shape)), t) for t in inputs) for _ in range(highest)]
    for k in range(1, highest + 1):
        below, last = directions[:k - 1], directions[k - 1]

        def lower(h, below=below, last=last):
            moved = tuple(Tensor(t.data + h * v.data) for t, v in zip(inputs, last))
            return directional(scalar, moved, below).item()
        yield Order(k, directional(scalar, inputs, directions[:k]).item(), derivative(lower))


def derivative(f: Callable[[float], float], step: float = STEP) -> float:
    """f'(0) by central differences at step, step / 2 and step / 4; the errors of order 2 and 4 in the step cancel."""
    wide, middle, narrow = ((f(h) - f(-h)) / (2 * h) for h in (step, step / 2, step / 4))
    better, best = (4 * middle - wide) / 3, (4 * narrow - middle) / 3
    return (16 * best - better) / 15


def _scalar(func, rng):
    """The function sum(u * sin(func(...))), with the same u at every call."""
    weights = []

    def scalar(*points):
        results = func(*points)
        results = results if isinstance(results, (tuple, list)) else [results]
        outputs = [y for y in results if isinstance(y, Tensor) and is_floating(y.dtype)]
        if not weights:
            weights.extend(_placed(rng.standard_normal(y.shape), y) for y in outputs)
        parts = [(u * FUNCTIONS["sin"](y)).sum() for u, y in zip(weights, outputs)]
        return sum(parts[1:], parts[0])
    return scalar


def _unit(v):
    """v scaled to a largest entry of 1."""
    return v / max(np.abs(v).max(initial=0), 1e-300)


def _placed(values, t):
    """A tensor of NumPy's values on t's device."""
    return Tensor(to_device(np.asarray(values), device_of(t.data)))
