"""Rows of ops/basic.py."""
from . import case, positive

CASES = [
    case("add", (2, 3), (3,)),
    case("add", (2, 1), (1, 3), alpha=2.5),
    case("add", (), (2, 3)),
    case("add", (2, 3), 2.0),
    case("sub", (2, 3), (2, 1)),
    case("sub", (3,), (2, 3), alpha=-0.5),
    case("mul", (2, 3), (2, 1)),
    case("mul", (2, 3), -1.5),
    case("div", (2, 3), positive(3)),
    case("div", (3,), positive(2, 3)),
    case("neg", (2, 3)),
    case("to_dtype", (2, 3), "float64"),
    case("alias", (2, 3)),
    case("sum_to", (4, 2, 3), shape=(2, 1)),
    case("broadcast_to", (2, 1), size=(4, 2, 3)),
    case("reshape", (2, 6), shape=(3, -1)),
    case("permute", (2, 3, 4), dims=(2, 0, 1)),
    case("matrix_product", (3, 2, 4), (3, 4, 5)),
    case("matrix_product", (2, 1, 3, 4), (3, 4, 2)),
    case("matmul", (2, 3), (3, 4)),
    case("matmul", (3,), (3,)),
    case("matmul", (3,), (2, 3, 4)),
    case("matmul", (2, 3, 4), (4,)),
    case("matmul", (2, 1, 3, 4), (5, 4, 2)),
]
