"""The verb race: the rungs of a ladder against each other, and against what the machine can do."""
from __future__ import annotations

from argparse import Namespace
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from ..backend import window
from ..train.progress import progress
from . import FAILED, OK, Result
from .tables import table

BOUNDS = {"float32": 1e-4, "float64": 1e-12}         # of the largest result: more is a wrong result, not rounding
BATCH_NORM_WORK = 7                                  # operations for an element: 4 for the sums, 3 for the result
PEAK_SECONDS = 0.5
Row = dict[str, Any]


class Course(NamedTuple):
    """What is raced: the arguments behind x, operations, and which of the machine's rates is the limit."""
    args: tuple
    work: int
    limit: str


def race(args: Namespace) -> Result:
    """Run every rung of an operation, check it against the reference, and set its time against the machine's peak."""
    ladder = import_module("tinycnn.kernels.ladder").LADDERS[args.operation]
    x = _numbers(args.input, args, 0)
    course = {"conv2d": _conv2d, "max_pool2d": _max_pool2d, "batch_norm": _batch_norm}[args.operation](args, x)
    expected = _tuple(getattr(import_module("tinycnn.kernels.reference"), args.operation)(x, *course.args))
    moved = sum(a.nbytes for a in (x, *course.args, *expected) if isinstance(a, np.ndarray))
    show = progress()
    show.note(f"{args.operation}: {course.work / 1e9:.3g} G operations, at least {moved / 1e6:.3g} MB to move")
    peak = _peak(course, x)
    rows = [_run(rung, x, course, expected, args, show) for rung in ladder]
    peak = max(peak, _peak(course, x))               # the machine's speed drifts: the better of before and after
    _compare(rows, course, moved, peak)
    if args.plot:
        _draw(rows, args)
    wrong = [row["name"] for row in rows if row["error"] is not None and not row["ok"]]
    unit, what = ("GFLOP/s", "matrix product") if course.limit == "product" else ("GB/s", "parallel copy")
    text = f"{_table(rows)}\npeak: {peak / 1e9:.4g} {unit}, the best {what} of this run"
    if wrong:
        text += "\nWRONG: " + ", ".join(wrong)
    data = {"operation": args.operation, "input": args.input, "dtype": args.dtype, "operations": course.work,
            "bytes": moved, "peak": peak, "peak_of": what, "rungs": rows, "wrong": wrong}
    return Result(text, data, FAILED if wrong else OK)


# ---------------------------------------------------------------------------------------- the three operations

