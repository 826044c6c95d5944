"""A stand-in for CuPy's cuBLAS: the same arguments, addresses among them, computed by NumPy.

Matrices lie by columns, `ld` elements apart: element (i, j) of A is number i + j*ld behind A's address.  Every address
that is read or written must be one of an array's.
"""
from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .build import EmulatorError
from .memory import check_range, counts, do, launched

_STORED = {0: "float32", 1: "float64", 2: "float16", 14: "bfloat16"}         # cudaDataType
_COMPUTED = {68: ("float32", 0), 77: ("float32", 13), 75: ("float32", 16), 70: ("float64", 0)}    # bits rounded away


def handle() -> int:
    """What a GPU's library is told first."""
    return 0


def gemmEx(handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, Atype: int, lda: int,
           B: int, Btype: int, ldb: int, beta: int, C: int, Ctype: int, ldc: int, computeType: int, algo: int) -> None:
    """C (m, n) = alpha op(A) op(B) + beta C."""
    _launch("gemmEx", transa, transb, m, n, k, alpha, (A, Atype, lda, 0), (B, Btype, ldb, 0), beta, (C, Ctype, ldc, 0),
            1, computeType)


def gemmStridedBatchedEx(handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, Atype: int,
                         lda: int, strideA: int, B: int, Btype: int, ldb: int, strideB: int, beta: int, C: int,
                         Ctype: int, ldc: int, strideC: int, batchCount: int, computeType: int, algo: int) -> None:
    """The same for batchCount matrices each, whose addresses are a stride apart."""
    _launch("gemmStridedBatchedEx", transa, transb, m, n, k, alpha, (A, Atype, lda, strideA), (B, Btype, ldb, strideB),
            beta, (C, Ctype, ldc, strideC), batchCount, computeType)


def _launch(name, transa, transb, m, n, k, alpha, A, B, beta, C, batch, compute):
    if compute not in _COMPUTED or min(m, n, k, batch) < 1:
        raise EmulatorError(f"{name}: m, n, k = {m}, {n}, {k}, {batch} of them, computed as {compute}")
    dtype, lost = _COMPUTED[compute]
    scalar = {"float32": ctypes.c_float, "float64": ctypes.c_double}[dtype]
    alpha, beta = (scalar.from_address(address).value for address in (alpha, beta))
    counts["launches"] += 1
    launched[name] += 1

    def act():
        a = _rounded(_matrices(name, A, transa, m, k, batch).astype(dtype), lost)
        b = _rounded(_matrices(name, B, transb, k, n, batch).astype(dtype), lost)
        c = _matrices(name, C, 0, m, n, batch)
        with np.errstate(all="ignore"):
            found = alpha * np.matmul(a, b)
            c[...] = found + beta * c.astype(dtype) if beta else found          # what is in C may be NaN
    do(act)


def _matrices(name, where, transposed, rows, columns, batch):
    """op(matrix) of each of a batch, (batch, rows, columns), in the device's memory."""
    address, kind, ld, stride = where
    if transposed:
        rows, columns = columns, rows
    if ld < rows:
        raise EmulatorError(f"{name}: columns of {rows} elements, {ld} apart")
    dtype = np.dtype(_STORED[kind])
    last = (batch - 1) * stride + (columns - 1) * ld + rows
    check_range(name, address, last * dtype.itemsize)
    if address % dtype.itemsize:
        raise EmulatorError(f"{name}: the address {address:#x} is none of a {dtype}")
    memory = np.frombuffer((ctypes.c_ubyte * (last * dtype.itemsize)).from_address(address), dtype)
    found = np.lib.stride_tricks.as_strided(memory, (batch, rows, columns), (
        stride * dtype.itemsize, dtype.itemsize, ld * dtype.itemsize), writeable=True)
    return found.swapaxes(1, 2) if transposed else found


def _rounded(x: Any, lost: int) -> Any:
    """float32 numbers without their last `lost` bits, rounded half to even: 13 for tf32, 16 for bfloat16."""
    if not lost:
        return x
    bits = x.view(np.uint32)
    odd = bits >> np.uint32(lost) & np.uint32(1)
    near = (bits + np.uint32((1 << lost - 1) - 1) + odd) & np.uint32(0xffffffff << lost & 0xffffffff)
    return np.where(np.isfinite(x), near.view(np.float32), x)
