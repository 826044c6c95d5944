"""Division with whole quotients: floor_divide, remainder, and div with a rounding mode."""
from __future__ import annotations

from ..autograd import Tensor, op
from ..backend import array_module
from ..dtypes import is_floating
from .basic import mul, neg, operands, shape_of, sum_to
from .math import array_of, zero


@op
def remainder(input, other):
    """input - other * floor(input / other): the sign is other's.  As torch.remainder."""
    x, y = operands("remainder", input, other)
    whole, rest = _divided(x, y)
    return rest, (
        lambda g: sum_to(g, input.shape),
        lambda g: sum_to(neg(mul(g, Tensor(whole))), other.shape))


def _divided(x, y):
    """floor(x / y), and what is left of x: from the exact remainder fmod, as torch and NumPy have it.

    CuPy takes the quotient of floats rounded: 1 // 0.1 is 10 there, and 1e10 % 3 may be anything.
    """
    like = array_of(x, y)
    if not is_floating(like.dtype):
        return x // y, x % y
    xp = array_module(like)
    x, y = (v if hasattr(v, "dtype") else xp.asarray(v, like.dtype) for v in (x, y))
    rest = xp.fmod(x, y)                             # with the sign of x
    other = (rest != 0) & ((rest < 0) != (y < 0))
    quotient = (x - rest) / y - other.astype(like.dtype)
    whole = xp.floor(quotient)
    whole += (quotient - whole > 0.5).astype(like.dtype)
    return xp.where(y == 0, x / y, whole), xp.where(other, rest + y, rest)


@op
def floor_divide(input, other):
    """floor(input / other); its gradient is zero.  As torch.floor_divide."""
    x, y = operands("floor_divide", input, other)
    return _divided(x, y)[0], (lambda g: zero(sum_to(g, shape_of(input))), lambda g: zero(sum_to(g, shape_of(other))))


@op
def _truncated(input, other):
    """input / other towards zero; its gradient is zero."""
    x, y = operands("div", input, other)
    whole = array_module(array_of(x, y)).trunc(x / y)
    dtype = array_of(x, y).dtype
    return whole.astype(dtype), (lambda g: zero(sum_to(g, shape_of(input))), lambda g: zero(sum_to(g, shape_of(other))))
