"""Smooth activation functions on the GPU: the reference's array code on memory as it lies, with this backend's erf."""
from __future__ import annotations

from ..reference import gates as reference
from .arrays import channels_last, dense
from .elementwise import erf

__all__ = ["gate", "gate_backward"]


def gate(x, kind):
    """The activation function `kind` of x, elementwise."""
    return _laid(reference.gate(dense(x), kind, erf), x)


def gate_backward(g, saved, kind):
    """g times the slope of `gate`; saved: its output y for sigmoid and tanh, its input x for the others."""
    last = channels_last(saved)                      # as the activations lie, whatever g does
    return _laid(reference.gate_backward(dense(g, last), dense(saved, last), kind, erf), saved)


def _laid(y, x):
    return y.transpose(0, y.ndim - 1, *range(1, y.ndim - 1)) if channels_last(x) else y
