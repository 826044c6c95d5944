"""Writing a file so that, whatever happens, either the old or the new content is there, whole."""
from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_atomically(path: str | Path, content: bytes | Iterable[Any], keep_previous: bool = False) -> None:
    """Write bytes (or several pieces of them) to `path`: to a file beside it first, which then takes its name.

    The content is on the disk before the name changes, and the name before this returns.  keep_previous: the old
    file stays as path.prev; at every moment one of the two is there, whole.  Raises OSError naming the path and the
    cause (disk full, no such folder...); the old file is then untouched and nothing is left.
    """
    path = Path(path)
    # The name is this thread's own: two that write the same file must not write into each other's.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as f:
            for piece in (content,) if isinstance(content, (bytes, bytearray, memoryview)) else content:
                f.write(piece)
            f.flush()
            os.fsync(f.fileno())
        if keep_previous and path.exists():
            _keep(path)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        _forget(temporary)
        raise OSError(error.errno, f"{path} could not be written ({error.strerror}): what was there before is "
                                   "untouched; make room or choose another folder") from error
    except BaseException:
        _forget(temporary)
        raise


def _keep(path):
    """Give the file the second name path.prev, in one step."""
    second = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.prev.tmp")
    try:
        try:
            os.link(path, second)
        except OSError:                              # a file system without links
            shutil.copyfile(path, second)
        os.replace(second, path.with_name(path.name + ".prev"))
    finally:
        _forget(second)                              # replace() does nothing where both are one file already


def _forget(path):
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass                                         # a folder that cannot be written has nothing to clean up


def _sync_folder(folder):
    """Make the new name itself survive a power failure, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
