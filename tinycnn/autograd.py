"""Reverse-mode differentiation, whole: Tensor, `@op`, backward and grad.  Knows nothing of layers or devices.

Calling an op computes an array and, if gradients are wanted, leaves a Node behind its result:

    x --.                                 Node(name="mul", parents=(x, w), vjps=(g -> g*w, g -> g*x))
         mul --> y.data, y._node  ----->
    w --'

backward() walks these nodes from the result to the leaves, each after all that use it, and hands every node's
vjps (vector-Jacobian products) the finished gradient of its output.  The vjps are themselves written with ops:
with create_graph=True the walk records a graph of its own, so derivatives of every order are exact.
"""
from __future__ import annotations

from functools import wraps
from inspect import Parameter as _Argument
from inspect import signature
from operator import attrgetter
from sys import getrefcount
from typing import Any, Callable, Sequence
from weakref import ref

import numpy as np

from .anomaly import (  # noqa: F401  (for all)
    AnomalyError,
    detect_anomaly,
    is_anomaly_enabled,
    set_detect_anomaly,
    watchable,
)
from .autocast import casting
from .backend import array_module, is_writeable
from .callers import record_lines  # noqa: F401  (for all)
from .dtypes import is_floating
from .methods import FUNCTIONS, TensorMethods
from .recording import (  # noqa: F401  (for all)
    HookHandle,
    Node,
    enable_grad,
    is_grad_enabled,
    is_replaying,
    moment,
    no_grad,
    replaying,
    set_grad_enabled,
)
from .walk import like, sweep

OPS: dict[str, Callable[..., Tensor]] = {}           # every differentiable operation, by name


class Tensor(TensorMethods):
    """An array, and how it came to be.

    data           numpy or cupy array: of any shape; float32 and float64 can carry gradients
    requires_grad  whether backward() should reach it
    grad           Tensor of data's shape, or None before backward(); only leaves keep theirs

    Raises TypeError for data that is no array of numbers, or requires_grad of integers.  As torch.Tensor.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    Tensor([2., 4.], dtype=float32)
    """

    __slots__ = ("_data", "requires_grad", "grad", "_node", "_version", "_hooks", "__weakref__")
    __array_ufunc__ = None                           # ndarray + Tensor -> Tensor.__radd__

    def __init__(self, data: Any, requires_grad: bool = False):
        self._data = as_array(data)
        self.requires_grad, self.grad, self._node, self._hooks, self._version = False, None, None, None, 0
        if requires_grad:
            self.requires_grad_()

    def _replace(self, data):
        """Take another array; a graph that saved the old one will notice."""
        self._data = as_array(data)
        self._version += 1

    data = property(attrgetter("_data"), _replace, doc="The array; `t.data += 1` counts as a change in place.")

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set requires_grad and return the tensor.  Raises TypeError unless it is floating point."""
        if requires_grad and not is_floating(self._data.dtype):
            raise TypeError(f"only floating-point tensors can require gradients, this one is {self._data.dtype}: "
                            "convert it first, x.float()")
        if not requires_grad and self._node is not None:
            raise RuntimeError(f"requires_grad_(False): the tensor is the result of {self._node.name}(), "
                               "not a leaf; use x.detach()")
        self.requires_grad = bool(requires_grad)
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor was made by the user and not by an op that recorded it."""
        return self._node is None

    def detach(self) -> Tensor:
        """The same array without its history."""
        out = Tensor(self._data)
        out._version = self._version
        return out

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> HookHandle:
        """Call `hook(gradient)` when the gradient is known; what it returns, if anything, takes its place.

        Returns a handle with remove().  Raises RuntimeError if the tensor does not require grad.
        """
        if not self.requires_grad:
            raise RuntimeError("register_hook: the tensor does not require grad, its hook would never be called")
        if self._hooks is None:
            self._hooks = {}
        return HookHandle(self._hooks, hook)

    def retain_grad(self) -> None:
        """Keep `.grad` though the tensor is not a leaf."""
        if not self.is_leaf:
            me = ref(self)                           # a hook that held the tensor would be a reference cycle
            self.register_hook(lambda g: setattr(me(), "grad", g))

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
        """Add d(self)/d(leaf) to the `.grad` of every leaf that requires it.  As torch.Tensor.backward.

        gradient      of self's shape; may be left out for a single element, where it is 1
        retain_graph  keep the graph for another backward(); by default it is freed on the way, unless create_graph
        create_graph  record the walk, so that gradients can be differentiated again

        Raises RuntimeError if nothing requires grad, if the graph was freed or a saved array was changed in place;
        ValueError for a gradient of the wrong shape.  Leaves keep their old `.grad` if it fails.
        """
        keep = create_graph if retain_graph is None else retain_graph
        seed = _seed(self, gradient)
        taken = {id(seed._data)}
        arrived = sweep([self], [seed], None, keep, create_graph, shown=taken)
        _accumulate(arrived, create_graph, taken)


