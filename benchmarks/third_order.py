"""How right are derivatives of orders 1 to 4, here and in PyTorch?

    python -m benchmarks.third_order [--seed 0] [--json FILE]

For six functions of a CNN, and two of the norms once more, composed of simple operations: the derivative of
sum(u * sin(y)) along random directions, by nested backwards, in float64.  It is compared with differences of the order
below, taken at three steps and extrapolated; those are tinycnn's, each of which has itself been compared with the order
below, down to the function's values.  Both engines get the same numbers.  What one sees:

    tinycnn      is right in every row
    PyTorch 2.13 is right too, but for its native batch_norm and layer_norm from the third order on, by percents: their
                 second derivatives are formulas that take the saved mean and deviation for constants, so that what is
                 differentiated once more lacks a part.  The same norms composed of simple operations are right.

A row is right if the error, relative to the derivative, is at most 1e-6.  Without PyTorch its column stays empty.
"""
from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

import tinycnn as tc
from tinycnn.cases.orders import derivative

from .timing import installed, versions, write_json

RIGHT, ORDERS = 1e-6, (1, 2, 3, 4)


class Engine(NamedTuple):
    """What is compared: functional, an array's tensor, and a scalar function's derivative along directions."""
    functional: Any
    tensor: Callable
    directional: Callable


class Function(NamedTuple):
    """A function of (engine, *tensors), and the tensors' shapes."""
    label: str
    call: Callable
    shapes: tuple


def composed(dims: tuple, shape: tuple) -> Callable:
    """A norm over `dims` in simple operations; weight and bias have the size of `shape`."""
    def norm(engine, x, weight, bias):
        centred = x - x.mean(dims, keepdim=True)
        normal = centred / ((centred * centred).mean(dims, keepdim=True) + 1e-5).sqrt()
        return normal * weight.reshape(shape) + bias.reshape(shape)
    return norm


FUNCTIONS = (
    Function("batch_norm", lambda e, x, w, b: e.functional.batch_norm(x, None, None, w, b, training=True),
             ((4, 3, 5, 5), (3,), (3,))),
    Function("batch_norm, composed", composed((0, 2, 3), (1, 3, 1, 1)), ((4, 3, 5, 5), (3,), (3,))),
    Function("layer_norm", lambda e, x, w, b: e.functional.layer_norm(x, (4, 6), w, b), ((5, 4, 6), (4, 6), (4, 6))),
    Function("layer_norm, composed", composed((1, 2), (4, 6)), ((5, 4, 6), (4, 6), (4, 6))),
    Function("group_norm", lambda e, x, w, b: e.functional.group_norm(x, 2, w, b), ((3, 4, 3, 3), (4,), (4,))),
    Function("conv2d", lambda e, x, w, b: e.functional.conv2d(x, w, b, 2, 1), ((2, 3, 9, 9), (8, 3, 3, 3), (8,))),
    Function("max_pool2d", lambda e, x: e.functional.max_pool2d(x, 3, 2, 1), ((2, 3, 8, 8),)),
    Function("cross_entropy", lambda e, x: e.functional.cross_entropy(x, e.tensor(np.arange(16) % 10), reduction="sum"),
             ((16, 10),)),
)


def tinycnn_engine() -> Engine:
    """This package."""
    def directional(f, inputs, directions):
        along = [tuple(map(tc.Tensor, v)) for v in directions]
        return tc.autograd.functional.directional(f, tuple(map(tc.Tensor, inputs)), along).item()
    return Engine(tc.nn.functional, tc.Tensor, directional)


def torch_engine() -> Engine:
    """PyTorch."""
    torch = import_module("torch")

    def directional(f, inputs, directions):
        points = [torch.tensor(a, requires_grad=True) for a in inputs]
        value = f(*points)
        for v in directions:
            gradients = torch.autograd.grad(value, points, create_graph=True)
            value = sum((g * torch.tensor(d)).sum() for g, d in zip(gradients, v))
        return value.item()
    return Engine(torch.nn.functional, torch.tensor, directional)


def measure(function: Function, engines: dict[str, Engine], seed: int = 0) -> list[dict]:
    """A row for each order: the derivative by differences, and the relative error of each engine's."""
    rng = np.random.default_rng(seed)
    inputs = [_apart(rng, s) if function.label == "max_pool2d" else rng.standard_normal(s) for s in function.shapes]
    directions = [[_unit(rng.standard_normal(s)) for s in function.shapes] for _ in ORDERS]
    ours = engines["tinycnn"]
    u = rng.standard_normal(function.call(ours, *map(ours.tensor, inputs)).shape)
    scalars = {name: _scalar(function.call, engine, u) for name, engine in engines.items()}
    rows = []
    for k in ORDERS:
        def below(h, k=k):
            moved = [a + h * v for a, v in zip(inputs, directions[k - 1])]
            return ours.directional(scalars["tinycnn"], moved, directions[:k - 1])
        exact = derivative(below)
        found = {name: engine.directional(scalars[name], inputs, directions[:k]) for name, engine in engines.items()}
        rows.append({"function": function.label, "order": k, "derivative": float(f"{exact:.6g}"),
                     **{name: float(f"{abs(value - exact) / abs(exact):.2g}") for name, value in found.items()}})
    return rows


def _scalar(call, engine, u):
    weights = engine.tensor(u)
    return lambda *points: (weights * call(engine, *points).sin()).sum()


def _apart(rng, shape):
    """Values 0.02 apart: no step of the differences changes which is the largest."""
    n = int(np.prod(shape))
    return (rng.permutation(n).reshape(shape) - n / 2) * 0.02


def _unit(v):
    return v / np.abs(v).max()


def table(rows: Sequence[dict], names: Sequence[str]) -> str:
    """A line for each function and order."""
    lines = [f"{'function':22}{'order':>6}{'derivative':>14}" + "".join(f"{name + ' error':>16}" for name in names)]
    for row in rows:
        errors = "".join(f"{row[name]:>14.1e}{' !' if row[name] > RIGHT else '  '}" for name in names)
        lines.append(f"{row['function']:22}{row['order']:>6}{row['derivative']:>14.6g}{errors}")
    return "\n".join(lines)


def verdict(rows: Sequence[dict], names: Sequence[str]) -> str:
    """One line for each engine."""
    lines = []
    for name in names:
        wrong = [f"{row['function']} order {row['order']} by {100 * row[name]:.2g} %" for row in rows
                 if row[name] > RIGHT]
        worst = max(row[name] for row in rows)
        lines.append(f"{name}: off in {', '.join(wrong)}" if wrong else
                     f"{name}: right in all {len(rows)} rows, worst relative error {worst:.1e}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    args = parser.parse_args(argv)
    engines = {"tinycnn": tinycnn_engine()}
    if installed("torch"):
        engines["torch"] = torch_engine()
    rows = [row for function in FUNCTIONS for row in measure(function, engines, args.seed)]
    print(table(rows, list(engines)), verdict(rows, list(engines)), sep="\n\n")
    if "torch" not in engines:
        print("PyTorch is not installed: its column is left out")
    if args.json:
        write_json({"versions": versions(), "seed": args.seed, "rows": rows}, args.json)


if __name__ == "__main__":
    main()
