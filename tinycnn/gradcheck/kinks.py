"""Where differences and a gradient disagree: is it a corner of the function, and if not, what is wrong?

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


def explained(values_at: Callable[[float], np.ndarray], h: float, off: np.ndarray) -> np.ndarray:
    """Of each element of f: may a kink within `h` be the reason that gradient and difference are `off` by so much?

    values_at   f along a line: values_at(t) at x + t*direction
    """
    middle = values_at(0.0)
    s, half, quarter = (np.abs(values_at(t) - 2 * middle + values_at(-t)) / t for t in (h, h / 2, h / 4))
    curve = _halved(s, half) & _halved(half, quarter)
    return (off <= 2 * np.maximum(s, half)) & ~curve


def _halved(before, after):
    return (0.4 * before <= after) & (after <= 0.6 * before)


def hint(analytic: np.ndarray, numeric: np.ndarray) -> str:
    """What a wrong Jacobian looks like, " (...)", or "" if like nothing in particular."""
    if not np.isfinite(numeric).all():
        return ": the function is not finite around there"
    size = np.abs(numeric).max(initial=0)
    close = 1e-3 * max(size, 1e-12)

    def alike(other):
        return other.shape == numeric.shape and np.allclose(other, numeric, rtol=1e-3, atol=close)
    if not np.isfinite(analytic).all():
        return ": backward gives NaN or infinity"
    if not analytic.any():
        return ": backward gives only zeros; is the input detached, or its gradient missing?"
    if alike(-analytic):
        return ": the sign is wrong"
    if numeric.size > 1 and alike(analytic.T):
        return ": it is transposed"
    factor = (analytic * numeric).sum() / (numeric * numeric).sum() if size else 0.0
    if factor and numeric.size > 1 and np.allclose(analytic, factor * numeric, rtol=1e-6, atol=1e-6 * size):
        return f": it is {factor:.6g} times what it should be"
    return ""
