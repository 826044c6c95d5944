"""Fetching a file once: resumed where it was cut, checked, and only then given its name.

    name.part     what has arrived so far; a later try asks the server for the rest
    name.lock     held while one process fetches: others wait and then find the file there
    name          the whole file, its checksum right
"""
from __future__ import annotations

import errno
import hashlib
import http.client
import os
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

TIMEOUT = 9.0                                        # seconds without a byte, or until the server answers
CHUNK = 1 << 18


class Remote(NamedTuple):
    """A file somewhere else: its address and its published md5."""
    url: str
    md5: str


class DownloadError(OSError):
    """A file could not be fetched; the message says where to get it and where to put it."""


def fetch(remote: Remote, path: Path) -> Path:
    """Make sure `path` holds the file, and return it.

    Raises DownloadError, saying what to do by hand, without network or for a file that is not the published one.
    """
    if path.exists():
        return path
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(path.name + ".lock")):
            if not path.exists():                    # another process may have fetched it meanwhile
                _receive(remote.url, part)
                _check(remote, part)
                os.replace(part, path)
    except DownloadError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DownloadError(
            f"{remote.url} could not be fetched ({error}). Without network: get this file elsewhere (md5 {remote.md5}) "
            f"and put it at {path}, or name the folder you have it in: data_dir (--data-dir DIR)") from None
    return path


def _receive(url, part):
    """Append what is missing of the file at `url` to `part`."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = _answer(request)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:               # nothing is missing
            return
        raise
    with response, open(part, "ab") as f:
        if have and response.status != 206:          # the server sends all of it again
            f.truncate(0)
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else 0  # 0: unknown
        while chunk := response.read(CHUNK):
            f.write(chunk)
            have += len(chunk)
            _progress(url, have, total)
        f.flush()
        os.fsync(f.fileno())
    if total and have < total:
        raise OSError(f"the connection ended after {have:,} of {total:,} bytes; the next try goes on from there")


def _answer(request):
    """The server's answer, waited for TIMEOUT seconds in all: a name or several addresses may each take as long."""
    answer = Future()

    def ask():
        try:
            answer.set_result(urllib.request.urlopen(request, timeout=TIMEOUT))
        except Exception as error:                   # raised by the waiting thread
            answer.set_exception(error)
    threading.Thread(target=ask, name="tinycnn-download", daemon=True).start()
    try:
        return answer.result(TIMEOUT)
    except TimeoutError:
        raise TimeoutError(f"no answer within {TIMEOUT:g} seconds") from None


def _progress(url, have, total):
    if sys.stderr.isatty():
        share = f"{100 * have // total} %" if total else f"{have >> 20} MiB"
        sys.stderr.write(f"\r\x1b[K{url.rpartition('/')[2]}: {share}" + ("\n" if have == total else ""))


def _check(remote, part):
    digest = hashlib.md5(usedforsecurity=False)
    with open(part, "rb") as f:
        while chunk := f.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != remote.md5:
        part.unlink()
        raise DownloadError(f"{remote.url} gave a file with md5 {digest.hexdigest()}, expected {remote.md5}: it was "
                            "deleted; try again, or get the file elsewhere and use --data-dir DIR")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system releases when its owner ends, however it ends."""
    with open(path, "a+b") as f:
        if os.name == "nt":
            import msvcrt
            while True:
                try:
                    msvcrt.locking(f.fileno(), msvcrt.LK_LOCK, 1)
                    break
                except OSError as error:             # the system gives up after ten tries, a second apart
                    if error.errno != errno.EDEADLOCK:
                        raise
        else:
            import fcntl
            fcntl.flock(f, fcntl.LOCK_EX)
        yield
