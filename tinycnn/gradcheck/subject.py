"""What can be checked: a function of NumPy arrays and its backward, whatever engine they belong to.

    with_backward(forward, backward)    two plain functions
    vjp_function(vjp)                   vjp(*arrays) -> (outputs, pullback), as JAX and autograd have it
    torch_function(func)                a function of PyTorch's tensors, or a module
    TensorFunction(func, inputs)        a function of tinycnn's Tensors: what gradcheck makes of any other function

Another engine is one more subclass of Subject.
"""
from __future__ import annotations

from importlib import import_module
from typing import Any, Callable, Sequence

import numpy as np

from ..autograd import Tensor, grad
from ..backend import device_of, to_device, to_numpy
from ..dtypes import complex_is_floating, is_floating


class Subject:
    """A function of arrays and its backward: all that a check asks of an engine.

    name         what messages call it
    one_code     whether complex arrays run through the very code that real ones do, so that a derivative by a complex
                 step is that of the function checked
    """
    name: str | None = None
    one_code = True

    def forward(self, *inputs: Any) -> Any:
        """The output or a tuple of them; inputs: the arrays at some point, and what was passed on beside them."""
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(*inputs) -> outputs")

    def vjp(self, *inputs: Any) -> tuple[Any, Callable[[list], Sequence]]:
        """What forward gives, and pullback(a list of gradients, one per output) -> one per input, None: it has none."""
        raise NotImplementedError(f"{type(self).__name__} needs a method vjp(*inputs) -> (outputs, pullback)")

    def operation(self, output: int, *inputs: Any) -> str | None:
        """The name of what made an output, if known."""
        return self.name


def listed(values: Any) -> list:
    """The elements of a tuple or list; of anything else a list of it."""
    return list(values) if isinstance(values, (tuple, list)) else [values]


class _Pair(Subject):
    def __init__(self, forward, backward):
        self.forward, self.backward, self.name = forward, backward, _name(forward)

    def vjp(self, *inputs):
        kept = [_copied(v) for v in inputs]          # forward and backward may write into theirs
        outputs = self.forward(*inputs)

        def pullback(seeds):
            return listed(self.backward(_shaped_like(outputs, seeds), *(_copied(v) for v in kept)))
        return outputs, pullback


def with_backward(forward: Callable, backward: Callable) -> Subject:
    """A plain function and its backward, for gradcheck.

    forward   forward(*inputs) -> an array or a tuple of arrays
    backward  backward(g, *inputs) -> the gradients, one per input (None for one that has none; with a single input its
              gradient alone); g is the gradient of the output, a tuple if forward returns one

    >>> from tinycnn import gradcheck
    >>> gradcheck(with_backward(np.sin, lambda g, x: g * np.cos(x)), [np.array([0.5, 2.0])])
    True
    """
    return _Pair(forward, backward)


class _Vjp(Subject):
    def __init__(self, vjp, forward):
        self.function, self.name = vjp, _name(forward or vjp)
        self.forward = forward or (lambda *inputs: vjp(*inputs)[0])

    def vjp(self, *inputs):
        outputs, pullback = self.function(*inputs)
        return outputs, lambda seeds: listed(pullback(_shaped_like(outputs, seeds)))


def vjp_function(vjp: Callable, forward: Callable | None = None) -> Subject:
    """A function that returns its outputs and how gradients are pulled back, for gradcheck.

    vjp      vjp(*arrays) -> (outputs, pullback), pullback(g) -> the gradients, one per input; g is the gradient of the
             output, or a tuple or list of them as `outputs` is
    forward  the outputs alone, if that is cheaper

    JAX: vjp_function(partial(jax.vjp, f), f), in 64 bits.  autograd, which returns the two the other way round:
    vjp_function(lambda *xs: make_vjp(f, range(len(xs)))(*xs)[::-1], f).
    """
    return _Vjp(vjp, forward)


