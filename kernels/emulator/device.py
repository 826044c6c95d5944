"""A stand-in for CuPy: arrays that only device code may touch, held in guarded host memory.

    cupy's                      here
    ndarray in GPU memory       ndarray around a NumPy array that ends at an unmapped page: a write behind it is a crash
                                that is caught, a read before anything was written gives NaN
    cupy.add, .where, ...       NumPy's, on the arrays inside
    RawModule                   build.library

It is stricter than CuPy: arrays of host and device do not mix, and reading a value (float(x), x.get()) is counted, for
on a GPU it makes the host wait.  Modules named `cupy_on_cpu` hold it, as `cupy` holds CuPy's.
"""
from __future__ import annotations

import ctypes
import mmap
import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from . import build

NAME = "cupy_on_cpu"
counts: Counter[str] = Counter()                     # launches, allocations, bytes, syncs, copies to the device
launched: Counter[str] = Counter()                   # by kernel
_PAGE, _GUARD = mmap.PAGESIZE, 1 << 20


# ---------------------------------------------------------------------------------------- memory

def _libc():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


class _Block:
    """Memory between addresses nobody may touch, the first of them up to 15 bytes behind its end.

        guard (1 MiB) | slack  the array | guard (1 MiB)
    """

    def __init__(self, nbytes: int):
        libc, used = _libc(), -(-nbytes // 16) * 16
        pages = -(-used // _PAGE) * _PAGE
        size = pages + 2 * _GUARD
        base = libc.mmap(None, size, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if base is None or base + 1 == 1 << 64 or libc.mprotect(base + _GUARD, pages, mmap.PROT_READ | mmap.PROT_WRITE):
            raise MemoryError(f"no memory for an array of {nbytes:,} bytes on the emulated device")
        self.buffer = (ctypes.c_ubyte * nbytes).from_address(base + _GUARD + pages - used)
        weakref.finalize(self.buffer, libc.munmap, base, size)


def _allocate(shape, dtype):
    array = np.empty(0, dtype)
    nbytes = int(np.prod(shape, dtype=np.int64)) * array.itemsize
    counts["allocations"] += 1
    counts["bytes"] += nbytes
    return np.frombuffer(_Block(nbytes).buffer, dtype).reshape(shape) if nbytes else np.empty(shape, dtype)


def _guarded(array):
    """A copy of the array in guarded memory, in the same order of axes."""
    axes = sorted(range(array.ndim), key=lambda i: -abs(array.strides[i]))
    out = _allocate(tuple(array.shape[i] for i in axes), array.dtype)
    out = out.transpose(np.argsort(axes)) if axes else out
    out[...] = array
    return out


# ---------------------------------------------------------------------------------------- arrays

class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the device.  What NumPy's functions and methods do to it happens there."""

    __module__ = NAME
    __slots__ = ("_host", "__weakref__")
    __array_priority__ = 1000

    def __init__(self, host: np.ndarray):
        self._host = host

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):                    # NumPy would look into the host's memory by __array_interface__
            raise AttributeError(name)
        found = getattr(self._host, name)
        return _lifted(found) if callable(found) else _wrapped(found)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return _lifted(getattr(ufunc, method))(*inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _lifted(function)(*args, **kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("an array on the device does not become a NumPy array by itself: use .get(), or Tensor.numpy()")

    def __getitem__(self, index: Any) -> Any:
        return _wrapped(self._host[_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        counts["launches"] += 1
        self._host[_index(index)] = _inside(value)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self._host)))

    def get(self) -> np.ndarray:
        """A copy on the host."""
        counts["syncs"] += 1
        return self._host.copy(order="K")

    def item(self, *index: Any) -> Any:
        """One element as a Python number."""
        counts["syncs"] += 1
        return self._host.item(*index)

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
        return ndarray(_guarded(self._host))


def _inside(value):
    """What the device works on: the arrays inside of arrays, and of lists and tuples of them."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray) and value.ndim:
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
        counts["copies"] += 1
        return index
    return tuple(map(_index, index)) if type(index) is tuple else _inside(index)


def _wrapped(value):
    """The device's side of a result: views share memory, new arrays are put into guarded memory."""
    if isinstance(value, np.ndarray):
        return ndarray(value if value.base is not None else _guarded(value))
    if isinstance(value, np.generic):
        return ndarray(np.asarray(value))
    if isinstance(value, (tuple, list)):
        return type(value)(*map(_wrapped, value)) if hasattr(value, "_fields") else type(value)(map(_wrapped, value))
    return value


def _lifted(function):
    def on_the_device(*args, **options):
        counts["launches"] += 1
        out = options.get("out")
        result = function(*map(_inside, args), **{k: _inside(v) for k, v in options.items()})
        return (out[0] if isinstance(out, tuple) else out) if out is not None else _wrapped(result)
    return on_the_device


# ---------------------------------------------------------------------------------------- the module

def empty(shape: Any, dtype: Any = float) -> ndarray:
    """Memory that is still NaN (the largest third of integers): what is read before it was written shows."""
    host = _allocate(shape if isinstance(shape, tuple) else (shape,), np.dtype(dtype))
    host.fill(np.nan if host.dtype.kind == "f" else np.iinfo(host.dtype).max // 3 if host.dtype.kind in "iu" else 0)
    return ndarray(host)


def asarray(array: Any, dtype: Any = None, order: Any = None) -> ndarray:
    """An array of the host, copied to the device; one of the device as it is."""
    if isinstance(array, ndarray):
        return array if dtype in (None, array.dtype) else array.astype(dtype)
    counts["copies"] += 1
    return ndarray(_guarded(np.asarray(array, dtype, order=order)))


def _create(function):
    def on_the_device(*args, **options):
        counts["launches"] += 1
        return _wrapped(function(*map(_inside, args), **{k: _inside(v) for k, v in options.items()}))
    return on_the_device


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
        module.__getattr__ = _attribute
        sys.modules[NAME] = module
    return sys.modules[NAME]


# ---------------------------------------------------------------------------------------- kernels

def functions(path: Any, expressions: dict[str, str]) -> dict[str, Any]:
    """The kernels of a .cu file: name -> what is called with grid, block and arguments."""
    lib = build.library(path, tuple(expressions.values()))
    return {name: _runner(build.Kernel(lib, i, expression)) for i, (name, expression) in enumerate(expressions.items())}


def _runner(kernel):
    def run(grid, block, values):
        counts["launches"] += 1
        launched[kernel.name] += 1
        kernel(grid, block, tuple(_contiguous(kernel.name, v) for v in values))
    return run


def _contiguous(name, value):
    """What is in an array.  Raises EmulatorError for one with gaps, whose elements a kernel would not find."""
    if not isinstance(value, ndarray):
        return value
    if not value._host.flags.c_contiguous:
        raise build.EmulatorError(f"{name}: an array of shape {value.shape}, strides {value.strides} is not in C order")
    return value._host
