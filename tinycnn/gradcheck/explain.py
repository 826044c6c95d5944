"""What is wrong about a gradient, in words."""
from __future__ import annotations

import numpy as np

LOST = 1e-4                                          # of a derivative: with more rounding than that it tells nothing
SAY = {"difference": "differences say", "complex": "a complex step says"}
LARGE = (": the outputs are so large that this is within the rounding of differences: take a constant off them, or a "
         "larger eps")


class GradcheckError(RuntimeError):
    """A gradient differs from the differences by more than the tolerance."""


def allowed(j, atol: float, rtol: float) -> np.ndarray:
    """How much each entry of a Jacobian may be off."""
    lost = LOST * np.abs(j.numeric).max(initial=0, where=np.isfinite(j.numeric))
    return atol + rtol * np.abs(j.numeric) + np.minimum(j.noise, lost)


def right(j, atol: float, rtol: float) -> np.ndarray:
    """Of each entry of a Jacobian, whether it is; NaN is not."""
    return np.abs(j.analytic - j.numeric) <= allowed(j, atol, rtol)


def complaint(j, atol: float, rtol: float, column: int, operation: str | None, method: str) -> str:
    """What is wrong, where in a column of the Jacobian, by how much, and what it looks like."""
    off, limit = np.abs(j.analytic - j.numeric), allowed(j, atol, rtol)
    row = int(np.argmax(np.where(np.isnan(off), np.inf, off - limit)[:, column]))
    where = "a random projection over all inputs"
    if j.input >= 0:
        flat = j.rows[row], j.columns[column]
        out, inp = (list(map(int, np.unravel_index(k, s))) for k, s in zip(flat, j.shapes))
        where = f"d output {j.output}{out} / d input {j.input}{inp}"
    op = f" of {operation}()" if operation else ""
    backward, numeric = float(j.analytic[row, column]), float(j.numeric[row, column])
    some = off.size < int(np.prod(j.shapes[0])) * int(np.prod(j.shapes[1])) if j.input >= 0 else False
    return (f"gradient wrong{op}: {where}: backward says {backward!r}, {SAY[method]} {numeric!r} "
            f"(off by {off[row, column]:.3g}, allowed {limit[row, column]:.3g}); "
            f"{int(np.sum(~right(j, atol, rtol)))} of {off.size} entries {'looked at ' if some else ''}are off"
            f"{LARGE if off[row, column] <= j.noise[row, column] else hint(j.analytic, j.numeric)}")


def wrong_shape(number: int, found: tuple, expected: tuple) -> str:
    """What is wrong about a gradient of another shape than its input's."""
    ones = (1,) * (len(found) - len(expected)) + tuple(expected)
    looks = ""
    if len(found) >= len(expected) and all(e in (1, f) for e, f in zip(ones, found)):
        looks = ": the input was broadcast, its gradient must be summed over those dimensions"
    elif found == expected[::-1]:
        looks = ": it is transposed"
    elif np.prod(found) == np.prod(expected):
        looks = ": it must be reshaped"
    return f"gradient wrong: that of input {number} has shape {found}, the input {expected}{looks}"


def hint(analytic: np.ndarray, numeric: np.ndarray) -> str:
    """What a wrong Jacobian looks like, ": ...", or "" if like nothing in particular."""
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
    if alike(analytic.T) and not np.allclose(numeric, numeric.T, rtol=1e-3, atol=close):
        return ": it is transposed"
    factor = (analytic * numeric).sum() / (numeric * numeric).sum() if size else 0.0
    if factor and numeric.size > 1 and np.allclose(analytic, factor * numeric, rtol=1e-6, atol=1e-6 * size):
        return f": it is {factor:{'.10g' if abs(factor - 1) < 1e-4 else '.6g'}} times what it should be"
    return ""
