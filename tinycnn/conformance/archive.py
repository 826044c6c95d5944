"""Cases in a file, so that a score can be had again where there is no PyTorch.

An .npz file: the numbers of all arrays, one after the other, in one array per dtype, and as "cases" the rest in JSON:

    {"format": 1, "cases": [["conv2d", args, kwargs, refused, outputs, changed, cotangents, gradients], ...]}

    {"tensor": ["float64", 120, [2, 3]], "grad": true}     a tensor: 6 numbers of the array "float64" from the 120th on
    {"tuple": [...]}  {"slice": [1, null, 2]}  {"...": 0}  what JSON has not
"""
from __future__ import annotations

import json
from collections.abc import Iterable
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..io import FileFormatError, write_atomically
from ..io.npz import decode_npz
from .cases import Case, Leaf
from .registry import BEYOND, OPERATIONS

_FORMAT = 1


def dump(path: str | Path, cases: Iterable[Case]) -> None:
    """Write cases to an .npz file, all or nothing; the same cases give the same bytes.  Raises OSError."""
    pools = _Pools()
    text = json.dumps({"format": _FORMAT, "cases": [[_written(field, pools) for field in case] for case in cases]})
    numbers = {dtype: np.concatenate(arrays) for dtype, arrays in pools.arrays.items()}
    out = BytesIO()
    np.savez_compressed(out, cases=np.frombuffer(text.encode(), np.uint8), **numbers)  # type: ignore[arg-type]
    write_atomically(path, out.getvalue())


def load(path: str | Path) -> list[Case]:
    """The cases of a file that dump() wrote.

    Raises OSError, and FileFormatError if it is damaged or something else; nothing in it is run.
    """
    try:
        pools = decode_npz(Path(path).read_bytes())
        content = json.loads(pools.pop("cases").tobytes())
        if content["format"] != _FORMAT:
            raise FileFormatError(f"its format is {content['format']!r}, this tinycnn reads {_FORMAT}")
        return [_case(fields, pools) for fields in content["cases"]]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"{path}: no cases of `tinycnn conformance --dump`: {error}") from error


def _case(fields, pools):
    op, args, kwargs, refused, outputs, changed, cotangents, gradients = (_read(field, pools) for field in fields)
    if op not in OPERATIONS | BEYOND:
        raise FileFormatError(f"there is no operation {op!r}")
    return Case(op, args, kwargs, refused is True, outputs, {int(i): a for i, a in changed.items()}, cotangents,
                gradients)


# ---------------------------------------------------------------------------------------- values

class _Pools:
    """The numbers of arrays, one after the other, by dtype."""

    def __init__(self):
        self.arrays: dict[str, list[np.ndarray]] = {}
        self._sizes: dict[str, int] = {}

    def add(self, array: np.ndarray) -> tuple[str, int, tuple[int, ...]]:
        """(dtype, where the array begins, its shape)"""
        dtype = str(array.dtype)
        start = self._sizes.get(dtype, 0)
        self.arrays.setdefault(dtype, []).append(array.reshape(-1))
        self._sizes[dtype] = start + array.size
        return dtype, start, array.shape


def _written(value: Any, pools: _Pools) -> Any:
    """A value of a Case for JSON; the numbers of its arrays go into `pools`."""
    if isinstance(value, np.ndarray):
        return {"tensor": pools.add(value)}
    if isinstance(value, Leaf):
        return {**_written(value.array, pools), "grad": value.requires_grad}
    if isinstance(value, tuple):
        return {"tuple": [_written(v, pools) for v in value]}
    if isinstance(value, list):
        return [_written(v, pools) for v in value]
    if isinstance(value, dict):                      # of keywords, or of the places of changed arguments
        return {"dict": {k: _written(v, pools) for k, v in value.items()}}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    return {"...": 0} if value is Ellipsis else value


def _read(value: Any, pools: dict[str, np.ndarray]) -> Any:
    """What _written made of it."""
    if isinstance(value, list):
        return [_read(v, pools) for v in value]
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind == "tensor":
        dtype, start, shape = content
        array = _array(pools[dtype], start, shape)
        return Leaf(array, value["grad"] is True) if "grad" in value else array
    if kind == "tuple":
        return tuple(_read(v, pools) for v in content)
    if kind == "dict":
        return {k: _read(v, pools) for k, v in content.items()}
    if kind == "slice":
        return slice(*content)
    if kind == "...":
        return Ellipsis
    raise FileFormatError(f"it has a value of the unknown kind {kind!r}")


def _array(pool, start, shape):
    size = prod(shape)
    if min([start, *shape]) < 0 or start + size > pool.size:
        raise FileFormatError(f"it refers to {size} numbers of {pool.dtype} from {start} on, of {pool.size}")
    return pool[start:start + size].reshape(shape)
