"""Planted bugs are found: each in a process of its own, whose memory a bug may spoil (planted_bugs.py has them)."""
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import planted_bugs
import pytest
from planted_bugs import BUGS

pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes (extra 'half')")
if shutil.which("g++") is None:
    pytest.skip("the emulator needs g++", allow_module_level=True)


def found(number, folder):
    """What the hunt for a bug says; a process that dies has found it, too."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run([sys.executable, planted_bugs.__file__, str(number), str(folder / "cuda")],
                          capture_output=True, text=True, timeout=300,
                          env={**os.environ, "TINYCNN_EMULATOR_CACHE": str(folder), "PYTHONPATH": path})
    if done.returncode > 0:
        return f"broken: {done.stderr[-1500:]}"
    return done.stdout.strip() or f"found: killed by signal {-done.returncode}"


def test_every_bug_is_another_and_can_be_planted(tmp_path):
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 60
    for i, bug in enumerate(BUGS):
        planted_bugs.plant(bug, tmp_path / str(i))


@pytest.mark.parametrize("name, sign", [
    ("a barrier for half the threads", "barrier"), ("an element outside", "illegal memory access"),
    pytest.param("no barrier after writing", "found", marks=pytest.mark.slow),
    pytest.param("the gradient not centred", "AssertionError", marks=pytest.mark.slow)])
def test_one_of_each_kind_is_found(tmp_path, name, sign):
    assert sign in found([bug.name for bug in BUGS].index(name), tmp_path)


@pytest.mark.slow
def test_nearly_all_are_found(tmp_path):
    """At least 95 of 100; survivors are named."""
    folders = [tmp_path / str(i) for i in range(len(BUGS))]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(found, range(len(BUGS)), folders))
    for bug, result in zip(BUGS, results):
        print(f"{bug.file:15} {bug.name:45} {result[:150]}")
    assert not [bug.name for bug, result in zip(BUGS, results) if result.startswith("broken")]
    survivors = [bug.name for bug, result in zip(BUGS, results) if result == "survived"]
    print(f"{len(BUGS) - len(survivors)} of {len(BUGS)} found; survivors: {', '.join(survivors) or 'none'}")
    assert len(survivors) <= 0.05 * len(BUGS), survivors
