"""CUDA C -> a shared library that runs on the CPU.

The source is compiled as C++ behind cudaemu.h.  Two things are rewritten: __shared__ arrays announce themselves, so
that each block finds them full of NaN and their bytes are counted, and `extern __shared__` becomes a pointer.  What is
not rewritten, as in a header, does not compile: there is no __shared__ in C++.  Compiled libraries are kept in a folder
of the user's, under a hash of the source, the headers and the flags.
"""
from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).parent
# TINYCNN_EMULATOR_DEBUG=1 compiles for a debugger: every variable, nothing rearranged.
DEBUG = os.environ.get("TINYCNN_EMULATOR_DEBUG") == "1"
FLAGS = ("-std=c++17", *(("-O0", "-g3") if DEBUG else ("-O1", "-g1")), "-shared", "-fPIC", "-fvisibility=hidden", "-w",
         "-fno-strict-aliasing", "-ffp-contract=off", "-fcf-protection=none", "-U_FORTIFY_SOURCE")
MOST_SHARED = 227 << 10                              # bytes of a block, on an H100
_TEXT = r'"(?:\\.|[^"\\\n])*"'                       # comes first where it may hold what looks like the rest
_COMMENT = re.compile(rf"{_TEXT}|//[^\n]*|/\*.*?\*/", re.S)
_SHARED = re.compile(rf"{_TEXT}|(extern\s+)?__shared__\s+(?:(?:__align__|alignas)\s*\([^)]*\))?([^;]*);")
_ENCLOSED = re.compile(r"\[[^\[\]]*\]|<[^<>]*>|\([^()]*\)")


class EmulatorError(RuntimeError):
    """A kernel did something that a GPU would not survive, or would not tell."""


class Schedule(NamedTuple):
    """The order of threads: forward, reverse, or shuffled by a seed; greedy: a warp runs on while barriers let it."""

    order: str = "forward"
    greedy: bool = False
    seed: int = 0

    def mode(self) -> int:
        """As cudaemu.h numbers it."""
        return ("forward", "reverse", "shuffled").index(self.order) + 4 * self.greedy


SCHEDULES = (Schedule(), Schedule("reverse"), Schedule("shuffled", seed=1), Schedule("shuffled", True, seed=2),
             Schedule(greedy=True))
current = Schedule()                                 # set by device.schedule()


