"""gradcheck_model: the first layer of a network whose gradient is wrong.

A wrong gradient in one layer makes all gradients before it wrong, so those say nothing about where it is.  But each
layer can be checked alone, at the input it got when the whole network ran:

    x --> conv --> norm --> relu --> ...          every call is remembered: which module, which inputs
           |        |        |
           v        v        v
         u'Jv     u'Jv     u'Jv                   backward against differences, one argument at a time

Layers without layers inside are checked first, in the order in which they ran; then the modules around them, from the
inside out, which are wrong if their own forward() is.
"""
from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, NamedTuple

import numpy as np

from .. import random
from ..autograd import Tensor, grad, no_grad
from ..backend import device_of, to_device, to_numpy
from ..dtypes import is_floating
from .explain import GradcheckError
from .steps import settled
from .subject import Subject

JITTER, ROUNDS = 0.05, 4                             # how far inputs are moved, off ties such as the zeros of a relu


class ModelReport(NamedTuple):
    """What gradcheck_model found, true if all is right.

    layer     path of the first layer whose gradient is wrong ("" if it is the model's own forward), None if none is
    argument  "input 0", or the name of a parameter
    op        the op that made the layer's output
    checked   how many arguments of layers were checked
    moved     how many of them lay at a kink, or where differences do not settle, and were moved
    unclear   those of them for which that did not help: nothing can be said of their gradients
    message   what is wrong, or ""
    """
    ok: bool
    layer: str | None
    argument: str | None
    op: str | None
    checked: int
    moved: int
    unclear: list
    message: str

    def __bool__(self):
        return self.ok


class _Call(NamedTuple):
    path: str
    module: Any
    inputs: tuple
    options: dict


def gradcheck_model(model: Any, x: Any, raise_exception: bool = True) -> ModelReport:
    """Check every layer of a model at the inputs it gets when the model is called with x.

    model  a Module with float64 parameters (model.double()), in the mode, training or not, that is to be checked
    x      float64 Tensor or array of the model's input shape

    Parameters, buffers and the state of the random numbers are afterwards what they were.  On a wrong gradient raises
    GradcheckError naming layer, argument and op, or returns a report that says so if not raise_exception.  Raises
    TypeError unless parameters and x are float64.
    """
    x = x if isinstance(x, Tensor) else Tensor(x)
    named = [("x", x), *model.named_parameters()]
    narrow = [name for name, t in named if is_floating(t.dtype) and t.dtype != np.float64]
    if narrow:
        raise TypeError(f"gradcheck_model: {narrow[0]} is not float64, and differences need that: call model.double() "
                        "and give a float64 input")
    with _undone(model):
        report = _first_wrong(_calls(model, x))
    if not report and raise_exception:
        raise GradcheckError(report.message)
    return report


def _first_wrong(calls):
    checked, moved, unclear = 0, 0, []
    for call in calls:
        for name in _arguments(call):
            wrong, rounds = _check(call, name)
            checked, moved = checked + 1, moved + (rounds > 0)
            if rounds == ROUNDS:
                unclear.append(f"{call.path}: {name}")
            if wrong:
                op, analytic, numeric = wrong
                layer = f"{call.path or 'the model itself'} ({type(call.module).__name__})"
                return ModelReport(
                    False, call.path, name, op, checked, moved, unclear,
                    f"gradient wrong in layer {layer}, of its {name}, op {op}: along a random direction backward says "
                    f"{analytic!r}, differences say {numeric!r}; the layers that ran before it, and those inside it, "
                    "are right")
    return ModelReport(True, None, None, None, checked, moved, unclear, "")


def _calls(model, x):
    """Every module that ran, leaves in the order in which they did, then what contains them, the innermost first."""
    base, paths, calls, depth = type(model), {id(m): name for name, m in model.named_modules()}, [], []
    while "__call__" not in vars(base):
        base = base.__mro__[1]
    plain = base.__call__

    def remembering(self, *inputs, **options):
        calls.append(None)
        at = len(calls) - 1
        depth.append(self)
        try:
            return plain(self, *inputs, **options)
        finally:
            depth.pop()
            calls[at] = _Call(paths.get(id(self), type(self).__name__), self, inputs, options), len(depth)
    base.__call__ = remembering
    try:
        with no_grad():
            model(x)
    finally:
        base.__call__ = plain
    leaves = [call for call, _ in calls if not any(True for _ in call.module.children())]
    around = [(level, call) for call, level in calls if any(True for _ in call.module.children())]
    return leaves + [call for _, call in sorted(around, key=lambda pair: -pair[0])]


