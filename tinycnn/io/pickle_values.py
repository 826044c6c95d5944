"""What the pickle machine deals in: the things a program may name, and the values that may come out."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import FileFormatError

MAX_DEPTH = 64                                       # of nesting: who reads the result may recurse
KEY_KINDS = (type(None), bool, int, float, str)
_LEAVES = {type(None), bool, int, float, complex, str, bytes, set, frozenset, np.ndarray}
_CONTAINERS = {list, tuple, dict}


@dataclass(frozen=True)
class Call:
    """What a program may call: function(machine, *arguments), and how many arguments it takes."""
    name: str
    function: Callable[..., Any]
    fewest: int
    most: int


@dataclass(frozen=True)
class Opaque:
    """A class that a program may mention, for `Call`s and persistent ids to understand."""
    name: str
    kind: str


# ---------------------------------------------------------------------------------------- Python's own names

def _ordered_dict(machine, pairs=()):
    """OrderedDict(), or of [[key, value], ...] as Python 2 wrote it: dicts keep their order now."""
    mapping = {}
    for pair in machine.items(pairs):
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise FileFormatError("an OrderedDict is made of pairs of key and value")
        mapping[machine.key(pair[0])] = pair[1]
    return mapping


def _counter(machine, counts):
    if type(counts) is not dict:
        raise FileFormatError(f"a Counter is made of a dict, got a {type(counts).__name__}")
    return counts


def _complex(machine, real, imag):
    if type(real) is not float or type(imag) is not float:
        raise FileFormatError("a complex number is made of two floats")
    return complex(real, imag)


def _set(kind):
    return lambda machine, items=(): kind(map(machine.key, machine.items(items)))


PYTHON: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Call("OrderedDict", _ordered_dict, 0, 1),
    ("collections", "Counter"): Call("Counter", _counter, 1, 1),
    **{(module, kind.__name__): Call(kind.__name__, _set(kind), 0, 1)
       for module in ("builtins", "__builtin__") for kind in (set, frozenset)},
    **{(module, "complex"): Call("complex", _complex, 2, 2) for module in ("builtins", "__builtin__")},
}


# ---------------------------------------------------------------------------------------- the result

def check_result(result):
    """Refuse functions and classes among the values, nesting deeper than MAX_DEPTH, and what contains itself.

    Depth first with a stack of our own; `heights` holds what is done, since a value may stand in many places.
    """
    heights: dict[int, int] = {}
    open_ = [[None, iter((result,)), 0]]             # the container, what is left of it, its height so far
    while open_:
        container, rest, _ = open_[-1]
        for value in rest:
            if type(value) in _LEAVES:
                continue
            if type(value) not in _CONTAINERS:
                raise FileFormatError(f"{getattr(value, 'name', type(value).__name__)} stands where a value should be")
            if id(value) not in heights:
                open_.append([value, iter(value.values() if type(value) is dict else value), 0])
                _raise_height(open_, 0)
                break
            _raise_height(open_, heights[id(value)])
        else:
            heights[id(container)] = open_.pop()[2] + 1
            if open_:
                _raise_height(open_, heights[id(container)])


def _raise_height(open_, height):
    """The innermost open container holds something of a height."""
    open_[-1][2] = max(open_[-1][2], height)
    if len(open_) + height > MAX_DEPTH:
        raise FileFormatError(f"the values are nested more than {MAX_DEPTH} deep, or contain themselves")
