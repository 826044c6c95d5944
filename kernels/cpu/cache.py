"""Where the machine code of kernels is kept, so that only the first process compiles.

Numba keeps what it compiled beside the file of each function, and compiles again when that file changes.  It does
not notice that a kernel has the code of another file inside it (correlate.py that of microkernel.py).  So the folder's
name holds a hash of all sources: after an edit or an upgrade it is another folder.

    NUMBA_CACHE_DIR, where it is set, else beside the sources, else (site-packages is read-only) the user's cache folder
    +-- kernels-5b2c...      today's sources
    +-- kernels-91aa...      yesterday's; the oldest of more than three are removed
"""
import hashlib
import os
import shutil
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import numba

KEPT = 3


@contextmanager
def kept_machine_code():
    """`with` block in which functions are defined whose machine code is kept.  Numba's own setting comes back after it.

    Warns where no folder can be written: then every process compiles anew.
    """
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(_folder(before))
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def _folder(chosen):
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinycnn"
    places = [Path(chosen)] if chosen else [Path(__file__).parent / "__pycache__", home]
    for place in places:
        folder = place / f"kernels-{_sources()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            continue
        os.utime(folder)
        _forget_all_but(KEPT, place)
        return folder
    warnings.warn(f"tinycnn's kernels are compiled in every process anew: {' and '.join(map(str, places))} cannot be "
                  "written; set NUMBA_CACHE_DIR to a folder that can", RuntimeWarning, stacklevel=4)
    return Path(tempfile.mkdtemp(prefix="tinycnn-"))


def _sources():
    """A hash of the sources that end up in kernels."""
    text = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(text).hexdigest()[:16]


def _forget_all_but(count, place):
    folders = sorted(place.glob("kernels-*"), key=lambda path: path.stat().st_mtime)
    for folder in folders[:-count]:
        shutil.rmtree(folder, ignore_errors=True)
