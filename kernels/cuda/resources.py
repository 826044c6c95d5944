"""What each CUDA kernel needs of a multiprocessor, by NVRTC and nvdisasm, and the limits that limits.json sets.

    python -m tinycnn.kernels.cuda.compiler --arch sm_80 sm_90         a table; no GPU is needed
    python -m tinycnn.kernels.cuda.compiler --write-limits             what is found becomes the limit (--file: of some)

Limits belong to a version of the compiler; another one may need more registers.
"""
from __future__ import annotations

import argparse
import json
import re
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from . import launch, nvrtc
from .compiler import FOLDER, compiled, needs

LIMITS = FOLDER / "limits.json"
ARCHS = ("sm_80", "sm_90")
WRITE = "python -m tinycnn.kernels.cuda.compiler --write-limits"
# What the machine code shows: kinds of instructions that a kernel has to have, or must not.
KINDS = {
    "tensor cores": r"(HMMA|IMMA|DMMA|HGMMA)\.",
    "asynchronous copies": r"LDGSTS|UBLKCP|UTMALDG",
    "16-byte loads": r"LDG\.\S*\b128\b",
    "16-byte stores": r"STG\.\S*\b128\b",
    "float64 arithmetic": r"D(FMA|ADD|MUL|SETP|MNMX)\b",
    "atomics": r"(ATOM|ATOMG|ATOMS|RED)\b",
    "local memory": r"(LDL|STL)\b",
}


class Needs(NamedTuple):
    """Of one kernel: registers a thread; bytes of stack and spills a thread, of static shared memory a block; kinds."""

    registers: int
    stack: int
    spills: int
    shared: int
    kinds: tuple[str, ...]


def files() -> list[str]:
    """All sources."""
    return sorted(path.name for path in FOLDER.glob("*.cu"))


def table(file: str, arch: str) -> tuple[dict[str, Needs], float]:
    """Every instance in a file and its needs, and how many seconds it took to compile them."""
    start = time.perf_counter()
    binary = compiled(file, launch.instances(file), arch, nvrtc)
    seconds = time.perf_counter() - start
    kinds = disassembled(binary.cubin)
    return {name: _needs(needs(binary.log, low), kinds[low]) for name, low in binary.lowered.items()}, seconds


def _needs(said, kinds):
    def number(pattern):
        return sum(map(int, re.findall(pattern, said)))
    return Needs(number(r"Used (\d+) registers"), number(r"(\d+) bytes stack"), number(r"(\d+) bytes spill"),
                 number(r"(\d+) bytes smem"), kinds)


@cache
def _disassembler():
    path = nvrtc.installed("bin/nvdisasm")
    if path is None:
        raise RuntimeError(f"looking into the machine code needs NVIDIA's nvdisasm: {nvrtc.CURE}")
    return str(path)


def disassembled(cubin: bytes) -> dict[str, tuple[str, ...]]:
    """Of every function of a binary the kinds of instructions it has."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.cubin"
        path.write_bytes(cubin)
        text = subprocess.run([_disassembler(), "-c", str(path)], capture_output=True, text=True, check=True).stdout
    _, *parts = re.split(r"^\s*\.section\s+\.text\.(\w+),", text, flags=re.M)
    code = {name: " ".join(set(re.findall(r"\*/\s+(?:@!?U?P\w+ )?([A-Z][\w.]*)", body)))
            for name, body in zip(parts[::2], parts[1::2])}
    return {name: tuple(kind for kind, pattern in KINDS.items() if re.search(rf"(^| ){pattern}", mnemonics))
            for name, mnemonics in code.items()}


def tables(sources: Iterable[str], archs: Iterable[str]) -> dict[tuple[str, str], tuple[dict[str, Needs], float]]:
    """(file, arch) -> its table.  Two at a time: the compiler runs without Python's lock."""
    jobs = list(product(sources, archs))
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(jobs, pool.map(lambda job: table(*job), jobs)))


# ---------------------------------------------------------------------------------------- limits

def limits() -> dict:
    """limits.json: the compiler's version, and by file, architecture and instance what it may need at most."""
    return json.loads(LIMITS.read_text(encoding="utf-8"))


def beyond(file: str, arch: str, found: dict[str, Needs]) -> list[str]:
    """What is wrong with the kernels of a file: spills, local memory, more than limits.json allows, other kinds."""
    allowed = limits()["kernels"].get(file, {}).get(arch, {})
    wrong = [f"{name}: {n.stack} bytes of stack, {n.spills} of spills: the kernel needs more registers than it has, or "
             "indexes a local array by a variable" for name, n in found.items() if n.stack or n.spills]
    wrong += [f"{name} has no limits: {WRITE}" for name in found if name not in allowed]
    wrong += [f"{name} has limits, but is no kernel: {WRITE}" for name in allowed if name not in found]
    for name in found.keys() & allowed.keys():
        n, (registers, shared, *kinds) = found[name], allowed[name]
        if n.registers > registers or n.shared > shared:
            wrong.append(f"{name}: {n.registers} registers, {n.shared} bytes of shared memory; allowed are {registers} "
                         f"and {shared}")
        if set(n.kinds) != set(kinds):
            wrong.append(f"{name}: has {', '.join(n.kinds) or 'nothing special'}; limits.json says {kinds}")
    return sorted(f"{file} {arch}: {text}" for text in wrong)


def write_limits(found: dict[tuple[str, str], tuple[dict[str, Needs], float]]) -> None:
    """Make what was found the limits of its files: an instance a line, [registers, bytes of shared memory, kinds ...].

    Registers are rounded up to a multiple of 8: multiprocessors give no less to a thread.
    """
    kernels = {file: archs for file, archs in limits()["kernels"].items() if file in files()}
    for (file, arch), (needed, _) in found.items():
        kernels.setdefault(file, {})[arch] = {
            name: [-(-n.registers // 8) * 8, n.shared, *n.kinds] for name, n in needed.items()}
    version = ".".join(map(str, nvrtc.getVersion()))
    text = json.dumps({"nvrtc": version, "kernels": dict(sorted(kernels.items()))}, indent=1)
    lines = re.sub(r"\[[^]]*\]", lambda m: json.dumps(json.loads(m[0])), text)
    LIMITS.write_text(lines + "\n", encoding="utf-8")


def main() -> None:
    """The command: print the table, and write the limits if asked to."""
    parser = argparse.ArgumentParser("python -m tinycnn.kernels.cuda.compiler", description=__doc__.splitlines()[0])
    parser.add_argument("--arch", nargs="+", default=ARCHS, help="architectures (default: %(default)s)")
    parser.add_argument("--file", nargs="+", default=files(), help="sources (default: all)")
    parser.add_argument("--write-limits", action="store_true", help="write what is found to limits.json")
    chosen = parser.parse_args()
    if chosen.write_limits and set(chosen.arch) != set(ARCHS):
        parser.error("there are limits for " + " and ".join(ARCHS))
    try:
        found = tables(chosen.file, chosen.arch)
    except RuntimeError as error:
        parser.exit(1, f"{error}\n")
    print(f"{'kernel':44} {'arch':6} {'registers':>9} {'stack':>6} {'spills':>6} {'shared':>7}  kinds of instructions")
    for (file, arch), (kernels, seconds) in found.items():
        print(f"{file}, {seconds:.1f} s")
        for name, n in kernels.items():
            print(f"  {name:42} {arch:6} {n.registers:9} {n.stack:6} {n.spills:6} {n.shared:7}  {', '.join(n.kinds)}")
    if chosen.write_limits:
        write_limits(found)
