"""Columns of text, and a line that shows how far a long table is."""
from __future__ import annotations

import sys
from typing import Any, Iterable, Iterator, Sequence


def table(head: Sequence[str] | None, rows: Iterable[Sequence[Any]], right: Iterable[int] = ()) -> str:
    """Rows as lines of aligned columns under a header; the columns in `right` are flush right.

    >>> print(table(["op", "error"], [["conv2d", 1], ["add", 10]], right=[1]))
    op      error
    conv2d      1
    add        10
    """
    lines = [[str(cell) for cell in row] for row in ([head] if head else []) + list(rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    flush = set(right)
    return "\n".join("  ".join(cell.rjust(width) if i in flush else cell.ljust(width)
                               for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)


def shown(results: Iterable[Any]) -> Iterator[Any]:
    """The same results, with the `op` of each on stderr as it is finished, on a terminal."""
    for result in results:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{result.op}")
        yield result
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
