"""Arrays that are views of a mapped file: opening one costs nothing, pages come from the disk when they are touched.

The mapping is private (copy-on-write): arrays can be written to, the file never changes.  The other way round it is
not so: who overwrites the file in place changes, and who shortens it breaks, arrays that were opened from it.
Writers that replace the file, as write_atomically does, leave them alone.
"""
from __future__ import annotations

import mmap
import os
from typing import BinaryIO

import numpy as np

from .errors import FileFormatError

BFLOAT16 = "bfloat16"                                # NumPy has no such dtype: read as float32, exactly


def map_file(f: BinaryIO) -> mmap.mmap:
    """An open file as private, writable memory.  Raises FileFormatError if it is empty."""
    if not os.fstat(f.fileno()).st_size:
        raise FileFormatError("the file is empty")
    return mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)


def itemsize(kind: str) -> int:
    """Bytes that one element takes in the file: of a NumPy dtype, or bfloat16."""
    return 2 if kind == BFLOAT16 else np.dtype(kind).itemsize


def elements(memory, kind: str, start: int, count: int, name: str) -> np.ndarray:
    """`count` elements of a file's memory from byte `start`, as a 1-d array: a view, where that is possible.

    Copied are bfloat16 (to float32) and what does not start at a multiple of its size, which few kernels can take.
    Raises FileFormatError for booleans other than 0 and 1 (`name` says whose).  The caller has checked that they lie
    inside the memory.
    """
    if not count:
        return np.empty(0, "<f4" if kind == BFLOAT16 else kind)
    if kind == BFLOAT16:
        upper_half = np.frombuffer(memory, "<u2", count, start)
        return (upper_half.astype("<u4") << 16).view("<f4")
    array = np.frombuffer(memory, kind, count, start)
    if kind == "|b1" and array.view(np.uint8).max() > 1:
        raise FileFormatError(f"{name!r} is boolean but has bytes other than 0 and 1")
    # Plain bytes may be viewed as another dtype later, of 8 bytes at most.
    aligned = start % 8 == 0 if kind == "|u1" else array.flags.aligned
    return array if aligned else array.copy()
