"""The rows as a table of at most 60 lines (what failed first, then steps, then kernels), and in Markdown."""
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

from .stages import ROOT
from .work import said

LINES, WIDTH, RESULTS = 60, 180, ROOT / "benchmarks" / "results"
PASSES = {"conv2d": "forward", "conv2d_input": "input gradient", "conv2d_weight": "weight gradient"}


def table(rows: list[dict]) -> list[str]:
    """The lines.  "x torch": how many times as fast as PyTorch in its better memory layout."""
    lines: list[str] = []
    for part in (_head, _failures, _correctness, _compiled, _steps, _ops):
        try:
            lines += part(rows)
        except Exception as error:                   # the other parts of a run that cost GPU time are still shown
            lines.append(f"ERROR report: {said(error)}")
    if len(lines) > LINES:
        lines[LINES - 1:] = [f"... {len(lines) - LINES + 1} more lines: rows.jsonl has all numbers"]
    return [line[:WIDTH] for line in lines]


def failed(rows: list[dict]) -> list[dict]:
    """What makes a run fail: kernels that are wrong, or that could not be compared."""
    return [row for row in rows if row["stage"] == "correctness" and ("error" in row or row.get("ok") is False)]


def keep(rows: list[dict], folder: Path = RESULTS) -> Path:
    """Write the rows to benchmarks/results/gpu-<date>.jsonl, without paths of the machine; beside it, .md."""
    date = next((row["date"] for row in rows if "date" in row), "undated").partition(" ")[0]
    path = folder / f"gpu-{date}.jsonl"
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(lines.replace(str(ROOT), ".").replace(str(Path.home()), "~"), encoding="utf-8")
    path.with_suffix(".md").write_text("\n".join(markdown(rows)) + "\n", encoding="utf-8")
    return path


def markdown(rows: list[dict]) -> list[str]:
    """What a README says of a run: training steps, and the medians of kernels."""
    found = {row["item"]: row for row in of(rows, "machine")}
    about, card = found.get("versions", {}), found.get("nvidia-smi", {})
    modes = list(dict.fromkeys(row["mode"] for row in of(rows, "steps", "net")))
    lines = [f"{card.get('name', 'no GPU')}, {about.get('date', 'undated').partition(' ')[0]}; images per second of a "
             "training step, the better of eager and captured, and how many times PyTorch's best that is", "",
             "| net, batch | " + " | ".join(modes) + " | memory, PyTorch's (MiB) |", "|---" * (len(modes) + 2) + "|"]
    for name, mine, other in _nets(rows):
        cells = [f"{_number(best)} (x {ratio:.2f})" if ratio else _number(best) or "-"
                 for best, ratio in (_best(mine, other, mode) for mode in modes)]
        lines.append(f"| {name} | {' | '.join(cells)} | {_peak(mine) or '-'}, {_peak(other) or '-'} |")
    lines += ["", "| kernels | of what the machine can do | x PyTorch |", "|---|---|---|"]
    for name, of_best, ratio in _medians(_kernels(rows)):
        percent, times = "-" if of_best is None else f"{of_best:.0f} %", f"{ratio:.2f}" if ratio else "-"
        lines.append(f"| {name} | {percent} | {times} |")
    return lines


def of(rows: Iterable[dict], stage: str, key: str = "item") -> list[dict]:
    """The rows of a stage that have a value under the key."""
    return [row for row in rows if row["stage"] == stage and key in row]


# ---------------------------------------------------------------------------------------- parts of the table

