"""PyTorch's weight files (.pth, .pt, .th, .bin) without PyTorch, and without anything that could run.

Since PyTorch 1.6 they are a zip file of stored entries, each storage's bytes beginning at a multiple of 64:

    NAME/data.pkl      a pickle: the nesting, and for each tensor (storage, offset, size, stride)
    NAME/byteorder     "little" or "big"
    NAME/data/0, 1...  the storages' bytes: mapped, not read
    NAME/version...

Before that, five pickles in a row and then the storages:

    magic number | 1001 | {"little_endian": True, ...} | the nesting | [key, ...] | for each key: int64 count, bytes

The pickles are run by our own machine (pickle_machine.py), whose table of names is NAMES below.
Format: torch/serialization.py and torch/_utils.py of PyTorch 2.
"""
from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .errors import FileFormatError
from .mapped import BFLOAT16, elements, itemsize, map_file
from .pickle_machine import MAX_BYTES, run
from .pickle_values import PYTHON, Call, Opaque
from .zip_directory import STORED, entries

MAGIC = 0x1950A86A20F9469CFC6C
MAX_RANK = 64                                        # NumPy's
EXPANDED = 1 << 20                                   # bytes that an expanded tensor may stand for in any file
_STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": BFLOAT16,
             "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1",
             "ByteStorage": "|u1", "BoolStorage": "|b1", "ComplexFloatStorage": "<c8", "ComplexDoubleStorage": "<c16"}
_UNTYPED = {"torch.uint16": "<u2", "torch.uint32": "<u4", "torch.uint64": "<u8"}       # have no class of storage
_DTYPES = ("float16", "float32", "float64", "bfloat16", "complex64", "complex128", "uint8", "uint16", "uint32",
           "uint64", "int8", "int16", "int32", "int64", "bool")


def load_pth(path: str | Path) -> Any:
    """What torch.save wrote to a file, with NumPy arrays for tensors: as torch.load(weights_only=True).

    The arrays are views of the file (see mapped.py), with the strides they were saved with; bfloat16 becomes float32,
    exactly.  Parameters are arrays, OrderedDicts are dicts, torch.Size a tuple, devices and dtypes text.

    Raises FileFormatError for damaged files and for what is no weight file (pickled models, TorchScript, quantised or
    sparse tensors): nothing in a file can run code.  Raises OSError if it cannot be opened.
    """
    try:
        with open(path, "rb") as f:
            return decode_pth(map_file(f))
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None


def decode_pth(memory) -> Any:
    """What a file's bytes, or its mapped memory, hold.  Raises FileFormatError."""
    return _read_zip(memory) if memory[:4] == b"PK\3\4" else _read_legacy(memory)


# ---------------------------------------------------------------------------------------- the two formats

def _read_zip(memory):
    found = entries(memory)
    roots = [name.removesuffix("/data.pkl") for name in found if name.endswith("/data.pkl")]
    if len(roots) != 1 or f"{roots[0]}/constants.pkl" in found:
        raise FileFormatError("this zip file is none of torch.save (no data.pkl), or a TorchScript archive: save the "
                              "model's state_dict()")
    root = roots[0]
    order = found.get(f"{root}/byteorder")
    if order and order.content(memory, 16) != b"little":
        raise FileFormatError("it was written on a big-endian machine: load it there and save it again")

    def place(key, kind, count):
        entry = found.get(f"{root}/data/{key}")
        if entry is None or entry.method != STORED or entry.size != count * itemsize(kind):
            raise FileFormatError(f"storage {key[:40]!r} should be {count} x {kind}: it is missing, packed or of "
                                  "another length")
        return entry.start

    pickle = found[f"{root}/data.pkl"]
    if pickle.method != STORED:
        raise FileFormatError("data.pkl is packed: torch.save stores it as it is")
    return run(bytes(pickle.content(memory, MAX_BYTES)), 0, NAMES, _Storages(memory, place))[0]


def _read_legacy(memory):
    try:
        magic, at = run(memory, 0, {})
    except FileFormatError:
        magic = None
    if magic != MAGIC:
        raise FileFormatError("this is no file of torch.save (files of PyTorch 0.1, which were tar archives, are not "
                              "read either)")
    version, at = run(memory, at, {})
    system, at = run(memory, at, {})
    if version != 1001 or type(system) is not dict or system.get("little_endian") is not True:
        # Neither value is in the message: text of nested lists could be of any length.
        raise FileFormatError("it has another protocol than 1001, or is of a big-endian machine: load it there with a "
                              "newer PyTorch and save it again")
    # The values come before the storages they need: a first run, without tensors, tells where these begin.
    asked = _Storages(memory, None)
    _, after = run(memory, at, NAMES_WITHOUT_TENSORS, asked)
    keys, start = run(memory, after, {})
    places = _legacy_places(memory, keys, start, asked.kinds)

    def place(key, kind, count):
        return places[key]

    return run(memory, at, NAMES, _Storages(memory, place))[0]


def _legacy_places(memory, keys, at, kinds):
    """Where each storage begins: {key: byte}."""
    if type(keys) is not list or len(keys) != len(kinds) or {k for k in keys if type(k) is str} != set(kinds):
        raise FileFormatError("the list of storages does not name those that the tensors need")
    places = {}
    for key in keys:
        kind, count = kinds[key]
        if int.from_bytes(memory[at:at + 8], "little") != count:
            raise FileFormatError(f"storage {key[:40]!r} should have {count} elements: the file is damaged, or cut "
                                  "short")
        places[key] = at + 8
        at += 8 + count * itemsize(kind)
        if at > len(memory):
            raise FileFormatError(f"the file is cut short: storage {key[:40]!r} is not whole")
    return places


