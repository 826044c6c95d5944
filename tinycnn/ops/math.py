"""Elementwise functions, comparisons and selection.

Where a function has a kink or a pole, its derivative there is torch's: abs'(0) = 0, equal operands of maximum share
the gradient, a clamped value at its bound still passes it.  nan and inf go through as IEEE 754 says, without warnings.
"""
from __future__ import annotations

from math import log as _log
from math import pi, sqrt as _sqrt

import numpy as np

from ..autograd import Tensor, as_array, is_grad_enabled, op
from ..backend import array_module, as_they_lie, beside, kernels
from ..dtypes import is_floating
from ..methods import FUNCTIONS, function
from .arguments import all_tensors, as_tensor
from .basic import add, div, mul, neg, operands, result_dtype, shape_of, sub, sum_to, with_float


def floating(x):
    """The array of a tensor, integers as float32."""
    return x.data if is_floating(x.data.dtype) else x.data.astype(np.float32)


def _each(name, x):
    """The array library's function of that name, of each element."""
    return as_they_lie(getattr(array_module(x), name), x)


def zero(g):
    """A gradient of zeros, shaped as g."""
    return Tensor(array_module(g.data).zeros_like(g.data))


# ---------------------------------------------------------------------------------------- exponentials and roots

@op
def exp(input):
    """e to the input.  As torch.exp."""
    return _each("exp", floating(input)), (lambda g, y: mul(g, y),)


@op
def expm1(input):
    """exp(input) - 1, exact near 0.  As torch.expm1."""
    return _each("expm1", floating(input)), (lambda g, y: mul(g, add(y, 1)),)


@op
def log(input):
    """The natural logarithm; nan below 0.  As torch.log."""
    return _each("log", floating(input)), (lambda g: div(g, input),)


@op
def log2(input):
    """The logarithm to base 2.  As torch.log2."""
    return _each("log2", floating(input)), (lambda g: div(g, mul(input, _log(2))),)


@op
def log10(input):
    """The logarithm to base 10.  As torch.log10."""
    return _each("log10", floating(input)), (lambda g: div(g, mul(input, _log(10))),)


@op
def log1p(input):
    """log(1 + input), exact near 0.  As torch.log1p."""
    return _each("log1p", floating(input)), (lambda g: div(g, add(input, 1)),)


@op
def sqrt(input):
    """The square root; nan below 0.  As torch.sqrt."""
    return _each("sqrt", floating(input)), (lambda g, y: div(g, mul(y, 2)),)


@op
def rsqrt(input):
    """1 / sqrt(input).  As torch.rsqrt."""
    y = 1 / array_module(input.data).sqrt(floating(input))
    return y, (lambda g, y: mul(mul(g, -0.5), mul(y, mul(y, y))),)


@op
def square(input):
    """input * input.  As torch.square."""
    return input.data * input.data, (lambda g: mul(g, mul(input, 2)),)


@op
def reciprocal(input):
    """1 / input.  As torch.reciprocal."""
    return 1 / floating(input), (lambda g, y: neg(mul(g, mul(y, y))),)


@op
def pow(input, exponent):
    """input ** exponent; either may be a number.  As torch.pow.

    Gradients at 0 as torch's: none for an exponent of 0, none for the exponent where input is 0 and exponent >= 0.
    """
    x, y = operands("pow", input, exponent)
    return x ** y, (
        lambda g: sum_to(_pow_base(g, input, exponent), input.shape),
        lambda g, z: sum_to(_pow_exponent(g, z, input, exponent), exponent.shape))


def _pow_base(g, x, e):
    if not isinstance(e, Tensor):
        return zero(g) if e == 0 else mul(g, mul(pow(x, e - 1), e))
    return where(_beside(g, e.data == 0), 0.0, mul(g, mul(e, pow(x, sub(e, 1)))))


def _beside(g, mask):
    """The mask on the device of g, for it may be that of a number in a tensor on the host."""
    return array_module(g.data).asarray(mask)