def as_array(data: Any, dtype: Any = None) -> Any:
    """The array behind `data`, in a dtype; None: arrays and tensors as they are, Python floats as float32, integers as
    int64.
    """
    if type(data) is np.ndarray:
        array = data
    elif isinstance(data, Tensor):
        array = data._data
    elif isinstance(data, np.generic):
        array = np.asarray(data)
    elif hasattr(data, "dtype") and hasattr(data, "shape"):
        array = data if hasattr(data, "get") else np.asarray(data)
    else:
        array = np.asarray(data)
        if dtype is None and array.dtype == np.float64 and not _holds_float64(data):
            array = array.astype(np.float32)
    if array.dtype.kind not in "fiub" and not is_floating(array.dtype):
        raise TypeError(f"expected numbers, got {type(data).__name__} with dtype {array.dtype}: {data!r:.60}")
    return array if dtype is None else array.astype(dtype, copy=False)


def _holds_float64(data):
    while isinstance(data, (list, tuple)) and len(data):
        data = data[0]
    return getattr(data, "dtype", None) == np.float64


# ---------------------------------------------------------------------------------------- making ops

def op(function: Callable) -> Callable[..., Tensor]:
    """Make a differentiable operation of `function(*tensors, **options) -> (array, vjps)`.

    The forward pass computes with `.data` and kernels; array arguments arrive as Tensors.  vjps holds one function
    per tensor, in the order of the parameters (None where there is no gradient):

        vjp(g)     -> the input's gradient, given the gradient g of the output
        vjp(g, y)  the same for ops that need their own output y (do not capture it: that would be a cycle)

    or is one function vjp(g, wanted) or vjp(g, wanted, y) -> all gradients at once, or None for an op without
    gradient.  They are run only if wanted and are written with ops, so that they can be differentiated again.  What a
    vjp mentions is kept alive, as the inputs are.  A list as first argument counts as that many parameters.

    >>> @op
    ... def cube(x):
    ...     return x.data ** 3, (lambda g: g * 3 * x * x,)
    >>> x = Tensor([2.0], requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad.item()
    12.0
    """
    name, parameters = function.__name__, signature(function).parameters

    @wraps(function)
    def call(*args, **kwargs):
        if kwargs:
            args = _positional(name, parameters, args, kwargs)
        args = [a if isinstance(a, _NO_ARRAYS) or not _is_array(a) else Tensor(a) for a in args]
        with np.errstate(all="ignore"):              # inf and nan are values here, not events
            try:
                data, vjps = function(*args)
            except Exception as error:
                if mixed := mixed_devices(name, args):
                    raise mixed from error
                raise
        out = Tensor(data)
        if vjps is not None and is_grad_enabled():
            inputs = args[0] if isinstance(args[0], (list, tuple)) else args
            parents = tuple([a if isinstance(a, Tensor) else None for a in inputs])
            if is_floating(out._data.dtype) and any([p is not None and p.requires_grad for p in parents]):
                out.requires_grad, out._node = True, Node(name, parents, vjps, out)
        return out

    def use(other):
        nonlocal function
        function = other

    watchable(call, name, function, use)
    if function.__module__.startswith(__package__ + "."):      # users' ops never replace the engine's own
        if name in OPS:
            raise ValueError(f"op {name!r} is defined twice")
        OPS[name] = FUNCTIONS[name] = call = casting(name, call)
    return call


_NO_ARRAYS = Tensor, int, float, tuple, list, type(None)


def _is_array(v):
    """Whether v is an array of the host or of a device (which has get(), to copy it to the host)."""
    return isinstance(v, np.ndarray) or hasattr(v, "strides") and hasattr(v, "get")


def mixed_devices(name: str, args: Sequence[Any]) -> TypeError | None:
    """A TypeError that names the devices, if the tensors that an op failed on are not all on one."""
    tensors = [t for a in args for t in (a if isinstance(a, (list, tuple)) else (a,)) if isinstance(t, Tensor)]
    if len({t.device for t in tensors}) < 2:
        return None
    found = ", ".join(f"one of shape {t.shape} on {t.device!r}" for t in tensors)
    return TypeError(f"{name}: all tensors must be on one device, got {found}: move them (x.to({tensors[0].device!r})) "
                     "or the model (model.to(...)) first")


