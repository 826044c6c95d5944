"""Comparisons and tests of elements; the results are booleans and have no gradient."""
from __future__ import annotations

import numpy as np

from ..autograd import op
from ..backend import array_module
from ..dtypes import is_floating
from ..methods import function
from .arguments import all_tensors, as_tensor
from .basic import check_broadcast, operands


def _comparison(name, compare):
    def call(input, other):
        x, y = operands(name, *all_tensors(name, input), other)
        return compare(x, y), None
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = f"Elementwise comparison, booleans.  As torch.{name}."
    return op(call)


eq = _comparison("eq", lambda x, y: x == y)
ne = _comparison("ne", lambda x, y: x != y)
lt = _comparison("lt", lambda x, y: x < y)
le = _comparison("le", lambda x, y: x <= y)
gt = _comparison("gt", lambda x, y: x > y)
ge = _comparison("ge", lambda x, y: x >= y)


def _logical(name, combine):
    def call(input, other):
        x, y = (t.data for t in all_tensors(name, input, other))
        check_broadcast(name, x.shape, y.shape)
        return combine(array_module(x))(x, y), None
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = f"Elementwise, nonzero counts as true.  As torch.{name}."
    return op(call)


logical_and = _logical("logical_and", lambda xp: xp.logical_and)
logical_or = _logical("logical_or", lambda xp: xp.logical_or)
logical_xor = _logical("logical_xor", lambda xp: xp.logical_xor)


def _bitwise(name, combine):
    def call(input, other):
        x, y = operands(name, input, other)
        for v in (x, y):
            if is_floating(getattr(v, "dtype", np.dtype(type(v)))):
                raise TypeError(f"{name}: floats have no bits to combine: compare first, (x > 0) & (x < 1)")
        return combine(x, y), None
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = f"Bit by bit for integers, logical for booleans.  As torch.{name}."
    return op(call)


bitwise_and = _bitwise("bitwise_and", lambda x, y: x & y)
bitwise_or = _bitwise("bitwise_or", lambda x, y: x | y)
bitwise_xor = _bitwise("bitwise_xor", lambda x, y: x ^ y)


@op
def bitwise_not(input):
    """Every bit turned over; of booleans, the opposite.  Raises TypeError for floats.  As torch.bitwise_not."""
    if is_floating(input.dtype):
        raise TypeError("bitwise_not: expected booleans or integers, got floats: compare first, e.g. ~(x > 0)")
    return ~input.data, None


@op
def logical_not(input):
    """True where input is zero.  As torch.logical_not."""
    return array_module(input.data).logical_not(input.data), None


@op
def isnan(input):
    """True where input is nan.  As torch.isnan."""
    return array_module(input.data).isnan(input.data), None


@op
def isinf(input):
    """True where input is inf or -inf.  As torch.isinf."""
    return array_module(input.data).isinf(input.data), None


@op
def isfinite(input):
    """True where input is neither inf nor nan.  As torch.isfinite."""
    return array_module(input.data).isfinite(input.data), None


@op
def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """|input - other| <= atol + rtol * |other|.  As torch.isclose."""
    if rtol < 0 or atol < 0:
        raise ValueError(f"isclose: rtol and atol must be at least 0, got {rtol} and {atol}")
    x, y = operands("isclose", *all_tensors("isclose", input, other))
    return array_module(x).isclose(x, y, rtol, atol, equal_nan), None


@function
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether isclose holds everywhere; a Python bool.  As torch.allclose."""
    return bool(isclose(input, other, rtol, atol, equal_nan).data.all())


@function
def equal(input, other):
    """Whether both have the same shape and elements; a Python bool.  As torch.equal."""
    input, other = as_tensor(input), as_tensor(other)
    return input.shape == other.shape and bool((input.data == other.data).all())
