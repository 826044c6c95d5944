"""Elementwise kernels of activation functions."""
from ._xp import array_module

__all__ = ["add_relu", "relu", "relu_backward"]


def relu(x):
    """max(0, x), elementwise; nan stays nan."""
    return array_module(x).maximum(x, x.dtype.type(0))


def add_relu(x, residual):
    """max(0, x + residual), elementwise, in x's place where that is possible; returns it."""
    x += residual
    return array_module(x).maximum(x, x.dtype.type(0), out=x)


def relu_backward(g, y):
    """0 where y <= 0, even if g is nan or infinite there, and g elsewhere: the gradient of relu for its output y."""
    return array_module(g).where(y <= 0, g.dtype.type(0), g)
