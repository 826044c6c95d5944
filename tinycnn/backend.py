"""Which kernels serve which array: the only place that knows there are devices.

    array of          dtype               kernels
    numpy             float32, float64    tinycnn.kernels.cpu         (Numba)
    numpy             float16, bfloat16   the same, in float32        (tinycnn.kernels.half)
    numpy             anything else       tinycnn.kernels.reference   (plain NumPy)
    numpy             any                 tinycnn.kernels.reference   if TINYCNN_KERNELS=reference
    cupy              any                 tinycnn.kernels.cuda
    cupy_on_cpu       any                 tinycnn.kernels.cuda        (device "cuda-emu": kernels/emulator)

kernels/ is imported through `import_module`: its folder is mapped to tinycnn.kernels at installation, where
static type checkers cannot follow.
"""
from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from .dtypes import sixteen_bits

_geometry = import_module("tinycnn.kernels.geometry")
Window, window, pair, is_pair = _geometry.Window, _geometry.window, _geometry.pair, _geometry.is_pair
_capture = import_module("tinycnn.kernels.capture")
Varying, each_run, copy_in = _capture.Varying, _capture.each_run, _capture.copy_in
is_capturing, record = _capture.is_capturing, _capture.record

_precision = import_module("tinycnn.kernels.precision")
set_float32_matmul_precision = _precision.set_float32_matmul_precision
get_float32_matmul_precision = _precision.get_float32_matmul_precision
set_float32_conv_precision = _precision.set_float32_conv_precision
get_float32_conv_precision = _precision.get_float32_conv_precision

# device -> the array library that lives on it
DEVICES = {"cpu": "numpy", "cuda": "cupy", "cuda-emu": "cupy_on_cpu"}
_AUTOCAST = {"cpu": "bfloat16", "cuda": "float16", "cuda-emu": "float16"}    # torch's choices
_LIBRARIES = {library: device for device, library in DEVICES.items()}
_SAMPLED = 16                                        # elements looked at by `fingerprint`


def use_tuned_convolutions(file: str | os.PathLike | bool | None = None) -> None:
    """Take the algorithms of convolutions on the CPU from a file that `tinycnn tune` wrote, from now on.

    file   a path; None: the one that TINYCNN_TUNED names, or this user's own (the default); False: none, the choices
           are those of kernels/cpu/choose.py alone

    Raises OSError if that path cannot be read, ValueError if it is damaged or for another machine or other kernels.
    """
    import_module("tinycnn.kernels.cpu.tuned").use(file)


def kernels(array: Any) -> ModuleType:
    """The kernels for `array`'s device and dtype: a module with the names of tinycnn/kernels/reference.

    Raises TypeError for anything that is not an array of a known library, RuntimeError for a wrong TINYCNN_KERNELS.
    """
    return _kernels(type(array), array.dtype)


@cache
def _kernels(kind: type, dtype: Any) -> ModuleType:
    if sixteen_bits(dtype):
        return _load("half").widened(_kernels(kind, np.dtype(np.float32)))
    if _device_of(kind) != "cpu":
        return _load("cuda")
    return _load("reference" if dtype not in (np.float32, np.float64) else _cpu_choice())


@cache
def _load(name: str) -> ModuleType:
    return import_module("tinycnn.kernels." + name)


def _cpu_choice() -> str:
    choice = os.environ.get("TINYCNN_KERNELS", "cpu")
    if choice not in ("cpu", "reference"):
        raise RuntimeError(f"TINYCNN_KERNELS={choice!r}: expected 'cpu' (Numba, the default) or 'reference' (NumPy)")
    return choice


@cache
def _device_of(kind: type) -> str:
    library = kind.__module__.partition(".")[0]
    if library not in _LIBRARIES:
        raise TypeError(f"expected an array of {' or '.join(_LIBRARIES)}, got {kind.__module__}.{kind.__qualname__}")
    return _LIBRARIES[library]


