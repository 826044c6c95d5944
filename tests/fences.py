"""Kernels between fences: every array that compiled code is handed lies against a page that must not be touched.

    python tests/fences.py DTYPE [PLANTED]     in a process of its own: it dies (SIGSEGV) at an access beyond a fence

    no access | 0xff ... 0xff  the array | no access            the array's end, and then its beginning, at a fence
    no access | the array  0xff ... 0xff | no access            what is left of the pages must still be 0xff afterwards

All arguments of all `@parallel` functions are moved: inputs, results and scratch, whoever allocated them, and copied
back after the call.  What compiled code allocates itself is left to the C library's check of its heap (MALLOC_CHECK_),
which notices writes from SLACK numbers behind an array on, when it is freed.  PLANTED: one kernel is replaced by one
that goes wrong, which must be found (test_fences.py).
"""
import ctypes
import faulthandler
import mmap
import sys
from functools import partial
from importlib import import_module
from types import ModuleType

import numpy as np
from kernel_checks import arrays, normal, window
from test_kernels_conv import GEOMETRIES

import tinycnn  # noqa: F401
from tinycnn.cases.kernels import outcome, rows

cpu, reference, threads = (import_module(f"tinycnn.kernels.{name}") for name in ("cpu", "reference", "cpu.threads"))
SLACK = 64                                           # Numba asks for up to 64 bytes more than an array has
PAGE, UNTOUCHED, libc = mmap.PAGESIZE, 0xff, ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

# N, C, O, groups, size, kernel, stride, padding, dilation, beside test_kernels_conv.py's: every algorithm, panels
# of every width, strips and blocks that are cut.
CONVOLUTIONS = [
    (2, 32, 48, 1, (9, 11), 3, 1, 1, 1), (1, 64, 33, 1, (6, 6), 3, 1, 1, 1), (2, 16, 32, 1, (9, 8), 5, 1, 2, 1),
    (3, 20, 70, 1, (6, 5), 3, 2, 1, 1), (2, 3, 6, 1, (9, 12), 5, 1, 2, 1), (1, 3, 40, 1, (12, 16), 7, 2, 3, 1),
    (2, 130, 100, 1, (7, 5), 1, 1, 0, 1), (1, 300, 17, 1, (5, 5), 3, 1, 0, 1), (2, 24, 24, 24, (7, 15), 3, 1, 1, 1),
    (1, 20, 20, 20, (9, 9), 7, 1, 3, 1), (2, 24, 24, 6, (8, 9), 3, 2, 1, 1), (1, 64, 64, 8, (9, 7), 3, 1, 1, 1),
    (1, 32, 32, 2, (8, 8), 3, 1, 1, 1), (1, 6, 12, 6, (6, 7), 3, 1, 1, 1),
    (1, 16, 16, 1, (6, 6), 5, 1, 2, 1), (1, 64, 64, 1, (6, 6), 3, 1, 1, 1),           # as few zeros as columns
]


class Touched(Exception):
    """Something beside an array was written to."""


