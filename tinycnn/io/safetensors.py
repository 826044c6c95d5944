"""The .safetensors format: arrays by name, nothing that could run.

    8 bytes    length n of the header, little-endian
    n bytes    JSON: {"__metadata__": {text: text}, name: {"dtype": "F32", "shape": [2, 3],
               "data_offsets": [0, 24]}, ...}
    the rest   the arrays one after the other, little-endian, C order, without gaps

The reader is strict: every byte must be accounted for, no name may occur twice, and nothing is allocated before the
sizes have been checked against the file's.  Format: https://huggingface.co/docs/safetensors (format section).
"""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import to_numpy
from .atomic import write_atomically
from .errors import FileFormatError
from .mapped import BFLOAT16, elements, itemsize, map_file

# In the order in which the arrays of a file are sorted: every one starts at a multiple of its element's size.
DTYPES = {"U64": "<u8", "I64": "<i8", "F64": "<f8", "C64": "<c8", "F32": "<f4", "U32": "<u4", "I32": "<i4",
          "F16": "<f2", "U16": "<u2", "I16": "<i2", "I8": "|i1", "U8": "|u1", "BOOL": "|b1"}
_NAMES = {np.dtype(v): k for k, v in DTYPES.items()}
_ORDER = {np.dtype(v): i for i, v in enumerate(DTYPES.values())}
_KINDS = {**DTYPES, "BF16": BFLOAT16}                # what can be read
METADATA = "__metadata__"                            # the one name no array can have
MAX_HEADER = 16 << 20                                # a header of this size would describe a hundred thousand arrays
MAX_RANK = 32
_LARGEST = (1 << 63) - 1                             # bytes NumPy can address, empty dimensions left out


# ---------------------------------------------------------------------------------------- writing

def save_safetensors(tensors: Mapping[str, Any], path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays or Tensors by name, all or nothing.

    Raises TypeError for a dtype the format does not have and names or metadata that are no text, ValueError for a
    name it cannot have, OSError if the file cannot be written.
    """
    write_atomically(path, encode({name: plain_array(v) for name, v in tensors.items()}, metadata))


def plain_array(v: Any) -> np.ndarray:
    """A NumPy array the format can hold: little-endian and in C order."""
    v = v.data if isinstance(v, Tensor) else v
    array = to_numpy(v) if hasattr(v, "get") and hasattr(v, "dtype") else np.asarray(v)      # of a device, or not
    little = array.dtype.newbyteorder("<")
    if little not in _NAMES:
        raise TypeError(f"arrays of dtype {array.dtype} cannot be stored: convert it to one of "
                        f"{', '.join(str(d) for d in _NAMES)}")
    return np.ascontiguousarray(array, little).reshape(array.shape)


def encode(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> list[Any]:
    """The pieces of the file; the arrays' own memory, not copies."""
    _check_names(arrays, metadata or {})
    header: dict[str, Any] = {} if metadata is None else {METADATA: dict(metadata)}
    at, body = 0, []
    for name in sorted(arrays, key=lambda n: (_ORDER[arrays[n].dtype], n.encode())):
        array = arrays[name]
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [at, at + array.nbytes]}
        body.append(raw_bytes(array))
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(f"the names and numbers outside of arrays take {len(text)} bytes, at most {MAX_HEADER} can be "
                         "stored: put long lists of numbers into arrays")
    return [len(text).to_bytes(8, "little"), text, *body]


def raw_bytes(array: np.ndarray) -> np.ndarray:
    """The memory of a C-contiguous array as bytes: a view."""
    return array.reshape(-1).view(np.uint8)


def _check_names(arrays, metadata):
    for text in (*arrays, *metadata, *metadata.values()):
        if not isinstance(text, str):
            raise TypeError(f"names and metadata must be text, got {text!r} ({type(text).__name__})")
        if not encodable(text):
            raise ValueError(f"{text!r} is not valid Unicode (a lone surrogate): it cannot be stored")
    if METADATA in arrays:
        raise ValueError(f"no array can be called {METADATA!r} in a .safetensors file: rename it")
    for name, array in arrays.items():
        if array.ndim > MAX_RANK:
            raise ValueError(f"array {name!r} has {array.ndim} dimensions, at most {MAX_RANK} can be stored: "
                             "reshape it")


