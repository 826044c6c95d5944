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
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import to_numpy
from .atomic import write_atomically

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
          "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1"}
_NAMES = {np.dtype(v): k for k, v in DTYPES.items()}
MAX_HEADER = 16 << 20                                # a header of this size would describe a hundred thousand arrays


class FileFormatError(ValueError):
    """A file is not what it should be: damaged, cut short, or made to mislead."""


def save_safetensors(tensors: Mapping[str, Any], path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays or Tensors by name, all or nothing.

    Raises TypeError for a dtype the format does not have, OSError if the file cannot be written.
    """
    write_atomically(path, encode({name: plain_array(v) for name, v in tensors.items()}, metadata))


def load_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name.  Raises FileFormatError for anything malformed, OSError if it cannot be read."""
    return read(path)[0]


def plain_array(v: Any) -> np.ndarray:
    """A NumPy array the format can hold: little-endian and in C order."""
    array = to_numpy(v.data if isinstance(v, Tensor) else np.asarray(v))
    little = array.dtype.newbyteorder("<")
    if little not in _NAMES:
        raise TypeError(f"arrays of dtype {array.dtype} cannot be stored: convert it to one of "
                        f"{', '.join(str(d) for d in _NAMES)}")
    return np.ascontiguousarray(array, little).reshape(array.shape)


def encode(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None) -> list[Any]:
    """The pieces of the file."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at, body = 0, []
    # Larger elements first, then by name: every array starts at a multiple of its element's size.
    for name in sorted(arrays, key=lambda n: (-arrays[n].itemsize, n)):
        array = arrays[name]
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [at, at + array.nbytes]}
        body.append(array.tobytes())
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *body]


def read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a file."""
    raw = Path(path).read_bytes()
    try:
        return decode(raw)
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None


def decode(raw: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a file's bytes.  Raises FileFormatError."""
    header, body = _header(raw)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FileFormatError("__metadata__ must map text to text")
    entries = sorted((_entry(name, e) for name, e in header.items()), key=lambda e: (e[3], e[4]))
    at, arrays = 0, {}
    for name, dtype, shape, start, stop in entries:
        if start != at:
            raise FileFormatError(f"array {name!r} begins at byte {start} of the data, expected {at}: arrays must "
                                  "follow each other without gap or overlap")
        at = stop
        if at > len(body):
            raise FileFormatError(f"the file is cut short: array {name!r} ends at byte {at} of {len(body)}")
        if dtype == "|b1" and any(b > 1 for b in body[start:stop]):
            raise FileFormatError(f"array {name!r} is boolean but has bytes other than 0 and 1")
        arrays[name] = np.frombuffer(body[start:stop], dtype).reshape(shape).copy()
    if at != len(body):
        raise FileFormatError(f"{len(body) - at} bytes follow the last array")
    return {name: arrays[name] for name in header}, metadata


def _header(raw):
    """The parsed header and a view of the data."""
    if len(raw) < 8:
        raise FileFormatError(f"{len(raw)} bytes are too few for a safetensors file")
    n = int.from_bytes(raw[:8], "little")
    if n > MAX_HEADER or n > len(raw) - 8:
        raise FileFormatError(f"the header should be {n} bytes long, the file has {len(raw) - 8} (at most {MAX_HEADER} "
                              "are accepted)")
    text = raw[8:8 + n]
    if text[:1] != b"{":
        raise FileFormatError("the header does not begin with '{'")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
        json.dumps(header, ensure_ascii=False).encode()               # lone surrogates cannot be encoded
    except FileFormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"the header is not valid JSON: {error}") from None
    if not isinstance(header, dict):
        raise FileFormatError("the header is not a JSON object")
    return header, memoryview(raw)[8 + n:]


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
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise FileFormatError(f"array {name!r}: dtype {dtype!r} is none of {', '.join(DTYPES)}")
    if not (_sizes(shape) and _sizes(offsets) and len(offsets) == 2):
        raise FileFormatError(f"array {name!r}: shape {shape!r} and data_offsets {offsets!r} must be whole numbers "
                              ">= 0")
    if len(shape) > 32 or offsets[1] - offsets[0] != prod(shape) * np.dtype(DTYPES[dtype]).itemsize:
        raise FileFormatError(f"array {name!r}: {dtype} of shape {shape} does not take the bytes {offsets}")
    return name, DTYPES[dtype], shape, *offsets


def _sizes(values):
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in values)
