"""One row per thing worth testing of an op: the op's name, its tensors, its options.

A row becomes a comparison with PyTorch where that is installed, a gradient check of first and second order, a bound
on the float32 error, a run on non-contiguous and channels-last input, on every backend (tests/test_ops.py), and a
line of `tinycnn gradcheck`.  Write a row as

    case("conv2d", (2, 3, 5, 5), (4, 3, 3, 3), (4,), padding=1)

A positional tuple of ints is a standard-normal tensor of that shape (so sizes and dims go by keyword).  The makers
below give tensors of other kinds; a list of tensors is a list argument (cat); None, numbers and integer arrays are
passed on as they are.
"""
from __future__ import annotations

from importlib import import_module
from math import prod
from typing import Any, Callable, NamedTuple

import numpy as np

FAMILIES = ("basic", "math", "reduce", "shape", "index", "linalg", "conv", "pool", "norm", "activation", "loss",
            "image")


class Case(NamedTuple):
    """A row.  grads: how many orders of derivative to check (0: not differentiable)."""
    op: str
    inputs: tuple
    options: dict
    grads: int = 2

    @property
    def id(self) -> str:
        """A readable name: op-shapes-options."""
        shapes = "-".join(_short(v) for v in self.inputs)
        options = ",".join(f"{k}={v}" for k, v in self.options.items())
        return "-".join(filter(None, (self.op, shapes, options)))


class Maker(NamedTuple):
    """A tensor argument described by its shape and how its values are drawn."""
    kind: str
    shape: tuple
    draw: Callable[[np.random.Generator, tuple], np.ndarray]


def case(op: str, *inputs: Any, grads: int = 2, **options: Any) -> Case:
    """A row of the table; see the module's docstring."""
    return Case(op, inputs, options, grads)


def positive(*shape: int) -> Maker:
    """Values in 0.5..2: for log, sqrt, division."""
    return Maker("positive", shape, lambda rng, s: rng.uniform(0.5, 2, s))


def unit(*shape: int) -> Maker:
    """Values in 0.05..0.95: probabilities, for logit and binary cross-entropy."""
    return Maker("unit", shape, lambda rng, s: rng.uniform(0.05, 0.95, s))


def apart(*shape: int) -> Maker:
    """Values different by at least 0.03, none near an integer or half: no ties or kinks for max, abs, relu, floor."""
    def draw(rng, s):
        n = prod(s)
        steps = (np.arange(n) - n // 2 + 0.5) * 0.0625
        return rng.permutation(steps + np.where(np.abs(np.mod(steps + 0.25, 0.5) - 0.25) < 0.04, 0.045, 0.0)).reshape(s)
    return Maker("apart", shape, draw)


def _short(v):
    if isinstance(v, Maker):
        return f"{v.kind}{v.shape}".replace(" ", "")
    if isinstance(v, list):
        return "[" + ",".join(map(_short, v)) + "]"
    return str(v.tolist() if isinstance(v, np.ndarray) else v).replace(" ", "")[:40]


def is_tensor(v: Any) -> bool:
    """Whether an input of a row is drawn at random (a shape or a Maker), and so carries a gradient."""
    return isinstance(v, Maker) or (isinstance(v, tuple) and all(type(n) is int for n in v))


def build(row: Case, seed: int = 0, dtype: Any = np.float64) -> list:
    """The inputs of a row: arrays of `dtype` for its tensors (lists of them for lists), the rest as written."""
    rng = np.random.default_rng(seed)

    def make(v):
        if isinstance(v, Maker):
            return v.draw(rng, v.shape).astype(dtype)
        if isinstance(v, list):
            return [make(one) for one in v]
        return np.asarray(rng.standard_normal(v), dtype) if is_tensor(v) else v
    return [make(v) for v in row.inputs]


def all_cases() -> list[Case]:
    """Every row of every family."""
    return [row for family in FAMILIES for row in import_module(f"{__name__}.{family}").CASES]
