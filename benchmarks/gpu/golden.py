"""What the emulator computes, kept: a GPU that computes something else differs from what all other tests ran on.

    python -m benchmarks.gpu --write-golden        anew, after a change of the kernels that was meant

golden.npz holds, for the first call of each kernel in tinycnn/cases/kernels.py (float32), the first 256 numbers of
every result; the convolutions of igemm.py in the lower precisions, too, whose rounding is ours, not cuBLAS's.  What
may differ: functions of the compiler's (exp), fused multiply-adds, and the order in which tensor cores add.
"""
from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.cases.kernels import rows

from .ceilings import PRECISIONS, precision
from .comparing import cuda, distance, reference, run_once, shown
from .device import Device

FILE, KEPT, ULPS = Path(__file__).with_name("golden.npz"), 256, 64
igemm = import_module("tinycnn.kernels.cuda.igemm")


def computed(device: Device, name: str, mode: str) -> list[np.ndarray]:
    """The numbers that are kept of one kernel."""
    with precision(mode):
        found = run_once(device, name, rows(np.float32)[name][0], kernels=cuda if mode == PRECISIONS[0] else igemm)
    return [a.ravel()[:KEPT] for a in (found if isinstance(found, tuple) else (found,)) if a is not None]


def kinds() -> Iterator[tuple[str, str]]:
    """(name, precision) of all that is kept."""
    for name in reference.__all__:
        for mode in PRECISIONS if name in igemm.__all__ else PRECISIONS[:1]:
            yield name, mode


def write() -> int:
    """Store what the emulator computes; the file's size."""
    device = Device("cuda-emu")
    arrays = {f"{name} {mode} {i}": a for name, mode in kinds() for i, a in enumerate(computed(device, name, mode))}
    np.savez_compressed(FILE, **arrays)
    return FILE.stat().st_size


def items(device: Device) -> Iterator[tuple[str, Any]]:
    """An item for each kernel: its results are the emulator's."""
    with np.load(FILE, allow_pickle=False) as file:
        kept = dict(file)
    for name, mode in kinds():
        yield f"golden {name} {mode}", partial(compare, device, name, mode, kept)


def compare(device: Device, name: str, mode: str, kept: dict[str, np.ndarray]) -> dict:
    """The largest difference, as a part of what is allowed."""
    found = computed(device, name, mode)
    expected = [kept[key] for i in range(len(found) + 1) if (key := f"{name} {mode} {i}") in kept]
    if len(found) != len(expected):
        return {"ok": False, "worst": None, "why": "another number of results: --write-golden"}
    worst = max(distance(f, e, e.dtype, ulps=ULPS) for f, e in zip(found, expected))
    return {"ok": worst <= 1, "worst": shown(worst), "calls": 1}