def _head(rows) -> Iterator[str]:
    found = {row["item"]: row for row in of(rows, "machine")}
    about, card = found.get("versions", {}), found.get("nvidia-smi", {})
    packages = ", ".join(f"{k} {v}" for k, v in about.items() if k not in ("stage", "item", "date", "host"))
    yield f"# {about.get('date', 'undated')}: {card.get('name', 'no GPU')}, {about.get('host', '')}, {packages}"
    if "name" in card:
        yield "clocks: " + ", ".join(f"{k} {v}" for k, v in card.items() if k not in ("stage", "item", "name"))
    rates = [f"{item} {row['gb_s']:,.0f} GB/s" for item, row in found.items() if "gb_s" in row]
    rates += [f"{item} {row['tflop_s']:,.3g} TFLOP/s" for item, row in found.items() if "tflop_s" in row]
    rates += [f"a launch {row['us']} us, in a graph {row['graph_us']} us" for row in found.values() if "us" in row]
    if rates:
        yield "ceilings: " + ", ".join(rates)
    times = [f"{row['stage']} {row['seconds']:.0f}" for row in rows if row["item"] == "seconds"]
    if times:
        yield "seconds: " + ", ".join(times)


def _failures(rows) -> Iterator[str]:
    errors = [f"ERROR {row['stage']}: {row['item']}: {row['error']}" for row in rows if "error" in row]
    yield from errors[:12]
    if len(errors) > 12:
        yield f"... and {len(errors) - 12} more errors"
    yield from (f"left out: {row['stage']}: {row['left_out']}" for row in rows if "left_out" in row)


def _correctness(rows) -> Iterator[str]:
    found = of(rows, "correctness", "ok")
    if not found:
        return
    wrong = [row for row in found if not row["ok"]]
    worst = max((row for row in found if row["ok"]), key=lambda row: row["worst"], default=None)
    yield (f"correct: {len(found) - len(wrong)} of {len(found)}"
           + (f"; largest error {worst['worst']} of what is allowed, {worst['item']}" if worst else "")
           + f"; other bits in a second run: {sum(row.get('same_bits') is False for row in found)}")
    for row in wrong[:8]:
        why = row.get("why") or ("other bits in a second run" if row.get("same_bits") is False else
                                 f"error {row['worst']} of what is allowed")
        yield f"WRONG {row['item']}: {why}"


def _compiled(rows) -> Iterator[str]:
    found = of(rows, "compile", "kernels")
    if not found:
        return
    line = (f"compiled: {sum(row['kernels'] for row in found)} kernels in {len(found)} modules, "
            f"{sum(row['seconds'] for row in found):.1f} s of compiling")
    registers = [(n, name) for row in found for name, n in row.get("registers", {}).items()]
    if registers:
        spills = [f"{name} {n} bytes" for row in found for name, n in row["spills"].items()]
        line += f"; most registers: {max(registers)[1]} {max(registers)[0]}; spills: {', '.join(spills) or 'none'}"
    yield line


def _steps(rows) -> Iterator[str]:
    """A net a line: for each precision as a graph, eager, and beside PyTorch's best."""
    modes = list(dict.fromkeys(row["mode"] for row in of(rows, "steps", "net")))
    if modes:
        yield (f"{'training, images/s':22}" + "".join(f"{mode + ': graph':>17} {'eager':>8} {'x torch':>7}"
                                                      for mode in modes) + "     MiB   torch's")
    for name, mine, other in _nets(rows):
        cells = "".join(_step(mine, other, mode) for mode in modes)
        yield f"{name:22}{cells}{_peak(mine) or '':>10}{_peak(other) or '':>10}"


def _nets(rows) -> Iterator[tuple[str, list[dict], list[dict]]]:
    """(name and batch, our rows, PyTorch's) of each net."""
    ours, theirs = of(rows, "steps", "net"), of(rows, "steps torch", "net")
    for net in dict.fromkeys(row["net"] for row in ours):
        mine = [row for row in ours if row["net"] == net]
        yield f"{net} b{mine[0]['batch']}", mine, [row for row in theirs if row["net"] == net]


def _best(mine, other, mode):
    """Our best images per second in a precision, and how many times PyTorch's best; None and 0 where there is none."""
    best, rival = (max((row["img_s"] for row in found if row["mode"] == mode), default=None) for found in (mine, other))
    return best, best / rival if best and rival else 0


