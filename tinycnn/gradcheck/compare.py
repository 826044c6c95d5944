"""Backward against derivatives that need none, at a point, and beside it where the point lies at a kink."""
from __future__ import annotations

import numpy as np

from .bound import Arrays, Bound
from .explain import GradcheckError, complaint, right
from .jacobian import Jacobian, along, full, projected, projection
from .kinks import jumps
from .narrow import narrowed
from .numeric import shifted
from .steps import settled

ROUNDS, FAR = 30, 100                                # how often a point is moved, and how far, in steps
SMALL = 1000                                         # elements, of inputs and outputs together, for full Jacobians
FINE = 1e-6                                          # a step that crosses few kinks


class Comparison:
    """Every element of the Jacobians, or random projections, and what came of them.

    full    whether every element is compared
    moved   (input, element) that lay at a kink and were moved; element None: all
    error   the largest |analytic - numeric| of what was right, relative to the largest derivative or to 1
    """

    def __init__(self, bound: Bound, eps: float, atol: float, rtol: float, method: str, fast_mode: bool | None):
        self.bound, self.eps, self.atol, self.rtol, self.method = bound, eps, atol, rtol, method
        self.moved: list = []
        self.error = 0.0
        if fast_mode is None:
            fast_mode = sum(a.size for a in [*bound.point, *bound.values(bound.point)]) > SMALL
        self.full = not fast_mode

    def run(self) -> None:
        """Compare; points at kinks are moved until there are none.  Raises GradcheckError for a wrong gradient."""
        rng, point = np.random.default_rng(9), self.bound.point
        for _ in range(ROUNDS):
            rough = self._elements(point) if self.full else self._directions(point)
            if not rough:
                return
            self.moved += rough
            for direction in rough.values():
                point = shifted(point, direction, FAR * self.eps * rng.uniform(0.5, 1.5) * rng.choice([-1, 1]))
        raise GradcheckError(f"gradient not checked: {len(self.moved)} times an element lay at a kink or a tie and was "
                             "moved, and still some do: give inputs that are further apart, or a smaller eps")

    def _elements(self, point):
        """The elements at kinks, with the directions along which they are to be moved."""
        rough: dict = {}
        for j in full(self.bound, point, self.eps, self.method):
            fine, off = right(j, self.atol, self.rtol), np.abs(j.analytic - j.numeric)
            for column in map(int, np.flatnonzero(~fine.all(0))):
                direction = along(point, self.bound.numbers.index(j.input), column)
                if not self._at_a_kink(point, j.output, direction, np.where(fine[:, column], 0, off[:, column])):
                    self._fail(j, column)
                rough[j.input, column] = direction
            self._note(j, fine.all(0))
        return rough

    def _at_a_kink(self, point, output, direction, off):
        if self.method == "complex" or np.isnan(off).any():
            return False
        found = jumps(lambda h: self.bound.values(shifted(point, direction, h))[output].reshape(-1), self.eps)
        return (off <= found).all(where=off > 0)

    def _directions(self, point):
        """The direction of a projection that is too rough for differences, if one is."""
        for j in projected(self.bound, point, self.eps, self.method):
            fine = right(j, self.atol, self.rtol)
            self._note(j, fine[0])
            if not fine.all():
                correct, part, step = self._judged(point, j)
                if correct is None:
                    return {(-1, None): j.direction}
                if not correct:
                    element = narrowed(self.bound, point, part, step, self.method)
                    self._fail(part if right(element, self.atol, self.rtol)[0, 0] else element, 0)
        return {}

    def _judged(self, point, j):
        """Whether backward is right where the projection j says no (None: unknown); of which outputs; a step for them.

        Outputs that are smooth along the direction are compared as before; those with a kink on the way at steps so
        small that they cross few.
        """
        def values_at(h):
            return self.bound.values(shifted(point, j.direction, h))[j.output]

        def part(mask, step):
            return projection(self.bound, point, j.output, j.direction, j.seed * mask, step, self.method)
        if self.method == "complex":
            return False, j, self.eps
        kinked = jumps(values_at, self.eps) > 0
        smooth = part(~kinked, self.eps)
        if not right(smooth, self.atol, self.rtol).all():
            return False, smooth, self.eps
        rest = part(kinked, FINE)
        gradients = self.bound.pullback(point)[1](j.output, rest.seed)
        size = np.sqrt(sum(np.sum((g * v) ** 2) for g, v in zip(gradients, j.direction)))
        return settled(lambda h: rest.seed * values_at(h), rest.analytic.item(), size)[0], rest, FINE

    def _note(self, j: Jacobian, columns: np.ndarray):
        self.error = max(self.error, j._replace(analytic=j.analytic[:, columns], numeric=j.numeric[:, columns]).error)

    def _fail(self, j, column):
        operation = self.bound.operation(j.output)
        raise GradcheckError(complaint(j, self.atol, self.rtol, column, operation, self.method))


def check_deterministic(bound: Bound, tolerance: float) -> None:
    """Raises GradcheckError if two runs of backward differ by more than a tolerance."""
    def once(point: Arrays) -> Arrays:
        outputs, gradients = bound.pullback(point)
        return [g for o, y in enumerate(outputs) for g in gradients(o, np.ones(y.shape))]
    for a, b in zip(once(bound.point), once(bound.point)):
        if np.abs(a - b).max(initial=0) > tolerance:
            raise GradcheckError(f"two runs of backward differ by {np.abs(a - b).max():.3g} (nondet_tol={tolerance})")
