"""Smooth activation functions, and their gradients of first order.

    kind        y                                     slope
    sigmoid     1 / (1 + exp(-x))                     y (1 - y)                   from the output
    tanh        tanh(x)                               1 - y^2                     from the output
    silu        x sigmoid(x)                          s (1 + x (1 - s)), s = sigmoid(x)
    gelu        x P(x), P(x) = (1 + erf(x/sqrt 2))/2  P(x) + x exp(-x^2/2) / sqrt(2 pi)
    gelu_tanh   x (1 + t)/2, t = tanh(c x + c d x^3)  (1 + t + x (1 - t^2) (c + 3 c d x^2)) / 2

with c = sqrt(2/pi), d = 0.044715 (Hendrycks & Gimpel 2016, arXiv:1606.08415).
"""
from math import pi, sqrt

from ._xp import array_module
from .math import erf

__all__ = ["gate", "gate_backward"]
C, D = sqrt(2 / pi), 0.044715


def gate(x, kind, erf=erf):
    """The activation function `kind` of x, elementwise."""
    return x * _normal(x, erf) if kind == "gelu" else _GATES[kind](x)


def gate_backward(g, saved, kind, erf=erf):
    """g times the slope of `gate`; saved: its output y for sigmoid and tanh, its input x for the others."""
    return g * (_gelu_slope(saved, erf) if kind == "gelu" else _SLOPES[kind](saved))


def _sigmoid(x):
    xp = array_module(x)
    e = xp.exp(-xp.abs(x))                           # in (0, 1]: never overflows
    return xp.where(x >= 0, x.dtype.type(1), e) / (1 + e)


def _normal(x, erf):
    """P(Z <= x) for a standard normal Z."""
    return (erf(x * x.dtype.type(sqrt(0.5))) + 1) * x.dtype.type(0.5)


def _tanh(x):
    return array_module(x).tanh(x)


def _inner(x):
    return _tanh(x * (x * x * (C * D) + C))


def _silu_slope(x):
    s = _sigmoid(x)
    return s * (1 + x * (1 - s))


def _gelu_slope(x, erf):
    return _normal(x, erf) + x * array_module(x).exp(x * x * -0.5) * (1 / sqrt(2 * pi))


def _gelu_tanh_slope(x):
    t = _inner(x)
    return (1 + t + x * (1 - t * t) * (x * x * (3 * C * D) + C)) * 0.5


_GATES = {"sigmoid": _sigmoid, "tanh": _tanh, "silu": lambda x: x * _sigmoid(x),
          "gelu_tanh": lambda x: x * ((1 + _inner(x)) * 0.5)}
_SLOPES = {"sigmoid": lambda y: y * (1 - y), "tanh": lambda y: 1 - y * y, "silu": _silu_slope,
           "gelu_tanh": _gelu_tanh_slope}
