"""Where differences and a gradient disagree: is it a corner of the function?

At a kink (relu at 0, two equal maxima) there is no derivative: the slopes to both sides differ, central differences
give their mean, and backward may give any slope in between.  What tells a kink from a curve is the second difference

    s(h) = |f(x + h) - 2 f(x) + f(x - h)| / h

    a curve                  h |f''|, so it halves with the step
    a kink at x              the jump between the slopes, whatever the step
    a kink at x + d, d < h   the jump, times 1 - d/h; and nothing once the step is below d
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np


def jumps(values_at: Callable[[float], np.ndarray], h: float) -> np.ndarray:
    """Of each element of f: how far a kink within `h` may have put its difference off; 0 where f is a curve.

    values_at   f along a line: values_at(t) at x + t*direction
    """
    middle = values_at(0.0)
    s, half, quarter = (np.abs(values_at(t) - 2 * middle + values_at(-t)) / t for t in (h, h / 2, h / 4))
    rounding = 64 * np.finfo(np.float64).eps * np.abs(middle).max(initial=0) / h
    curve = _halved(s, half, rounding) & _halved(half, quarter, rounding)
    return np.where(curve, 0, 2 * np.maximum(s, half))


def _halved(before, after, rounding):
    return np.abs(after - before / 2) <= 1e-3 * before + rounding
