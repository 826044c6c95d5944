"""A subject at its inputs: functions of the arrays that are checked alone, with lists of arrays in and out."""
from __future__ import annotations

from typing import Any, Callable

import numpy as np

from ..autograd import Tensor
from ..backend import to_numpy
from .explain import GradcheckError, wrong_shape
from .subject import Subject, TensorFunction, listed, wanted

Arrays = list[np.ndarray]


class Bound:
    """`func`, a Subject or a function of Tensors, with all inputs but those that are checked filled in.

    point    the arrays that are checked
    numbers  which of the inputs they are
    """

    def __init__(self, func: Any, inputs: Any):
        self.inputs = listed(inputs)
        if isinstance(func, Subject):
            self.subject: Subject = func
            self.numbers = [i for i, v in enumerate(self.inputs) if isinstance(v, np.ndarray) and v.dtype.kind in "fc"]
            self.point = [self.inputs[i] for i in self.numbers]
        else:
            self.subject = TensorFunction(func, self.inputs)
            self.numbers = [i for i, t in enumerate(self.inputs) if wanted(t)]
            self.point = [to_numpy(self.inputs[i].data) for i in self.numbers]

    def check_inputs(self) -> None:
        """Raises ValueError if nothing can be checked, or what should be is not float64."""
        if not self.numbers:
            cure = ("no input requires grad; make them Tensor(array, requires_grad=True)"
                    if isinstance(self.subject, TensorFunction) else "no input is a float64 NumPy array")
            raise ValueError(f"gradcheck: {cure}")
        for i, x in zip(self.numbers, self.point):
            if x.dtype != np.float64:
                cure = "x.double()" if isinstance(self.inputs[i], Tensor) else "x.astype(np.float64)"
                raise ValueError(f"gradcheck: input {i} is {x.dtype}; differences need float64: pass {cure}")

    def values(self, point: Arrays) -> Arrays:
        """The outputs at a point; those of floating-point numbers."""
        return [y.copy() for y in _floating(self.subject.forward(*self._at(point)))]

    def pullback(self, point: Arrays) -> tuple[Arrays, Callable[[int, np.ndarray], Arrays]]:
        """The outputs, and a function (output, its gradient) -> the gradients of the point's arrays."""
        outputs, pullback = self.subject.vjp(*self._at(point))
        every = [np.asarray(y) for y in listed(outputs)]
        floating = [k for k, y in enumerate(every) if y.dtype.kind in "fc"]

        def gradients(output, seed):
            seeds = [np.zeros(y.shape) for y in every]
            seeds[floating[output]] = np.array(seed, np.float64).reshape(every[floating[output]].shape)
            return self._gradients(pullback(seeds))
        return _floating(outputs), gradients

    def operation(self, output: int) -> str | None:
        """The name of what made an output, if known."""
        return self.subject.operation(output, *self._at(self.point))

    def _at(self, point):
        """The inputs with copies of a point's arrays in their places."""
        inputs = list(self.inputs)
        for i, x in zip(self.numbers, point):
            inputs[i] = x.copy()
        return inputs

    def _gradients(self, found):
        if len(found) != len(self.inputs):
            raise GradcheckError(f"gradient wrong: backward gives {len(found)} gradients, there are {len(self.inputs)} "
                                 "inputs: give one for each, None where there is none")
        gradients = []
        for i, x in zip(self.numbers, self.point):
            g = np.zeros(x.shape) if found[i] is None else np.asarray(found[i])
            if g.shape != x.shape:
                raise GradcheckError(wrong_shape(i, g.shape, x.shape))
            gradients.append(g)
        return gradients


def _floating(outputs):
    found = [y for y in map(np.asarray, listed(outputs)) if y.dtype.kind in "fc"]
    for o, y in enumerate(found):
        if y.dtype.itemsize < 8:
            raise ValueError(f"gradcheck: output {o} is {y.dtype} though the inputs are float64; differences need "
                             "float64 throughout (JAX: jax.config.update('jax_enable_x64', True))")
    return found
