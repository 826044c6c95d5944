"""exp and what is made of it, one number at a time, in arithmetic that LLVM turns into vector code: no calls, no
branches, selections only.  Numba compiles math.exp to a call of the C library for each number.

    exp(x) = 2^n exp(r),  n = round(x / ln 2),  |r| <= ln(2)/2:  a polynomial in r          Cody & Waite 1980, chapter 6

2^n is made by writing n into a number's exponent, in two halves so that the smallest results come out right.  The
float32 polynomials are those of Moshier's Cephes library (expf, tanhf), good to 2 roundings; float64's exp is the
Taylor series to r^13.  float32's normal distribution is t P(t) exp(-x^2/2) below 0, t = 1 / (1 + 0.35 |x|), with a P
fitted here: the largest error is 3e-8 of the value down to x = -14.6, by Lawson's iteration.  nan stays nan.
"""
import math

import numpy as np
from numba import types
from numba.extending import overload

from .launch import inside

ROUND32, ROUND64 = np.float32(1.5 * 2 ** 23), 1.5 * 2 ** 52      # added and taken off again: rounds, n in the low bits
BITS32, BITS64 = ROUND32.view(np.int32), int(np.float64(ROUND64).view(np.int64))
LOG2E32, HIGH32, LOW32 = np.float32(1.44269504088896341), np.float32(0.693359375), np.float32(-2.12194440e-4)
LOG2E64, HIGH64, LOW64 = 1.4426950408889634, 6.93145751953125e-1, 1.42860682030941723212e-6
LOWEST32, LARGEST32, LOWEST64, LARGEST64 = np.float32(-104), np.float32(89), -746.0, 710.0
ONE32 = np.float32(1)
EXP32 = tuple(map(np.float32, (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
                               5.0000001201e-1)))
EXP64 = tuple(1 / math.factorial(i) for i in range(13, 1, -1))
TANH32 = tuple(map(np.float32, (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1,
                                -3.33332819422e-1)))
TANH64P = (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3)
TANH64Q = (1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3)
SMALL32, SMALL64 = np.float32(0.625), 0.625
TAIL32 = tuple(map(np.float32, (-0.0291591471, 0.144037326, -0.255852816, 0.15933616, -0.0232241832, 0.105557729,
                                0.119819906, 0.139863715, 0.139621295)))
SPREAD32, TWO32 = np.float32(0.35), np.float32(2)


@inside
def _horner(coefficients, x):
    """The polynomial of these coefficients, the highest power's first."""
    p = coefficients[0]
    for c in coefficients[1:]:                       # LLVM unrolls short loops only: pass no more than 6 coefficients
        p = p * x + c
    return p


def exp(x):
    """e to the x, in the dtype of x."""
    return np.exp(x)


@overload(exp)
def _exp(x):
    return _exp32 if x == types.float32 else _exp64


def _exp32(x):
    x = LOWEST32 if x < LOWEST32 else x
    x = LARGEST32 if x > LARGEST32 else x
    shifted = x * LOG2E32 + ROUND32
    n = shifted - ROUND32
    r = (x - n * HIGH32) - n * LOW32
    p = _horner(EXP32, r) * (r * r) + r + ONE32
    bits = np.float32(shifted).view(np.int32) - BITS32
    half = bits >> np.int32(1)
    a, b = (half + np.int32(127)) << np.int32(23), (bits - half + np.int32(127)) << np.int32(23)
    return p * np.int32(a).view(np.float32) * np.int32(b).view(np.float32)


def _exp64(x):
    x = LOWEST64 if x < LOWEST64 else x
    x = LARGEST64 if x > LARGEST64 else x
    shifted = x * LOG2E64 + ROUND64
    n = shifted - ROUND64
    r = (x - n * HIGH64) - n * LOW64
    z = r * r
    p = (_horner(EXP64[:6], r) * (z * z * z) + _horner(EXP64[6:], r)) * z + r + 1.0
    bits = np.float64(shifted).view(np.int64) - BITS64
    half = bits >> 1
    a, b = (half + 1023) << 52, (bits - half + 1023) << 52
    return p * np.int64(a).view(np.float64) * np.int64(b).view(np.float64)


def sigmoid(x):
    """1 / (1 + exp(-x)), in the dtype of x."""
    e = np.exp(-abs(x))
    return (1 if x >= 0 else e) / (1 + e)


@overload(sigmoid)
def _sigmoid(x):
    return _sigmoid32 if x == types.float32 else _sigmoid64


def _sigmoid32(x):
    e = exp(-abs(x))                                 # in (0, 1]
    return (ONE32 if x >= 0 else e) / (ONE32 + e)


def _sigmoid64(x):
    e = exp(-abs(x))
    return (1.0 if x >= 0 else e) / (1.0 + e)


def tanh(x):
    """The hyperbolic tangent, in the dtype of x."""
    return np.tanh(x)


@overload(tanh)
def _tanh(x):
    return _tanh32 if x == types.float32 else _tanh64


def _tanh32(x):
    z, e = x * x, exp(-TWO32 * abs(x))
    far = (ONE32 - e) / (ONE32 + e)
    near = _horner(TANH32, z) * z * x + x
    return near if abs(x) < SMALL32 else (-far if x < 0 else far)


def _tanh64(x):
    z, e = x * x, exp(-2.0 * abs(x))
    far = (1.0 - e) / (1.0 + e)
    near = x + x * z * (_horner(TANH64P, z) / _horner(TANH64Q, z))
    return near if abs(x) < SMALL64 else (-far if x < 0 else far)


def normal(x, bell):
    """P(Z <= x) for a standard normal Z: (1 + erf(x / sqrt 2)) / 2, without its loss of digits far below 0.

    bell   exp(-x^2/2), which is the larger part of the work, and of gelu's gradient too
    """
    return math.erfc(-x * math.sqrt(0.5)) / 2


@overload(normal, inline="always")                  # too long for LLVM to do it, which it must for vector code
def _normal(x, bell):
    return _normal32 if x == types.float32 else _normal64


def _normal32(x, bell):
    t = ONE32 / (ONE32 + SPREAD32 * abs(x))
    tail = (_horner(TAIL32[:4], t) * (t * t) * (t * t) + _horner(TAIL32[4:8], t)) * t + TAIL32[8]
    tail = tail * t * bell
    return tail if x < 0 else ONE32 - tail


def _normal64(x, bell):
    return 0.5 * math.erfc(-x * 0.7071067811865476)