def _positional(name, parameters, args, kwargs):
    """Keyword arguments put in their places, defaults between them filled in."""
    args, kwargs = list(args), dict(kwargs)
    for p in list(parameters.values())[len(args):]:
        if not kwargs:
            break
        if p.name in kwargs:
            args.append(kwargs.pop(p.name))
        elif p.default is _Argument.empty:
            raise TypeError(f"{name}() misses the argument {p.name!r}; it takes ({', '.join(parameters)})")
        else:
            args.append(p.default)
    if kwargs:
        raise TypeError(f"{name}() takes ({', '.join(parameters)}), not {', '.join(map(repr, kwargs))}")
    return args


@op
def alias(x):
    """x itself under another name: a place to stop differentiating at (see `through`)."""
    return x.data, (lambda g: g,)


def through(compose: Callable[..., Tensor], inputs: Sequence[Tensor | None], g: Tensor) -> list[Tensor | None]:
    """The gradients of compose(*inputs), for the gradient g of its result, recorded so as to be differentiable.

    This is how a fused op gets its higher derivatives: its vjp calls a fused kernel while nothing is recorded, and
    otherwise differentiates the same function composed of simple ops.
    """
    with enable_grad():
        aliases = [t if t is None else alias(t) for t in inputs]
        y = compose(*aliases)
        targets = [t for t in aliases if t is not None and t.requires_grad]
        found = sweep([y], [g], targets, True, True, stop=True)
    return [found[id(t)][1] if t is not None and id(t) in found else None for t in aliases]


# ---------------------------------------------------------------------------------------- gradients

def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=False):
    """The gradients of `outputs` (a tensor or several) with respect to `inputs`, returned, not stored.

    Returns a tuple with one Tensor per input (None for one that is not used, if allow_unused).  Raises as
    Tensor.backward, and RuntimeError for an unused input.  As torch.autograd.grad.

    >>> x = Tensor([3.0], requires_grad=True)
    >>> (g,) = grad(x * x * x, x, create_graph=True)
    >>> (gg,) = grad(g, x)
    >>> g.item(), gg.item()
    (27.0, 18.0)
    """
    outputs, inputs = _listed(outputs), _listed(inputs)
    seeds = [None] * len(outputs) if grad_outputs is None else _listed(grad_outputs)
    if len(seeds) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs need as many grad_outputs, got {len(seeds)}")
    for i, t in enumerate(inputs):
        if not t.requires_grad:
            raise RuntimeError(f"grad: input {i} (shape {t.shape}) does not require grad: set requires_grad=True "
                               "before it is used")
    keep = create_graph if retain_graph is None else retain_graph
    found = sweep(outputs, list(map(_seed, outputs, seeds)), inputs, keep, create_graph)
    for i, t in enumerate(inputs):
        if id(t) not in found and not allow_unused:
            raise RuntimeError(f"grad: input {i} (shape {t.shape}) was not used to compute the outputs; "
                               "pass allow_unused=True to get None for it")
    return tuple(found[id(t)][1] if id(t) in found else None for t in inputs)


def _listed(tensors):
    return [tensors] if isinstance(tensors, (Tensor, np.ndarray)) else list(tensors)


def _seed(output, gradient):
    """The gradient to start from, checked."""
    if not output.requires_grad:
        raise RuntimeError(f"backward: the tensor (shape {output.shape}) does not require grad: none of its inputs "
                           "does, or it was computed under no_grad() or detached")
    if gradient is None:
        if output._data.size != 1:
            raise RuntimeError(f"backward: a tensor of shape {output.shape} needs an explicit gradient of that shape; "
                               "only a single element does without (call .sum() or .mean() first)")
        gradient = Tensor(array_module(output._data).ones_like(output._data))
    gradient = gradient if isinstance(gradient, Tensor) else Tensor(gradient)
    if gradient.shape != output.shape:
        raise ValueError(f"backward: the gradient has shape {gradient.shape}, the tensor {output.shape}")
    return like(gradient, output)


def _accumulate(arrived, create_graph, taken):
    """Store the gradients that reached the leaves; no two leaves share an array, nor one in `taken` (ids)."""
    for t, g in arrived.values():
        if t.grad is not None:
            if create_graph:
                t.grad = t.grad + g
            else:
                with np.errstate(all="ignore"):
                    t.grad._data += g._data
                t.grad._version += 1
        elif create_graph:
            t.grad = g
        else:
            t.grad = Tensor(g._data if _ours(g._data, taken) else g._data.copy())
            taken.add(id(t.grad._data))


def _ours(array, taken):
    """Whether nobody else sees the array's memory: it is its own or, held by nothing else, that of the one it views."""
    if id(array) in taken or id(array.base) in taken or not is_writeable(array):
        return False
    if array.base is None:
        return True
    return type(array.base) is type(array) and getrefcount(array.base) == 2     # the view, and this question
