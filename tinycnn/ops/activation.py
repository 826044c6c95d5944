"""Activation functions.

`inplace` is accepted where torch has it and changes nothing: the result is returned, the input keeps its values (a
graph may still need them).  Where a derivative is cheapest from the output, the vjp takes the output y, so that the
input need not be kept.  Piecewise functions take, at a kink, the derivative torch takes (relu'(0) = 0).
"""
from __future__ import annotations

from math import pi, sqrt
from operator import mul as _mul

from ..autograd import Tensor, op
from ..backend import array_module, as_they_lie, kernels
from ..methods import function
from .arguments import as_tensor, check_dtypes
from .basic import add, div, mul, reshape
from .math import abs, erf, exp, select_by, sigmoid, smooth, tanh


@op
def scaled_outside(x, mask, factor):
    """x where mask, factor * x elsewhere (0 there for factor 0, even if x is infinite or nan)."""
    xp, a = array_module(x.data), x.data
    y = as_they_lie(_mul, a, a.dtype.type(factor)) if factor else xp.zeros_like(a)        # in a's memory order
    y = xp.asarray(y)                                # NumPy makes a number of what has no dimensions
    xp.copyto(y, a, where=mask.data)
    return y, (lambda g: scaled_outside(g, mask, factor),)


def _between(x, low, high):
    """The array x, not below low and not above high.  CuPy's clip makes float32 of bfloat16."""
    xp, scalar = array_module(x), x.dtype.type
    return as_they_lie(lambda x: xp.minimum(xp.maximum(x, scalar(low)), scalar(high)), x)


def _kept(x, mask):
    """x where the array `mask` is true, 0 elsewhere."""
    return scaled_outside(x, Tensor(mask), 0)


# ---------------------------------------------------------------------------------------- piecewise linear

@op
def relu(input, inplace=False):
    """max(0, input); nan stays nan.  As torch.nn.functional.relu.  Nair and Hinton (2010)."""
    return kernels(input.data).relu(input.data), (lambda g, y: relu_gradient(g, y.detach()),)


@op
def relu_gradient(g, y):
    """0 where relu's output y is 0 or below, g elsewhere (nan too): linear in g, constant in y."""
    return kernels(g.data).relu_backward(g.data, y.data), (lambda gg: relu_gradient(gg, y),)


@op
def leaky_relu(input, negative_slope=0.01, inplace=False):
    """input where positive, negative_slope * input elsewhere.  As torch.nn.functional.leaky_relu.

    Maas et al. (2013), Rectifier nonlinearities improve neural network acoustic models.
    """
    check_dtypes("leaky_relu", input)
    xp, positive = array_module(input.data), Tensor(input.data > 0)
    y = as_they_lie(lambda x: xp.where(x > 0, x, x * negative_slope), input.data)
    return y, (lambda g: scaled_outside(g, positive, negative_slope),)


