"""A stand-in for CuPy: arrays that only device code may touch, held in guarded host memory.

    cupy's                      here
    ndarray in GPU memory       ndarray around a NumPy array that ends at an unmapped page: a write behind it is a crash
                                that is caught, a read before anything was written gives NaN
    cupy.add, .where, ...       NumPy's, on the arrays inside
    RawModule                   build.library

It offers what CuPy has (surface.py) and no more.  It is stricter than CuPy: arrays of host and device do not mix, and
reading a value (float(x), x.get()) is counted, for on a GPU it makes the host wait.  Modules named `cupy_on_cpu` hold
it, as `cupy` holds CuPy's.

While a stream is captured (graph.py), what the device is told goes onto a tape: new arrays hold NaN, arrays there are
already keep their values, and reading one is an error.
"""
from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from . import build, surface
from .memory import (
    allocate, check_addresses, copying, counts, do, guarded, launched, poison, stream, wait,
)

NAME = "cupy_on_cpu"
# functions that change an array and return nothing, and such whose result's shape depends on values: a GPU waits
_IN_PLACE = {"fill", "put", "at", "copyto", "place", "putmask", "put_along_axis"}
# functions whose result lies as their argument does; what others return is in C order, NumPy's ufuncs' is not
_KEEPING = {"astype", "copy", "empty_like", "zeros_like", "ones_like", "full_like", "roll"}
_NO_BFLOAT16 = {"clip", "sort", "argsort"}
_READING = {"nonzero", "flatnonzero", "argwhere", "unique", "extract", "compress", "array_equal", "allclose"}


# ---------------------------------------------------------------------------------------- arrays

class Flags(NamedTuple):
    """What CuPy says of an array's memory: no more, and nothing of writeable."""

    c_contiguous: bool
    f_contiguous: bool
    owndata: bool


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the device.  What NumPy's functions and methods do to it happens there."""

    __module__ = NAME
    __slots__ = ("_host", "_view", "__weakref__")
    __array_priority__ = 1000

    def __init__(self, host: np.ndarray, view: bool = False):
        self._host, self._view = host, view

    @property
    def base(self) -> ndarray | None:
        """Not None for a view of another array."""
        return self if self._view else None

    @property
    def flags(self) -> Flags:
        """How the memory lies."""
        return Flags(self._host.flags.c_contiguous, self._host.flags.f_contiguous, not self._view)

    @property
    def data(self) -> SimpleNamespace:
        """`ptr`, the address on the device."""
        return SimpleNamespace(ptr=self._host.ctypes.data)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):                    # NumPy would look into the host's memory by __array_interface__
            raise AttributeError(name)
        surface.check("methods", name)
        found = getattr(self._host, name)
        if callable(found):
            return _lifted(found)
        if isinstance(found, np.ndarray):
            return _result(lambda: getattr(self._host, name), [self._host], name)
        return found

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return _lifted(getattr(ufunc, method))(*inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _lifted(function)(*args, **kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("an array on the device does not become a NumPy array by itself: use .get(), or Tensor.numpy()")

    def __getitem__(self, index: Any) -> Any:
        where = _index(index)
        parts = where if type(where) is tuple else (where,)
        if any(isinstance(i, np.ndarray) and i.dtype.kind == "b" for i in parts):
            wait("an index of booleans")            # how many are true?
        return _result(lambda: self._host[where], [self._host], "getitem")

    def __setitem__(self, index: Any, value: Any) -> None:
        where, inside = _index(index), value if isinstance(value, np.ndarray) and not value.ndim else _inside(value)
        _launched("setitem")
        do(lambda: self._host.__setitem__(where, inside))

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self._host)))

    def get(self) -> np.ndarray:
        """A copy on the host."""
        wait("get()")
        return self._host.copy(order="K")

    def item(self, *index: Any) -> Any:
        """One element as a Python number."""
        wait("item()")
        return self._host.item(*index)

    def set(self, values: np.ndarray, stream: Any = None) -> None:
        """Copy the host's values in, without waiting."""
        if values.shape != self.shape or values.dtype != self.dtype:
            raise ValueError(f"set: {values.dtype} of shape {values.shape} into {self.dtype} of shape {self.shape}")
        copying()
        self._host[...] = values

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    __index__ = __int__

    def __bool__(self) -> bool:
        return bool(self.item())

    def tolist(self) -> Any:
        """Nested lists on the host."""
        return self.get().tolist()

    def __repr__(self) -> str:
        return f"{NAME}.{self._host!r}"

    __hash__ = object.__hash__

    def __deepcopy__(self, memo: Any) -> ndarray:
        return ndarray(guarded(self._host))


def _inside(value):
    """What the device works on: the arrays inside of arrays, and of lists and tuples of them."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"an array of the host, of shape {value.shape}, among arrays of the device: copy it there "
                        "first (.to('cuda-emu'))")
    if type(value) in (tuple, list):
        return type(value)(map(_inside, value))
    if type(value) is dict:
        return {k: _inside(v) for k, v in value.items()}
    return value


def _index(index):
    """An index, in which CuPy takes arrays of the host: each is a copy to the device."""
    if isinstance(index, np.ndarray):
        copying()
        return index
    return tuple(map(_index, index)) if type(index) is tuple else _inside(index)


def _lifted(function):
    """A function of the host's arrays, or a method of one, as one that the device runs."""
    name, owner = getattr(function, "__name__", ""), getattr(function, "__self__", None)
    kernel = owner.__name__ if isinstance(owner, np.ufunc) and name == "__call__" else name

    def on_the_device(*args, **options):
        _check(function, owner, name, args, options)
        if name in _READING or name == "where" and len(args) == 1:
            wait(f"{name}()")
        out = options.get("out")
        args, options = [_inside(a) for a in args], {k: _inside(v) for k, v in options.items()}
        if out is None and name not in _IN_PLACE:
            return _result(lambda: function(*args, **options), [owner, args], kernel)
        _launched(kernel)
        do(lambda: function(*args, **options))
        return out[0] if isinstance(out, tuple) else out
    return on_the_device


