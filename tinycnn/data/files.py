"""Strict readers: IDX (MNIST, Fashion-MNIST) and CIFAR's binary files.

Every byte is accounted for before an image is believed, and no more is unpacked than the header promises, so that a
file made to unpack without end (a "gzip bomb") is refused in a moment.
"""
from __future__ import annotations

import gzip
import tarfile
import zlib
from math import prod
from pathlib import Path

import numpy as np

from .errors import DataError

MAX_BYTES = 1 << 28                                  # more than any of the data sets here, unpacked


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, gzipped or not.

    ndim is how many dimensions it must have: 3 for images (N, H, W), 1 for labels (N,).  Raises DataError.
    Format: http://yann.lecun.com/exdb/mnist (file formats).

        0 0 8 ndim | size of each dimension, 4 bytes each, big-endian | the elements, one byte each
    """
    with _opened(path) as f:
        head = _read(f, path, 4 + 4 * ndim, "header")
        if head[:4] != bytes((0, 0, 8, ndim)):
            raise DataError(f"{path}: not an IDX file of {ndim}-dimensional bytes: it begins with {head[:4].hex(' ')}, "
                            f"expected 00 00 08 {ndim:02x}; is it the {'images' if ndim == 3 else 'labels'} file?")
        shape = [int.from_bytes(head[k:k + 4], "big") for k in range(4, len(head), 4)]
        if prod(shape) > MAX_BYTES:
            raise DataError(f"{path}: the header promises {shape}, {prod(shape):,} bytes: more than {MAX_BYTES:,}")
        body = _read(f, path, prod(shape), f"array of {shape}")
        if _more(f, path):
            raise DataError(f"{path}: more bytes follow than the header's {shape} account for")
    return np.frombuffer(body, np.uint8).reshape(shape)


def read_cifar(path: Path, coarse: bool) -> tuple[np.ndarray, np.ndarray]:
    """The images (N, 3, 32, 32) and labels (N,) of a CIFAR file in the binary version, whole or a part of it.

    coarse: CIFAR-100, whose records begin with a coarse label that is skipped.  Raises DataError.
    Format: https://www.cs.toronto.edu/~kriz/cifar.html (binary version).
    """
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: {path.stat().st_size:,} bytes: larger than any file of CIFAR's binary version")
    return cifar_records(path.read_bytes(), coarse, path)


def record_size(coarse: bool) -> int:
    """The bytes of one image in a CIFAR file: labels, and 32x32 of each colour."""
    return 1 + coarse + 3 * 32 * 32


def cifar_records(raw: bytes, coarse: bool, name: object) -> tuple[np.ndarray, np.ndarray]:
    """The records of a file's bytes: label bytes, then 3072 bytes of red, green and blue planes."""
    size = record_size(coarse)
    if not raw or len(raw) % size:
        raise DataError(f"{name}: {len(raw):,} bytes are no whole number of records of {size}: the file is cut short, "
                        "or not of CIFAR's binary version")
    records = np.frombuffer(raw, np.uint8).reshape(-1, size)
    return records[:, 1 + coarse:].reshape(-1, 3, 32, 32), records[:, int(coarse)].astype(np.int64)


def read_tar_members(path: Path, sizes: dict[str, int]) -> dict[str, bytes]:
    """The files of a .tar.gz named in `sizes`, read into memory: nothing is unpacked to disk.

    Raises DataError for a member that is missing, no ordinary file, or not of its size, and for a damaged archive.
    """
    found = {}
    try:
        with gzip.open(path, "rb") as unzipped:
            bounded = _Bounded(unzipped, path)
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                for member in archive:
                    if (size := sizes.get(member.name)) is not None:
                        if not member.isfile() or member.size != size:
                            raise DataError(f"{path}: {member.name} is no file of {size:,} bytes: not the published "
                                            "archive, get it again")
                        found[member.name] = archive.extractfile(member).read()
            while bounded.read(1 << 20):             # to the end, where gzip checks its checksum
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: damaged, cut short, or no .tar.gz archive: {error}") from None
    if missing := [n for n in sizes if n not in found]:
        raise DataError(f"{path}: the archive lacks {', '.join(missing)}: not the published one, get it again")
    return found


class _Bounded:
    """A file that may be read up to MAX_BYTES, so that an archive cannot unpack without end."""

    def __init__(self, file, path):
        self.file, self.path, self.left = file, path, MAX_BYTES

    def read(self, count):
        data = self.file.read(count)
        self.left -= len(data)
        if self.left < 0:
            raise DataError(f"{self.path}: unpacks to more than {MAX_BYTES:,} bytes: not the published archive")
        return data


def check_labels(path: object, labels: np.ndarray, count: int, classes: int) -> np.ndarray:
    """int64 labels, one for each of `count` images and below `classes`.  Raises DataError."""
    if len(labels) != count:
        raise DataError(f"{path}: {len(labels):,} labels for {count:,} images: the files do not belong together")
    if len(labels) and labels.max() >= classes:
        raise DataError(f"{path}: label {labels.max()} of image {int(labels.argmax())} is out of range: there are "
                        f"{classes} classes")
    return labels.astype(np.int64)


def _opened(path):
    with open(path, "rb") as f:
        zipped = f.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else open(path, "rb")


def _read(f, path, count, what):
    try:
        data = f.read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut short in its {what}: {error}") from None
    if len(data) != count:
        raise DataError(f"{path}: cut short: its {what} has {len(data):,} of {count:,} bytes")
    return data


def _more(f, path):
    try:
        return bool(f.read(1))                       # reading past the end also makes gzip check its checksum
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or cut short at its end: {error}") from None