@op
def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """input clipped to min_val..max_val; no gradient at or beyond the bounds.  As torch.nn.functional.hardtanh.

    Raises ValueError if min_val > max_val.
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val={min_val} is larger than max_val={max_val}: swap them")
    x = input.data
    return _between(x, min_val, max_val), (
        lambda g, y: scaled_outside(g, Tensor(~((y.data <= min_val) | (y.data >= max_val))), 0),)


@function
def relu6(input, inplace=False):
    """min(max(0, input), 6).  As torch.nn.functional.relu6.  Howard et al. (2017), arXiv:1704.04861."""
    return hardtanh(input, 0.0, 6.0)


@op
def hardsigmoid(input, inplace=False):
    """relu6(input + 3) / 6.  As torch.nn.functional.hardsigmoid.

    Howard et al. (2019), arXiv:1905.02244, section 5.2.
    """
    check_dtypes("hardsigmoid", input)
    xp, x, scalar = array_module(input.data), input.data, input.dtype.type
    inside = (x > -3) & (x < 3)
    y = as_they_lie(lambda x: xp.minimum(xp.maximum(x + scalar(3), scalar(0)), scalar(6)) / scalar(6), x)
    return y, (lambda g: mul(_kept(g, inside), 1 / 6),)


@op
def threshold(input, threshold, value, inplace=False):
    """input where it exceeds `threshold`, `value` elsewhere; nan stays nan.  As torch.nn.functional.threshold."""
    x = input.data
    above = Tensor(~(x <= threshold))
    return array_module(x).where(above.data, x, x.dtype.type(value)), (lambda g: scaled_outside(g, above, 0),)


@op
def softshrink(input, lambd=0.5):
    """input moved towards 0 by lambd, and 0 within -lambd..lambd.  As torch.nn.functional.softshrink.

    Raises ValueError if lambd is negative.
    """
    check_dtypes("softshrink", input)
    if lambd < 0:
        raise ValueError(f"softshrink: lambd must be at least 0, got {lambd}")
    x = input.data
    y = x - _between(x, -lambd, lambd)
    return y, (lambda g, y: scaled_outside(g, Tensor(y.data != 0), 0),)


@op
def hardshrink(input, lambd=0.5):
    """input, and 0 within -lambd..lambd.  As torch.nn.functional.hardshrink."""
    check_dtypes("hardshrink", input)
    x = input.data
    outside = Tensor(~((x >= -lambd) & (x <= lambd)))
    return array_module(x).where(outside.data, x, x.dtype.type(0)), (lambda g: scaled_outside(g, outside, 0),)


@function
def prelu(input, weight):
    """input where positive, weight * input elsewhere.

    weight   one slope, shape () or (1,), or one for each channel (dimension 1), shape (C,)

    Raises ValueError for any other shape.  As torch.nn.functional.prelu.  He et al. (2015), arXiv:1502.01852,
    section 2.1.
    """
    input, weight = as_tensor(input), as_tensor(weight)
    check_dtypes("prelu", input, weight=weight)
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        raise ValueError(f"prelu: weight {weight.shape} must hold one slope or one for each of the {channels} channels "
                         f"(dimension 1) of the input {input.shape}")
    slopes = reshape(weight, (-1,) if input.ndim < 2 else (-1, *(1,) * (input.ndim - 2)))   # (C, 1, ..., 1)
    if input.ndim == 0:
        slopes = reshape(weight, ())
    positive = input.data > 0
    return select_by(input, mul(slopes, _kept(input, ~positive)), Tensor(positive))


# ---------------------------------------------------------------------------------------- exponential linear units

@op
def exponential_unit(x, alpha, scale, rate):
    """scale * x where positive, scale * alpha * (exp(rate * x) - 1) elsewhere: elu, selu and celu in one."""
    xp, a = array_module(x.data), x.data
    positive = ~(a <= 0)                             # nan too
    s, r, bound = (a.dtype.type(v) for v in (scale, rate, alpha * scale))
    y = as_they_lie(lambda a: xp.where(a > 0, a * s, xp.expm1(xp.minimum(a, a.dtype.type(0)) * r) * bound), a)

    def vjp(g, y):                                   # where not positive, y' = rate * (y + alpha * scale)
        slope = mul(add(_kept(y, ~positive), alpha * scale), rate)             # finite where y is infinite, too
        return add(mul(_kept(g, positive), scale), mul(_kept(g, ~positive), slope))
    return y, (vjp,)


@function
def elu(input, alpha=1.0, inplace=False):
    """input where positive, alpha * (exp(input) - 1) elsewhere.  As torch.nn.functional.elu.

    Clevert et al. (2016), arXiv:1511.07289, equation 15.
    """
    check_dtypes("elu", input)
    return exponential_unit(input, alpha, 1.0, 1.0)


@function
def selu(input, inplace=False):
    """elu, scaled so that activations keep mean 0 and variance 1.  As torch.nn.functional.selu.

    Klambauer et al. (2017), arXiv:1706.02515, equation 2.
    """
    check_dtypes("selu", input)
    return exponential_unit(input, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1.0)


@function
def celu(input, alpha=1.0, inplace=False):
    """input where positive, alpha * (exp(input/alpha) - 1) elsewhere.  As torch.nn.functional.celu.

    Raises ValueError if alpha is 0.  Barron (2017), arXiv:1704.07483, equation 2.
    """
    check_dtypes("celu", input)
    if alpha == 0:
        raise ValueError("celu: alpha must not be 0, the input is divided by it")
    return exponential_unit(input, alpha, 1.0, 1 / alpha)


# ---------------------------------------------------------------------------------------- smooth gates

@op
def gelu(input, approximate="none"):
    """input * P(Z <= input) for a standard normal Z.

    approximate  "none" (by the error function) or "tanh" (Hendrycks and Gimpel's formula)

    Raises ValueError for any other.  As torch.nn.functional.gelu.  Hendrycks and Gimpel (2016), arXiv:1606.08415.
    """
    check_dtypes("gelu", input)
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate must be "none" or "tanh", got {approximate!r}')
    if approximate == "none":
        def cdf(x):
            return mul(add(erf(mul(x, sqrt(0.5))), 1.0), 0.5)

        def slope(x):                                # the derivative of x * cdf(x)
            return cdf(x) + mul(x, mul(exp(mul(mul(x, x), -0.5)), 1 / sqrt(2 * pi)))
    else:
        c, d = sqrt(2 / pi), 0.044715

        def cdf(x):
            return mul(add(tanh(mul(x, add(mul(mul(x, x), c * d), c))), 1.0), 0.5)

        def slope(x):
            t = tanh(mul(x, add(mul(mul(x, x), c * d), c)))
            return (1.0 + t + x * (1.0 - t * t) * (c + 3 * c * d * x * x)) * 0.5
    kind = "gelu" if approximate == "none" else "gelu_tanh"
    return smooth(input.data, kind, lambda g, x: g * slope(x), input)


@op
def silu(input, inplace=False):
    """input * sigmoid(input), also called swish.  As torch.nn.functional.silu.

    Hendrycks and Gimpel (2016), arXiv:1606.08415, section 5; Ramachandran et al. (2017), arXiv:1710.05941.
    """
    check_dtypes("silu", input)

    def slope(g, x):
        s = sigmoid(x)
        return g * (s * (1.0 + x * (1.0 - s)))
    return smooth(input.data, "silu", slope, input)


@op
def softplus(input, beta=1.0, threshold=20.0):
    """log(1 + exp(beta * input)) / beta; the input itself where beta * input > threshold.

    As torch.nn.functional.softplus.  Dugas et al. (2001).
    """
    check_dtypes("softplus", input)
    xp, x = array_module(input.data), input.data
    b = x.dtype.type(beta)
    linear = x * b > threshold
    y = xp.where(linear, x, xp.logaddexp(x * b, x.dtype.type(0)) / b)
    return y, (lambda g: add(_kept(g, linear), mul(_kept(g, ~linear), sigmoid(mul(input, beta)))),)


@op
def logsigmoid(input):
    """log(sigmoid(input)), without overflow.  As torch.nn.functional.logsigmoid."""
    check_dtypes("logsigmoid", input)
    x = input.data
    return -array_module(x).logaddexp(-x, x.dtype.type(0)), (lambda g: g * sigmoid(-input),)


@function
def mish(input, inplace=False):
    """input * tanh(softplus(input)).  As torch.nn.functional.mish.  Misra (2019), arXiv:1908.08681."""
    return mul(input, tanh(softplus(input)))


@op
def hardswish(input, inplace=False):
    """input * relu6(input + 3) / 6.  As torch.nn.functional.hardswish.

    Howard et al. (2019), arXiv:1905.02244, section 5.2.
    """
    check_dtypes("hardswish", input)
    x = input.data
    above = x >= 3
    inside = ~(above | (x <= -3))                    # nan too

    def vjp(g):
        return add(mul(_kept(g, inside), add(div(_kept(input, inside), 3.0), 0.5)), _kept(g, above))
    return as_they_lie(lambda x: x * _between(x + 3, 0, 6) / 6, x), (vjp,)


@function
def softsign(input):
    """input / (1 + |input|).  As torch.nn.functional.softsign."""
    check_dtypes("softsign", input)
    return div(input, add(abs(input), 1.0))


@function
def tanhshrink(input):
    """input - tanh(input).  As torch.nn.functional.tanhshrink."""
    return input - tanh(input)


@function
def glu(input, dim=-1):
    """a * sigmoid(b) for the halves a, b of the input along `dim`.

    Raises ValueError if its size is odd.  As torch.nn.functional.glu.  Dauphin et al. (2017), arXiv:1612.08083.
    """
    input = as_tensor(input)
    check_dtypes("glu", input)
    if not input.ndim or input.shape[dim] % 2:
        raise ValueError(f"glu: dimension {dim} of input {input.shape} must have an even size to be halved")
    half = input.shape[dim] // 2
    return mul(input.narrow(dim, 0, half), sigmoid(input.narrow(dim, half, half)))
