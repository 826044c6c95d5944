"""Gradients against differences: gradcheck and gradgradcheck, for the engine's ops and for yours.

For outputs y = f(x) the Jacobian J[j, i] = dy_j/dx_i is computed twice: row by row by backward, and column by
column by central differences at two steps,

    D(h) = (f(x + h e_i) - f(x - h e_i)) / 2h  = dy/dx_i + c h^2 + ...      J[:, i] = (4 D(h/2) - D(h)) / 3

(Richardson extrapolation: the h^2 term cancels), which in float64 leaves an error near 1e-11.

Where they disagree because f has a corner within a step of the point (kinks.py), the point is moved and checked again.
"""
from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from ..autograd import Tensor, grad
from ..backend import device_of, to_device, to_numpy
from ..dtypes import is_floating
from .kinks import explained, hint

ROUNDS, FAR = 30, 100                                # how often a point is moved, and how far, in steps


class GradcheckError(RuntimeError):
    """A gradient differs from the differences by more than the tolerance."""


class Jacobian(NamedTuple):
    """dy/dx twice, for one output and one input: arrays (elements of y, elements of x).

    input -1: u'Jv, v = direction (an array for each input, None where it stays), u = seed
    """
    output: int
    input: int
    analytic: np.ndarray
    numeric: np.ndarray
    shapes: tuple
    direction: list | None = None
    seed: np.ndarray | None = None


class Report(NamedTuple):
    """What gradcheck found, true if all is right.

    moved    (input, element) that lay at a kink or a tie and were moved, as often as they were; element None: all
    message  what is wrong, or ""
    """
    ok: bool
    moved: list
    message: str

    def __bool__(self):
        return self.ok


def gradcheck(func: Callable, inputs: Any, eps: float = 1e-4, atol: float = 1e-8, rtol: float = 1e-6,
              raise_exception: bool = True, nondet_tol: float = 0.0, fast_mode: bool = False,
              report: bool = False) -> bool | Report:
    """Whether backward() through `func` agrees with differences of `func`.

    func       function of the inputs that returns a Tensor or a tuple of Tensors
    inputs     a Tensor or a sequence; the float64 Tensors that require grad are checked, the rest is passed on
    eps        the larger of the two steps
    fast_mode  compare random projections u'Jv (three of them) instead of every element: for large inputs
    nondet_tol how much two runs of backward may differ
    report     return a Report, which also counts the elements that lay at a kink (a corner of relu, a tie of max) and
               were moved before they could be checked

    Returns True; on disagreement raises GradcheckError naming op, argument and element, or returns False if not
    raise_exception.  Raises ValueError if no input requires grad or one that does is not float64.
    As torch.autograd.gradcheck, with tighter tolerances.

    >>> x = Tensor(np.array([0.5, 2.0]), requires_grad=True)
    >>> gradcheck(lambda x: x * x * x, [x])
    True
    """
    inputs, moved, message = _checked(func, inputs), [], ""
    try:
        _compare(func, inputs, eps, atol, rtol, projections if fast_mode else jacobians, moved)
        _check_deterministic(func, inputs, nondet_tol)
    except GradcheckError as error:
        if raise_exception:
            raise
        message = str(error)
    return Report(not message, moved, message) if report else not message


def gradgradcheck(func: Callable, inputs: Any, grad_outputs: Any = None, eps: float = 1e-4, atol: float = 1e-7,
                  rtol: float = 1e-6, raise_exception: bool = True, nondet_tol: float = 0.0,
                  fast_mode: bool = False) -> bool:
    """gradcheck of the gradients of `func`, as functions of its inputs and of the incoming gradient.

    grad_outputs  one float64 Tensor per output; by default standard-normal ones

    Arguments, result and errors otherwise as gradcheck.  As torch.autograd.gradgradcheck.
    """
    inputs = _checked(func, inputs)
    first, grad_outputs = gradient_function(func, inputs, grad_outputs)
    return gradcheck(first, [*inputs, *grad_outputs], eps, atol, rtol, raise_exception, nondet_tol, fast_mode)


def gradient_function(func: Callable, inputs: Sequence, grad_outputs: Any = None) -> tuple[Callable, list[Tensor]]:
    """The function (inputs, grad_outputs) -> gradients of `func`, differentiable, and grad_outputs to start from."""
    n, rng = len(inputs), np.random.default_rng(8)
    if grad_outputs is None:
        grad_outputs = [_beside(y, rng.standard_normal(y.shape)) for y in _outputs(func, inputs)]
    seeds = [Tensor(g.data, requires_grad=True) for g in _listed(grad_outputs)]

    def first(*args):
        point = list(args[:n])
        found = grad(_outputs(func, point), _differentiable(point), args[n:], create_graph=True, allow_unused=True)
        return tuple(Tensor(t.data * 0) if g is None else g for g, t in zip(found, _differentiable(point)))
    return first, seeds


