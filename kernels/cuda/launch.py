"""Launching CUDA kernels: one typed function for the GPU (CuPy) and for the emulator.

    launch("pool.cu", "max_pool", x.dtype, n, (x, y, where, win, n))

compiles kernels/cuda/pool.cu once for each (kernel, dtype), reads the kernel's parameters from the source, casts every
scalar to the type declared there (CuPy would pass a Python float as eight bytes, whatever the kernel takes), and starts
enough blocks of 256 threads for n elements.
"""
from __future__ import annotations

import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FOLDER = Path(__file__).parent
TYPES = {np.dtype("float32"): "float", np.dtype("float64"): "double"}
SCALARS = {"int": np.int32, "long long": np.int64, "unsigned long long": np.uint64, "float": np.float32,
           "double": np.float64, "bool": np.bool_}
BLOCK, MOST_BLOCKS = 256, 65535                      # kernels loop over what is left (common.cuh: each)
_KERNEL = re.compile(r"template\s*<\s*typename\s+T\s*>\s*__global__\s+void\s+(\w+)\s*\(([^)]*)\)", re.S)


class Parameter(NamedTuple):
    """One parameter of a kernel, as the source declares it: "T*", "int", "Window", ..."""

    type: str
    name: str


@cache
def declared(file: str) -> dict[str, tuple[Parameter, ...]]:
    """The kernels of a .cu file and their parameters.  Raises ValueError for a parameter that cannot be read."""
    source = re.sub(r"//[^\n]*", "", (FOLDER / file).read_text(encoding="utf-8"))
    return {name: tuple(_parameter(file, name, text) for text in parameters.split(","))
            for name, parameters in _KERNEL.findall(source)}


def _parameter(file, kernel, text):
    words = text.replace("*", " * ").replace("const", " ").replace("__restrict__", " ").split()
    kind = " ".join(words[:-1]).replace(" *", "*")
    if kind.rstrip("*") not in (*SCALARS, "T", "Window"):
        raise ValueError(f"{file}: {kernel}: the type of {text.strip()!r} is not one a launch can pass")
    return Parameter(kind, words[-1])


def launch(file: str, kernel: str, dtype: Any, n: int, arguments: tuple[Any, ...], blocks: int | None = None) -> None:
    """Run a kernel for T = dtype over n elements, or with as many blocks as given.

    Raises TypeError for a dtype there is no kernel for and arguments of the wrong kind, ValueError for their number.
    """
    dtype = np.dtype(dtype)
    if dtype not in TYPES:
        raise TypeError(f"{kernel}: CUDA kernels compute in float32 and float64, got {dtype}")
    parameters = declared(file)[kernel]
    if len(arguments) != len(parameters):
        raise ValueError(f"{kernel} takes {len(parameters)} arguments ({', '.join(p.name for p in parameters)}), got "
                         f"{len(arguments)}")
    if not n:
        return                                       # a launch of no blocks is an error
    library = _library(arguments)
    values = tuple(_cast(kernel, p, a, dtype) for p, a in zip(parameters, arguments))
    grid = (min(-(-n // BLOCK), MOST_BLOCKS) if blocks is None else blocks,)
    _functions(library, file, dtype)[kernel](grid, (BLOCK,), values)


def _library(arguments):
    """The array library of the first array: "cupy", or "cupy_on_cpu" for the emulator."""
    return next(type(a).__module__.partition(".")[0] for a in arguments if hasattr(a, "strides"))


def _cast(kernel, parameter, argument, dtype):
    """The argument as the kernel's source declares it."""
    kind = parameter.type.replace("T", TYPES[dtype])
    if kind.endswith("*"):
        if argument is not None and not hasattr(argument, "strides"):
            raise TypeError(f"{kernel}: {parameter.name} must be an array, got {type(argument).__name__}")
        return argument
    if kind == "Window":
        return np.array(tuple(argument), np.int32).view("V48")         # a struct of 12 ints, passed by value
    return SCALARS[kind](argument)


@cache
def _functions(library, file, dtype):
    """The kernels of a file, compiled for one dtype: name -> what is called with grid, block and arguments."""
    expressions = {name: f"{name}<{TYPES[dtype]}>" for name in declared(file)}
    if library == "cupy":
        return _compiled_by_cupy(file, expressions)
    device = import_module(__package__.replace(".cuda", ".emulator.device"))
    return device.functions(FOLDER / file, expressions)


def _compiled_by_cupy(file, expressions):
    cupy = sys.modules["cupy"]
    module = cupy.RawModule(code=(FOLDER / file).read_text(encoding="utf-8"),
                            name_expressions=tuple(expressions.values()), options=("-std=c++17", f"-I{FOLDER}"))
    null = np.uintp(0)

    def runner(function):
        return lambda grid, block, values: function(grid, block, tuple(null if v is None else v for v in values))
    return {name: runner(module.get_function(expression)) for name, expression in expressions.items()}
