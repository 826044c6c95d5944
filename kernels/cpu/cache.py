"""Where the machine code of kernels is kept, so that only the first process compiles.

Numba keeps what it compiled beside the file of each function, and compiles again when that file changes.  It does
not notice that a kernel has the code of another file inside it (correlate.py that of microkernel.py).  So the folder's
name holds a hash of all sources: after an edit or an upgrade it is another folder.

    NUMBA_CACHE_DIR, where it is set, else beside the sources, else (site-packages is read-only) the user's cache folder
    +-- kernels-5b2c...      today's sources
    +-- kernels-91aa...      yesterday's; the oldest of more than three are removed

Where none of these can be written, a temporary folder serves this process; without even that, its memory.
"""
import atexit
import hashlib
import os
import re
import shutil
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import numba
from numba.core.dispatcher import Dispatcher

KEPT = 3
OURS = re.compile("kernels-[0-9a-f]{16}")            # the user's folder may hold other things, "kernels-old" say


@contextmanager
def kept_machine_code():
    """`with` block in which functions are defined whose machine code is kept.  Numba's own setting comes back after it.

    Warns where no folder can be written: then every process compiles anew.
    """
    before, keep = numba.config.CACHE_DIR, Dispatcher.enable_caching
    folder = _folder(before)
    if folder is None:
        Dispatcher.enable_caching = lambda dispatcher: None          # in the block njit(cache=True) is njit()
    else:
        numba.config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR, Dispatcher.enable_caching = before, keep


def _folder(chosen):
    """The folder for today's sources; None if no folder can be written at all."""
    places = [Path(chosen)] if chosen else [Path(__file__).parent / "__pycache__", *users_folder()]
    for place in places:
        folder = place / f"kernels-{sources()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
            os.utime(folder)
        except OSError:
            continue
        _forget_all_but(KEPT, place)
        return folder
    warnings.warn(f"tinycnn's kernels are compiled in every process anew: {' and '.join(map(str, places))} cannot be "
                  "written; set NUMBA_CACHE_DIR to a folder that can", RuntimeWarning, stacklevel=4)
    return _for_this_process()


def users_folder():
    """[the user's cache folder]; [] for a user without a home, as in some containers."""
    try:
        return [Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinycnn"]
    except RuntimeError:
        return []


def _for_this_process():
    """A temporary folder that goes when the process ends; None if there is nowhere to make one."""
    try:
        folder, process = Path(tempfile.mkdtemp(prefix="tinycnn-")), os.getpid()
    except OSError:
        return None
    # A forked child may end sooner: the folder is its parent's.
    atexit.register(lambda: os.getpid() == process and shutil.rmtree(folder, ignore_errors=True))
    return folder


def sources():
    """A hash of the sources that end up in kernels."""
    text = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(text).hexdigest()[:16]


def _forget_all_but(count, place):
    """Remove the oldest of our folders in `place`."""
    used = {}
    for path in place.iterdir():
        if OURS.fullmatch(path.name):
            try:
                used[path] = path.stat().st_mtime
            except FileNotFoundError:                # another process has just removed it
                continue
    for path in sorted(used, key=used.get)[:-count]:
        shutil.rmtree(path, ignore_errors=True)
