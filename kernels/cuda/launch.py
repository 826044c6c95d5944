"""Launching CUDA kernels: one typed function for the GPU (CuPy) and for the emulator.

    launch("pool.cu", "max_pool", x.dtype, n, (x, y, where, win, n))

compiles the kernels of kernels/cuda/pool.cu once for float or double, reads their parameters from the source, casts
every scalar to the type declared there (CuPy would pass a Python float as eight bytes, whatever the kernel takes), and
starts enough blocks of 256 threads for n elements.

A kernel is a template of T, made for float and double, unless a comment above it says what it is made for:

    // instances: <float, 0> <float, 1>
    template <typename T, int MODE>
    __global__ void ...                              launch(..., variant=("0",)) runs the first of them
"""
from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FOLDER = Path(__file__).parent
TYPES = {"float32": "float", "float64": "double", "float16": "Half", "bfloat16": "Bfloat"}     # dtype's name: T
PLAIN = ("float", "double")
SCALARS = {"int": np.int32, "long long": np.int64, "unsigned long long": np.uint64, "float": np.float32,
           "double": np.float64, "bool": np.bool_}
STRUCTS = ("Window", "Gather")                       # of ints, passed by value: a tuple in the order of their fields
BLOCK, MOST_BLOCKS = 256, 65535                      # kernels loop over what is left (common.cuh: each)
_KERNEL = re.compile(r"(?://\s*instances:((?:[^\n]*\n\s*//)*[^\n]*)\n\s*)?template\s*<\s*typename\s+T\s*(?:,[^>]*)?>\s*__global__\s+"
                     r"void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)", re.S)


class Parameter(NamedTuple):
    """One parameter of a kernel, as the source declares it: "T*", "int", "Window", ..."""

    type: str
    name: str


class Kernel(NamedTuple):
    """A kernel of a .cu file: its parameters, and the template arguments it is made for: ("float, 0", "float, 1")."""

    parameters: tuple[Parameter, ...]
    instances: tuple[str, ...]


@cache
def declared(file: str) -> dict[str, Kernel]:
    """The kernels of a .cu file by name.  Raises ValueError for a parameter that cannot be read."""
    source = re.sub(r"//(?!\s*(?:instances:|<))[^\n]*", "", (FOLDER / file).read_text(encoding="utf-8"))
    return {name: Kernel(tuple(_parameter(file, name, text) for text in parameters.split(",")),
                         tuple(re.findall(r"<([^>]*)>", listed)) or PLAIN)
            for listed, name, parameters in _KERNEL.findall(source)}


def instances(file: str) -> tuple[str, ...]:
    """All that is compiled of a .cu file: ("max_pool<float>", "max_pool<double>", ...)."""
    return tuple(f"{name}<{arguments}>" for name, kernel in declared(file).items() for arguments in kernel.instances)


def _parameter(file, kernel, text):
    words = text.replace("*", " * ").replace("const", " ").replace("__restrict__", " ").split()
    kind = " ".join(words[:-1]).replace(" *", "*")
    if kind.rstrip("*") not in (*SCALARS, *STRUCTS, "T", "Wide<T>"):
        raise ValueError(f"{file}: {kernel}: the type of {text.strip()!r} is not one a launch can pass")
    return Parameter(kind, words[-1])


def launch(file: str, kernel: str, dtype: Any, n: int, arguments: tuple[Any, ...],
           blocks: int | tuple[int, ...] | None = None, *, threads: int = BLOCK, shared: int = 0,
           variant: tuple[str, ...] = ()) -> None:
    """Run a kernel for T = dtype over n elements, or with as many blocks as given; nothing for n = 0.

    threads   of a block
    shared    bytes of dynamic shared memory of a block
    variant   the template arguments after T

    Raises TypeError for a dtype or variant there is no kernel for and arguments of the wrong kind, ValueError for their
    number.
    """
    chosen, parameters = _instance(file, kernel, dtype, variant)
    if len(arguments) != len(parameters):
        raise ValueError(f"{kernel} takes {len(parameters)} arguments ({', '.join(p.name for p in parameters)}), got "
                         f"{len(arguments)}")
    if not n:
        return                                       # a launch of no blocks is an error
    home = next(type(a) for a in arguments if hasattr(a, "strides"))
    values = tuple([_cast(kernel, p, a, home) for p, a in zip(parameters, arguments)])
    grid = min(-(-n // BLOCK), MOST_BLOCKS) if blocks is None else blocks
    run = _functions(_library(home), file, chosen)[f"{kernel}<{chosen}>"]
    run(grid if isinstance(grid, tuple) else (grid,), (threads,), values, shared)


@cache                                               # a launch costs the host as much as many kernels run
def _instance(file, kernel, dtype, variant):
    """The template arguments for T = dtype, and the kernel's parameters with T put in.  Raises as launch."""
    name = np.dtype(dtype).name
    if name not in TYPES:
        raise TypeError(f"{kernel}: CUDA kernels compute in floating point, got {np.dtype(dtype)}")
    parameters, made = declared(file)[kernel]
    chosen = ", ".join((TYPES[name], *variant))
    if chosen not in made:
        raise TypeError(f"{kernel}: is made for {'; '.join(made)}, not for {chosen}")
    return chosen, tuple(Parameter(p.type.replace("T", TYPES[name]), p.name) for p in parameters)


@cache
def _library(home):
    """"cupy", or "cupy_on_cpu" for the emulator."""
    return home.__module__.partition(".")[0]


def most_shared(array: Any) -> int:
    """Bytes of shared memory, static and dynamic, that a block may have at most where the array is."""
    return _most_shared(_library(type(array)))


@cache
def _most_shared(library):
    if library == "cupy":
        return import_module(f"{__package__}.compiler").most_shared()
    return import_module(__package__.replace(".cuda", ".emulator.build")).MOST_SHARED


def _cast(kernel, parameter, argument, home):
    """The argument as the kernel's source declares it; arrays must be of the type `home`, as the first is."""
    kind = parameter.type
    if kind[-1] == "*":
        if argument is not None and not isinstance(argument, home):
            raise TypeError(f"{kernel}: {parameter.name} must be an array of {home.__module__}, got one of "
                            f"{type(argument).__module__}.{type(argument).__name__}")
        return argument
    return _packed(argument) if kind in STRUCTS else SCALARS[kind](argument)


@lru_cache(maxsize=1024)
def _packed(numbers):
    """A tuple of ints as a struct of them, never to be written to."""
    return np.array(numbers, np.int32).view(f"V{4 * len(numbers)}")


@cache
def _functions(library, file, chosen):
    """The kernels of a file for some template arguments, compiled: name -> what is called with grid, block, arguments
    and shared bytes.
    """
    names = tuple(name for name in instances(file) if name.endswith(f"<{chosen}>"))
    if library == "cupy":
        return import_module(f"{__package__}.compiler").for_cupy(file, names)
    device = import_module(__package__.replace(".cuda", ".emulator.device"))
    return device.functions(FOLDER / file, names)