def worst_error(func: Callable, inputs: Sequence, eps: float = 1e-4) -> float:
    """The largest |analytic - numeric| / max(1, largest |numeric|) over all Jacobians of `func`."""
    errors = [np.abs(j.analytic - j.numeric).max(initial=0) / max(1.0, np.abs(j.numeric).max(initial=0))
              for j in jacobians(func, inputs, eps)]
    return float(np.max(errors)) if errors else 0.0


def jacobians(func: Callable, inputs: Sequence, eps: float = 1e-4) -> list[Jacobian]:
    """The Jacobian of every output with respect to every input that requires grad, analytic and numeric."""
    wanted = [i for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]
    outputs = _outputs(func, inputs)
    analytic = [_analytic(y, [inputs[i] for i in wanted]) for y in outputs]
    numeric = {i: _numeric(func, inputs, i, eps) for i in wanted}
    return [Jacobian(o, i, analytic[o][k], numeric[i][o], (y.shape, inputs[i].shape))
            for o, y in enumerate(outputs) for k, i in enumerate(wanted)]


def projections(func: Callable, inputs: Sequence, eps: float = 1e-4, directions: int = 3) -> list[Jacobian]:
    """u'Jv for random u and v over all inputs at once: one number per output and direction."""
    rng, found = np.random.default_rng(7), []
    outputs, points = _outputs(func, inputs), _differentiable(inputs)
    for _ in range(directions):
        v = [rng.standard_normal(t.shape) for t in points]

        def moved(h, v=v):
            steps = iter(v)
            return _values(func, [_shifted(t, h * next(steps)) if _wanted(t) else t for t in inputs])
        for o, (y, column) in enumerate(zip(outputs, _extrapolated(moved, eps))):
            u = rng.standard_normal(y.shape)
            gradients = _gradients(y, points, u)
            analytic = sum(float((g * w).sum()) for g, w in zip(gradients, v))
            numeric = float((u * column).sum())
            steps = iter(v)
            found.append(Jacobian(o, -1, np.array([[analytic]]), np.array([[numeric]]), (y.shape, "all inputs"),
                                  [next(steps) if _wanted(t) else None for t in inputs], u))
    return found


# ---------------------------------------------------------------------------------------- details

def _wanted(t):
    return isinstance(t, Tensor) and t.requires_grad


def _listed(values):
    return list(values) if isinstance(values, (tuple, list)) else [values]


def _differentiable(inputs):
    return [t for t in inputs if _wanted(t)]


def _checked(func, inputs):
    inputs = _listed(inputs)
    if not _differentiable(inputs):
        raise ValueError("gradcheck: no input requires grad; make them Tensor(array, requires_grad=True)")
    for i, t in enumerate(inputs):
        if _wanted(t) and t.dtype != np.float64:
            raise ValueError(f"gradcheck: input {i} is {t.dtype}; differences need float64: pass x.double()")
    return inputs


def _outputs(func, inputs):
    return [y for y in _listed(func(*inputs)) if isinstance(y, Tensor) and is_floating(y.dtype)]


def _values(func, inputs):
    return [to_numpy(y.data).copy() for y in _outputs(func, inputs)]


def _gradients(y, points, seed):
    if not y.requires_grad:
        return [np.zeros(t.shape) for t in points]
    found = grad(y, points, _beside(y, seed), retain_graph=True, allow_unused=True)
    return [np.zeros(t.shape) if g is None else to_numpy(g.data) for g, t in zip(found, points)]


def _analytic(y, points):
    """One Jacobian (elements of y, elements of t) per point t, a row for each backward from a one-hot gradient."""
    rows = []
    for i in range(y.data.size):
        seed = np.zeros(y.data.size)
        seed[i] = 1
        rows.append([g.reshape(-1) for g in _gradients(y, points, seed.reshape(y.shape))])
    return [np.array([row[k] for row in rows]).reshape(y.data.size, t.data.size) for k, t in enumerate(points)]


def _beside(t, values):
    """A tensor of NumPy's values on t's device."""
    return Tensor(to_device(np.asarray(values), device_of(t.data)))


def _shifted(t, step):
    return Tensor(t.data + _beside(t, step).data, requires_grad=True)


def _extrapolated(values_at, eps):
    """Richardson: (4 D(eps/2) - D(eps)) / 3 of each output along values_at(h)."""
    wide, narrow = ([(a - b) / (2 * h) for a, b in zip(values_at(h), values_at(-h))] for h in (eps, eps / 2))
    return [(4 * n - w) / 3 for n, w in zip(narrow, wide)]


