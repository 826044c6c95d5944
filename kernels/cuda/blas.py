"""Matrix products by cuBLAS, on arrays as they lie.

cuBLAS reads matrices by columns: memory of rows (R, C) is, to it, the transposed matrix.  So that nothing has to be
moved, it is asked for the transposed product, whose memory is that of the product's rows:

    out = a b   is   out' = b' a'        memory of rows, as it lies:  factor' is read with op N
                                         a transposed view of rows:   factor' is read with op T

CuPy's matmul would copy what is broadcast or transposed, computes 16-bit floats in batches as copies in float32, and
takes its precision from the environment; without cuBLAS (cublas.py) it is what is left.
"""
from __future__ import annotations

from functools import cache
from importlib import import_module
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ..precision import get_float32_matmul_precision
from ..reference._xp import array_module
from .arrays import new, plain
from .cublas import loaded

__all__ = ["gemm"]
N, T, DEFAULT = 0, 1, -1                             # cublasOperation_t, cublasGemmAlgo_t
STORED = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}                         # cudaDataType
FLOAT32, FLOAT64 = 68, 70                                                                   # cublasComputeType_t
COMPUTED = {"highest": FLOAT32, "high": 77, "medium": 75}                                   # 32F, FAST_TF32, FAST_16BF
MOST_INT, MOST_CALLS = 2**31 - 1, 16
_SCALARS = {kind: np.arange(2, dtype=dtype) for kind, dtype in (                # 0 and 1 on the host, handed over by
    (FLOAT32, np.float32), (FLOAT64, np.float64))}                             # address
_ADDRESSES = {kind: (v.ctypes.data, v.ctypes.data + v.itemsize) for kind, v in _SCALARS.items()}


def gemm(a: Any, b: Any, out: Any = None, add: bool = False) -> Any:
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading dimensions broadcast; added to what is in `out`, if asked.

    out   what the product is written to: its rows lie without gaps inside, whatever lies between them

    float32 is computed as set_float32_matmul_precision() says; sums of 16-bit floats are float32.  Other dtypes, and
    two that differ, go to the array library's matmul.  Raises ValueError for an `out` that does not fit.
    """
    xp, library = array_module(a), _library(array_module(a).__name__)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    if out is not None and (out.shape != shape or out.size and shape[-1] > 1 and out.strides[-1] != out.itemsize):
        raise ValueError(f"gemm: out must be {shape} with rows that have no gaps, got {out.shape}, strides "
                         f"{out.strides}")
    if library is None or a.dtype != b.dtype or a.dtype.name not in STORED or max(*a.shape, *b.shape) > MOST_INT:
        return _by_matmul(xp, a, b, out, add)
    out = new(a, *shape) if out is None else out
    if not out.size:
        return out
    if not a.shape[-1]:
        if not add:
            out[...] = 0
        return out
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous and out.flags.c_contiguous:       # one matrix of all rows
        _gemm(library, a.reshape(-1, a.shape[-1]), b, out.reshape(-1, shape[-1]), add)
    else:
        _gemm(library, a, b, out, add)
    return out


def _by_matmul(xp, a, b, out, add):
    found = xp.matmul(a, b)
    if out is None:
        return found
    out[...] = out + found if add else found
    return out


def _gemm(library, a, b, out, add):
    """The product of what is not empty: one call, or some where leading dimensions have no common stride."""
    (a, op_a, row_a), (b, op_b, row_b), row_c = _factor(a), _factor(b), _step(out, -2)
    batch = out.shape[:-2]
    steps = [[_strided(x, i, batch) for x in (a, b, out)] for i in range(len(batch))]
    dims = _merged(batch, steps)
    if prod(size for size, _ in dims[1:]) > MOST_CALLS:              # copies are cheaper than so many calls
        xp = array_module(a)
        return _gemm(library, *(plain(xp.broadcast_to(x, (*batch, *x.shape[-2:]))) for x in (a, b)), out, add)
    M, K, columns = *a.shape[-2:], b.shape[-1]
    kind = STORED[out.dtype.name]
    compute = FLOAT64 if out.dtype == np.float64 else FLOAT32
    if out.dtype == np.float32:
        compute = COMPUTED[get_float32_matmul_precision()]
    zero, one = _ADDRESSES[FLOAT64 if compute == FLOAT64 else FLOAT32]
    (count, strides), *outer = dims or [(1, (0, 0, 0))]
    for index in product(*(range(size) for size, _ in outer)):
        A, B, C = (x.data.ptr + x.itemsize * sum(i * step[j] for i, (_, step) in zip(index, outer))
                   for j, x in enumerate((a, b, out)))
        if count == 1:
            library.gemmEx(library.handle(), op_b, op_a, columns, M, K, one, B, kind, row_b, A, kind, row_a,
                           one if add else zero, C, kind, row_c, compute, DEFAULT)
        else:
            library.gemmStridedBatchedEx(library.handle(), op_b, op_a, columns, M, K, one, B, kind, row_b, strides[1],
                                         A, kind, row_a, strides[0], one if add else zero, C, kind, row_c, strides[2],
                                         count, compute, DEFAULT)


def _factor(x):
    """The array, or a copy if cuBLAS cannot read it; how its transposed is read; elements from row to row in memory."""
    if min(x.strides) < 0:
        x = plain(x)
    (rows, columns), row, column = x.shape[-2:], _step(x, -2), _step(x, -1)
    if (column == 1 or columns == 1) and row >= columns:
        return x, N, row
    if (row == 1 or rows == 1) and column >= rows:
        return x, T, column
    x = plain(x)
    return x, N, columns


def _step(x, axis):
    """Elements between neighbours along one of the last two axes; along one of size 1, as if memory had no gaps."""
    if x.shape[axis] == 1:
        return x.shape[-1] if axis == -2 else x.shape[-2]
    return x.strides[axis] // x.itemsize


def _strided(x, i, batch):
    """Elements between neighbours along leading dimension i of the product's: 0 where x is the same for all."""
    i += x.ndim - 2 - len(batch)
    return 0 if i < 0 or x.shape[i] == 1 else x.strides[i] // x.itemsize


def _merged(batch, steps):
    """Leading dimensions (size, steps of a, b, out), joined where one continues the other in all; largest first."""
    dims = []
    for size, step in zip(batch, steps):
        if size == 1:
            continue
        if dims and all(before == size * now for before, now in zip(dims[-1][1], step)):
            dims[-1] = dims[-1][0] * size, step
        else:
            dims.append((size, step))
    return sorted(dims, key=lambda dim: -dim[0])


@cache
def _library(name):
    """gemmEx, gemmStridedBatchedEx and handle() for an array library's arrays; None if there are none."""
    if name != "cupy":
        return import_module(__package__.replace(".cuda", ".emulator.cublas"))
    try:
        return loaded()
    except (ImportError, OSError):
        return None
