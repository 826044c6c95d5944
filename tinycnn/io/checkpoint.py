"""Checkpoints: nested dicts, lists, tuples, arrays, numbers and text in one file, without pickle.

The file is a .safetensors file (see safetensors.py): its metadata hold the nesting as JSON and the sha256 of it
all.  A flat dict of arrays, such as a state_dict, keeps its names: other programs read it as weights.

    value                    in the JSON
    None, bool, int, str     itself
    float                    {"f": "0x1.8p+1"}      (exact, and inf and nan too)
    list, tuple              {"l": [...]}, {"t": [...]}
    dict                     {"d": [[key, value], ...]}
    array, Tensor            {"a": "name"}          (both come back as NumPy arrays)
"""
from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..autograd import Tensor
from .atomic import write_atomically
from .foreign import is_foreign, load_foreign
from .errors import FileFormatError
from .safetensors import METADATA, encodable, encode, plain_array, raw_bytes, read

FORMAT = "tinycnn-checkpoint-1"
MAX_DEPTH = 64


class CheckpointError(FileFormatError):
    """A checkpoint cannot be read: damaged, cut short, or something else."""


def save(obj: Any, path: str | Path, keep_previous: bool = False) -> None:
    """Write nested dicts, lists, tuples, arrays, Tensors, numbers, text and None to a file, all or nothing.

    keep_previous: the file that was there stays as path.prev; at every moment one of the two can be read.

    Raises TypeError naming the place of anything else, ValueError for more than 16 MiB outside of arrays, OSError if
    the file cannot be written; what was there before is untouched then.
    """
    arrays: dict[str, np.ndarray] = {}
    tree = json.dumps(_encoded(obj, arrays, "", _is_flat(obj), 0), separators=(",", ":"))
    pieces = encode(arrays, {"format": FORMAT, "sha256": _digest(arrays, tree), "tree": tree})
    write_atomically(path, pieces, keep_previous)


def load(path: str | Path) -> Any:
    """What `save` wrote; Tensors come back as arrays.

    A plain .safetensors or .npz file gives a dict of arrays, one of PyTorch's what is in it.  Raises CheckpointError
    for a file that is damaged or of another kind (nothing in a file can run code), OSError if it cannot be read.
    """
    try:
        if is_foreign(path):
            return load_foreign(path)
        arrays, metadata = read(path)
    except FileFormatError as error:
        raise CheckpointError(str(error)) from None
    try:
        return _restored(arrays, metadata)
    except FileFormatError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _is_flat(obj):
    """Whether it is a dict of arrays under names that the file can have, such as a state_dict."""
    return isinstance(obj, dict) and all(isinstance(k, str) and k and k != METADATA and encodable(k) and _is_array(v)
                                         for k, v in obj.items())


def _is_array(v):
    return isinstance(v, (Tensor, np.ndarray)) or (hasattr(v, "get") and hasattr(v, "dtype"))


def _digest(arrays, tree):
    """sha256 over the structure and the arrays' names, dtypes, shapes and bytes."""
    h = hashlib.sha256(tree.encode())
    for name in sorted(arrays):
        a = arrays[name]
        h.update(f"{name}\0{a.dtype.str}\0{a.shape}\0".encode())
        h.update(raw_bytes(a))
    return h.hexdigest()


def _encoded(v, arrays, place, flat, depth):
    if depth > MAX_DEPTH:
        raise TypeError(f"save: more than {MAX_DEPTH} levels deep at {place[:200] or 'the top'}")
    if v is None or isinstance(v, (bool, str, int)):
        return v
    if isinstance(v, float):
        return {"f": v.hex()}
    if isinstance(v, np.generic) and v.dtype.kind in "biuf" and v.itemsize <= 8:
        return _encoded(v.item(), arrays, place, flat, depth)
    if _is_array(v):
        name = place[1:] if flat else str(len(arrays))
        arrays[name] = plain_array(v)
        return {"a": name}
    if isinstance(v, (list, tuple)):
        items = [_encoded(x, arrays, f"{place}.{i}", flat, depth + 1) for i, x in enumerate(v)]
        return {"l" if isinstance(v, list) else "t": items}
    if isinstance(v, dict):
        for k in v:
            if not isinstance(k, (str, int)) or isinstance(k, bool):
                raise TypeError(f"save: the key {k!r} at {place[1:] or 'the top'} must be text or a whole number")
        return {"d": [[k, _encoded(x, arrays, f"{place}.{k}", flat, depth + 1)] for k, x in v.items()]}
    raise TypeError(f"save: {place[1:] or 'the value'} is a {type(v).__name__}: only dicts, lists, tuples, arrays, "
                    "Tensors, numbers, text and None can be stored")


def _restored(arrays, metadata):
    """The object of a file's arrays and metadata."""
    tree = metadata.get("tree", "")
    if metadata.get("format") != FORMAT:
        if tree:
            raise FileFormatError(f"made by another version ({metadata.get('format')!r})")
        return arrays
    if _digest(arrays, tree) != metadata.get("sha256"):
        raise FileFormatError("the content does not match its checksum: the file is damaged")
    try:
        return _decoded(json.loads(tree), arrays, 0)
    except FileFormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"the structure cannot be read: {error}") from None


def _decoded(v, arrays, depth):
    if depth > MAX_DEPTH:
        raise FileFormatError("the structure is nested too deeply")
    if v is None or isinstance(v, (bool, str, int)):
        return v
    if not isinstance(v, dict) or len(v) != 1:
        raise FileFormatError(f"unexpected structure: {str(v)[:60]}")
    (kind, inner), = v.items()
    if kind == "f":
        return _float(inner)
    if kind == "a" and isinstance(inner, str) and inner in arrays:
        return arrays[inner]
    if kind in ("l", "t") and isinstance(inner, list):
        return (list if kind == "l" else tuple)(_decoded(x, arrays, depth + 1) for x in inner)
    if kind == "d" and isinstance(inner, list) and all(map(_is_item, inner)):
        return {k: _decoded(x, arrays, depth + 1) for k, x in inner}
    raise FileFormatError(f"unexpected structure: {str(v)[:60]}")


def _is_item(pair):
    return isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in (str, int)


def _float(text):
    try:
        return float.fromhex(text)
    except (TypeError, ValueError, OverflowError) as error:
        raise FileFormatError(f"unexpected structure: {str(text)[:60]!r} is no number: {error}") from None