def encodable(text: str) -> bool:
    """Whether text can be written as UTF-8: lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---------------------------------------------------------------------------------------- reading

def load_safetensors(path: str | Path, mmap: bool = True) -> dict[str, np.ndarray]:
    """The arrays of a file by name; bfloat16 becomes float32, exactly.

    mmap: the arrays are views of the file, which is read when they are used (see mapped.py); they can be written to,
    the file stays as it is.  Otherwise they are read at once.

    Raises FileFormatError for anything malformed, OSError if the file cannot be read.
    """
    return read(path, mmap)[0]


def read(path: str | Path, mmap: bool = False) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a file."""
    try:
        with open(path, "rb") as f:
            return _decoded(f, os.fstat(f.fileno()).st_size, mmap)
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None


def decode(raw: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a file's bytes.  Raises FileFormatError."""
    return _decoded(BytesIO(raw), len(raw), False)


def _decoded(f, size, mmap):
    header, body = _header(f, size)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FileFormatError(f"{METADATA} must map text to text")
    entries = sorted((_entry(name, e) for name, e in header.items()), key=lambda e: (e[3], e[4]))
    _check_cover(entries, body)
    memory = map_file(f) if mmap else None
    arrays = {entry[0]: _array(f, memory, size - body, *entry) for entry in entries}
    return {name: arrays[name] for name in header}, metadata


def _header(f, size):
    """The parsed header, and how many bytes of data follow it."""
    if size < 8:
        raise FileFormatError(f"{size} bytes are too few for a safetensors file")
    n = int.from_bytes(f.read(8), "little")
    if n > MAX_HEADER or n > size - 8:
        raise FileFormatError(f"the header should be {n} bytes long, the file has {size - 8} (at most {MAX_HEADER} "
                              "are accepted)")
    text = f.read(n)
    if text[:1] != b"{":
        raise FileFormatError("the header does not begin with '{'")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
        json.dumps(header, ensure_ascii=False).encode()               # lone surrogates cannot be encoded
    except FileFormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"the header is not valid JSON: {error}") from None
    return header, size - 8 - n


def _unique(pairs):
    out = dict(pairs)
    if len(out) != len(pairs):
        raise FileFormatError("a name occurs twice in the header")
    return out


def _refuse(constant):
    raise FileFormatError(f"{constant} is not valid JSON")


def _entry(name, e):
    """(name, dtype, shape, start, stop) of a header entry, checked."""
    if not isinstance(e, dict) or set(e) != {"dtype", "shape", "data_offsets"}:
        raise FileFormatError(f"array {name!r}: expected exactly dtype, shape and data_offsets")
    dtype, shape, offsets = e["dtype"], e["shape"], e["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _KINDS:
        raise FileFormatError(f"array {name!r}: dtype {str(dtype)[:40]!r} is none of {', '.join(_KINDS)}")
    if not (_sizes(shape) and _sizes(offsets) and len(offsets) == 2):
        raise FileFormatError(f"array {name!r}: shape and data_offsets must be whole numbers >= 0, got "
                              f"{str(shape)[:80]} and {str(offsets)[:80]}")
    size = itemsize(_KINDS[dtype])
    if len(shape) > MAX_RANK or size * prod(n for n in shape if n) > _LARGEST:
        raise FileFormatError(f"array {name!r}: no array can have the shape {str(shape)[:80]}")
    if offsets[1] - offsets[0] != size * prod(shape):
        raise FileFormatError(f"array {name!r}: {dtype} of shape {shape} does not take the bytes {offsets}")
    return name, _KINDS[dtype], shape, *offsets


def _sizes(values):
    return isinstance(values, list) and all(type(n) is int and 0 <= n <= _LARGEST for n in values)


def _check_cover(entries, size):
    """The arrays must take the `size` bytes of data one after the other."""
    at = 0
    for name, _, _, start, stop in entries:
        if start != at:
            raise FileFormatError(f"array {name!r} begins at byte {start} of the data, expected {at}: arrays must "
                                  "follow each other without gap or overlap")
        at = stop
        if at > size:
            raise FileFormatError(f"the file is cut short: array {name!r} ends at byte {at} of {size}")
    if at != size:
        raise FileFormatError(f"{size - at} bytes follow the last array")


def _array(f, memory, body, name, kind, shape, start, stop):
    """The next array of the data, which begins at byte `body` of the file: of its memory, or read."""
    if memory is None:
        memory, at = bytearray(stop - start), 0
        if f.readinto(memory) != stop - start:
            raise FileFormatError(f"the file is cut short: array {name!r} is not whole")
    else:
        at = body + start
    return elements(memory, kind, at, prod(shape), name).reshape(shape)
