"""The directory of a zip file in memory: where each entry's bytes are, and nothing read or unpacked.

    local header, name, extra, bytes      (30 bytes, then as long as it says)      one per entry
    ...
    directory                             46 bytes, name, extra, comment           one per entry
    zip64 record, zip64 locator           (56 and 20 bytes; where a number does not fit the record below)
    end record                            (22 bytes, comment)

The reader is strict: entries may not overlap, no name may occur twice or lead out of a folder, sizes are those of the
directory.  Format: PKWARE's APPNOTE.TXT, sections 4.3 to 4.5.
"""
from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from .errors import FileFormatError

MAX_ENTRIES = 100_000
STORED, DEFLATED = 0, 8


class Entry(NamedTuple):
    """One file of the archive: its packed bytes are memory[start:start + packed]."""
    name: str
    method: int
    packed: int
    size: int
    crc: int
    start: int

    def content(self, memory, limit: int) -> bytearray:
        """The unpacked bytes.  Raises FileFormatError if they are damaged, or more than `limit`."""
        if self.size > limit:
            raise FileFormatError(f"{self.name} is {self.size} bytes long unpacked, at most {limit} are accepted")
        raw = memoryview(memory)[self.start:self.start + self.packed]
        if self.method == DEFLATED:
            try:
                raw = zlib.decompressobj(-15).decompress(raw, self.size + 1)       # one more than there should be
            except zlib.error as error:
                raise FileFormatError(f"{self.name} cannot be unpacked: {error}") from None
        if len(raw) != self.size or zlib.crc32(raw) != self.crc:
            raise FileFormatError(f"{self.name} does not match its checksum: the file is damaged")
        return bytearray(raw)


def entries(memory) -> dict[str, Entry]:
    """The entries of a zip file (bytes or a mapped file) by name.  Raises FileFormatError."""
    try:
        count, start, stop = _directory(memory)
        found: dict[str, Entry] = {}
        spans, at = [], start
        for _ in range(count):
            entry, header, at = _entry(memory, at, stop)
            if entry.name in found:
                raise FileFormatError(f"{entry.name!r} occurs twice in the archive")
            found[entry.name] = entry
            spans.append((header, entry.start + entry.packed))
    except struct.error:
        raise FileFormatError("the archive is cut short") from None
    if at != stop:
        raise FileFormatError("the archive's directory is longer than its entries")
    _check_spans(sorted(spans), start)
    return found


def _directory(memory):
    """(number of entries, where the directory begins, where it ends)."""
    size = len(memory)
    end = memory.rfind(b"PK\5\6", max(0, size - 22 - 0xFFFF))
    if end < 0:
        raise FileFormatError("the archive is cut short: its directory, at the end of the file, is missing")
    disks, count, length, start, comment = struct.unpack_from("<4x4s2xHIIH", memory, end)
    if end + 22 + comment != size or disks.strip(b"\0\xff"):
        raise FileFormatError("the archive's end record is damaged, or it has several volumes")
    stop = end
    if end >= 20 and memory[end - 20:end - 16] == b"PK\6\7":
        stop, = struct.unpack_from("<Q", memory, end - 12)
        if stop + 56 > size or memory[stop:stop + 4] != b"PK\6\6":
            raise FileFormatError("the archive's zip64 record is not where it should be")
        count, length, start = struct.unpack_from("<QQQ", memory, stop + 32)
    if count > MAX_ENTRIES or start + length != stop:
        raise FileFormatError(f"the archive's directory is damaged, or has more than {MAX_ENTRIES} entries")
    return count, start, stop


def _entry(memory, at, stop):
    """The directory's entry at byte `at`, where its local header begins, and where the next entry is."""
    (magic, flags, method, crc, packed, size, n_name, n_extra, n_comment,
     header) = struct.unpack_from("<4s4xHH4xIIIHHH8xI", memory, at)
    end = at + 46 + n_name + n_extra + n_comment
    if magic != b"PK\1\2" or end > stop:
        raise FileFormatError("the archive's directory is damaged")
    raw = memory[at + 46:at + 46 + n_name]
    name = _name(raw)
    size, packed, header = _wide(memory[at + 46 + n_name:end - n_comment], size, packed, header)
    if flags & 1 or method not in (STORED, DEFLATED) or method == STORED and size != packed:
        raise FileFormatError(f"{name!r} is encrypted, or packed in a way that is not read")
    if header + 30 > at or memory[header:header + 4] != b"PK\3\4":
        raise FileFormatError(f"{name!r} is not where the archive's directory says")
    n_name, n_extra = struct.unpack_from("<HH", memory, header + 26)
    if memory[header + 30:header + 30 + n_name] != raw:
        raise FileFormatError(f"{name!r} has another name in the archive's directory than beside its bytes")
    return Entry(name, method, packed, size, crc, header + 30 + n_name + n_extra), header, end


def _wide(extra, *numbers):
    """The numbers that did not fit 32 bits (all ones then) are in the zip64 field, in this order."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra[:at + 4 + length], at + 4))
            numbers = tuple(next(wide, n) if n == 0xFFFFFFFF else n for n in numbers)
            break
        at += 4 + length
    return numbers


def _name(raw):
    """The name as text, which must stay inside the archive."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise FileFormatError(f"the name {raw[:40]!r} in the archive is not valid UTF-8") from None
    if "\\" in name or "\0" in name or {"", ".", ".."} & set(name.split("/")):
        raise FileFormatError(f"the name {name[:80]!r} in the archive leads out of it")
    return name


def _check_spans(spans, directory):
    """No two entries may share bytes: a small file could otherwise unpack to any size."""
    at = 0
    for start, stop in spans:
        if start < at:
            raise FileFormatError("the archive's entries overlap")
        at = stop
    if at > directory:
        raise FileFormatError("the archive's entries reach into its directory")
