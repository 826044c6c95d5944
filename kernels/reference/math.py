"""Elementwise functions that array libraries do not have."""
import math

from ._xp import array_module

__all__ = ["erf"]


def erf(x):
    """2/sqrt(pi) * the integral of exp(-t^2) from 0 to x, elementwise.  Abramowitz & Stegun 7.1.1."""
    xp = array_module(x)
    return xp.asarray(xp.frompyfunc(math.erf, 1, 1)(x)).astype(x.dtype)   # of no dimensions, it makes a number
