"""One derivative along a direction, judged by differences at ever smaller steps.

    large steps    cross kinks: where thousands of ReLUs or maxima are in play, some change their mind on the way
    small steps    drown in rounding
    a right gradient agrees at some step; a wrong one at none
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

STEPS = 1e-7, 1e-6, 1e-8, 1e-5, 1e-9, 1e-10
RTOL, ATOL, ROUGH = 1e-5, 1e-7, 1e-4                 # ROUGH: with more rounding than that a step tells nothing


def settled(values_at: Callable[[float], np.ndarray], analytic: float, size: float) -> tuple[bool | None, float]:
    """Whether the derivative of values_at(h).sum() at h = 0 is `analytic`, and the difference that says so.

    size   of the terms that `analytic` is the sum of
    None: so rough a point that differences say nothing.
    """
    found = []                                       # of each step: difference, rounding, and how much it may bend
    for step in STEPS:
        low, middle, high = values_at(-step), values_at(0.0), values_at(step)
        numeric, noise = float((high - low).sum() / (2 * step)), 1e-15 * np.abs(middle).sum() / step
        scale = max(abs(numeric), size)
        if noise <= ROUGH * scale + ATOL and abs(analytic - numeric) <= ATOL + RTOL * scale + noise:
            return True, numeric
        found.append((numeric, noise, np.abs(high - 2 * middle + low).sum() / step))
    numeric = _agreed(found)
    if numeric is not None and not abs(analytic - numeric) <= sum(found[0][1:]):       # else it may be a kink's bend
        return False, numeric
    return None, float("nan")


def _agreed(found):
    """The difference that two steps agree on; None: so rough a point that differences say nothing."""
    for (a, noise, _), (b, more, _) in zip(found, found[1:]):
        if abs(a - b) <= 1e-3 * abs(a) + noise + more:
            return a
    return None
