"""Stage "sanitizer": a few kernels under NVIDIA's compute-sanitizer, where there is one.

    memcheck    accesses outside of arrays        initcheck   reads of memory that was not written
    racecheck   two threads on one address of shared memory without a barrier between them

CuPy's pool of memory is left out of it: inside of one large block, nothing would be outside.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np

from tinycnn.cases.kernels import outcome, rows

from .ceilings import precision
from .device import Device
from .work import Work

TOOLS = ("memcheck", "racecheck", "initcheck")
NAMES = ("conv2d", "conv2d_input", "conv2d_weight", "batch_norm_relu", "batch_norm_relu_backward",
         "max_pool2d_backward", "layer_norm_backward", "cross_entropy", "sgd_update", "dropout")
FOUND = 9                                            # exit code


def run(work: Work) -> None:
    """The stage."""
    program, name = tool(), work.settings.device
    work.each([("without", partial(subject, name))])
    if program is None:
        work.row("tools", left_out="there is no compute-sanitizer")
        return
    work.each([(kind, partial(checked, program, kind, name)) for kind in TOOLS])


def tool() -> str | None:
    """Where the program is: on the path, or in the toolkit."""
    home = Path(os.environ.get("CUDA_PATH") or os.environ.get("CUDA_HOME") or "/usr/local/cuda")
    return shutil.which("compute-sanitizer") or shutil.which(str(home / "bin" / "compute-sanitizer"))


def checked(program: str, kind: str, device: str) -> dict:
    """What one tool says.  Raises RuntimeError with its last lines if it found something."""
    done = subprocess.run([program, "--tool", kind, "--error-exitcode", str(FOUND), sys.executable, "-m", __name__,
                           device], capture_output=True, text=True)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode:
        raise RuntimeError(f"{kind} ends with {done.returncode}: " + " / ".join(lines[-3:]))
    return {"summary": lines[-1][:200] if lines else ""}


def subject(name: str) -> dict:
    """Run the kernels once."""
    device, cuda, table = Device(name), import_module("tinycnn.kernels.cuda"), rows(np.float32)
    if device.real:
        device.xp.cuda.set_allocator(None)
    try:
        with precision("high"):
            for kernel in NAMES:
                device.get(outcome(cuda, kernel, table[kernel][0], partial(device.put, last=True)))
    finally:
        if device.real:
            device.xp.cuda.set_allocator(device.xp.get_default_memory_pool().malloc)
    return {"kernels": len(NAMES)}


if __name__ == "__main__":
    subject(sys.argv[1])