def device_of(array: Any) -> str:
    """"cpu", "cuda" or "cuda-emu": where `array` lives."""
    return _device_of(type(array))


def array_module(array: Any) -> ModuleType:
    """numpy, cupy or its stand-in: the library `array` belongs to."""
    return import_module(DEVICES[device_of(array)])


def module_of(device: str | None) -> ModuleType:
    """The array library of a device name ("cpu", "cuda", "cuda-emu").

    Raises ValueError for an unknown name and RuntimeError, with the cure, where the device cannot be used.
    """
    name = device or "cpu"
    known(name)
    if name == "cuda-emu":
        return import_module("tinycnn.kernels.emulator.device").install()
    return np if name == "cpu" else _cupy()


@cache                                               # that there is a GPU; that there is none is looked up again
def _cupy():
    otherwise = "without a GPU use device='cpu', or 'cuda-emu' to run the CUDA kernels on the CPU"
    try:
        library = import_module(DEVICES["cuda"])
    except ImportError as error:
        raise RuntimeError("device 'cuda' needs CuPy and an NVIDIA GPU: pip install 'tinycnn[cuda12]' or "
                           f"'tinycnn[cuda13]'; {otherwise}") from error
    try:
        found = library.cuda.runtime.getDeviceCount()
    except library.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"device 'cuda': CuPy {library.__version__} finds no GPU that it can use ({error}): is "
                           f"there one, and what does nvidia-smi say? {otherwise[0].upper()}{otherwise[1:]}") from error
    if not found:
        raise RuntimeError("device 'cuda': there is a driver, but no GPU (is CUDA_VISIBLE_DEVICES empty?): "
                           f"{otherwise}")
    return library


def known(device: str) -> str:
    """The name of a device itself.  Raises ValueError for one there is not."""
    if device not in DEVICES:
        raise ValueError(f"unknown device {device!r}: expected one of {', '.join(DEVICES)}")
    return device


def autocast_dtype(device: str) -> str:
    """The 16-bit dtype that autocast takes on a device if none is named.  Raises ValueError for an unknown device."""
    return _AUTOCAST[known(device)]


def to_device(array: Any, device: str) -> Any:
    """`array` on `device`: itself if it is there already, a copy otherwise.

    Raises RuntimeError in a capture: what is copied would be the same in every replay, or does not exist yet.
    """
    if device_of(array) == device:
        return array
    if is_capturing():
        raise RuntimeError(f"an array of {device_of(array)} was copied to {device} while a graph is captured")
    library = module_of(device)
    return array.get() if device == "cpu" else library.asarray(array)


def to_numpy(array: Any) -> np.ndarray:
    """`array` as a NumPy array; no copy on the CPU."""
    return to_device(array, "cpu")


def beside(array: Any, operand: Any) -> Any:
    """What is combined with `array`: the scalar in a NumPy array without dimensions if `array` is on a GPU, where
    CuPy takes no other values of the host; any other operand as it is.
    """
    return operand[()] if is_readable(operand) and not operand.ndim and not is_readable(array) else operand


def memory_order(*arrays: Any) -> tuple[int, ...] | None:
    """(0, 2, 3, 1): the dimensions (N, C, H, W) in the order of memory, if an array of a GPU lies channels-last."""
    for a in arrays:
        if not is_readable(a) and _load("cuda.arrays").channels_last(a):
            return (0, *range(2, a.ndim), 1)
    return None


def as_they_lie(compute: Callable, *values: Any) -> Any:
    """compute(*values), elementwise: where an array lies channels-last, so does the result.

    NumPy does that by itself.  CuPy's results are in C order, for which threads would jump about in memory, and which
    the next layer would have to copy.
    """
    for v in values:
        if is_readable(v):                           # on the CPU
            return compute(*values)
    order = memory_order(*(v for v in values if hasattr(v, "strides")))
    if order is None or max(getattr(v, "ndim", 0) for v in values) > len(order):
        return compute(*values)
    laid = [v.reshape((1,) * (len(order) - v.ndim) + v.shape).transpose(order) if getattr(v, "ndim", 0) else v
            for v in values]
    return compute(*laid).transpose([order.index(i) for i in range(len(order))])


