"""Files that are not tinycnn's: PyTorch's (.pth, .pt, .th) and NumPy's (.npz), told by their first bytes."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import FileFormatError
from .mapped import map_file
from .npz import decode_npz
from .pth import load_pth
from .zip_directory import entries


def is_foreign(path: str | Path) -> bool:
    """Whether the file is a zip archive or a pickle.  Raises OSError if it cannot be read.

    A pickle begins with 0x80, which may also be the first byte of the header's length in a .safetensors file; there the
    header's { follows as byte 8.
    """
    with open(path, "rb") as f:
        head = f.read(9)
    return head[:4] == b"PK\3\4" or head[:1] == b"\x80" and head[8:] != b"{"


def load_foreign(path: str | Path) -> Any:
    """What the file holds: nested dicts, lists and arrays.  Raises FileFormatError; nothing in a file can run code."""
    with open(path, "rb") as f:
        if f.read(4) == b"PK\3\4":
            try:
                memory = map_file(f)
                if not any(name.endswith("data.pkl") for name in entries(memory)):
                    return decode_npz(memory)
            except FileFormatError as error:
                raise FileFormatError(f"{path}: {error}") from None
    return load_pth(path)