class _Config(ctypes.Structure):
    _fields_ = [("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_size_t),
                ("mode", ctypes.c_int), ("seed", ctypes.c_uint)]


def compiler() -> str:
    """The path of g++.  Raises RuntimeError, with the cure, if there is none."""
    found = shutil.which(os.environ.get("CXX", "g++"))
    if found is None:
        raise RuntimeError("device 'cuda-emu' compiles CUDA kernels for the CPU and needs g++ (Debian: apt install "
                           "g++), or another C++17 compiler named by CXX")
    return found


def cache_folder() -> Path:
    """Where compiled libraries are kept: TINYCNN_EMULATOR_CACHE, or the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TINYCNN_EMULATOR_CACHE") or Path(home) / "tinycnn" / "emulator")


def library(path: Path, names: tuple[str, ...]) -> ctypes.CDLL:
    """The library with the kernels `names` ("conv<float>") of a .cu file, compiled if it is not in the cache."""
    headers = b"".join(p.read_bytes() for p in sorted([*path.parent.glob("*.cuh"), *HERE.glob("*.h")]))
    source = path.read_text(encoding="utf-8")
    key = hashlib.sha256("\0".join([source, *FLAGS, *names, compiler()]).encode() + headers).hexdigest()[:32]
    target = cache_folder() / f"{path.stem}-{key}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        _compile(path, source, names, target)
    return ctypes.CDLL(str(target))


def _compile(path, source, names, target):
    exports = "\n".join(f"EMU_EXPORT({i}, {name})" for i, name in enumerate(names))
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        cpp, out = Path(folder) / path.name, Path(folder) / "kernel.so"       # its name stands beside its lines
        cpp.write_text(f'#include "cudaemu.h"\n#line 1 "{path}"\n{rewritten(source)}\n{exports}\n', encoding="utf-8")
        command = [compiler(), *FLAGS, f"-I{HERE}", f"-I{path.parent}", "-x", "c++", str(cpp), "-o", str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise EmulatorError(f"{path.name} does not compile:\n{done.stderr[:4000]}")
        os.replace(out, target)


def rewritten(source: str) -> str:
    """The source without comments, with its shared memory announced; lines stay where they are.

    Raises EmulatorError for a declaration of shared memory that cannot be read.
    """
    return _SHARED.sub(_announced, _COMMENT.sub(_uncommented, source))


def _uncommented(match):
    return match[0] if match[0][0] == '"' else " " + "\n" * match[0].count("\n")


def _announced(match):
    if match[0][0] == '"':
        return match[0]
    declaration, dynamic, declared = match[0], match[1], match[2].strip()
    array = re.fullmatch(r"([\w\s:]*\w)\s+(\w+)\s*\[\s*\]", declared)
    if dynamic and array:
        kind = " ".join(array[1].split())
        return f"{kind} *{array[2]} = ({kind} *)emu::dynamic_memory();" + "\n" * declaration.count("\n")
    names = _declared(declared)
    if dynamic or not all(names):
        raise EmulatorError(f"cannot read {' '.join(declaration.split())!r}: expected a type and names, or extern, a "
                            "type and name[]")
    announcements = " ".join(f"emu::announce(&{name}, sizeof {name});" for name in names)
    return f"{declaration.replace('__shared__', 'static', 1)} {announcements}"


def _declared(text):
    """The names in a declaration: of "Pair<int, float> a[N][4], b" a and b; None where there is no name."""
    while (shorter := _ENCLOSED.sub(" ", text)) != text:
        text = shorter
    first, *others = map(str.strip, text.split(","))
    found = (re.fullmatch(r"[\w:\s]*\w\s[\s*]*(\w+)", first), *(re.fullmatch(r"(\w+)", other) for other in others))
    return [match and match[1] for match in found]


def line_of(library: str, address: str) -> str:
    """The source line an instruction was made from: "common.cuh:42, called in norm.cu:120"."""
    tool = shutil.which("addr2line")                 # comes with g++
    if tool is None:
        return "an unknown line (there is no addr2line)"
    done = subprocess.run([tool, "-i", "-e", library, address], capture_output=True, text=True, check=True)
    return ", called in ".join(Path(line.split()[0]).name for line in done.stdout.splitlines())


class Kernel:
    """One kernel of a library: called with grid, block and arguments, all of which are checked."""

    _POINTERS = {"f": "f", "d": "d", "i": "i", "q": "ql", "B": "B?", "b": "b", "Q": "QL",
                 "?": "QL"}                          # ?: an array of addresses

    def __init__(self, lib: ctypes.CDLL, index: int, name: str):
        self.name, self._path, self._launch = name, lib._name, getattr(lib, f"emu_launch_{index}")
        self._launch.restype = ctypes.c_char_p
        text = ctypes.create_string_buffer(4096)
        getattr(lib, f"emu_sig_{index}")(text)
        self.parameters = [(s[0] == "*", s[1], int(s[2:])) for s in text.value.decode().split()]

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...],
                 shared: int = 0) -> None:
        if len(arguments) != len(self.parameters):
            raise EmulatorError(f"{self.name}: {len(arguments)} arguments for {len(self.parameters)} parameters")
        values = [self._value(i, a, *p) for i, (a, p) in enumerate(zip(arguments, self.parameters))]
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
        sizes = [(*size, 1, 1)[:3] for size in (grid, block)]
        if shared > MOST_SHARED:
            raise EmulatorError(f"{self.name}: {shared:,} bytes of shared memory, a block has at most {MOST_SHARED:,}")
        error = self._launch(ctypes.byref(_Config(*sizes, shared, current.mode(), current.seed)), pointers)
        if error:
            text = re.sub(r"<(0x\w+)>", lambda m: line_of(self._path, m[1]), error.decode())
            raise EmulatorError(f"{self.name}, grid {tuple(grid)}, block {tuple(block)}: {text}")

    def _value(self, i, argument, is_pointer, kind, size):
        if is_pointer:
            if argument is None:
                return ctypes.c_void_p(None)
            if not isinstance(argument, np.ndarray):
                raise EmulatorError(f"{self.name}: parameter {i} is a pointer, got {type(argument).__name__}")
            if argument.dtype.char not in self._POINTERS.get(kind, kind):
                raise EmulatorError(f"{self.name}: parameter {i} points to {kind!r}, the array is {argument.dtype}")
            return ctypes.c_void_p(argument.ctypes.data)
        value = np.asarray(argument)
        if value.nbytes != size or (kind in "fd") != (value.dtype.kind == "f"):
            raise EmulatorError(f"{self.name}: parameter {i} is {kind!r} of {size} bytes, got {value.dtype}")
        return (ctypes.c_char * size).from_buffer_copy(value.tobytes())