def empty_cache(device: str | None = None) -> None:
    """Give memory that no array holds any more back to the system.

    device   "cpu", "cuda" or "cuda-emu"; None: the CPU and, if it has been used, the GPU

    Freed arrays keep their memory for those to come: with large temporaries that saves half of the time of a step that
    is bound by memory.  Raises as module_of.  As torch.cuda.empty_cache.
    """
    used = [name for name, library in DEVICES.items() if library in sys.modules and name != "cpu" and _usable(name)]
    for name in ["cpu", *used] if device is None else [device]:
        module_of(name)
        (_load("cpu") if name == "cpu" else runtime(name)).empty_cache()


def _usable(device):
    """Whether there is such a device: CuPy can be imported without a GPU."""
    try:
        module_of(device)
    except RuntimeError:
        return False
    return True


def runtime(device: str) -> ModuleType:
    """Graphs, memory and waiting on a device: tinycnn/kernels/cuda/graph.py or the emulator's.

    Raises as module_of, and RuntimeError for "cpu", which has none of it.
    """
    module_of(device)
    if device == "cpu":
        raise RuntimeError("device 'cpu' runs what it is told at once and captures nothing: move the model and its "
                           "inputs to 'cuda' first (.to('cuda')), or to 'cuda-emu' to try it without a GPU")
    return _load({"cuda": "cuda.graph", "cuda-emu": "emulator.graph"}[device])


def prefetched(batches: Iterator[tuple], device: str) -> Iterator[tuple]:
    """The batches of an iterator of tuples of NumPy arrays, on a device: each is copied while the one before is used.

    What it returns has close(); closing it does not close `batches`.  Raises as module_of, when it is first used.
    """
    return (b for b in batches) if device == "cpu" else runtime(device).prefetch(batches)


def process_group(device: str, rank: int, size: int, host: str, port: int) -> Any:
    """The group of `size` processes on a device (kernels/cuda/group.py, kernels/mpi.py); None: this process is alone.

    On the CPU it is mpiexec's, if that started the process.  Raises RuntimeError if a package is missing or the device
    has no groups, ValueError if mpiexec started another number of processes.
    """
    module_of(device)
    if device == "cuda":
        return _load("cuda.group").Group(rank, size, host, port)
    if size == 1 and not {"PMI_SIZE", "OMPI_COMM_WORLD_SIZE"} & set(os.environ):
        return None
    if device != "cpu":
        raise RuntimeError(f"distributed.init: there are no groups of processes on device {device!r}")
    try:
        group = _load("mpi").Group()
    except ImportError as error:
        raise RuntimeError("distributed.init: several processes on the CPU need MPI: pip install 'tinycnn[mpi]', and "
                           "start them by mpiexec -n N python ...") from error
    if size not in (1, group.size):
        raise ValueError(f"distributed.init: WORLD_SIZE is {size}, mpiexec started {group.size}")
    return group


def is_readable(array: Any) -> bool:
    """Whether values can be looked at without waiting for a device."""
    return type(array) is np.ndarray


def is_writeable(array: Any) -> bool:
    """Whether elements can be changed; arrays of a GPU always can."""
    return getattr(array.flags, "writeable", True)


def fingerprint(array: Any) -> bytes | None:
    """The bytes of up to 16 evenly spaced elements: enough to notice that somebody wrote over the array.

    None for device arrays: reading them would make the host wait.
    """
    if not is_readable(array):
        return None
    if array.size <= _SAMPLED:
        return array.tobytes()
    return array.flat[::array.size // _SAMPLED].tobytes()