class _Storages:
    """Persistent ids -> 1-d arrays.  place(key, kind, count) gives the byte where one begins, and checks its length.

    place None: only `kinds` is filled, {key: (kind, count)}.
    """

    def __init__(self, memory, place):
        self.memory, self.place = memory, place
        self.kinds: dict[str, tuple[str, int]] = {}
        self.arrays: dict[str, np.ndarray] = {}

    def __call__(self, pid):
        """("storage", class, key, device, number of elements), and in old files (view's key, offset, size) or None."""
        if type(pid) is not tuple or len(pid) not in (5, 6) or type(pid[0]) is not str or pid[0] != "storage":
            raise FileFormatError("the pickle mentions something that is no storage")
        _, storage, key, _, count, *view = pid
        if type(storage) is not Opaque or type(key) is not str or type(count) is not int or count < 0:
            raise FileFormatError("the pickle describes a storage by something else than class, key and length")
        if self.kinds.setdefault(key, (storage.kind, count)) != (storage.kind, count):
            raise FileFormatError(f"storage {key[:40]!r} is described in two ways")
        if self.place is None:
            return None
        if key not in self.arrays:
            start = self.place(key, storage.kind, count)
            self.arrays[key] = elements(self.memory, storage.kind, start, count, key)
        return self._part(self.arrays[key], view[0] if view else None)

    @staticmethod
    def _part(array, view):
        if view is None:
            return array
        if type(view) is not tuple or len(view) != 3 or not _sizes(view[1:]) or sum(view[1:]) > array.size:
            raise FileFormatError("a part of a storage lies outside of it")
        return array[view[1]:view[1] + view[2]]


# ---------------------------------------------------------------------------------------- what the pickles may name

def _tensor(machine, storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None):
    """torch._utils._rebuild_tensor_v2: a view of a storage, which must lie inside of it."""
    _check_storage(storage)
    if type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride) or len(size) > MAX_RANK \
            or not _sizes((offset, *size, *stride)):
        raise FileFormatError("a tensor's offset, size and stride must be whole numbers >= 0, one per dimension")
    if metadata is not None:
        raise FileFormatError("a tensor is a conjugated or negated view: save tensor.resolve_conj().resolve_neg()")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride))
    if prod(size) and last >= storage.size:
        raise FileFormatError(f"a tensor of size {size} and stride {stride} at {offset} lies outside its storage of "
                              f"{storage.size} elements")
    # Strides of 0 could make a few bytes look like terabytes, which the first copy would then take.
    if prod(n for n in size if n) * storage.itemsize > max(len(machine.data), storage.nbytes, EXPANDED):
        raise FileFormatError(f"a tensor of size {size} is far larger than its storage of {storage.size} elements: "
                              "save tensor.clone() of expanded ones")
    if not prod(size):
        return np.empty(size, storage.dtype)
    return np.ndarray(size, storage.dtype, storage, offset * storage.itemsize, [s * storage.itemsize for s in stride])


def _check_storage(storage):
    if type(storage) is not np.ndarray or storage.ndim != 1 or not storage.flags.c_contiguous \
            or not storage.flags.aligned:
        raise FileFormatError("a tensor is made of something that is no storage")


def _sizes(values):
    return all(type(n) is int and 0 <= n < 1 << 62 for n in values)


def _untyped_tensor(machine, storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None):
    """torch._utils._rebuild_tensor_v3: of a storage of bytes."""
    _check_storage(storage)
    kind = _UNTYPED.get(dtype) if type(dtype) is str else None
    if kind is None or storage.dtype != np.uint8 or storage.size % itemsize(kind):
        raise FileFormatError(f"a tensor of {dtype[:40] if type(dtype) is str else 'no dtype'} cannot be read")
    return _tensor(machine, storage.view(kind), offset, size, stride, requires_grad, hooks, metadata)


def _array(machine, data, *_):
    """A Parameter: the tensor it is made of."""
    if type(data) is not np.ndarray:
        raise FileFormatError("a Parameter is made of something that is no tensor")
    return data


def _size(machine, sizes=()):
    if type(sizes) is not tuple:
        raise FileFormatError("a torch.Size is made of a tuple")
    return sizes


def _device(machine, kind, index=None):
    if type(kind) is not str or type(index) not in (int, type(None)) or len(kind) > 40:
        raise FileFormatError("a torch.device is made of text and a number")
    return kind if index is None else f"{kind}:{index}"


_TENSORS = {("torch._utils", call.name): call for call in (
    Call("_rebuild_tensor", _tensor, 4, 4), Call("_rebuild_tensor_v2", _tensor, 6, 7),
    Call("_rebuild_tensor_v3", _untyped_tensor, 7, 8), Call("_rebuild_parameter", _array, 3, 3),
    Call("_rebuild_parameter_with_state", _array, 4, 4))}
NAMES: dict[tuple[str, str], Any] = {
    **PYTHON, **_TENSORS,
    ("torch", "Size"): Call("torch.Size", _size, 0, 1),
    ("torch", "device"): Call("torch.device", _device, 1, 2),
    **{("torch", name): Opaque(f"torch.{name}", kind) for name, kind in _STORAGES.items()},
    ("torch.storage", "UntypedStorage"): Opaque("torch.storage.UntypedStorage", "|u1"),
    **{("torch", name): f"torch.{name}" for name in _DTYPES},
}
NAMES_WITHOUT_TENSORS = {**NAMES, **{name: replace(call, function=lambda *_: None) for name, call in _TENSORS.items()}}
