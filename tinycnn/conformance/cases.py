"""One question to an engine and the right answer to it, in arrays and plain Python values: nothing of PyTorch's."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Leaf:
    """A tensor among the arguments of a call."""
    array: np.ndarray
    requires_grad: bool = False


class Case(NamedTuple):
    """A call, and what PyTorch makes of it.

    args, kwargs   the arguments: Leafs, numbers, strings, slices, ..., in tuples, lists and dicts
    refused        PyTorch raises an error; all below is empty
    outputs        the arrays that come out
    changed        place among the leafs (args first) -> the array after a call that changes it
    cotangents     an array of weights for each output that has gradients, None for one without
    gradients      the gradient of the outputs, so weighted, for each leaf that requires it (None: there is no path)
    """
    op: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    refused: bool = False
    outputs: tuple[np.ndarray, ...] = ()
    changed: dict[int, np.ndarray] = {}
    cotangents: tuple[np.ndarray | None, ...] = ()
    gradients: tuple[np.ndarray | None, ...] = ()


class LeftOut(NamedTuple):
    """A sample of op_db that is not asked, and why."""
    op: str
    reason: str


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """`value`, in which everything but lists, tuples and dicts is replaced by function(it)."""
    if isinstance(value, dict):
        return {k: mapped(function, v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return (list if isinstance(value, list) else tuple)(mapped(function, v) for v in value)
    return function(value)


def found(kind: type, value: Any) -> list[Any]:
    """All instances of `kind` in `value`, lists, tuples and dicts looked through."""
    if isinstance(value, kind):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [one for v in value for one in found(kind, v)] if isinstance(value, (list, tuple)) else []


def written(case: Case) -> str:
    """The call as code, tensors as dtype[sizes]: conv2d(float64[1,2,4,4], float64[3,2,3,3], stride=2)."""
    def text(value):
        if isinstance(value, Leaf):
            return f"{value.array.dtype}[{','.join(map(str, value.array.shape))}]"
        if isinstance(value, (list, tuple)):
            inside = ", ".join(map(text, value)) + ("," if isinstance(value, tuple) and len(value) == 1 else "")
            return f"[{inside}]" if isinstance(value, list) else f"({inside})"
        return "..." if value is Ellipsis else repr(value)
    return f"{case.op}({', '.join([*map(text, case.args), *(f'{k}={text(v)}' for k, v in case.kwargs.items())])})"