class _Torch(Subject):
    one_code = False

    def __init__(self, func):
        try:
            self.torch = import_module("torch")
        except ImportError as error:
            raise ImportError("torch_function: PyTorch is not installed: pip install torch") from error
        self.func, self.name = func, _name(func)

    def forward(self, *inputs):
        return tuple(y.detach().numpy() for y in self._outputs(self._tensors(inputs)))

    def vjp(self, *inputs):
        tensors = self._tensors(inputs)
        points = [t for t in tensors if isinstance(t, self.torch.Tensor) and t.is_leaf and t.requires_grad]
        outputs = self._outputs(tensors)

        def pullback(seeds):
            pairs = [(y, self.torch.from_numpy(s)) for y, s in zip(outputs, seeds) if y.requires_grad]
            if not pairs:
                return [None] * len(tensors)
            ys, gradients = zip(*pairs)
            found = self.torch.autograd.grad(ys, points, gradients, retain_graph=True, allow_unused=True)
            found = {id(t): g.numpy() for t, g in zip(points, found) if g is not None}
            return [found.get(id(t)) for t in tensors]
        return tuple(y.detach().numpy() for y in outputs), pullback

    def operation(self, output, *inputs):
        made = self._outputs(self._tensors(inputs))[output].grad_fn
        return made.name() if made else self.name

    def _tensors(self, inputs):
        """Arrays of floating-point numbers as tensors that require grad, other arrays as tensors, the rest as it is."""
        def tensor(v):
            t = self.torch.from_numpy(v.copy())
            return t.requires_grad_() if v.dtype.kind in "fc" else t
        return [tensor(v) if isinstance(v, np.ndarray) else v for v in inputs]

    def _outputs(self, tensors):
        return [y for y in listed(self.func(*tensors)) if isinstance(y, self.torch.Tensor)
                and (y.is_floating_point() or y.is_complex())]


def torch_function(func: Callable) -> Subject:
    """A function of PyTorch's tensors, on the CPU, for gradcheck: a function, a Module in float64, a Function's apply.

    Its inputs are given as NumPy arrays.  Raises ImportError, with the cure, without PyTorch.
    """
    return _Torch(func)


class TensorFunction(Subject):
    """A function of Tensors; those of `inputs` that require grad are replaced by arrays' values, on their devices.

    Complex numbers take the kernels in plain NumPy (kernels/reference), whatever kernels real ones take.
    """
    one_code = False

    def __init__(self, func: Callable, inputs: Sequence):
        self.func, self.name = func, None
        self.devices = [device_of(t.data) if wanted(t) else None for t in inputs]

    def forward(self, *inputs: Any) -> list[np.ndarray]:
        """As Subject.forward."""
        with complex_is_floating(any(np.iscomplexobj(v) for v in inputs if isinstance(v, np.ndarray))):
            return [to_numpy(y.data) for y in self._outputs(self._tensors(inputs))]

    def vjp(self, *inputs: Any) -> tuple[list, Callable]:
        """As Subject.vjp."""
        tensors = self._tensors(inputs)
        points = [t for t, device in zip(tensors, self.devices) if device]
        outputs = self._outputs(tensors)

        def pullback(seeds):
            pairs = [(y, Tensor(to_device(s, device_of(y.data)))) for y, s in zip(outputs, seeds)
                     if y.requires_grad and s.any()]
            if not pairs:
                return [None] * len(tensors)
            ys, gradients = zip(*pairs)
            found = grad(ys, points, gradients, retain_graph=True, allow_unused=True)
            found = {id(t): to_numpy(g.data) for t, g in zip(points, found) if g is not None}
            return [found.get(id(t)) for t in tensors]
        return [to_numpy(y.data) for y in outputs], pullback

    def operation(self, output: int, *inputs: Any) -> str | None:
        """The op that made the output."""
        return getattr(self._outputs(self._tensors(inputs))[output]._node, "name", None)

    def _tensors(self, inputs):
        return [Tensor(to_device(v, device), requires_grad=True) if device else v
                for v, device in zip(inputs, self.devices)]

    def _outputs(self, tensors):
        return [y for y in listed(self.func(*tensors)) if isinstance(y, Tensor) and is_floating(y.dtype)]


def wanted(t: Any) -> bool:
    """Whether an input of a function of Tensors is to be checked."""
    return isinstance(t, Tensor) and t.requires_grad


def _name(function):
    return getattr(function, "__name__", None) if getattr(function, "__name__", None) != "<lambda>" else None


def _copied(v):
    return v.copy() if isinstance(v, np.ndarray) else v


def _shaped_like(outputs, seeds):
    """The seeds as a tuple or list, as the outputs are one, or alone."""
    return (tuple if isinstance(outputs, tuple) else list)(seeds) if isinstance(outputs, (tuple, list)) else seeds[0]
