"""How things are timed here, and how the machine is described: shared by all benchmarks.

A benchmark states the median and the spread (the quartiles), interleaves the contenders, and gives every contender
a process of its own: two thread pools in one process slow each other down.  Where the system allows it, contenders
run before other programs: on a busy machine threads that wait for each other lose whole time slices otherwise, and a
step takes ten times as long.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from math import exp, log
from pathlib import Path
from statistics import fmean, median, quantiles
from time import perf_counter
from typing import Any, Callable, Iterable

UNSTEADY = 0.15                                      # of the median: quartiles further apart are marked


def host_clock(work: Callable[[], Any]) -> float:
    """How long the host takes for a call, in milliseconds."""
    start = perf_counter()
    work()
    return 1e3 * (perf_counter() - start)


def sample(work: Callable[[], Any], seconds: float = 1.0, least: int = 5,
           clock: Callable[[Callable[[], Any]], float] = host_clock, warmups: int = 2) -> list[float]:
    """Times of one call in milliseconds: as many as fit in `seconds`, at least `least`, after the warm-up calls."""
    for _ in range(warmups):
        work()
    times, stop = [], perf_counter() + seconds
    while len(times) < least or perf_counter() < stop:
        times.append(clock(work))
    return times


def spread(times: list[float]) -> tuple[float, float, float]:
    """Median and quartiles."""
    low, _, high = quantiles(times, n=4, method="inclusive")
    return median(times), low, high


def summarised(times: list[float]) -> dict:
    """Times as the results have them: median, quartiles, best, and how many they were."""
    mid, low, high = (float(f"{t:.5g}") for t in spread(times))
    return {"median": mid, "quartiles": [low, high], "best": float(f"{min(times):.5g}"), "samples": len(times)}


def unsteady(times: dict) -> bool:
    """Whether the quartiles of a summary are further apart than 15 % of its median: measure again."""
    low, high = times["quartiles"]
    return high - low > UNSTEADY * times["median"]


def geometric_mean(values: Iterable[float]) -> float:
    """What ratios have in the middle."""
    return exp(fmean(log(v) for v in values))


def pressure() -> dict[str, str]:
    """What Linux says about the wait for processors, memory and disks; empty where it says nothing."""
    folder = Path("/proc/pressure")
    return {path.name: path.read_text(encoding="utf-8").splitlines()[0] for path in sorted(folder.glob("*"))
            if path.name in ("cpu", "io", "memory")}


def machine() -> str:
    """One line: processor, cores in use, Python, and how busy the machine is."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), model)
    waits = pressure().get("cpu")
    busy = f", waiting for a processor {waits.split('avg10=')[1].split()[0]} % of the time" if waits else ""
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}{busy}"


def versions() -> dict[str, str]:
    """Of the packages that decide how fast things are, where they are installed."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in ("numpy", "numba", "llvmlite", "torch"):
        if installed(package):
            found[package] = metadata.version(package)
    return found


def installed(package: str) -> bool:
    """Whether a package could be imported, without importing it."""
    from importlib.util import find_spec
    return find_spec(package) is not None


def resident() -> float:
    """MiB of memory that this process has in RAM now."""
    return _status("VmRSS")


def forget_peak() -> None:
    """From here on peak() looks for the most anew; where the system cannot, it is the most since the start."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def peak() -> float:
    """Most MiB that this process had in RAM since forget_peak()."""
    return _status("VmHWM")


def _status(field):
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(field)) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Worker:
    """A contender in a process of its own: `python -m MODULE --worker NAME`, a line of JSON in and out per request."""

    def __init__(self, module: str, name: str, threads: int | None = None):
        self.name = name
        limits = {} if threads is None else dict.fromkeys(
            ("BENCH_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        self._process = subprocess.Popen([sys.executable, "-m", module, "--worker", name], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **limits})

    def ask(self, request: Any) -> Any:
        """Send a request, wait for the answer."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker {self.name!r} ended without an answer")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def serve(answer: Callable[[Any], Any]) -> None:
    """The worker's side: answer every request on standard input."""
    _raise_priority()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def _raise_priority():
    """A session of its own, before all others: Linux shares processors among sessions, nice values count within one.

    Left out where it is not allowed, and where someone started the benchmark with a low priority.
    """
    if os.getpriority(os.PRIO_PROCESS, 0) > 0:
        return
    try:
        os.setsid()
        Path("/proc/self/autogroup").write_text("-19", encoding="ascii")
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    except OSError:
        pass


def in_turns(workers: list[Worker], request: Any, rounds: int) -> dict[str, list[float]]:
    """Times of each worker by its name, asked one after the other, `rounds` times: all see the same busy moments."""
    times: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for _ in range(rounds):
        for worker in workers:
            times[worker.name] += worker.ask(request)
    return times


def parser(doc: str | None, seconds: float) -> argparse.ArgumentParser:
    """The options that the benchmarks share."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=float, default=seconds, help="per row and contender (%(default)s)")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="all processors by default")
    p.add_argument("--out", type=Path, help="write the table here, too")
    p.add_argument("--json", type=Path, help="write all numbers here")
    p.add_argument("--worker", help=argparse.SUPPRESS)
    return p


class Report:
    """Lines that are printed as they come and written at the end, and what goes to the file of numbers."""

    def __init__(self, title: str, threads: int):
        self.lines: list[str] = []
        self.numbers = {"benchmark": title, "machine": machine(), "threads": threads, "versions": versions(),
                        "pressure": pressure()}
        self.say(f"# {title}, float32, {threads} threads: {self.numbers['machine']}")

    def say(self, *lines: str) -> None:
        """Print lines and keep them."""
        print(*lines, sep="\n", flush=True)
        self.lines += lines

    def write(self, text: Path | None, numbers: Path | None) -> None:
        """To the files that the options name."""
        if text:
            text.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        if numbers:
            write_json({**self.numbers, "pressure at the end": pressure()}, numbers)


def write_json(results: dict, path: Path) -> None:
    """A line for each entry of the lists in `results`."""
    parts = [f'{json.dumps(k)}: ' + ("[\n  " + ",\n  ".join(map(json.dumps, v)) + "\n ]" if v and isinstance(v, list)
                                    else json.dumps(v)) for k, v in results.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{" + ",\n ".join(parts) + "}\n", encoding="utf-8")
