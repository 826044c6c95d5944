"""How parallel kernels are compiled and entered.

`@parallel` compiles with Numba (prange runs on all threads; the machine code is kept on disk) and guards the entry:

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
from numba import get_num_threads, njit, set_num_threads

if "OMP_WAIT_POLICY" not in os.environ:              # read when the first parallel kernel loads OpenMP
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")

SMALL = 1 << 15                                      # bytes of all arrays together

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
            if _large(args):
                return kernel(*args)
            threads = get_num_threads()
            set_num_threads(1)
            try:
                return kernel(*args)
            finally:
                set_num_threads(threads)
    call.kernel = kernel
    return call


def _large(args):
    """Whether the arrays among the arguments have more than SMALL bytes."""
    total = 0
    for a in args:
        if type(a) is np.ndarray:
            total += a.nbytes
            if total > SMALL:
                return True
    return False


def _after_fork():
    global _lock, _forked
    _lock, _forked = RLock(), _started               # another thread may have held the parent's lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
