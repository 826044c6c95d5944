"""Elementwise kernels of activation functions."""
from ._xp import array_module

__all__ = ["relu", "relu_backward"]


def relu(x):
    """max(0, x), elementwise; nan stays nan."""
    return array_module(x).maximum(x, x.dtype.type(0))


def relu_backward(g, y):
    """g where y > 0 and 0 elsewhere (even where g is nan or infinite): the gradient of relu for its output y."""
    return array_module(g).where(y > 0, g, g.dtype.type(0))
