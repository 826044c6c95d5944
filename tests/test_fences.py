"""Nothing beside the arrays of a kernel is read or written: every kernel of kernels/cpu between fences (fences.py)."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="guards pages with mprotect")
HEAP = next((str(path) for folder in ("/lib", "/usr/lib", "/lib64", "/usr/lib64") for place in ("", "*/")
             for path in Path(folder).glob(place + "libc_malloc_debug.so.0")), None)     # glibc's, from 2.34 on


def run(*words):
    """(exit code, stdout, stderr), the heap checked where the C library can."""
    heap = {"LD_PRELOAD": HEAP, "MALLOC_CHECK_": "3"} if HEAP else {}
    done = subprocess.run([sys.executable, "tests/fences.py", *words], cwd=ROOT, text=True, capture_output=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **heap})
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_kernel_keeps_between_the_fences(dtype):
    code, out, err = run(dtype)
    assert code == 0, err[-2000:]
    count, *never_called = out.split()
    transforms = {"_multiply", "_multiply_and_transform", "_transform_back", "_transform_both", "_transform_weights"}
    assert int(count) > 800 and set(never_called) == (transforms if dtype == "float64" else set())


@pytest.mark.parametrize("planted", ["writes behind", "writes before", "reads behind", pytest.param(
    "leaves its scratch", marks=pytest.mark.skipif(not HEAP, reason="the C library cannot check its heap"))])
def test_a_planted_step_over_the_fence_is_found(planted):
    code, _, err = run("float32", planted)
    found = "Touched" in err, -code in (signal.SIGSEGV, signal.SIGABRT)
    assert any(found), (code, err[-2000:])