def _check(function, owner, name, args, options):
    """Raise for what CuPy does not have: functions, methods, their keywords, dtypes."""
    if isinstance(owner, np.ufunc) and name != "__call__":
        return surface.check_ufunc(owner.__name__, name, args[0].dtype)
    if isinstance(owner, np.ndarray):
        surface.check("methods", name, options)
    else:
        surface.check("functions", owner.__name__ if isinstance(owner, np.ufunc) else name, options)
    if name in _NO_BFLOAT16 and "bfloat16" in {getattr(getattr(a, "dtype", None), "name", "") for a in (owner, *args)}:
        raise TypeError(f"{name}: CuPy's does not take bfloat16, or makes float32 of it")


def _launched(name):
    counts["launches"] += 1
    launched[name] += 1


def _result(compute, inputs, name):
    """What compute() returns, on the device: views share memory, new arrays are put into guarded memory.

    In a capture it is computed as well, but for the shapes only.
    """
    value = compute()
    parts, kind = (value, type(value)) if isinstance(value, (tuple, list)) else ((value,), None)
    arrays, made = [], False
    for part in parts:
        if isinstance(part, (np.ndarray, np.generic)):
            view = _shares(part, inputs)
            made |= not view
            new = np.asarray(part, order="K" if view or name in _KEEPING else "C")
            part = ndarray(part if view else guarded(new), view)
        arrays.append(part)
    if made:
        _launched(name)
        if stream.tape is not None:
            stream.tape.append(lambda: _rewrite(arrays, compute(), kind))
    return arrays[0] if kind is None else kind(*arrays) if hasattr(value, "_fields") else kind(arrays)


def _shares(array, inputs):
    """Whether an array lies in the memory of one of those that were handed over."""
    if isinstance(inputs, (list, tuple)):
        return any(_shares(array, i) for i in inputs)
    return isinstance(inputs, np.ndarray) and np.may_share_memory(array, inputs)


def _rewrite(arrays, value, kind):
    """In a replay: what is computed now goes where it went before."""
    for array, part in zip(arrays, (value,) if kind is None else value):
        if isinstance(array, ndarray) and not array._view:
            array._host[...] = part


# ---------------------------------------------------------------------------------------- the module

def empty(shape: Any, dtype: Any = float) -> ndarray:
    """Memory that is still NaN (the largest third of integers): what is read before it was written shows."""
    host = allocate(shape if isinstance(shape, tuple) else (shape,), np.dtype(dtype))
    host.fill(poison(host.dtype, np.iinfo(host.dtype).max // 3 if host.dtype.kind in "iu" else 0))
    return ndarray(host)


def asarray(array: Any, dtype: Any = None, order: Any = None) -> ndarray:
    """An array of the host, copied to the device; one of the device as it is."""
    if isinstance(array, ndarray):
        return array if dtype in (None, array.dtype) else array.astype(dtype)
    host = np.asarray(array, dtype, order=order)
    if not host.ndim:                                # CuPy hands it to a kernel as an argument
        return _result(lambda: np.array(host), [], "fill")
    copying()
    return ndarray(guarded(host))


@contextmanager
def schedule(order: build.Schedule) -> Iterator[None]:
    """Run kernels in another order of threads."""
    before, build.current = build.current, order
    try:
        yield
    finally:
        build.current = before


def _attribute(name: str) -> Any:
    """What the module does not define itself is NumPy's, but for what says whose module it is (__file__, ...)."""
    if name.startswith("__"):
        raise AttributeError(name)
    surface.check("functions", name)
    found = getattr(np, name)
    plain = isinstance(found, (type, float, int, np.dtype)) or found is None or name in ("finfo", "iinfo")
    return found if plain else _Function(found)


class _Function:
    """A function of NumPy, or a ufunc with its methods, for arrays of the device."""

    def __init__(self, function: Any):
        self._function = function

    def __call__(self, *args: Any, **options: Any) -> Any:
        return _lifted(self._function)(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return _lifted(getattr(self._function, name))


def install() -> ModuleType:
    """The module `cupy_on_cpu`."""
    if NAME not in sys.modules:
        build.compiler()
        module = ModuleType(NAME, __doc__)
        module.ndarray, module.empty = ndarray, empty
        module.asarray = module.array = asarray
        module.cuda = SimpleNamespace(get_current_stream=lambda: None)
        module.__getattr__ = _attribute
        sys.modules[NAME] = module
    return sys.modules[NAME]


# ---------------------------------------------------------------------------------------- kernels

def functions(path: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Instances of kernels of a .cu file: name -> what is called with grid, block, arguments and shared bytes."""
    lib = build.library(path, names)
    return {name: _runner(build.Kernel(lib, i, name)) for i, name in enumerate(names)}


def _runner(kernel):
    tables = [i for i, (_, kind, _) in enumerate(kernel.parameters) if kind == "?"]

    def run(grid, block, values, shared):
        _launched(kernel.name)
        hosts = tuple(_contiguous(kernel.name, v) for v in values)
        do(lambda: [*(check_addresses(kernel.name, hosts[i]) for i in tables), kernel(grid, block, hosts, shared)])
    return run


def _contiguous(name, value):
    """What is in an array.  Raises EmulatorError for one with gaps, whose elements a kernel would not find."""
    if not isinstance(value, ndarray):
        return value
    if not value._host.flags.c_contiguous:
        raise build.EmulatorError(f"{name}: an array of shape {value.shape}, strides {value.strides} is not in C order")
    return value._host
