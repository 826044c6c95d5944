"""Stage "compile": every instance of every kernel, as the launches will look for it, so that later stages find it."""
from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module

from .device import Device
from .work import Work

compiler, launch = (import_module(f"tinycnn.kernels.cuda.{name}") for name in ("compiler", "launch"))


def modules() -> list[tuple[str, tuple[str, ...]]]:
    """(file, names of the instances that are compiled together), as launch.py does it."""
    found = []
    for path in sorted(launch.FOLDER.glob("*.cu")):
        groups: dict[str, list[str]] = {}
        for name in launch.instances(path.name):
            groups.setdefault(name.partition("<")[2], []).append(name)
        found += [(path.name, tuple(names)) for names in groups.values()]
    return found


def run(work: Work) -> None:
    """The stage."""
    device = Device(work.settings.device)
    one = by_nvrtc if device.real else by_emulator
    with ThreadPoolExecutor(16 if device.real else 2) as pool:       # compilers run without Python's lock
        jobs = [(f"{file} <{names[0].partition('<')[2]}", pool.submit(one, device, file, names))
                for file, names in modules()]
        try:
            work.each([(item, partial(job.result)) for item, job in jobs])
        finally:
            pool.shutdown(cancel_futures=True)


def by_nvrtc(device: Device, file: str, names: tuple[str, ...]) -> dict:
    """Seconds, and what the assembler says: the most registers, and the kernels that spill."""
    arch, start = f"sm_{device.xp.cuda.Device().compute_capability}", time.perf_counter()
    _, binary = compiler.cached(file, names, arch, device.xp.cuda.nvrtc)
    seconds = time.perf_counter() - start
    said = {name: compiler.needs(binary.log, low) for name, low in binary.lowered.items()}
    registers = {name: int((re.findall(r"Used (\d+) registers", text) or [0])[0]) for name, text in said.items()}
    spills = {name: sum(map(int, re.findall(r"(\d+) bytes spill", text))) for name, text in said.items()}
    return {"seconds": round(seconds, 2), "kernels": len(names), "arch": arch, "registers": registers,
            "spills": {name: n for name, n in spills.items() if n}}


def by_emulator(device: Device, file: str, names: tuple[str, ...]) -> dict:
    """Seconds."""
    build, start = import_module("tinycnn.kernels.emulator.build"), time.perf_counter()
    build.library(launch.FOLDER / file, names)
    return {"seconds": round(time.perf_counter() - start, 2), "kernels": len(names)}