class Fenced:
    """A copy of an array in memory of its own, with its strides, between pages without access."""

    def __init__(self, array: np.ndarray, at_end: bool):
        low, high = np.lib.array_utils.byte_bounds(array)
        self.original, span = array, high - low
        pages = -(-span // PAGE)
        self._home = mmap.mmap(-1, (pages + 2) * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._home))
        self._bytes = np.frombuffer(self._home, np.uint8)[PAGE:PAGE + pages * PAGE]
        self._bytes[:] = UNTOUCHED
        at = pages * PAGE - span if at_end else 0
        self._rest = np.r_[0:at, at + span:pages * PAGE]
        first = array.__array_interface__["data"][0] - low
        self.copy = np.ndarray(array.shape, array.dtype, self._home, PAGE + at + first, array.strides)
        self.copy[...] = array
        self.copy.flags.writeable, self._before = array.flags.writeable, array.tobytes()
        for page in (0, pages + 1):
            if libc.mprotect(start + page * PAGE, PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")

    def take_back(self) -> None:
        """Copy the values home, and look at what was beside them."""
        if self.copy.tobytes() != self._before:      # what is only read may be another view of what is written
            self.original[...] = self.copy
        if (self._bytes[self._rest] != UNTOUCHED).any():
            raise Touched("bytes beside an array were written")


def fence(value, at_end, fences):
    """The value with all arrays in it fenced; what shares memory still does.  fences: {place: Fenced}, added to."""
    if isinstance(value, np.ndarray) and value.size:
        place = value.__array_interface__["data"][0], value.nbytes, value.strides, value.dtype
        if place not in fences:
            fences[place] = Fenced(value, at_end)
        return fences[place].copy
    if isinstance(value, (tuple, list)):
        parts = [fence(v, at_end, fences) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def fenced(kernel, at_end, called, *args):
    """Call compiled code between fences."""
    called.append(kernel.__name__)
    fences = {}
    result = kernel(*fence(args, at_end, fences))
    for one in fences.values():
        one.take_back()
    return result


def parallel_functions():
    """(module, name, function) of all that `@parallel` has compiled."""
    for module in list(vars(cpu).values()):
        if isinstance(module, ModuleType) and module.__name__.startswith(cpu.__name__ + "."):
            for name, f in list(vars(module).items()):
                if hasattr(f, "kernel") and f.__module__ == module.__name__:
                    yield module, name, f


def calls(dtype):
    """(name, arguments) of every kernel: the table of cases, and convolutions by each algorithm."""
    for name, rows_of_name in rows(dtype).items():
        yield from ((name, arguments) for arguments in rows_of_name)
    rng = np.random.default_rng(0)
    for N, C, O, groups, *geometry in GEOMETRIES + CONVOLUTIONS:
        win = window(*geometry)
        x, weight, bias, gy = arrays((win, C // groups, O // groups, groups, N), dtype, normal)
        yield "conv2d", (x, weight, bias, win, groups, True)
        yield "conv2d_input", (gy, weight, win, groups)
        yield "conv2d_weight", (x, gy, win, groups)
    for M, K, N in ((1, 300, 70), (50, 33, 17), (100, 7, 130)):
        a, b = rng.standard_normal((M, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
        yield "matmul", (a, b)
        yield "matmul", (a.T.copy().T, b.T.copy().T)


@threads.parallel
def _writes_behind(thread, x, y):
    for _ in threads.mine(thread, 1):
        for i in range(x.size + 1):
            y[i] = x[min(i, x.size - 1)]


@threads.parallel
def _writes_before(thread, x, y):
    for _ in threads.mine(thread, 1):
        for i in range(x.size + 1):
            y[i - 1 - (y.size if i == 0 else 0)] = x[max(0, i - 1)]           # -1 would be the last


@threads.parallel
def _reads_behind(thread, x, y):
    for _ in threads.mine(thread, 1):
        for i in range(x.size):
            y[i] = x[i] + 0 * x[i + 1]


@threads.parallel
def _leaves_its_scratch(thread, x, y):
    for _ in threads.mine(thread, 1):
        scratch = np.empty(x.size, x.dtype)
        for i in range(x.size + SLACK):
            scratch[i] = 1
        for i in range(x.size):
            y[i] = scratch[i]


PLANTED = {"writes behind": _writes_behind, "writes before": _writes_before, "reads behind": _reads_behind,
           "leaves its scratch": _leaves_its_scratch}


def main(dtype, planted=None):
    """Every kernel as it is, and then between fences: the same bits.  Prints how many calls there were of what."""
    faulthandler.enable()
    if planted:
        import_module("tinycnn.kernels.cpu.activation")._relu = PLANTED[planted]
    functions, called, count = list(parallel_functions()), [], 0
    for name, arguments in calls(getattr(np, dtype)):
        if planted and name != "relu":
            continue
        print(name, [a.shape for a in arguments if isinstance(a, np.ndarray)], file=sys.stderr, flush=True)
        expected = None if planted else outcome(cpu, name, arguments, lambda a: a)
        for at_end in (True, False):
            for module, attribute, f in functions:
                setattr(module, attribute, partial(fenced, f, at_end, called))
            found = outcome(cpu, name, arguments, partial(fence, at_end=at_end, fences={}))
            for module, attribute, f in functions:
                setattr(module, attribute, f)
            if not planted:
                same(found, expected)
            count += 1
    print(count, *sorted({name for _, name, _ in functions} - set(called)))


def same(found, expected):
    """The same bits, in arrays or tuples of arrays."""
    if isinstance(expected, tuple):
        for f, e in zip(found, expected, strict=True):
            same(f, e)
    elif expected is not None:
        np.testing.assert_array_equal(found, expected)


if __name__ == "__main__":
    main(*sys.argv[1:])
