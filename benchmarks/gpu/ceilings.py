"""Stage "machine": what it is, and what it can do at best: copies, matrix products by cuBLAS, launches."""
from __future__ import annotations

import platform
import shutil
import subprocess
import time
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import tinycnn as tc

from ..timing import machine
from .device import Device
from .work import Work

PACKAGES = ("tinycnn", "numpy", "cupy-cuda13x", "cupy-cuda12x", "torch", "ml_dtypes")
QUERY = "name,driver_version,temperature.gpu,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.draw,power.limit"
PRECISIONS = ("highest", "high", "medium")


def run(work: Work) -> None:
    """The stage."""
    tiny = work.settings.tiny
    work.each([("versions", versions), ("nvidia-smi", nvidia_smi)])
    device, size = Device(work.settings.device, tiny), 64 if tiny else 8192
    items = [("copy", partial(copies, device, 1 << 20 if tiny else 1 << 32))]
    items += [(f"gemm {mode}", partial(product, device, size, mode)) for mode in (*PRECISIONS, "bfloat16")]
    items += [("launches", partial(launches, device, 200 if tiny else 10_000))]
    work.each(items, device.runtime.synchronize)


def versions() -> dict:
    """Of Python and the packages, and what the host is."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"date": time.strftime("%Y-%m-%d %H:%M"), "host": machine(), "python": platform.python_version(), **found}


def nvidia_smi() -> dict:
    """Clocks, power and temperature, as they are: nothing is set."""
    if shutil.which("nvidia-smi") is None:
        return {"left_out": "there is no nvidia-smi"}
    done = subprocess.run(["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"], capture_output=True,
                          text=True, timeout=20)
    if done.returncode:
        return {"left_out": (done.stdout + done.stderr).strip()[:200]}
    return dict(zip(QUERY.split(","), map(str.strip, done.stdout.splitlines()[0].split(","))))


def copies(device: Device, nbytes: int) -> dict:
    """GB/s of a copy in the device's memory, read and written."""
    x = device.random((nbytes // 4,))
    out = device.xp.empty(x.shape, x.dtype)

    def copy():
        out[...] = x
    found = device.time(copy, 0.5)
    return {**found, "gb_s": float(f"{2 * nbytes / found['ms'] / 1e6:.5g}")}


def product(device: Device, n: int, mode: str) -> dict:
    """TFLOP/s of a product of n x n matrices by cuBLAS: float32 in each precision, and bfloat16."""
    gemm = import_module("tinycnn.kernels.cuda.blas").gemm
    narrow = mode == "bfloat16"
    dtype = import_module("ml_dtypes").bfloat16 if narrow else "float32"
    a, b = (device.random((n, n), dtype, seed=seed) for seed in range(2))
    with precision("highest" if narrow else mode):
        found = device.time(lambda: gemm(a, b), 0.5)
    return {**found, "tflop_s": float(f"{2 * n ** 3 / found['ms'] / 1e9:.5g}")}


class precision:
    """`with` block: float32 products in this precision."""

    def __init__(self, mode: str):
        self._mode = mode

    def __enter__(self):
        self._before = tc.get_float32_matmul_precision()
        tc.set_float32_matmul_precision(self._mode)

    def __exit__(self, *exception):
        tc.set_float32_matmul_precision(self._before)


def launches(device: Device, n: int) -> dict:
    """Microseconds of a launch that does next to nothing: by launch(), and in a graph that is replayed."""
    launch = import_module("tinycnn.kernels.cuda.launch").launch
    x = device.random((1,))

    def many(count):
        for _ in range(count):
            launch("elementwise.cu", "relu", x.dtype, 1, (x, x, 1))
    many(10)
    device.runtime.synchronize()
    start = time.perf_counter()
    many(n)
    enqueued = time.perf_counter() - start
    device.runtime.synchronize()
    done = time.perf_counter() - start
    replay, how = device.repeated([partial(many, 100)])
    replayed = device.time(replay, 0.5)
    return {"host_us": round(1e6 * enqueued / n, 3), "us": round(1e6 * done / n, 3),
            "graph_us": round(10 * replayed["ms"], 3), "how": how}
