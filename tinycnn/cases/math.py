"""Rows of ops/math.py and ops/compare.py."""
import numpy as np

from . import Maker, apart, case, positive, unit

_MASK = np.array([[True, False, True], [False, True, False]])


def away(*shape):
    """Numbers of both signs, at least 0.5 from zero: divisors."""
    return Maker("away", shape, lambda rng, s: rng.uniform(0.5, 2, s) * rng.choice([-1, 1], s))


def uneven(*shape):
    """Numbers whose ratios to 0.5 and to each other are no integers: for functions with steps there."""
    return Maker("uneven", shape, lambda rng, s: rng.integers(-4, 4, s) + rng.uniform(0.52, 0.98, s) / 2)


def not_finite(*shape):
    """nan, inf and -inf, then normal numbers."""
    def draw(rng, s):
        x = rng.standard_normal(s)
        x.reshape(-1)[:3] = np.nan, np.inf, -np.inf
        return x
    return Maker("not_finite", shape, draw)


CASES = [
    *[case(name, (2, 3)) for name in ("exp", "expm1", "square", "sin", "cos", "tanh", "sigmoid", "erf", "neg")],
    *[case(name, positive(2, 3)) for name in ("log", "log2", "log10", "sqrt", "rsqrt")],
    *[case(name, ()) for name in ("exp", "sin", "square")],
    *[case(name, (0, 3)) for name in ("exp", "abs")],
    case("log1p", unit(2, 3)),
    case("tan", unit(2, 3)),
    case("reciprocal", away(2, 3)),
    *[case(name, apart(2, 3)) for name in ("abs", "sign", "floor", "ceil", "trunc", "round")],
    case("round", uneven(2, 3), decimals=1),
    *[case("pow", positive(2, 3), e) for e in (2, 3.5, -1, 0, 0.5, 1)],
    case("pow", (2, 3), 3),
    case("pow", 2.5, (2, 3)),
    case("pow", positive(2, 3), (3,)),
    case("pow", positive(3), (2, 1)),
    case("maximum", (2, 1), (3,)),
    case("minimum", (3,), (2, 3)),
    case("clamp", apart(4, 4), min=-0.25, max=0.25),
    case("clamp", apart(4, 4), min=-0.25),
    case("clamp", apart(4, 4), max=0.25),
    case("clamp", (2, 3), (3,), (2, 1)),                                  # tensors as bounds, some crossed
    case("clip", apart(4, 4), min=-0.25, max=0.25),
    case("remainder", uneven(2, 3), 0.7),
    case("remainder", uneven(2, 3), away(3)),
    case("floor_divide", uneven(2, 3), 0.5, grads=0),
    case("floor_divide", uneven(2, 3), away(3), grads=0),
    case("div", uneven(2, 3), away(3), rounding_mode="trunc"),
    case("div", uneven(2, 3), away(3), rounding_mode="floor"),
    case("lerp", (2, 3), (2, 3), 0.3),
    case("lerp", (2, 3), (3,), (2, 1)),
    case("where", _MASK, (2, 3), (3,)),
    case("where", _MASK, (2, 1), 2.0),
    case("where", _MASK, -1.0, ()),
    case("where", _MASK, grads=0),
    case("subtract", (2, 3), (3,)),
    case("multiply", (2, 3), (3,)),
    case("divide", (2, 3), away(3)),
    *[case(name, (2, 3), (3,), grads=0) for name in ("eq", "ne", "lt", "le", "gt", "ge")],
    *[case(name, (2, 3), 0.0, grads=0) for name in ("eq", "gt", "le")],
    *[case(name, np.array([0, 1, 2, 0]), np.array([0, 3, 0, 1]), grads=0)
      for name in ("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor")],
    *[case(name, np.array([5, 0, -7]), np.array([3, 9, 2]), grads=0)
      for name in ("bitwise_and", "bitwise_or", "bitwise_xor")],
    case("bitwise_and", _MASK, True, grads=0),
    case("bitwise_not", _MASK, grads=0),
    case("bitwise_not", np.array([5, 0, -7]), grads=0),
    case("logical_not", np.array([0, 1, 2]), grads=0),
    *[case(name, not_finite(2, 3), grads=0) for name in ("isnan", "isinf", "isfinite")],
    case("nan_to_num", (2, 3)),
    case("nan_to_num", not_finite(2, 3), grads=0, nan=2.0, posinf=5.0, neginf=-7.0),
    case("isclose", (2, 3), (2, 3), grads=0, rtol=0.5, atol=0.5),
    case("isclose", not_finite(2, 3), not_finite(2, 3), grads=0, equal_nan=True),
    case("allclose", (2, 3), (2, 3), grads=0, atol=9.0),
    case("equal", (2, 3), (2, 3), grads=0),
]