def _step(mine, other, mode):
    rate = {row["how"]: row["img_s"] for row in mine if row["mode"] == mode}
    ratio = _best(mine, other, mode)[1]
    return f"{_number(rate.get('graph')):>17} {_number(rate.get('eager')):>8} {f'{ratio:.2f}' if ratio else '':>7}"


def _peak(rows):
    return max((row["peak_mib"] for row in rows), default=0)


def _number(value):
    return "" if value is None else f"{value:,.0f}"


def _kernels(rows) -> list[dict]:
    """Our timed ops; `of`: % of the ceilings; `ratio`: how many times as fast as PyTorch in its better layout, or 0."""
    machine = {row["item"]: row for row in of(rows, "machine")}
    best: dict[tuple, float] = {}
    for row in of(rows, "ops torch", "ms"):
        key = row["label"], row["mode"]
        best[key] = min(best.get(key, row["ms"]), row["ms"])
    return [{**row, "of": _percent(row, machine), "ratio": best.get((row["label"], row["mode"]), 0) / row["ms"]}
            for row in of(rows, "ops", "ms")]


def _medians(found) -> Iterator[tuple[str, float | None, float]]:
    """(which, % of the ceilings, x torch or 0) of each precision and layout."""
    for mode, last in dict.fromkeys((row["mode"], row["last"]) for row in found):
        for what in ("convolutions", "others"):
            group = [row for row in found if (row["mode"], row["last"], bool(row["flops"])) == (
                mode, last, what == "convolutions")]
            known = [row["of"] for row in group if row["of"] is not None]
            ratios = [row["ratio"] for row in group if row["ratio"]]
            if group:
                yield (f"{len(group)} {what}, {mode}, {'channels-last' if last else 'C order'}",
                       median(known) if known else None, median(ratios) if ratios else 0)


def _ops(rows) -> Iterator[str]:
    found = _kernels(rows)
    if not found:
        return
    yield "kernels: ms, TFLOP/s or GB/s, % of what the ceilings allow, x torch"
    yield from (f"  medians of {name}:" + (f" {of_best:.0f} %" if of_best is not None else "")
                + (f", x {ratio:.2f}" if ratio else "") for name, of_best, ratio in _medians(found))
    chosen = [row for row in found if row["last"]]
    yield from _convolutions([row for row in chosen if row["flops"] and row["mode"] == "high"])
    yield from (f"  {row['label']:36} {_cell(row)}" for row in chosen if not row["flops"] and row["mode"] == "highest")


def _convolutions(rows) -> Iterator[str]:
    """A convolution a line, its passes side by side."""
    shapes: dict[str, dict[str, dict]] = {}
    for row in rows:
        kernel, _, shape = row["label"].partition(" ")
        shapes.setdefault(shape, {})[kernel] = row
    if shapes:
        yield f"  {'convolution, high':22}" + "".join(f"{title:>34}" for title in PASSES.values())
    for shape, passes in shapes.items():
        yield f"  {shape:22}" + "".join(f"{_cell(passes[k]) if k in passes else '':>34}" for k in PASSES)


def _cell(row):
    rate = f"{row['flops'] / row['ms'] / 1e9:.4g} T" if row["flops"] else f"{row['bytes'] / row['ms'] / 1e6:,.0f} G"
    return (f"{row['ms']:.4g} ms {rate}" + (f" {row['of']:.0f} %" if row["of"] else "")
            + (f" x {row['ratio']:.2f}" if row["ratio"] else ""))


def _percent(row, machine):
    """The least time by the ceilings of the same run, in % of the time it takes; None without ceilings."""
    gemm, copy = machine.get(f"gemm {row['mode']}", {}), machine.get("copy", {})
    if "gb_s" not in copy or row["flops"] and "tflop_s" not in gemm:
        return None
    least = max(row["bytes"] / copy["gb_s"] / 1e6, row["flops"] / gemm["tflop_s"] / 1e9 if row["flops"] else 0)
    return 100 * least / row["ms"]
