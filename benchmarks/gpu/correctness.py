"""Stage "correctness": every kernel against its specification in float64, and against what the emulator computed.

For each name of the interface: float32, float64 and the 16-bit floats it has kernels for; C order and channels-last
memory; products of float32 in each precision; twice, into memory full of NaN and then of other numbers: the bits must
be the same.
"""
from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from tinycnn.backend import window
from tinycnn.cases.kernels import narrowed, rows

from . import golden
from .ceilings import PRECISIONS, precision
from .comparing import PRODUCTS, UNITS, bits, cuda, error, reference, run_once, shown
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
            yield item, partial(compare, device, name, calls + wide(name, dtype, seed, tiny), last, mode)
    for name, dtype, last in product(sorted(cuda.SIXTEEN_BITS), UNITS, (False, True)):
        calls = tables[np.float32][name][:1 if tiny else None] + wide(name, np.float32, seed, tiny)
        yield (f"{name} {dtype}{' channels-last' * last}",
               partial(narrow_and_compare, device, name, calls, last, dtype))


def wide(name: str, dtype: Any, seed: int, tiny: bool) -> list[tuple]:
    """Convolutions of many channels, which fill several tiles of the tensor cores' kernels."""
    calls = []
    for N, C, O, size, stride, groups in () if tiny else ((2, 136, 200, (9, 8), 1, 1), (3, 64, 64, (17, 15), 2, 1),
                                                          (2, 96, 72, (7, 7), 1, 2)):
        win, rng = window(size, 3, stride, 1), np.random.default_rng(seed)
        shapes = (N, C, *size), (O, C // groups, 3, 3), (O,), (N, O, win.OH, win.OW)
        x, w, b, g = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
        arguments = {"conv2d": (x, w, b), "conv2d_input": (g, w), "conv2d_weight": (x, g)}
        if name in arguments:
            calls.append((*arguments[name], win, groups))
    return calls


def narrow_and_compare(device: Device, name: str, calls: list[tuple], last: bool, dtype: str) -> dict:
    """compare, on images rounded to 16 bits."""
    return compare(device, name, [tuple(narrowed(arguments, dtype)[0]) for arguments in calls], last, PRECISIONS[0])


def compare(device: Device, name: str, calls: list[tuple], last: bool, mode: str) -> dict:
    """The largest error of all calls, as a part of what is allowed, and whether both runs have the same bits."""
    worst, same = 0.0, True
    with precision(mode):
        for arguments in calls:
            first, second = (run_once(device, name, arguments, last, again) for again in (False, True))
            same &= bits(first) == bits(second)
            worst = max(worst, error(name, arguments, first, mode))
    return {"ok": bool(worst <= 1 and same), "worst": shown(worst), "same_bits": same, "calls": len(calls)}
