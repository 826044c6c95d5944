"""How things are timed here, and how the machine is described: shared by all benchmarks.

A benchmark states the median and the spread (the quartiles), interleaves the contenders, and gives every contender
a process of its own: two thread pools in one process slow each other down.
"""
from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from statistics import median, quantiles
from time import perf_counter
from typing import Any, Callable


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


def machine() -> str:
    """One line: processor, cores in use, Python, and how busy the machine is."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), model)
    busy = ""
    if os.path.exists("/proc/pressure/cpu"):
        with open("/proc/pressure/cpu", encoding="utf-8") as f:
            busy = ", waiting for a processor " + f.readline().split("avg10=")[1].split()[0] + " % of the time"
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}{busy}"


class Worker:
    """A contender in a process of its own: `python -m MODULE --worker NAME`, a line of JSON in and out per request."""

    def __init__(self, module: str, name: str):
        self.name = name
        self._process = subprocess.Popen([sys.executable, "-m", module, "--worker", name], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

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


def serve(answer: Callable[[Any], Any]) -> None:
    """The worker's side: answer every request on standard input."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def installed(package: str) -> bool:
    """Whether a package could be imported, without importing it."""
    from importlib.util import find_spec
    return find_spec(package) is not None
