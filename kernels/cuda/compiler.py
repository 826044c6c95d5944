"""From CUDA source to the GPU's binary, and from there to what CuPy launches.

    relu<float>, relu_backward<float>, ...  --NVRTC-->  cubin for sm_90, names in it  --cache, CuPy-->  run(grid, ...)

The sources compile without a GPU, too (nvrtc.py):  python -m tinycnn.kernels.cuda.compiler --arch sm_80 sm_90
prints what each kernel needs of a multiprocessor.

CuPy's own compilation (RawModule with code=) is not used, for two reasons in its source (14.2, cupy/cuda/compiler.py):
it adds -ftz=true to all options, which makes 0 of float32 numbers below 1e-38 that the CPU and PyTorch keep; and its
cache does not look into included files, so that an edited .cuh would go unnoticed.
"""
from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
WITHOUT_ASKING = 48 << 10                            # bytes of shared memory that any kernel may have


class CompileError(RuntimeError):
    """A CUDA source does not compile."""


class Binary(NamedTuple):
    """A file compiled for one architecture: the cubin, the names of its instances in it, and the assembler's log."""

    cubin: bytes
    lowered: dict[str, str]
    log: str


def options(arch: str) -> tuple[str, ...]:
    """NVRTC's, but for the folder of the headers; no header of NVIDIA's is needed."""
    return "--std=c++17", f"--gpu-architecture={arch}", "--ptxas-options=-v"


def compiled(file: str, names: Iterable[str], arch: str, nvrtc: Any) -> Binary:
    """The instances `names` ("relu<float>") of a .cu file for an architecture ("sm_90").

    nvrtc is cupy.cuda.nvrtc or this package's module of the same functions.  Raises CompileError with NVRTC's log.
    """
    program = nvrtc.createProgram((FOLDER / file).read_text(encoding="utf-8"), file, (), ())
    try:
        for name in names:
            nvrtc.addNameExpression(program, name)
        try:
            nvrtc.compileProgram(program, (*options(arch), f"-I{FOLDER}"))
        except nvrtc.NVRTCError as error:
            raise CompileError(f"{file} does not compile for {arch} ({error}):\n{nvrtc.getProgramLog(program)}"
                               ) from error
        lowered = {name: nvrtc.getLoweredName(program, name) for name in names}
        # CuPy 14's getCUBIN drops the last byte, a zero, as if it ended a text; a file with one too many does no harm.
        return Binary(nvrtc.getCUBIN(program) + b"\0", lowered, nvrtc.getProgramLog(program))
    finally:
        nvrtc.destroyProgram(program)


# ---------------------------------------------------------------------------------------- on a GPU, by CuPy

def cache_folder() -> Path:
    """Where binaries are kept: in CuPy's cache, CUPY_CACHE_DIR or ~/.cupy/kernel_cache."""
    return Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache") / "tinycnn"


def cached(file: str, names: tuple[str, ...], arch: str, nvrtc: Any) -> tuple[Path, Binary]:
    """`compiled`, or what an earlier process compiled from the same sources with the same compiler, and where it is."""
    headers = b"\0".join(p.read_bytes() for p in sorted(FOLDER.glob("*.cuh")))
    described = "\0".join([file, *names, *options(arch), *map(str, nvrtc.getVersion())])
    key = hashlib.sha256(b"\0".join([described.encode(), (FOLDER / file).read_bytes(), headers])).hexdigest()[:32]
    binary, notes = (cache_folder() / f"{Path(file).stem}-{key}.{kind}" for kind in ("cubin", "json"))
    if binary.exists():                              # written last
        return binary, Binary(binary.read_bytes(), *json.loads(notes.read_text(encoding="utf-8")))
    made = compiled(file, names, arch, nvrtc)
    binary.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
        for target, content in ((notes, json.dumps(made[1:]).encode()), (binary, made.cubin)):
            part = Path(folder) / target.name
            part.write_bytes(content)
            os.replace(part, target)                 # at once: other processes see all of it or nothing
    return binary, made


def for_cupy(file: str, names: tuple[str, ...]) -> dict[str, Callable[..., None]]:
    """The instances of a file on CuPy's current GPU, where they stay: name -> run(grid, block, values, shared bytes).

    Raises CompileError; a launch that the driver refuses raises RuntimeError with the kernel, its geometry and needs.
    """
    cupy = sys.modules["cupy"]
    arch = f"sm_{cupy.cuda.Device().compute_capability}"
    path, binary = cached(file, names, arch, cupy.cuda.nvrtc)
    module = cupy.RawModule(path=str(path))
    return {name: _runner(cupy, name, module.get_function(lowered), needs(binary.log, lowered))
            for name, lowered in binary.lowered.items()}


def most_shared() -> int:
    """Bytes of shared memory a block may ask for on CuPy's current GPU: 99 KiB on GeForce cards, 227 on H100s."""
    return sys.modules["cupy"].cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"]


def needs(log: str, lowered: str) -> str:
    """What the assembler said about one kernel."""
    after = log.partition(f"Compiling entry function '{lowered}'")[2].partition("Compiling entry function")[0]
    return ", ".join(re.findall(r"\d+ bytes stack frame.*|Used \d+.*", after))


def _runner(cupy, name, kernel, log):
    """kernel.kernel is a cupy.cuda.Function: to call it is cheaper than the RawKernel, which looks it up each time."""
    function, allowed = kernel.kernel, WITHOUT_ASKING

    def run(grid: tuple[int, ...], block: tuple[int, ...], values: tuple[Any, ...], shared: int) -> None:
        nonlocal allowed
        try:
            if shared > allowed:
                kernel.max_dynamic_shared_size_bytes = allowed = shared
            function(grid, block, values, shared)    # None is a null pointer
        except cupy.cuda.driver.CUDADriverError as error:
            raise RuntimeError(f"{name}, grid {grid}, block {block}, {shared} bytes of dynamic shared memory: {error}"
                               f" ({log})") from error
    return run


if __name__ == "__main__":
    import_module("tinycnn.kernels.cuda.resources").main()
