"""Rows of ops/reduce.py and ops/order.py."""
import numpy as np

from . import Maker, apart, case, positive

_TIES = np.array([[3, 1, 3], [2, 2, 0]])
_HOLES = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])


def with_zeros(*zeros):
    """(2, 4) normal numbers, zero at the given positions."""
    def draw(rng, shape):
        x = rng.uniform(0.5, 2, shape)
        x.reshape(-1)[list(zeros)] = 0
        return x
    return Maker(f"zeros{zeros}", (2, 4), draw)


CASES = [
    *[case(name, (2, 3, 4), **options) for name in ("sum", "mean", "var", "std") for options in (
        {}, {"dim": 1}, {"dim": (0, -1)}, {"dim": -2, "keepdim": True})],
    *[case(name, ()) for name in ("sum", "mean", "prod", "amax", "amin")],
    case("sum", (2, 3), dtype="float64"),
    case("sum", (0, 3)),
    case("sum", (2, 0, 3), dim=1),
    case("sum", np.array([[1, 2], [3, 4]]), grads=0, dim=0),
    case("sum", np.array([True, False, True]), grads=0),
    case("mean", (2, 3), dim=()),
    case("var", (2, 3), unbiased=False),
    case("var", (2, 3), dim=1, correction=0),
    case("std", (2, 3), dim=0, unbiased=False, keepdim=True),
    case("std", (2, 4), dim=1, correction=2),
    case("prod", (2, 3)),
    case("prod", (2, 3, 2), dim=1),
    case("prod", (2, 3), dim=-1, keepdim=True),
    case("prod", with_zeros(2)),
    case("prod", with_zeros(1, 5), dim=1),                                # one zero in each row
    case("prod", with_zeros(0, 2, 7), dim=1),                             # two zeros in one
    case("prod", with_zeros(1, 2, 5)),
    case("cumsum", (2, 3), dim=1),
    case("cumsum", (2, 3), dim=-2),
    case("cumsum", (), dim=0),
    case("cumprod", (2, 3), dim=1),
    case("cumprod", (3, 2), dim=0),
    case("cumprod", with_zeros(1, 4, 6), dim=1),
    case("cumprod", (), dim=0),
    case("logsumexp", (2, 3), dim=1),
    case("logsumexp", (2, 3, 2), dim=(0, -1)),
    case("logsumexp", (2, 3), dim=0, keepdim=True),
    case("logsumexp", (), dim=0),
    *[case(name, apart(2, 3, 2), **options) for name in ("amax", "amin") for options in (
        {}, {"dim": 1}, {"dim": (0, 2)}, {"dim": -1, "keepdim": True})],
    *[case(name, apart(2, 3), **options) for name in ("max", "min") for options in (
        {}, {"dim": 1}, {"dim": 0, "keepdim": True})],
    case("max", (2, 3), (2, 1)),
    case("min", (2, 3), (3,)),
    *[case(name, _TIES, grads=0, **options) for name in ("argmax", "argmin") for options in (
        {}, {"dim": 1}, {"dim": 0, "keepdim": True})],
    *[case("norm", (2, 3), **options) for options in (
        {}, {"dim": 1}, {"p": "fro", "dim": (0, 1), "keepdim": True}, {"p": 3}, {"p": 2.5, "dim": 0})],
    *[case("norm", apart(2, 3), **options) for options in (
        {"p": 1}, {"p": float("inf"), "dim": 1}, {"p": float("-inf")}, {"p": 0})],
    *[case("norm", positive(2, 3), p=p) for p in (0.5, -1.5)],
    case("norm", positive(2, 3), p=0, dim=1, grads=0),
    *[case(name, _HOLES, grads=0, **options) for name in ("any", "all") for options in (
        {}, {"dim": 1}, {"dim": 0, "keepdim": True})],
    case("count_nonzero", _HOLES, grads=0),
    case("count_nonzero", _HOLES, grads=0, dim=1),
    case("sort", apart(2, 4)),
    case("sort", apart(2, 4), dim=0, descending=True),
    case("argsort", apart(2, 4), grads=0, dim=0),
    case("argsort", apart(2, 4), grads=0, descending=True),
    case("topk", apart(2, 4), k=2),
    case("topk", apart(4, 2), k=3, dim=0, largest=False),
]
