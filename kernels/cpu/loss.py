"""Softmax and cross-entropy.

    memory      x (M, C) in C order: a row is a contiguous line
    parallel    over blocks of rows with about 4 Ki numbers

    row      x0 x1 ... xC-1  --->  top = max  --->  sum exp(x - top)  --->  y             while the row is in the cache

What is left of cross-entropy after log-softmax is one number a row, which the reference works out.  Sums run in
float64.  nan and inf take the course they take in the formulas: a row with a nan, with +inf, or of nothing but -inf
becomes nan.
"""
import math

import numpy as np

from ..reference.loss import row_losses
from .exponential import exp
from .threads import inside, mine, parallel

__all__ = ["softmax", "softmax_backward", "log_softmax", "log_softmax_backward",
           "cross_entropy", "cross_entropy_backward"]
BLOCK = 4096
LANES = 32


def _step(x):
    """Rows in a block."""
    return max(1, BLOCK // max(1, x.shape[1]))


@inside
def _top(row):
    """The largest, leaving out any nan: exp will bring it back.  Long rows LANES at a time, side by side."""
    tops, whole = row[:LANES].copy(), len(row) // LANES * LANES
    for start in range(LANES, whole, LANES):
        _larger(row[start:start + LANES], tops)
    top = row[0]
    for c in range(len(tops)):
        top = tops[c] if tops[c] > top else top
    for c in range(whole, len(row)):
        top = row[c] if row[c] > top else top
    return top


@inside
def _larger(row, tops):
    for c in range(len(tops)):
        tops[c] = row[c] if row[c] > tops[c] else tops[c]


@inside(fastmath={"reassoc", "nsz"})
def _sum(row):
    """In float64, in as many lanes as the processor has."""
    total = 0.0
    for c in range(len(row)):
        total += row[c]
    return total


@inside
def _exp_line(x, top, y):
    for c in range(len(y)):
        y[c] = exp(x[c] - top)


@inside
def _divide(y, total):
    for c in range(len(y)):
        y[c] /= total


@inside
def _less(x, top, log_total, y):
    for c in range(len(y)):
        y[c] = (x[c] - top) - log_total


@inside
def _less_share(g, logp, total, gx):
    for c in range(len(gx)):
        gx[c] = g[c] - exp(logp[c]) * total


@inside
def _shares(logp, all_shares, smooth, weight, gx):
    for c in range(len(gx)):
        gx[c] = exp(logp[c]) * all_shares - smooth * weight[c]


@parallel
def _softmax(thread, x, step, y):
    M, C = x.shape
    for block in mine(thread, (M + step - 1) // step):
        for m in range(block * step, min(M, block * step + step)):
            row, top = y[m], _top(x[m])
            _exp_line(x[m], top, row)
            _divide(row, x.dtype.type(_sum(row)))


@parallel
def _log_softmax(thread, x, step, y):
    M, C = x.shape
    for block in mine(thread, (M + step - 1) // step):
        for m in range(block * step, min(M, block * step + step)):
            row, top = y[m], _top(x[m])
            _exp_line(x[m], top, row)
            _less(x[m], top, x.dtype.type(math.log(_sum(row))), row)


@parallel
def _softmax_backward(thread, g, y, step, gx):
    M, C = y.shape
    for block in mine(thread, (M + step - 1) // step):
        for m in range(block * step, min(M, block * step + step)):
            total = 0.0
            for c in range(C):
                total += g[m, c] * y[m, c]
            for c in range(C):
                gx[m, c] = y[m, c] * (g[m, c] - total)


@parallel
def _log_softmax_backward(thread, g, y, step, gx):
    M, C = y.shape
    for block in mine(thread, (M + step - 1) // step):
        for m in range(block * step, min(M, block * step + step)):
            _less_share(g[m], y[m], y.dtype.type(_sum(g[m])), gx[m])


def _rowwise(kernel, *arrays):
    arrays = [np.ascontiguousarray(a) for a in arrays]
    y = np.empty_like(arrays[0])
    if y.size:
        kernel(*arrays, _step(y), y)
    return y


def softmax(x):
    return _rowwise(_softmax, x)


def softmax_backward(g, y):
    return _rowwise(_softmax_backward, g, y)


def log_softmax(x):
    return _rowwise(_log_softmax, x)


def log_softmax_backward(g, y):
    return _rowwise(_log_softmax_backward, g, y)


@parallel
def _cross_entropy_backward(thread, g, logp, target, weight, ignore_index, smoothing, step, gx):
    M, C = logp.shape
    total = 0.0
    for c in range(C):
        total += weight[c]
    for block in mine(thread, (M + step - 1) // step):
        for m in range(block * step, min(M, block * step + step)):
            kept = target[m] != ignore_index
            own = (1 - smoothing) * weight[target[m]] if kept else 0.0
            shares = own + smoothing / C * total                 # how much of each -logp counts
            number = logp.dtype.type
            if kept:
                _shares(logp[m], number(g[m] * shares), number(g[m] * smoothing / C), weight, gx[m])
                gx[m, target[m]] -= number(g[m] * own)       # rounded as the shares are: of one class 0 is left
            else:
                gx[m] = 0


def cross_entropy(x, target, weight, ignore_index, label_smoothing):
    logp = log_softmax(x)
    return row_losses(logp, target, weight, ignore_index, label_smoothing), logp


def cross_entropy_backward(g, logp, target, weight, ignore_index, label_smoothing):
    g, logp, target = np.ascontiguousarray(g), np.ascontiguousarray(logp), np.ascontiguousarray(target, np.int64)
    gx = np.empty_like(logp)
    if gx.size:
        weight = np.ones(gx.shape[1], gx.dtype) if weight is None else np.ascontiguousarray(weight)
        _cross_entropy_backward(g, logp, target, weight, ignore_index, float(label_smoothing), _step(gx), gx)
    return gx
