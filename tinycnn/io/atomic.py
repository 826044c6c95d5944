"""Writing a file so that, whatever happens, either the old or the new content is there, whole."""
from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_atomically(path: str | Path, content: bytes | Iterable[Any]) -> None:
    """Write bytes (or several pieces of them) to `path`: to a file beside it first, which then takes its name.

    The content is on the disk before the name changes, and the name before this returns.  Raises OSError naming the
    path if the disk is full or the folder cannot be written; the old file is then untouched and nothing is left.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as f:
            for piece in (content,) if isinstance(content, (bytes, bytearray, memoryview)) else content:
                f.write(piece)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        _forget(temporary)
        raise OSError(error.errno, f"{path} could not be written ({error.strerror}): what was there before is "
                                   "untouched; make room or choose another folder") from error
    except BaseException:
        _forget(temporary)
        raise


def _forget(path):
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass                                         # a folder that cannot be written has nothing to clean up


def _sync_folder(folder):
    """Make the new name itself survive a power failure, where the system can."""
    try:
        handle = os.open(folder or ".", os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
