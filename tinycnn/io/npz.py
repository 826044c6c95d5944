"""NumPy's .npz format: a zip file with one NAME.npy per array, without the pickles that NumPy allows in it.

    93 "NUMPY" 1 0    magic and version      (2 0 and 3 0: the length has 4 bytes)
    2 bytes           length n of the header
    n bytes           {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   and spaces, and a line feed
    the rest          the elements

Format: numpy/lib/format.py.  The header is Python text; here it is matched against the one form that plain arrays
have, and nothing is evaluated.
"""
from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from io import BytesIO
from math import prod

import numpy as np

from .errors import FileFormatError
from .mapped import elements
from .zip_directory import entries

MAX_HEADER = 4096
UNPACKED = (64 << 20, 32)                            # arrays may unpack to 64 MiB, or else 32 times the file's size
_HEADER = re.compile(rb"\{'descr': ?'([<>|=]?[biufc?][0-9]{0,2})', ?'fortran_order': ?(True|False), ?"
                     rb"'shape': ?\(((?:[0-9]+(?:, ?[0-9]+)*,?)?)\),? ?\}\s*")


def decode_npz(memory) -> dict[str, np.ndarray]:
    """The arrays of a file's bytes by name.  Raises FileFormatError, also for arrays of Python objects."""
    found = entries(memory)
    limit = max(UNPACKED[0], UNPACKED[1] * len(memory))
    if sum(entry.size for entry in found.values()) > limit:
        raise FileFormatError(f"its arrays would take more than {limit} bytes unpacked, from {len(memory)}: this is "
                              "not how weights pack")
    arrays = {}
    for entry in found.values():
        if not entry.name.endswith(".npy"):
            raise FileFormatError(f"{entry.name!r} is no array (.npy): this zip file holds other things")
        arrays[entry.name.removesuffix(".npy")] = _array(entry.content(memory, limit), entry.name)
    return arrays


def _array(raw, name):
    """The array of an .npy file's bytes."""
    wide = raw[6:8] in (b"\2\0", b"\3\0")
    body = 12 if wide else 10
    n = int.from_bytes(raw[8:body], "little")
    if raw[:6] != b"\x93NUMPY" or not (wide or raw[6:8] == b"\1\0") or n > min(MAX_HEADER, len(raw) - body):
        raise FileFormatError(f"{name!r} does not begin as .npy files do")
    found = _HEADER.fullmatch(raw[body:body + n])
    if not found:
        raise FileFormatError(f"{name!r} is no array of numbers (arrays of Python objects are never read): its header "
                              f"is {bytes(raw[body:body + min(n, 80)])!r}")
    try:
        dtype = np.dtype(found[1].decode())
    except TypeError:
        raise FileFormatError(f"{name!r} has a dtype NumPy does not know: {found[1].decode()!r}") from None
    shape = tuple(int(n) for n in re.findall(rb"[0-9]+", found[3]))
    if dtype.itemsize * prod(k for k in shape if k) >= 1 << 62 or len(shape) > 64 \
            or len(raw) - body - n != dtype.itemsize * prod(shape):
        raise FileFormatError(f"{name!r}: {dtype} of shape {shape} does not take {len(raw) - body - n} bytes")
    flat = elements(raw, dtype.str, body + n, prod(shape), name)
    flat = flat.astype(dtype.newbyteorder("="), copy=False)
    return flat.reshape(shape[::-1]).T if found[2] == b"True" else flat.reshape(shape)


def encode_npz(arrays: Mapping[str, np.ndarray]) -> memoryview:
    """The bytes of a file with these arrays, as numpy.savez writes it; the same arrays give the same bytes."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in arrays.items():
            # ZipInfo has a fixed date; force_zip64 because the size is not known before.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as f:
                np.lib.format.write_array(f, array, allow_pickle=False)
    return out.getbuffer()
