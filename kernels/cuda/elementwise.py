"""Activations and erf on the GPU: see elementwise.cu."""
from __future__ import annotations

from ..reference import activation, math
from .arrays import channels_last, dense, in_float, new_like
from .launch import launch

__all__ = ["add_relu", "relu", "relu_backward", "erf"]
FILE = "elementwise.cu"


def _map(kernel, x):
    """An elementwise function of x, lying in memory as x does."""
    last = channels_last(x)
    y = new_like(x, *x.shape, last=last)
    launch(FILE, kernel, x.dtype, x.size, (dense(x, last), dense(y, last), x.size))
    return y


@in_float(activation)
def relu(x):
    """max(0, x), elementwise; nan stays nan."""
    return _map("relu", x)


@in_float(activation)
def add_relu(x, residual):
    """max(0, x + residual), elementwise."""
    return relu(x + residual)


@in_float(activation)
def relu_backward(g, y):
    """0 where y <= 0, even if g is nan or infinite there, and g elsewhere: the gradient of relu for its output y."""
    last = channels_last(y)                          # as the activations lie, whatever g does
    gx = new_like(g, *g.shape, last=last)
    launch(FILE, "relu_backward", g.dtype, g.size, (dense(g, last), dense(y, last, g), dense(gx, last), g.size))
    return gx


@in_float(math)
def erf(x):
    """2/sqrt(pi) * the integral of exp(-t^2) from 0 to x, elementwise.  Abramowitz & Stegun 7.1.1."""
    return _map("erf_of", x)
