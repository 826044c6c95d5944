"""Local response normalisation over channels-last memory.

    memory      x (M, C): pixels, channels
    parallel    over blocks of about 16 Ki numbers

    line    x0^2 x1^2 x2^2 x3^2 x4^2            the sums over neighbours are `size` shifted additions of the whole line:
          +      x0^2 x1^2 x2^2 x3^2 ...        vector code, where a loop over each channel's neighbours is none
"""
import math

import numpy as np

from .norm import batch_rows, block_rows, like
from .threads import inside, mine, parallel

__all__ = ["local_response_norm", "local_response_norm_backward"]


@inside
def _neighbours(line, before, after, out):
    """out[c] = line[c - before] + ... + line[c + after], without those that are not there."""
    C = len(line)
    for c in range(C):
        out[c] = 0
    for d in range(max(-before, 1 - C), min(after, C - 1) + 1):
        here, there = out[max(0, -d):C - max(0, d)], line[max(0, d):C - max(0, -d)]
        for i in range(len(here)):
            here[i] += there[i]


@inside
def _power(base, beta):
    """base^-beta; square roots are ten times faster, and 0.75 is the paper's beta and the default."""
    return 1 / (math.sqrt(base) * math.sqrt(math.sqrt(base))) if beta == 0.75 else base ** -beta


@parallel
def _response_norm(thread, x, size, alpha, beta, k, step, y):
    M, C = x.shape
    for block in mine(thread, (M + step - 1) // step):
        squares, sums = np.empty(C, np.float64), np.empty(C, np.float64)
        for m in range(block * step, min(M, block * step + step)):
            for c in range(C):
                squares[c] = np.float64(x[m, c]) * x[m, c]
            _neighbours(squares, size // 2, (size - 1) // 2, sums)
            for c in range(C):
                y[m, c] = x[m, c] * _power(k + alpha / size * sums[c], beta)


@parallel
def _response_norm_gradient(thread, g, x, size, alpha, beta, k, step, gx):
    """Its own factor, and each neighbour's share."""
    M, C = x.shape
    for block in mine(thread, (M + step - 1) // step):
        values, sums, own = np.empty(C, np.float64), np.empty(C, np.float64), np.empty(C, np.float64)
        for m in range(block * step, min(M, block * step + step)):
            for c in range(C):
                values[c] = np.float64(x[m, c]) * x[m, c]
            _neighbours(values, size // 2, (size - 1) // 2, sums)
            for c in range(C):
                base = k + alpha / size * sums[c]
                own[c] = g[m, c] * _power(base, beta)
                values[c] = own[c] * x[m, c] / base
            _neighbours(values, (size - 1) // 2, size // 2, sums)
            for c in range(C):
                gx[m, c] = own[c] - 2 * alpha * beta / size * x[m, c] * sums[c]


def local_response_norm(x, size, alpha, beta, k):
    rows = batch_rows(x)[0]
    y = np.empty_like(rows)
    _response_norm(rows, size, float(alpha), float(beta), float(k), block_rows(rows.shape[1]), y)
    return like(y, x)


def local_response_norm_backward(g, x, size, alpha, beta, k):
    grows, rows = batch_rows(g)[0], batch_rows(x)[0]
    gx = np.empty_like(rows)
    _response_norm_gradient(grows, rows, size, float(alpha), float(beta), float(k), block_rows(rows.shape[1]), gx)
    return like(gx, x)
