"""The verb tune: is another algorithm than the table's faster on this machine?"""
from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from . import Result
from .tables import table

USUAL = "alexnet_d2l", "googlenet_d2l", "resnet18", "regnet_x_400mf"
IMAGES, LEAST_ROUNDS = 8, 4


def tune(args: Namespace) -> Result:
    """Time every algorithm of every convolution of the models, and keep the choices that gain clearly."""
    tuned = import_module("tinycnn.kernels.cpu.tuned")
    path = Path(args.file) if args.file else tuned.place()
    if path is None:
        raise ValueError("tune: no file to keep choices in (TINYCNN_TUNED=off, or no home): name one, --file FILE")
    if args.reset:
        there = path.exists()
        path.unlink(missing_ok=True)
        tuned.use()
        return Result(f"{path} {'removed' if there else 'was not there'}: the table's choices", {"removed": there})
    rows, choices = [], _kept(tuned, path)
    layers = _layers(args)
    from ..train.progress import progress
    show = progress()
    for i, (layer, images) in enumerate(layers.items()):
        show.part(_name(layer), i, len(layers))
        row, best = _row(layer, _times(layer, images, args.seconds), args.gain)
        rows.append(row)
        choices.pop(layer, None)
        if row["stored"]:
            choices[layer] = best
    show.part("", len(layers), len(layers))
    _write(path, tuned.text(choices))
    tuned.use()
    stored = sum(r["stored"] for r in rows)
    text = table(["convolution", "pass", "table's", "ms", "fastest", "ms", "gain", ""], [
        [r["layer"], r["pass"], r["table"], f"{r['table_ms']:.2f}", r["best"], f"{r['best_ms']:.2f}",
         f"{100 * r['gain']:.0f} %", "kept" if r["stored"] else ""] for r in rows], right=(3, 5, 6))
    return Result(f"{text}\n{stored} of {len(rows)} choices differ from the table's; {len(choices)} are kept in {path}",
                  {"file": str(path), "stored": stored, "kept": len(choices), "rows": rows})


def _kept(tuned: Any, path: Path) -> dict[Any, str]:
    """What was measured before and still counts."""
    try:
        return tuned.read(path)
    except (OSError, ValueError):
        return {}


def _write(path: Path, content: str) -> None:
    from ..io.atomic import write_atomically
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.encode())


def _layers(args: Namespace) -> dict[Any, int]:
    """The passes of the models' convolutions that more than one algorithm computes, and of how many images."""
    import tinycnn as tc
    choose, tuned = (import_module(f"tinycnn.kernels.cpu.{name}") for name in ("choose", "tuned"))
    found: dict[Any, int] = {}
    for name in args.models or USUAL:
        images, *size = args.input or (IMAGES, *tc.models.model_info(name).input_shape[1:])
        model = tc.models.create_model(name, dtype=args.dtype).eval()
        with tc.no_grad(), tuned.noted() as layers:
            model(tc.Tensor(np.zeros((0, *size), args.dtype)))        # an empty batch computes nothing
        for layer in layers:
            found |= {layer._replace(pass_=pass_): images for pass_ in tuned.PASSES}
    return {layer: images for layer, images in found.items() if len(choose.possible(layer)) > 1}


def _name(layer: Any) -> str:
    win, groups = layer.win, layer.groups
    return (f"{layer.inside * groups}-{layer.outside * groups} {win.KH}x{win.KW} on {win.H}x{win.W}"
            + (f" groups {groups}" if groups > 1 else "") + (f" stride {win.SH}" if win.SH > 1 else ""))


def _call(layer: Any, images: int) -> Callable[[], Any]:
    """The pass, of random numbers."""
    cpu, (pass_, win, inside, outside, groups, dtype) = import_module("tinycnn.kernels.cpu"), layer
    rng = np.random.default_rng(0)
    x, gy = (np.moveaxis(rng.standard_normal((images, *size), np.float32).astype(dtype), -1, 1) for size in (
        (win.H, win.W, inside * groups), (win.OH, win.OW, outside * groups)))
    weight = rng.standard_normal((outside * groups, inside, win.KH, win.KW)).astype(dtype)
    return {"output": lambda: cpu.conv2d(x, weight, None, win, groups),
            "input": lambda: cpu.conv2d_input(gy, weight, win, groups),
            "weight": lambda: cpu.conv2d_weight(x, gy, win, groups)}[pass_]


def _times(layer: Any, images: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of each algorithm, which take turns; the first run of each, which may compile, is not counted."""
    choose, tuned = (import_module(f"tinycnn.kernels.cpu.{name}") for name in ("choose", "tuned"))
    call, names = _call(layer, images), choose.possible(layer)
    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        with tuned.trying({layer: name}):
            call()
    end = perf_counter() + seconds * len(names)
    while perf_counter() < end or len(times[names[0]]) < LEAST_ROUNDS:
        for name in names:
            with tuned.trying({layer: name}):
                start = perf_counter()
                call()
                times[name].append(perf_counter() - start)
    return times


def _row(layer: Any, times: dict[str, list[float]], least: float) -> tuple[dict[str, Any], str]:
    """What is told of a layer, and its fastest algorithm: to be kept if it gains in both halves of the rounds."""
    usual = import_module("tinycnn.kernels.cpu.choose").by_table(layer)
    best = min(times, key=lambda name: min(times[name]))
    half = len(times[best]) // 2
    gains = [1 - _shortest(times[best], part) / _shortest(times[usual], part)
             for part in (slice(half), slice(half, None))]
    gain = min(gains) if best != usual else 0.0
    return {"layer": _name(layer), "pass": layer.pass_, "table": usual, "best": best, "gain": round(max(0.0, gain), 3),
            "table_ms": round(1e3 * min(times[usual]), 3), "best_ms": round(1e3 * min(times[best]), 3),
            "stored": gain > least}, best


def _shortest(times: Iterable[float], part: slice) -> float:
    return min(list(times)[part])
