"""The emulated device's memory, its stream, and the counters of both.

Every array lies between addresses that nobody may touch, so that what is written or read outside of it is caught.
While a stream is captured (graph.py), what the device is told goes onto a tape instead of being done.
"""
from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import numpy as np

from .build import EmulatorError

counts: Counter[str] = Counter()                     # launches, allocations, bytes, syncs, copies to the device
launched: Counter[str] = Counter()                   # by kernel, or function of the array library
in_use: Counter[str] = Counter()                     # bytes: now, peak
_PAGE, _GUARD = mmap.PAGESIZE, 1 << 20
_live: dict[int, int] = {}                           # the addresses of all arrays' memory: first -> end


class _Stream(threading.local):
    """What a thread's device does: all at once, or onto the tape; `held` keeps what was allocated for a graph."""

    tape: list[Callable[[], Any]] | None = None
    held: list[Any] | None = None


stream = _Stream()


def do(act: Callable[[], Any]) -> None:
    """Have the device do something: now, or in every replay of what is captured."""
    if stream.tape is None:
        act()
    else:
        stream.tape.append(act)


def wait(what: str) -> None:
    """Called where a GPU makes the host wait."""
    if stream.tape is not None:
        raise RuntimeError(f"{what} while a graph is captured: nothing has run yet")
    counts["syncs"] += 1


def copying() -> None:
    """Called where values of the host are copied to the device."""
    if stream.tape is not None:
        raise RuntimeError("values of the host were copied to the device while a graph is captured: every replay would "
                           "find the same; copy them before, or hand them over as inputs of the step")
    counts["copies"] += 1


# ---------------------------------------------------------------------------------------- memory

@cache
def _libc():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


class _Block:
    """Memory between addresses nobody may touch, the first of them up to 15 bytes behind its end.

        guard (1 MiB) | slack  the array | guard (1 MiB)
    """

    def __init__(self, nbytes: int):
        libc, used = _libc(), -(-nbytes // 16) * 16
        pages = -(-used // _PAGE) * _PAGE
        size = pages + 2 * _GUARD
        base = libc.mmap(None, size, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if base is None or base + 1 == 1 << 64 or libc.mprotect(base + _GUARD, pages, mmap.PROT_READ | mmap.PROT_WRITE):
            raise MemoryError(f"no memory for an array of {nbytes:,} bytes on the emulated device")
        start = base + _GUARD + pages - used
        self.buffer = (ctypes.c_ubyte * nbytes).from_address(start)
        _live[start] = start + nbytes
        in_use["now"] += nbytes
        in_use["peak"] = max(in_use["peak"], in_use["now"])
        weakref.finalize(self.buffer, self._release, libc, base, size, start)

    @staticmethod
    def _release(libc, base, size, start):
        in_use["now"] -= _live.pop(start) - start
        libc.munmap(base, size)


def allocate(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Guarded memory for an array; what is in it is undefined."""
    nbytes = prod(shape) * dtype.itemsize
    counts["allocations"] += 1
    counts["bytes"] += nbytes
    if not nbytes:
        return np.empty(shape, dtype)
    buffer = _Block(nbytes).buffer
    if stream.held is not None:
        stream.held.append(buffer)
    return np.frombuffer(buffer, dtype).reshape(shape)


def guarded(array: np.ndarray) -> np.ndarray:
    """A copy of the array in guarded memory, in the same order of axes."""
    axes = sorted(range(array.ndim), key=lambda i: -abs(array.strides[i]))
    out = allocate(tuple(array.shape[i] for i in axes), array.dtype)
    out = out.transpose(np.argsort(axes)) if axes else out
    out[...] = array if stream.tape is None else poison(out.dtype)
    return out


def poison(dtype: np.dtype, integer: int = 0) -> Any:
    """What is in memory that nothing was written to."""
    return np.nan if dtype.kind == "f" else integer if dtype.kind in "iu" else 0


def check_addresses(name: str, table: np.ndarray) -> None:
    """Raises EmulatorError unless a table of addresses points into memory of the device, or nowhere."""
    starts = sorted(_live)
    for address in map(int, table.ravel()):
        i = bisect_right(starts, address) - 1
        if address and (i < 0 or address >= _live[starts[i]]):
            raise EmulatorError(f"{name}: a table holds the address {address:#x}, where there is no array")


def check_range(name: str, address: int, nbytes: int) -> None:
    """Raises EmulatorError unless so many bytes from an address on are all in one array's memory."""
    starts = sorted(_live)
    i = bisect_right(starts, address) - 1
    if i < 0 or address + nbytes > _live[starts[i]]:
        raise EmulatorError(f"{name}: illegal memory access: not all of the {nbytes:,} bytes from {address:#x} on are "
                            "in one array")