def _arguments(call):
    """The names of what a call's output depends on: its floating-point inputs and its module's own parameters."""
    inputs = [f"input {i}" for i, t in enumerate(call.inputs) if _floating(t)]
    options = [f"input {name}" for name, t in call.options.items() if _floating(t)]
    return inputs + options + [name for name, _ in call.module.named_parameters() if "." not in name]


def _floating(t):
    return isinstance(t, Tensor) and is_floating(t.dtype)


def _check(call, name):
    """None, or what is wrong: (op, analytic, numeric); and how often the point was moved, ROUNDS: in vain."""
    rng = np.random.default_rng(0)
    for moves in range(ROUNDS):
        inputs, options = ([_moved(t, rng) for t in call.inputs], {k: _moved(t, rng) for k, t in call.options.items()})
        point = _point(call, name, inputs, options)
        y = _first_tensor(_run(call, inputs, options))
        if y is None or not y.requires_grad:
            return None, moves
        v, u = (rng.standard_normal(t.shape) for t in (point, y))
        (g,) = grad(y, [point], _beside(y, u), allow_unused=True)
        g = np.zeros(point.shape) if g is None else to_numpy(g.data)
        analytic, size, op = float((g * v).sum()), np.linalg.norm(g * v), getattr(y._node, "name", None)
        start = point.data.copy()

        def value(h, start=start, point=point, inputs=inputs, options=options, u=u, v=v):
            point.data = start + _beside(point, h * v).data
            with no_grad():
                return to_numpy(_first_tensor(_run(call, inputs, options)).data) * u
        right, numeric = settled(value, analytic, size)
        point.data = start
        if right is not None:
            return None if right else (op, analytic, numeric), moves
    return None, ROUNDS


def _moved(t, rng):
    """A tensor with its numbers moved off ties, ready to be differentiated; what is no such tensor as it is."""
    if not _floating(t):
        return t
    values = to_numpy(t.data)
    size = JITTER * (np.abs(values).mean() if values.size else 1.0) + 1e-3
    return Tensor(_beside(t, values + size * rng.standard_normal(t.shape)).data, requires_grad=True)


def _point(call, name, inputs, options):
    if name.startswith("input "):
        key = name.removeprefix("input ")
        return inputs[int(key)] if key.isdigit() else options[key]
    return dict(call.module.named_parameters())[name]


def _run(call, inputs, options):
    random.manual_seed(0)                            # the same dropout each time
    return call.module(*inputs, **options)


def _first_tensor(y):
    if isinstance(y, (tuple, list)):
        return next((t for t in map(_first_tensor, y) if t is not None), None)
    return y if _floating(y) else None


def _beside(t, values):
    return Tensor(to_device(np.asarray(values), device_of(t.data)))


class ModelFunction(Subject):
    """A model as a function of some of its parameters, for projections; the name "input" stands for x.

    After vjp the parameters stay at the values it was called with, which its graph keeps.
    """
    one_code = False

    def __init__(self, model: Any, x: Any, names: list[str]):
        everything = {"input": Tensor(x, requires_grad=True), **dict(model.named_parameters())}
        self.model, self.x, self.places = model, everything["input"], [everything[name] for name in names]

    def point(self) -> list[np.ndarray]:
        """What there is now."""
        return [to_numpy(t.data).copy() for t in self.places]

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        """The model's first output."""
        before = [t.data for t in self.places]
        self._place(inputs)
        with no_grad():
            y = self._run()
        self._place(before)
        return to_numpy(y.data)

    def vjp(self, *inputs: np.ndarray) -> tuple[np.ndarray, Any]:
        """As Subject.vjp."""
        self._place(inputs)
        y = self._run()

        def pullback(seeds):
            found = grad(y, self.places, _beside(y, seeds[0]), retain_graph=True, allow_unused=True)
            return [None if g is None else to_numpy(g.data) for g in found]
        return to_numpy(y.data), pullback

    def _place(self, arrays):
        for t, a in zip(self.places, arrays):
            t.data = to_device(a, device_of(t.data))

    def _run(self):
        random.manual_seed(0)                        # the same dropout each time
        return _first_tensor(self.model(self.x))


@contextmanager
def _undone(model: Any) -> Iterator[None]:
    """`with` block after which parameters, buffers, gradients and random numbers are what they were."""
    kept = [(t, t.data.copy(), t.grad) for _, t in [*model.named_parameters(), *model.named_buffers()]]
    state = random.get_rng_state()
    try:
        yield
    finally:
        random.set_rng_state(state)
        for t, data, gradient in kept:
            t.data, t.grad = data, gradient
