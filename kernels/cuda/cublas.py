"""cuBLAS's matrix products by ctypes, since CuPy's own binding of them cannot be captured in a graph.

cuBLAS itself can ("CUDA Graphs Support" in its manual): the memory it works in becomes part of the graph.  But CuPy
refuses every call of it while a stream is captured (cupy_backends/cuda/libs/cublas.pyx, setStream; CuPy's issue 6290).
The functions and their arguments are those of CuPy's binding; emulator/cublas.py has them, too.
"""
from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from typing import Any

__all__ = ["Library", "loaded"]
_INT, _LONG, _ADDRESS = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
_SHAPE = _ADDRESS, *[_INT] * 5                       # handle, transa, transb, m, n, k
_MATRIX = _ADDRESS, _INT, _INT                       # where, cudaDataType, elements from column to column
_MATRICES = *_MATRIX, _LONG                          # and from matrix to matrix
ARGUMENTS = {
    "cublasGemmEx": (*_SHAPE, _ADDRESS, *_MATRIX, *_MATRIX, _ADDRESS, *_MATRIX, _INT, _INT),
    "cublasGemmStridedBatchedEx": (*_SHAPE, _ADDRESS, *_MATRICES, *_MATRICES, _ADDRESS, *_MATRICES, _INT, _INT, _INT),
    "cublasSetStream_v2": (_ADDRESS, _ADDRESS),
}


class Library:
    """gemmEx and gemmStridedBatchedEx of a library that is loaded.

    handle   a function: cuBLAS's handle of the current thread and device, an address
    stream   a function: the address of the stream to compute on
    """

    def __init__(self, library: ctypes.CDLL, handle: Callable[[], int], stream: Callable[[], int]):
        self.handle, self._stream = handle, stream
        functions = []
        for name, arguments in ARGUMENTS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, _INT
            functions.append(function)
        single, batched, self._set_stream = functions
        self.gemmEx, self.gemmStridedBatchedEx = partial(self._run, single), partial(self._run, batched)

    def _run(self, function: Any, handle: int, *arguments: int) -> None:
        """Raises RuntimeError with cuBLAS's status unless that is 0."""
        status = self._set_stream(handle, self._stream()) or function(handle, *arguments)
        if status:
            raise RuntimeError(f"{function.__name__}{arguments}: cuBLAS answers with status {status}")


@cache
def loaded() -> Library:
    """The library that CuPy uses.  Raises OSError if there is none."""
    cupy = import_module("cupy")
    handle = cupy.cuda.device.get_cublas_handle
    handle()                                         # loads it: by its name, the same one is found
    major = cupy.cuda.runtime.runtimeGetVersion() // 1000
    library = ctypes.CDLL(f"cublas64_{major}.dll" if os.name == "nt" else f"libcublas.so.{major}")
    return Library(library, handle, lambda: cupy.cuda.get_current_stream().ptr)
