"""Rows of ops/linalg.py."""
from . import case

CASES = [
    case("mm", (2, 3), (3, 2)),
    case("mm", (2, 0), (0, 3)),
    case("bmm", (2, 2, 3), (2, 3, 2)),
    case("mv", (2, 3), (3,)),
    case("dot", (4,), (4,)),
    case("outer", (2,), (3,)),
    case("einsum", "ij,jk->ik", (2, 3), (3, 2)),
    case("einsum", "ij,jk", (2, 3), (3, 2)),
    case("einsum", "bij,bjk->bik", (2, 2, 3), (2, 3, 2)),
    case("einsum", "ii->i", (3, 3)),
    case("einsum", "ii", (3, 3)),
    case("einsum", "ij->ji", (2, 3)),
    case("einsum", "ij->", (2, 3)),
    case("einsum", "i,j->ij", (2,), (3,)),
    case("einsum", "...i,...i->...", (2, 3), (2, 3)),
    case("einsum", "...ij,jk->...ik", (2, 2, 3), (3, 2)),
    case("einsum", "nij,njk->nk", (2, 2, 3), (2, 3, 2)),
    case("einsum", "...i,ij,j->...", (2, 3), (3, 2), (2,)),
    case("einsum", "ij,ij,j->i", (2, 3), (2, 3), (3,)),
    case("einsum", "i,j,i->ij", (1,), (2,), (3,)),                            # sizes of 1 broadcast
    case("einsum", "ijk,k->i", (2, 3, 2), (2,)),
    case("tril", (3, 4)),
    case("tril", (2, 3, 3), diagonal=-1),
    case("triu", (4, 3)),
    case("triu", (2, 2, 3), diagonal=1),
    case("diagonal", (3, 4)),
    case("diagonal", (3, 4), offset=1),
    case("diagonal", (2, 4, 3), offset=-2, dim1=1, dim2=-1),
    case("diagonal", (2, 3), offset=5),                                   # beyond the matrix: nothing
    case("diag", (3,)),
    case("diag", (3,), diagonal=-1),
    case("diag", (2,), diagonal=2),
    case("diag", (3, 4), diagonal=1),
    case("trace", (3, 4)),
]
