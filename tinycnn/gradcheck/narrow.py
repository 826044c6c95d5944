"""From a random projection that is off to one element: which input, which output.

What u'Jv is off by is the sum of what its parts are off by, so half of the elements of v are left out, then half of
those that remain, and so on: log2(n) derivatives find one of n elements.  Then the same with u.
"""
from __future__ import annotations

import numpy as np

from .bound import Arrays, Bound
from .jacobian import Jacobian, along, part
from .numeric import slopes

LOOKED_AT = 8                                        # so many rows and columns tell what a wrong Jacobian looks like


def narrowed(bound: Bound, point: Arrays, j: Jacobian, eps: float, method: str) -> Jacobian:
    """A few rows and columns of the Jacobian, the first of which are where the projection j is off."""
    _, gradients = bound.pullback(point)
    analytic = _flat([g * v for g, v in zip(gradients(j.output, j.seed), j.direction)])

    def off_by_columns(elements):
        direction = _parted(j.direction, elements)
        slope = slopes(bound, point, direction, eps, method)[0][j.output]
        return abs(analytic[elements].sum() - (j.seed * slope).sum())
    k, column = _where(point, _halved(np.arange(analytic.size), off_by_columns))
    slope = slopes(bound, point, along(point, k, column), eps, method)[0][j.output]

    def off_by_rows(elements):
        [seed] = _parted([j.seed], elements)
        return abs(gradients(j.output, seed)[k].flat[column] - (seed * slope).sum())
    row = _halved(np.arange(j.seed.size), off_by_rows)
    rows, columns = _and_others(row, j.seed.size), _and_others(column, point[k].size)
    return part(bound, point, j.output, k, rows, columns, eps, method)


def _halved(elements, off_by):
    """The element that is left when the half that is off by less is left out, again and again."""
    while len(elements) > 1:
        elements = max(np.array_split(elements, 2), key=off_by)
    return int(elements[0])


def _parted(arrays, elements):
    """The arrays with zeros in all but some of their elements, numbered through."""
    flat = _flat(arrays)
    kept = np.zeros(flat.size)
    kept[elements] = flat[elements]
    pieces = np.split(kept, np.cumsum([a.size for a in arrays])[:-1])
    return [piece.reshape(a.shape) for piece, a in zip(pieces, arrays)]


def _flat(arrays):
    return np.concatenate([np.ravel(a) for a in arrays])


def _where(point, element):
    """Which array of the point, and which of its elements, has a number."""
    for k, x in enumerate(point):
        if element < x.size:
            return k, element
        element -= x.size
    raise IndexError(element)


def _and_others(element, size):
    """An element, and some spread over all of them."""
    return np.array(list(dict.fromkeys([element, *np.linspace(0, size - 1, min(size, LOOKED_AT), dtype=int).tolist()])))
