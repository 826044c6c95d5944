"""The stages, each in a process of its own that is ended when its time is over.

    parent  --JSON in argv-->  python -m benchmarks.gpu.work  (one stage)  --lines-->  OUT/rows.jsonl
            <--------------  OUT/current: the item that is being measured  <--

A process that dies (an illegal address spoils CUDA for the whole process) or hangs costs one item: a row says which,
and the stage goes on in a new process with those that have no row yet.
"""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
HANGS = 0.6                                          # of a stage's time: an item that takes longer is given up


class Stage(NamedTuple):
    """Its name, the module whose run(work) does it, and its part of the budget."""

    name: str
    module: str
    share: float


STAGES = (
    Stage("machine", "benchmarks.gpu.ceilings", 4),
    Stage("compile", "benchmarks.gpu.compiling", 8),
    Stage("correctness", "benchmarks.gpu.correctness", 16),
    Stage("ops", "benchmarks.gpu.ops", 20),
    Stage("ops torch", "benchmarks.gpu.ops_torch", 14),
    Stage("steps", "benchmarks.gpu.steps", 18),
    Stage("steps torch", "benchmarks.gpu.steps_torch", 14),
    Stage("sanitizer", "benchmarks.gpu.sanitizer", 6),
)


class Settings(NamedTuple):
    """What all stages share.  out: the folder of results; seed: of random inputs; tiny: shapes an emulator can do."""

    out: Path
    device: str = "cuda"
    tiny: bool = False
    seed: int = 1


def read_rows(out: Path) -> list[dict]:
    """The rows so far; a line that was cut off is left out."""
    path, rows = out / "rows.jsonl", []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def write_row(out: Path, row: dict) -> None:
    """Append a row, in one write: other processes see all of it or nothing."""
    file = os.open(out / "rows.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, (json.dumps(row) + "\n").encode())
    finally:
        os.close(file)


def log_of(out: Path, stage: str) -> Path:
    """What a stage's processes print."""
    return out / f"{stage.replace(' ', '-')}.log"


def forget(out: Path, stages: Iterable[Stage]) -> None:
    """Drop the rows of stages that are measured anew."""
    names = {stage.name for stage in stages}
    for name in names:
        log_of(out, name).unlink(missing_ok=True)
    kept = [row for row in read_rows(out) if row["stage"] not in names]
    (out / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def run_all(stages: Iterable[Stage], settings: Settings, budget: float) -> None:
    """Every stage in turn; what one leaves of its time is shared by those that follow."""
    left, stop = list(stages), time.monotonic() + 0.97 * budget
    settings.out.mkdir(parents=True, exist_ok=True)
    forget(settings.out, left)
    while left:
        cap = max(0.0, stop - time.monotonic()) * left[0].share / sum(stage.share for stage in left)
        stage, start = left.pop(0), time.monotonic()
        run_stage(stage, settings, cap)
        seconds = time.monotonic() - start
        rows = [row for row in read_rows(settings.out) if row["stage"] == stage.name]
        write_row(settings.out, {"stage": stage.name, "item": "seconds", "seconds": round(seconds, 2),
                                 "cap": round(cap, 2)})
        print(f"{stage.name:12} {seconds:6.1f} s of {cap:.1f}, {len(rows)} rows, "
              f"{sum('error' in row for row in rows)} errors", flush=True)


def run_stage(stage: Stage, settings: Settings, cap: float) -> None:
    """One stage, for at most `cap` seconds."""
    stop = time.monotonic() + cap
    while time.monotonic() < stop:
        (settings.out / "current").write_text("", encoding="utf-8")
        why = _watched(stage, settings, stop, cap)
        item = (settings.out / "current").read_text(encoding="utf-8")
        if why is None:
            return
        if not _has_row(settings.out, stage.name, item):
            write_row(settings.out, {"stage": stage.name, "item": item or "between items", "error": why})
        if not item:
            return                                   # it would end there again
    write_row(settings.out, {"stage": stage.name, "item": "time", "left_out": f"the time of {cap:.0f} s was over"})


def _has_row(out, stage, item):
    return any(row["stage"] == stage and row["item"] == item for row in read_rows(out))


def _watched(stage, settings, stop, cap):
    """Run the process to its end, or end it: None if it did all there was to do, else why not."""
    request = {**settings._asdict(), "out": str(settings.out), "stage": stage.name, "module": stage.module,
               "until": time.time() + 0.85 * (stop - time.monotonic())}
    log = log_of(settings.out, stage.name)
    with open(log, "ab") as output:
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.gpu.work", json.dumps(request)], cwd=ROOT,
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        item, since = "", time.monotonic()
        try:
            while process.poll() is None:
                now = (settings.out / "current").read_text(encoding="utf-8")
                item, since = (item, since) if now == item else (now, time.monotonic())
                if time.monotonic() > stop:
                    return f"ended after {cap:.0f} s, the time of the stage"
                if time.monotonic() - since > HANGS * cap:
                    return f"ended after {HANGS * cap:.0f} s without an answer"
                time.sleep(0.02)
        finally:
            _end(process)
    return None if process.returncode == 0 else f"the process ended with {_code(process.returncode)}: {_last(log)}"


def _end(process: Any) -> None:
    """End the process and those it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        pass                                         # a driver holds it: go on without


def _code(code):
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"


def _last(log):
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "no output"
