"""Adding rows to rows that indices name: what the gradients of indexing, gather and embeddings come down to.

    g (M, D)   g0 g1 g2 g3         out (size, D)   out[0] = g1 + g3
    rows (M)    2  0  2  0                         out[1] = 0
                                                   out[2] = g0 + g2
"""
from ._xp import array_module

__all__ = ["scatter_add"]


def scatter_add(g, rows, size):
    """Zeros, and every row of g added to the row that `rows` names: (M, D), (M,) ints in 0 .. size-1 -> (size, D)"""
    xp, D = array_module(g), g.shape[1]
    out = xp.zeros(size * D, g.dtype)
    xp.add.at(out, (rows[:, None] * D + xp.arange(D)).reshape(-1), g.reshape(-1))       # fast for vectors alone
    return out.reshape(size, D)
