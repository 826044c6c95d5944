"""Stage "correctness": every kernel against its specification in float64, and against what the emulator computed.

For each name of the interface: float32 and float64, C order and channels-last memory, and products of float32 in each
precision; twice, into memory full of NaN and then of other numbers: the bits must be the same.
"""
from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from tinycnn.cases.kernels import rows

from . import golden
from .ceilings import PRECISIONS, precision
from .comparing import PRODUCTS, bits, error, reference, run_once, shown
from .device import Device
from .work import Work


def run(work: Work) -> None:
    """The stage."""
    device = Device(work.settings.device)
    work.each(items(device, work.settings.seed, work.settings.tiny), device.runtime.synchronize)
    work.each(golden.items(device), device.runtime.synchronize)


def items(device: Device, seed: int, tiny: bool) -> Iterator[tuple[str, Any]]:
    """Every kernel in every dtype, layout and precision there is a difference in; tiny: the first arguments only."""
    tables = {dtype: rows(dtype, seed) for dtype in (np.float32, np.float64)}
    for name, dtype, last in product(reference.__all__, tables, (False, True)):
        calls = tables[dtype][name][:1 if tiny else None]
        for mode in PRECISIONS if name in PRODUCTS and dtype == np.float32 else PRECISIONS[:1]:
            item = f"{name} {np.dtype(dtype)}{' channels-last' * last}{f' {mode}' * (name in PRODUCTS)}"
            yield item, partial(compare, device, name, calls, last, mode)


def compare(device: Device, name: str, calls: list[tuple], last: bool, mode: str) -> dict:
    """The largest error of all calls, as a part of what is allowed, and whether both runs have the same bits."""
    worst, same = 0.0, True
    with precision(mode):
        for arguments in calls:
            first, second = (run_once(device, name, arguments, last, again) for again in (False, True))
            same &= bits(first) == bits(second)
            worst = max(worst, error(name, arguments, first, mode))
    return {"ok": bool(worst <= 1 and same), "worst": shown(worst), "same_bits": same, "calls": len(calls)}