def _numbers(shape: tuple[int, ...], args: Namespace, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(args.dtype)


def _conv2d(args: Namespace, x: np.ndarray) -> Course:
    C, (O, inside, KH, KW), groups = x.shape[1], args.weight, args.groups
    if C % groups or O % groups or inside != C // groups:
        raise ValueError(f"race conv2d: --weight {_words(args.weight)} does not fit --input {_words(args.input)} with "
                         f"{groups} groups: expected O,{C}/groups,KH,KW with input channels and O multiples of groups")
    win = window(x.shape[2:], (KH, KW), args.stride, args.padding, args.dilation)
    weight = _numbers(args.weight, args, 1)
    return Course((weight, None, win, groups), 2 * len(x) * win.OH * win.OW * weight.size, "product")


def _max_pool2d(args: Namespace, x: np.ndarray) -> Course:
    stride = args.kernel_size if args.stride is None else args.stride
    win = window(x.shape[2:], args.kernel_size, stride, args.padding, args.dilation)
    if any(2 * p > k for p, k in ((win.PH, win.KH), (win.PW, win.KW))):
        raise ValueError(f"race max_pool2d: padding {win.PH, win.PW} is more than half the kernel {win.KH, win.KW}")
    return Course((win,), x.shape[0] * x.shape[1] * win.OH * win.OW * win.KH * win.KW, "copy")


def _batch_norm(args: Namespace, x: np.ndarray) -> Course:
    C = x.shape[1]
    return Course((_numbers((C,), args, 1), _numbers((C,), args, 2), 1e-5), BATCH_NORM_WORK * x.size, "copy")


# ---------------------------------------------------------------------------------------- one rung

def _run(rung: Any, x: np.ndarray, course: Course, expected: tuple, args: Namespace, show: Any) -> Row:
    reason = rung.limits(x, *course.args)
    row: Row = {"name": rung.name, "undefined": reason, "seconds": None, "error": None, "ok": None}
    if reason:
        show.note(f"{rung.name}: {reason}")
        return row
    show.note(f"{rung.name}: compiling, or loading what was compiled")
    if rung.memory == "NHWC":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    error = max(map(_error, _tuple(rung.function(x, *course.args)), expected))
    row.update(error=error, ok=bool(error <= BOUNDS[args.dtype]))
    times, end = [], perf_counter() + args.seconds
    while not times or perf_counter() < end:
        start = perf_counter()
        rung.function(x, *course.args)
        times.append(perf_counter() - start)
    low, middle, high = (float(np.quantile(times, q)) for q in (0.25, 0.5, 0.75))
    show.note(f"{rung.name}: {middle * 1e3:.4g} ms, median of {len(times)}")
    return {**row, "seconds": middle, "quartiles": [low, high], "runs": len(times)}


def _tuple(result: Any) -> tuple:
    return result if isinstance(result, tuple) else (result,)


def _error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, by the largest result; for indices 0 if all are the same, else inf."""
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(actual, expected) else float("inf")
    return float(abs(actual - expected).max() / max(abs(expected).max(), np.finfo(expected.dtype).tiny))


def _peak(course: Course, x: np.ndarray) -> float:
    yardsticks = import_module("tinycnn.kernels.ladder.peak")
    if course.limit == "product":
        return yardsticks.product_rate(x.dtype, PEAK_SECONDS)
    return yardsticks.copy_rate(x.size, x.dtype, PEAK_SECONDS)


# ---------------------------------------------------------------------------------------- what is shown

def _compare(rows: list[Row], course: Course, moved: int, peak: float) -> None:
    """Add to each row that ran its rates, share of the peak, and speed-ups over the one before and the first."""
    ran = [row for row in rows if row["seconds"]]
    for before, row in zip([None, *ran], ran):
        rates = course.work / row["seconds"], moved / row["seconds"]
        row.update(operations_per_second=rates[0], bytes_per_second=rates[1],
                   of_peak=(rates[0] if course.limit == "product" else rates[1]) / peak,
                   over_before=before["seconds"] / row["seconds"] if before else None,
                   over_first=ran[0]["seconds"] / row["seconds"])


def _table(rows: list[Row]) -> str:
    head = ["rung", "ms", "quartiles", "GFLOP/s", "GB/s", "of peak", "x before", "x first", "error", ""]
    return table(head, [[row["name"], *_cells(row)] for row in rows], right=range(1, 9))


def _cells(row: Row) -> list[str]:
    if not row["seconds"]:
        return [*["-"] * 8, row["undefined"]]
    low, high = (f"{t * 1e3:.4g}" for t in row["quartiles"])
    before = f"{row['over_before']:.3g}" if row["over_before"] else "-"
    return [f"{row['seconds'] * 1e3:.4g}", f"{low}-{high}", f"{row['operations_per_second'] / 1e9:.3g}",
            f"{row['bytes_per_second'] / 1e9:.3g}", f"{row['of_peak']:.1%}", before, f"{row['over_first']:.3g}",
            f"{row['error']:.1e}", "ok" if row["ok"] else "WRONG"]


def _draw(rows: list[Row], args: Namespace) -> None:
    """Bars of the times, on a logarithmic axis.  Raises ImportError without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    ran = [row for row in rows if row["seconds"]]
    figure = Figure(figsize=(7, 0.8 + 0.45 * len(ran)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    bars = axes.barh([row["name"] for row in ran], [row["seconds"] * 1e3 for row in ran])
    axes.bar_label(bars, [f"{row['seconds'] * 1e3:.3g} ms, {row['of_peak']:.0%} of peak" for row in ran], padding=3)
    axes.set(xscale="log", xlabel=f"{args.operation} {_words(args.input)}, milliseconds")
    axes.margins(x=0.4)
    axes.invert_yaxis()
    figure.savefig(Path(args.plot), dpi=120)


def _words(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))
