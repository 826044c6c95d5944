"""Batch norm in training, a ladder of three rungs.  The limit is memory: each rung reads and writes less of it.

    y = (x - mean) / sqrt(var + eps) * weight + bias          mean and var of each channel, over images and pixels

              three passes              two passes            blocks
    reads     x three times, and        x twice               x twice
              four temporaries
    writes    five arrays like x        y                     y
    threads   one                       all                   all, in any number of channels

All take x (N, C, ...) and sum in float64, or (the last) in short sums joined in float64.
"""
import math

import numpy as np

from ..cpu.batch_norm import batch_norm as blockwise
from ..cpu.threads import mine, parallel
from .rung import Rung


def three_passes(x, weight, bias, eps):
    """The formula, in NumPy: mean, then variance, then the result; each step goes through all of the memory again.

        x --> mean      x - mean --> (x - mean)^2 --> var      / std --> * weight --> + bias --> y
        pass 1          pass 2                                 pass 3, a temporary array for each arrow
    """
    axes, channel = (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
    mean = x.mean(axes, np.float64, keepdims=True)
    centred = x - mean
    var = (centred * centred).mean(axes, keepdims=True)
    y = centred / np.sqrt(var + eps)
    if weight is not None:
        y = y * weight.reshape(channel)
    if bias is not None:
        y = y + bias.reshape(channel)
    return y.astype(x.dtype), mean.reshape(-1).astype(x.dtype), var.reshape(-1).astype(x.dtype)


def two_passes(x, weight, bias, eps):
    """Sum and sum of squares together in the first pass, the whole formula at once in the second; no temporaries.

        pass 1    x[:, c]  -->  s = sum (x - x0), q = sum (x - x0)^2  -->  mean = x0 + s/m,  var = q/m - (s/m)^2
        pass 2    x[:, c]  -->  y[:, c] = (x - mean) * scale + shift

    The difference of two large numbers would lose digits, hence the shift by x0, the channel's first number.  A
    channel is a task: the planes of a channel lie together in NCHW, and threads share the channels out.
    """
    shape, C = x.shape, x.shape[1]
    planes = np.ascontiguousarray(x).reshape(len(x), C, math.prod(shape[2:]))          # (N, C, pixels)
    y, mean, var = np.empty_like(planes), np.empty(C, x.dtype), np.empty(C, x.dtype)
    weight = np.ones(C, x.dtype) if weight is None else np.ascontiguousarray(weight)
    bias = np.zeros(C, x.dtype) if bias is None else np.ascontiguousarray(bias)
    _two_passes(planes, weight, bias, eps, y, mean, var)
    return y.reshape(shape), mean, var


@parallel
def _two_passes(thread, x, weight, bias, eps, y, mean, var):
    N, C, P = x.shape
    for c in mine(thread, C):
        x0, total, squares, m = np.float64(x[0, c, 0]), 0.0, 0.0, N * P
        for n in range(N):
            for p in range(P):
                d = x[n, c, p] - x0
                total += d
                squares += d * d
        offset = total / m
        centre, variance = x0 + offset, squares / m - offset * offset
        scale = weight[c] / math.sqrt(variance + eps)
        for n in range(N):
            for p in range(P):
                y[n, c, p] = (x[n, c, p] - centre) * scale + bias[c]
        mean[c], var[c] = centre, variance


def blocks(x, weight, bias, eps):
    """The kernel of the engine: the same two passes over channels-last memory, cut into blocks of lines.

           C          sums of each block      joined in order
        +-------+
        | block |  -->  s, q  (C)  --+        a vector takes 16 channels, and its 16 sums do not wait
        +-------+                    +-->     for each other, as those of one channel do
        | block |  -->  s, q  (C)  --+
        +-------+

    Blocks, not channels, are the tasks: few channels keep all threads busy, and nothing is turned around for a net
    whose images have their channels last (kernels/cpu/batch_norm.py).
    """
    return blockwise(x, weight, bias, eps)


RUNGS = [
    Rung("three passes", three_passes, "NCHW"),
    Rung("two passes", two_passes, "NCHW"),
    Rung("blocks", blocks, "NHWC"),
]
