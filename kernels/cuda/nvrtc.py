"""NVIDIA's runtime compiler by ctypes: the functions of cupy.cuda.nvrtc, where there is neither CuPy nor a GPU.

The library is the PyPI package nvidia-cuda-nvrtc's; it needs no driver.
"""
from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

CURE = "pip install 'tinycnn[cuda-compile]'"


class NVRTCError(RuntimeError):
    """The compiler refused something."""


def installed(pattern: str) -> Path | None:
    """A file of NVIDIA's PyPI packages, the newest CUDA's first: installed("lib/libnvrtc.so*")."""
    found = importlib.util.find_spec("nvidia")
    folders = [Path(p) for p in found.submodule_search_locations or ()] if found else []
    files = [file for folder in folders for file in folder.glob(f"*/{pattern}") if "builtins" not in file.name]
    return max(files, default=None)


@cache
def _library() -> ctypes.CDLL:
    path = installed("lib/libnvrtc.so*")
    if path is None:
        raise RuntimeError(f"compiling CUDA sources needs NVIDIA's compiler NVRTC (no GPU, no driver): {CURE}")
    return ctypes.CDLL(str(path))


def _call(name: str, *arguments: Any) -> None:
    status = getattr(_library(), f"nvrtc{name}")(*arguments)
    if status:
        _library().nvrtcGetErrorString.restype = ctypes.c_char_p
        raise NVRTCError(f"nvrtc{name}: {_library().nvrtcGetErrorString(status).decode()}")


def getVersion() -> tuple[int, int]:
    """(13, 5) for CUDA 13.5.  Raises RuntimeError, with the cure, if the package is absent."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call("Version", ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


def createProgram(source: str, name: str, headers: Sequence[bytes], include_names: Sequence[bytes]) -> int:
    """A program: its source, and what #include finds beside the folders of the options."""
    program, texts = ctypes.c_void_p(), ctypes.c_char_p * len(headers)
    _call("CreateProgram", ctypes.byref(program), source.encode(), name.encode(), len(headers), texts(*headers),
          texts(*include_names))
    return program.value


def destroyProgram(program: int) -> None:
    """Free a program."""
    _call("DestroyProgram", ctypes.byref(ctypes.c_void_p(program)))


def addNameExpression(program: int, name: str) -> None:
    """Have an instance of a template, "relu<float>", compiled."""
    _call("AddNameExpression", ctypes.c_void_p(program), name.encode())


def compileProgram(program: int, options: Sequence[str]) -> None:
    """Compile.  Raises NVRTCError; why is in getProgramLog."""
    texts = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    _call("CompileProgram", ctypes.c_void_p(program), len(options), texts)


def getLoweredName(program: int, name: str) -> str:
    """The name of an instance in the binary."""
    lowered = ctypes.c_char_p()
    _call("GetLoweredName", ctypes.c_void_p(program), name.encode(), ctypes.byref(lowered))
    return (lowered.value or b"").decode()


def getProgramLog(program: int) -> str:
    """What the compiler and the assembler said."""
    return _bytes("ProgramLog", program).rstrip(b"\0").decode()


def getCUBIN(program: int) -> bytes:
    """The binary for the GPU.  cupy.cuda.nvrtc's lacks its last byte."""
    return _bytes("CUBIN", program)


def _bytes(what, program):
    size = ctypes.c_size_t()
    _call(f"Get{what}Size", ctypes.c_void_p(program), ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    _call(f"Get{what}", ctypes.c_void_p(program), buffer)
    return buffer.raw