def _numeric(func, inputs, i, eps):
    """One Jacobian per output with respect to input i, a column for each of its elements."""
    t, columns = inputs[i], []
    for k in range(t.data.size):
        unit = np.zeros(t.data.size)
        unit[k] = 1
        unit = unit.reshape(t.shape)

        def moved(h, direction=unit):
            return _values(func, [*inputs[:i], _shifted(t, h * direction), *inputs[i + 1:]])
        columns.append([d.reshape(-1) for d in _extrapolated(moved, eps)])
    sizes = [y.data.size for y in _outputs(func, inputs)]
    return [np.array([c[o] for c in columns]).reshape(t.data.size, n).T for o, n in enumerate(sizes)]


def _compare(func, inputs, eps, atol, rtol, compare, moved):
    """Compare backward with differences; points at kinks are moved, and listed in `moved`, until there are none."""
    rng, names = np.random.default_rng(9), _names(func, inputs)
    for _ in range(ROUNDS):
        failing = [j for j in compare(func, inputs, eps) if not _right(j, atol, rtol).all()]
        rough = {}
        for j in failing:
            for column in np.flatnonzero(~_right(j, atol, rtol).all(0)):
                direction = _direction(inputs, j, column)
                off = np.abs(j.analytic - j.numeric)[:, column]
                if not _at_a_kink(func, inputs, j, direction, eps, np.where(_right(j, atol, rtol)[:, column], 0, off)):
                    raise GradcheckError(_complaint(j, atol, rtol, column, names))
                rough[j.input, None if j.input < 0 else int(column)] = direction
        if not rough:
            return
        moved += rough
        for direction in rough.values():
            step = FAR * eps * rng.uniform(0.5, 1.5) * rng.choice([-1, 1])
            inputs = [t if d is None else _shifted(t, step * d) for t, d in zip(inputs, direction)]
    raise GradcheckError(f"gradient not checked: {len(moved)} times an element lay at a kink or a tie and was moved, "
                         "and still some do: give inputs that are further apart, or a smaller eps")


def _right(j, atol, rtol):
    """Of each entry, whether it is; NaN is not."""
    return np.abs(j.analytic - j.numeric) <= atol + rtol * np.abs(j.numeric)


def _direction(inputs, j, column):
    """For each input, the direction along which `column` of the Jacobian is measured; None: the input stays."""
    if j.input < 0:
        return j.direction
    unit = np.zeros(inputs[j.input].data.size)
    unit[column] = 1
    return [unit.reshape(t.shape) if i == j.input else None for i, t in enumerate(inputs)]


def _at_a_kink(func, inputs, j, direction, eps, off):
    def values_at(h):
        point = [t if d is None else _shifted(t, h * d) for t, d in zip(inputs, direction)]
        y = _values(func, point)[j.output].reshape(-1)
        return y if j.input >= 0 else np.array([y @ j.seed.reshape(-1)])
    return explained(values_at, eps, off).all(where=off > 0) and not np.isnan(off).any()


def _names(func, inputs):
    """The ops that made the outputs."""
    return [getattr(y._node, "name", None) for y in _outputs(func, inputs)]


def _complaint(j, atol, rtol, column, names):
    """What is wrong, where, by how much, and what it looks like."""
    off, allowed = np.abs(j.analytic - j.numeric), atol + rtol * np.abs(j.numeric)
    row = int(np.argmax(np.where(np.isnan(off), np.inf, off - allowed)[:, column]))
    where = "a random projection over all inputs"
    if j.input >= 0:
        out, inp = (tuple(map(int, np.unravel_index(k, s))) for k, s in zip((row, column), j.shapes))
        where = f"d output {j.output}{list(out)} / d input {j.input}{list(inp)}"
    op = f" of {names[j.output]}()" if names[j.output] else ""
    backward, differences = float(j.analytic[row, column]), float(j.numeric[row, column])
    return (f"gradient wrong{op}: {where}: backward says {backward!r}, differences say {differences!r} "
            f"(off by {off[row, column]:.3g}, allowed {allowed[row, column]:.3g}); "
            f"{int(np.sum(~_right(j, atol, rtol)))} of {off.size} entries are off{hint(j.analytic, j.numeric)}")


def _check_deterministic(func, inputs, tolerance):
    def once():
        return [g for y in _outputs(func, inputs) for g in _gradients(y, _differentiable(inputs), np.ones(y.shape))]
    for a, b in zip(once(), once()):
        if np.abs(a - b).max(initial=0) > tolerance:
            raise GradcheckError(f"two runs of backward differ by {np.abs(a - b).max():.3g} (nondet_tol={tolerance})")
