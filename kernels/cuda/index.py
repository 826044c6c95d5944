"""Adding rows to rows that indices name, in a fixed order: see index.cu."""
from __future__ import annotations

from ..reference import index as reference
from ..reference._xp import array_module
from .arrays import in_float, new, plain
from .launch import launch

__all__ = ["scatter_add"]
FILE, CHUNK, PART = "index.cu", 2048, 64
MOST = 2**31 - 1                                     # rows, whose numbers are halves of the keys


@in_float(reference)
def scatter_add(g, rows, size):
    """Zeros, and every row of g added to the row that `rows` names: (M, D), (M,) ints in 0 .. size-1 -> (size, D)

    With more than 2**31 - 1 rows, the reference adds them, in any order.
    """
    M, D = g.shape
    if max(M, size) > MOST:
        return reference.scatter_add(g, rows, size)
    out, g = array_module(g).zeros((size, D), g.dtype), plain(g)
    if not g.size:
        return out
    keys, parts = _sorted(plain(rows.astype("int64", copy=False))), new(g, -(-M // PART), D)
    launch(FILE, "sum_parts", g.dtype, parts.size, (g, keys, parts, M, D, parts.size))
    launch(FILE, "add_runs", g.dtype, g.size, (g, keys, parts, out, M, D, g.size))
    return out


def _sorted(rows):
    """Keys of the rows and their numbers, sorted; with others behind them, up to a power of two."""
    P = 1 << (rows.size - 1).bit_length()
    keys, chunk = new(rows, P), min(P, CHUNK)
    launch(FILE, "make_keys", "float32", P, (rows, keys, rows.size, P))
    launch(FILE, "sort_chunks", "float32", P, (keys, chunk, 2, chunk), P // chunk)
    run = 2 * chunk
    while run <= P:
        apart = run // 2
        while apart >= chunk:
            launch(FILE, "sort_step", "float32", P // 2, (keys, run, apart, P // 2))
            apart //= 2
        launch(FILE, "sort_chunks", "float32", P, (keys, chunk, run, run), P // chunk)
        run *= 2
    return keys
