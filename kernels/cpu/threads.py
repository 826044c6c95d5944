"""How parallel kernels are compiled and entered.

A kernel is a function that every thread calls, with its number and the number of threads first, and that does the tasks
which are its own:

    @parallel
    def _relu(thread, x, y):
        for block in mine(thread, blocks): ...

`@parallel` compiles it (launch.py; the machine code is kept on disk) and guards the entry:

* one caller at a time: Numba's simplest thread pool, "workqueue", aborts the process when two threads enter it;
* not in a forked child: GNU OpenMP, Numba's usual pool, kills a child that enters a pool its parent has started;
* by the caller alone if the arrays are small: waking the others would take longer than the work, and on a busy machine
  waiting for them very much longer.

Threads that wait for work spin for a fraction of a millisecond and then sleep: a sleeping thread takes longer to wake
than a small kernel takes.  GNU OpenMP would let them spin for milliseconds, which on a busy machine takes the processor
from the very thread they wait for.

A kernel's tasks must not depend on the number of threads, and sums over tasks must be joined in a fixed order: then
its results are the same bits on any machine load and any number of threads.
"""
import os
from functools import wraps
from threading import RLock

import numpy as np
from numba import get_num_threads

from .launch import inside, mine, on_all_threads  # noqa: F401  kernels take the first two from here

if "OMP_WAIT_POLICY" not in os.environ:              # read when the first parallel kernel loads OpenMP
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")

SMALL = 1 << 15                                      # bytes of all arrays together

_lock = RLock()
_started = False
_forked = False


def parallel(function):
    """Compile function(thread, *args), to be called as function(*args), and guard its entry."""
    kernel = on_all_threads(function)

    @wraps(function)
    def call(*args):
        global _started
        with _lock:
            if _forked:
                raise RuntimeError(
                    f"{function.__name__.strip('_')}: this process was forked from one that had already run tinycnn's "
                    "kernels, whose threads do not survive a fork: start workers with multiprocessing's 'spawn' "
                    "method, use threads, or fork before the first computation")
            if not _started:
                get_num_threads()                    # loads Numba's pool: kernels from the disk need its functions
                _started = True
            alone, args = _prepared(args)
            return kernel(alone, *args)
    call.kernel = kernel
    return call


def _prepared(args):
    """Whether the arrays among the arguments have no more than SMALL bytes; and the arguments, with a read-only array
    as one of its memory that could be written: Numba would compile a kernel once for each kind.  (That kernels leave
    their inputs alone is tested.  The one that writes into what it is given, add_relu, is given what has just been
    computed.)"""
    size, prepared = 0, []
    for a in args:
        if type(a) is np.ndarray:
            size += a.nbytes
            if not a.flags.writeable:
                a = np.asarray(_Memory(a))
        prepared.append(a)
    return size <= SMALL, prepared


class _Memory:
    """The memory of an array, which it keeps alive, as NumPy takes it from other libraries."""

    def __init__(self, array):
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}
        self._array = array


def _after_fork():
    global _lock, _forked
    _lock, _forked = RLock(), _started               # another thread may have held the parent's lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