def _pow_exponent(g, z, x, e):
    if not isinstance(x, Tensor):
        return where(_beside(g, e.data >= 0), 0.0, mul(g, mul(z, -np.inf))) if x == 0 else mul(g, mul(z, _log(x)))
    return where(_beside(g, x.data == 0) & _beside(g, e.data >= 0), 0.0, mul(g, mul(z, log(x))))


# ---------------------------------------------------------------------------------------- circular and sigmoid

@op
def sin(input):
    """The sine of radians.  As torch.sin."""
    return _each("sin", floating(input)), (lambda g: mul(g, cos(input)),)


@op
def cos(input):
    """The cosine of radians.  As torch.cos."""
    return _each("cos", floating(input)), (lambda g: neg(mul(g, sin(input))),)


@op
def tan(input):
    """The tangent of radians.  As torch.tan."""
    return _each("tan", floating(input)), (lambda g, y: mul(g, add(mul(y, y), 1)),)


def smooth(x, kind, slope, input=None):
    """What an op of a smooth activation function returns, for the array x: kernels at first order, ops beyond.

    slope   ops: (g, saved) -> g times the derivative
    input   the tensor that it depends on; None: the output
    """
    k = kernels(x)

    def gradient(g, saved):
        return slope(g, saved) if is_grad_enabled() else Tensor(k.gate_backward(g.data, saved.data, kind))
    return k.gate(x, kind), ((lambda g, y: gradient(g, y)) if input is None else (lambda g: gradient(g, input)),)


@op
def tanh(input):
    """The hyperbolic tangent.  As torch.tanh."""
    return smooth(floating(input), "tanh", lambda g, y: mul(g, sub(1, mul(y, y))))


@op
def sigmoid(input):
    """1 / (1 + exp(-input)); never overflows.  As torch.sigmoid."""
    return smooth(floating(input), "sigmoid", lambda g, y: mul(g, mul(y, sub(1, y))))


@op
def erf(input):
    """The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to input.  As torch.erf."""
    x = floating(input)
    return kernels(x).erf(x), (lambda g: mul(g, mul(exp(neg(mul(input, input))), 2 / _sqrt(pi))),)


# ---------------------------------------------------------------------------------------- piecewise

@op
def abs(input):
    """The absolute value.  As torch.abs."""
    return _each("abs", input.data), (lambda g: mul(g, sign(input)),)


@op
def sign(input):
    """-1, 0 or 1; 0 for nan.  As torch.sign."""
    x = input.data
    return x if x.dtype.kind == "b" else (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype), (zero,)


@op
def floor(input):
    """The largest integer that is not larger.  As torch.floor."""
    return _each("floor", input.data), (zero,)


@op
def ceil(input):
    """The smallest integer that is not smaller.  As torch.ceil."""
    return _each("ceil", input.data), (zero,)


@op
def trunc(input):
    """The integer towards zero.  As torch.trunc."""
    return _each("trunc", input.data), (zero,)


@op
def round(input, decimals=0):
    """The nearest number with so many decimals, halves to even.  As torch.round."""
    x = input.data
    return array_module(x).round(x, decimals).astype(x.dtype, copy=False), (zero,)


@op
def maximum(input, other):
    """The larger of the two, elementwise; nan if either is.  As torch.maximum."""
    x, y = operands("maximum", *all_tensors("maximum", input, other))
    return array_module(array_of(x, y)).maximum(x, y), _shared(input, other, lambda a, b: a < b)


@op
def minimum(input, other):
    """The smaller of the two, elementwise; nan if either is.  As torch.minimum."""
    x, y = operands("minimum", *all_tensors("minimum", input, other))
    return array_module(array_of(x, y)).minimum(x, y), _shared(input, other, lambda a, b: a > b)


def array_of(x, y):
    """The one of the two that is an array, not a number or a NumPy scalar."""
    return y if isinstance(x, (int, float, np.generic)) else x


def _shared(input, other, loses):
    """vjps that give no gradient to the operand that loses, and half to each of equals; neither loses to nan."""
    def part(g, mine, theirs):
        x, y = (t.data if isinstance(t, Tensor) else t for t in (mine, theirs))
        x, y = beside(y, x), beside(x, y)
        share = 1.0 - loses(x, y) - (x == y) * 0.5
        return sum_to(mul(g, Tensor(share.astype(g.dtype))), mine.shape)
    return lambda g: part(g, input, other), lambda g: part(g, other, input)


