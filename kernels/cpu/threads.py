"""How parallel kernels are compiled and entered.

`@parallel` compiles with Numba (prange runs on all threads; the machine code is kept on disk) and guards the entry:

* one caller at a time: Numba's simplest thread pool, "workqueue", aborts the process when two threads enter it;
* not in a forked child: GNU OpenMP, Numba's usual pool, kills a child that enters a pool its parent has started.

A kernel's tasks must not depend on the number of threads, and sums over tasks must be joined in a fixed order: then
its results are the same bits on any machine load and any number of threads.
"""
import os
from functools import wraps
from threading import RLock

from numba import njit

_lock = RLock()
_started = False
_forked = False


def parallel(function):
    """Compile `function`, whose prange loops are its tasks, and guard its entry."""
    kernel = njit(parallel=True, cache=True, nogil=True, error_model="numpy")(function)

    @wraps(function)
    def call(*args):
        global _started
        with _lock:
            if _forked:
                raise RuntimeError(
                    f"{function.__name__.strip('_')}: this process was forked from one that had already run tinycnn's "
                    "kernels, whose threads do not survive a fork: start workers with multiprocessing's 'spawn' "
                    "method, use threads, or fork before the first computation")
            _started = True
            return kernel(*args)
    call.kernel = kernel
    return call


def _after_fork():
    global _lock, _forked
    _lock, _forked = RLock(), _started               # another thread may have held the parent's lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
