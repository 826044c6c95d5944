"""Jacobians twice, by backward and without it: all elements, some of them, or random projections.

For outputs y = f(x) the Jacobian is J[j, i] = dy_j/dx_i.  Backward gives it row by row, u'J for u = (0, ..1.., 0);
differences or complex steps give it column by column, Jv for v = (0, ..1.., 0).  For random u and v the one number
u'Jv, which both give at once, tells whether they agree.
"""
from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from .bound import Arrays, Bound
from .numeric import slopes


class Jacobian(NamedTuple):
    """dy/dx twice, for one output and one input: arrays (elements of y, elements of x).

    noise    how far rounding may have put each element of `numeric` off
    rows     which elements of y (flat indices)
    columns  which elements of x
    input -1: u'Jv, v = direction (an array for each of the arrays checked), u = seed
    """
    output: int
    input: int
    analytic: np.ndarray
    numeric: np.ndarray
    noise: np.ndarray
    shapes: tuple
    rows: np.ndarray
    columns: np.ndarray
    direction: list | None = None
    seed: np.ndarray | None = None

    @property
    def error(self) -> float:
        """The largest |analytic - numeric|, relative to the largest |numeric| or to 1."""
        off = np.abs(self.analytic - self.numeric)
        return float(off.max(initial=0) / max(1.0, np.abs(self.numeric).max(initial=0)))


def jacobians(func: Any, inputs: Any, eps: float = 1e-4, method: str = "difference") -> list[Jacobian]:
    """The Jacobian of every output with respect to every input that is checked, analytic and numeric."""
    bound = Bound(func, inputs)
    return full(bound, bound.point, eps, method)


def projections(func: Any, inputs: Any, eps: float = 1e-4, directions: int = 3,
                method: str = "difference") -> list[Jacobian]:
    """u'Jv for random u and v over all inputs at once: one number per output and direction."""
    bound = Bound(func, inputs)
    return projected(bound, bound.point, eps, method, directions)


def worst_error(func: Callable, inputs: Sequence, eps: float = 1e-4, method: str = "difference") -> float:
    """The largest |analytic - numeric| / max(1, largest |numeric|) over all Jacobians of `func`."""
    return float(np.max([j.error for j in jacobians(func, inputs, eps, method)], initial=0.0))


def full(bound: Bound, point: Arrays, eps: float, method: str) -> list[Jacobian]:
    """All of every Jacobian at a point."""
    outputs, gradients = bound.pullback(point)
    rows = [np.arange(y.size) for y in outputs]
    analytic = [_by_rows(gradients, point, o, y, rows[o]) for o, y in enumerate(outputs)]
    found = []
    for k, (number, x) in enumerate(zip(bound.numbers, point)):
        columns = np.arange(x.size)
        numeric = _by_columns(bound, point, k, columns, outputs, eps, method)
        found += [Jacobian(o, number, analytic[o][k], *numeric[o], (y.shape, x.shape), rows[o], columns)
                  for o, y in enumerate(outputs)]
    return sorted(found, key=lambda j: j.output)


def part(bound: Bound, point: Arrays, output: int, k: int, rows: np.ndarray, columns: np.ndarray, eps: float,
         method: str) -> Jacobian:
    """Some rows and columns of the Jacobian of an output with respect to the point's array k."""
    outputs, gradients = bound.pullback(point)
    y = outputs[output]
    analytic = _by_rows(gradients, point, output, y, rows)[k][:, columns]
    numeric, noise = _by_columns(bound, point, k, columns, outputs, eps, method)[output]
    return Jacobian(output, bound.numbers[k], analytic, numeric[rows], noise[rows], (y.shape, point[k].shape), rows,
                    columns)


def projected(bound: Bound, point: Arrays, eps: float, method: str, directions: int = 3) -> list[Jacobian]:
    """u'Jv at a point for random u and v."""
    rng = np.random.default_rng(7)
    shapes = [y.shape for y in bound.values(point)]
    found = []
    for _ in range(directions):
        v = [rng.standard_normal(x.shape) for x in point]
        found += [projection(bound, point, o, v, rng.standard_normal(shape), eps, method)
                  for o, shape in enumerate(shapes)]
    return found


def projection(bound: Bound, point: Arrays, output: int, v: list, u: np.ndarray, eps: float, method: str) -> Jacobian:
    """u'Jv of an output at a point."""
    gradients = bound.pullback(point)[1](output, u)
    analytic = sum(float((g * w).sum()) for g, w in zip(gradients, v))
    slope, noise = (found[output] for found in slopes(bound, point, v, eps, method))
    one = np.arange(1)
    return Jacobian(output, -1, np.array([[analytic]]), np.array([[(u * slope).sum()]]),
                    np.array([[np.linalg.norm(u * noise)]]), (u.shape, "all inputs"), one, one, v, u)


def _by_rows(gradients, point, o, y, rows):
    """For each array of the point (len(rows), its elements): a backward from each one-hot gradient of output o."""
    found = [np.zeros((len(rows), x.size)) for x in point]
    for r, row in enumerate(rows):
        for block, g in zip(found, gradients(o, unit(y.shape, row))):
            block[r] = g.reshape(-1)
    return found


def _by_columns(bound, point, k, columns, outputs, eps, method):
    """For each output (its elements, len(columns)), twice: derivatives along elements of array k, and their noise."""
    found = [(np.zeros((y.size, len(columns))), np.zeros((y.size, len(columns)))) for y in outputs]
    for c, column in enumerate(columns):
        derivatives = slopes(bound, point, along(point, k, column), eps, method)
        for (numeric, rounding), slope, noise in zip(found, *derivatives):
            numeric[:, c], rounding[:, c] = slope.reshape(-1), noise.reshape(-1)
    return found


def unit(shape: tuple, element: int) -> np.ndarray:
    """Zeros, and 1 at a flat index."""
    e = np.zeros(shape)
    e.flat[element] = 1
    return e


def along(point: Arrays, k: int, element: int) -> list:
    """The direction along an element of the point's array k."""
    return [unit(x.shape, element) if i == k else None for i, x in enumerate(point)]