@op
def clamp(input, min=None, max=None):
    """input, not below min and not above max: numbers, tensors or None.  As torch.clamp.

    Raises ValueError if neither bound is given.
    """
    if min is None and max is None:
        raise ValueError("clamp: give min, max or both")
    x = with_float(with_float(input.data, min), max)
    x = x.astype(result_dtype(x, *(b.data for b in (min, max) if isinstance(b, Tensor))), copy=False)
    low, high = (_bound(b, x) for b in (min, max))
    xp = array_module(x)
    y = x if low is None else xp.maximum(x, low)
    y = y if high is None else xp.minimum(y, high)

    def passes(g):
        inside = xp.ones(y.shape, bool)
        for b, fits in ((low, lambda b: x >= b), (high, lambda b: x <= b)):
            inside = inside if b is None else inside & fits(b)
        return sum_to(where(inside, g, 0.0), input.shape)

    def at_low(g):
        return sum_to(where((x < low) & (True if high is None else low < high), g, 0.0), min.shape)

    def at_high(g):
        return sum_to(where((x > high) | (False if low is None else high < low), g, 0.0), max.shape)
    return y, (passes, at_low, at_high)


def _bound(b, x):
    if isinstance(b, Tensor):
        b = b.data.astype(x.dtype, copy=False)
        return b if b.ndim else beside(x, b)
    return b if b is None else with_float(b, x)


@function
def clip(input, min=None, max=None):
    """Another name of clamp.  As torch.clip."""
    return clamp(input, min, max)


@function
def lerp(input, end, weight):
    """input + weight * (end - input), counted from the nearer of the two: exact at both ends.  As torch.lerp."""
    apart = sub(end, input)
    if isinstance(weight, (int, float)):
        return add(input, mul(apart, weight)) if -0.5 < weight < 0.5 else add(end, mul(apart, weight - 1))
    weight = as_tensor(weight)
    far = array_module(weight.data).abs(weight.data) >= 0.5
    start = select_by(end, input, Tensor(far if weight.ndim else _beside(apart, far)))
    return add(start, mul(apart, sub(weight, Tensor(far.astype(weight.dtype)))))


# ---------------------------------------------------------------------------------------- selection

@op
def select_by(input, other, condition):
    """input where the boolean tensor `condition` holds, other elsewhere."""
    x, y = operands("where", input, other)
    a, b = shape_of(input), shape_of(other)
    return as_they_lie(array_module(condition.data).where, condition.data, x, y), (
        lambda g: sum_to(select_by(g, 0.0, condition), a),
        lambda g: sum_to(select_by(0.0, g, condition), b))


@function
def where(condition, input=None, other=None):
    """input where condition holds, other elsewhere; the three broadcast.  With condition alone: its nonzero indices.

    Raises TypeError if condition is not boolean.  As torch.where.
    """
    condition = condition if isinstance(condition, Tensor) else Tensor(as_array(condition))
    if input is None and other is None:
        return tuple(Tensor(i) for i in condition.data.nonzero())
    if condition.dtype not in (np.bool_, np.uint8):
        raise TypeError(f"where: the condition must be boolean, got {condition.dtype}: compare, e.g. x > 0")
    if not any(hasattr(v, "dtype") for v in (input, other)):
        # Two Python numbers: the result has the dtype of a tensor of them.
        input = Tensor(array_module(condition.data).full((), input, as_array(input).dtype))
    return select_by(input, other, condition if condition.dtype == np.bool_ else Tensor(condition.data.astype(bool)))


@op
def nan_to_num(input, nan=0.0, posinf=None, neginf=None):
    """nan, inf and -inf replaced by numbers (by default 0 and the largest and smallest).  As torch.nan_to_num."""
    x, xp = input.data, array_module(input.data)
    y = xp.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)
    return y, (lambda g: select_by(g, 0.0, Tensor(xp.isfinite(input.data))),)


for _alias, _of in (("subtract", sub), ("multiply", mul), ("divide", div)):
    FUNCTIONS[_alias] = _of
