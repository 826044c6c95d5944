"""Pooling on the GPU: see pool.cu."""
from __future__ import annotations

from ..reference import pool as reference
from ..reference._xp import array_module
from .arrays import channels_last, dense, in_float, new_like, plain, wide
from .launch import launch

__all__ = ["max_pool2d", "max_pool2d_backward", "max_pool2d_gather", "avg_pool2d", "avg_pool2d_backward",
           "adaptive_avg_pool2d", "adaptive_avg_pool2d_backward", "adaptive_max_pool2d"]
FILE = "pool.cu"


def _map(kernel, x, size, *sizes, beside=(), indices=False, last=None):
    """A new map of `size`, from x and the arrays beside it; with its indices if asked for.  sizes: what follows."""
    last = channels_last(x) if last is None else last
    y = new_like(x, *x.shape[:2], *size, last=last)
    where = (new_like(x, *y.shape, dtype="int64", last=last),) if indices else ()
    launch(FILE, kernel, x.dtype, y.size,
           (dense(x, last), *beside, dense(y, last), *(dense(w, last) for w in where), *sizes,
            x.shape[1] if last else 1, y.size))
    return (y, *where) if indices else y


@in_float(reference)
def max_pool2d(x, win):
    """The largest of each window and its index y*W + x: the first of equals; the last NaN, if there is one."""
    return _map("max_pool", x, (win.OH, win.OW), win, indices=True)


@in_float(reference)
def max_pool2d_backward(g, indices, size, win=None):
    """Add every g to the cell its maximum came from: (N, C, OH, OW) -> (N, C, H, W); adjoint of the gather.

    win  the windows that the indices are in, if they are known: the fewer outputs a cell has to look at
    """
    last = channels_last(indices)                    # as the activations lie, whatever g does
    beside = (dense(indices, last),)
    if win is None:
        return _map("max_pool_scatter", g, size, *size, g.shape[2] * g.shape[3], beside=beside, last=last)
    return _map("max_pool_backward", g, size, win, beside=beside, last=last)


@in_float(reference)
def max_pool2d_gather(x, indices):
    """The cells at `indices` of each plane, 0 for index -1: (N, C, H, W), (N, C, OH, OW) -> (N, C, OH, OW)"""
    last = channels_last(x)
    return _map("max_pool_gather", x, indices.shape[2:], *x.shape[2:], indices.shape[2] * indices.shape[3],
                beside=(dense(indices, last),), last=last)


def _divisors(x, win, count_include_pad, divisor_override, pad_after):
    xp = array_module(x)
    return plain(reference.window_divisors(xp, win, count_include_pad, divisor_override, pad_after, wide(x)))


@in_float(reference)
def avg_pool2d(x, win, *options):
    """The mean of each window."""
    return _map("avg_pool", x, (win.OH, win.OW), win, beside=(_divisors(x, win, *options),))


@in_float(reference)
def avg_pool2d_backward(g, win, *options):
    """Spread every g evenly over its window: the adjoint of `avg_pool2d`."""
    return _map("avg_pool_backward", g, (win.H, win.W), win, beside=(_divisors(g, win, *options),))


@in_float(reference)
def adaptive_avg_pool2d(x, output_size):
    """The mean of each of OH x OW windows that cover the image."""
    if tuple(output_size) == (1, 1):
        return _plane_mean(x)
    return _map("adaptive_avg_pool", x, output_size, *x.shape[2:], *output_size)


def _plane_mean(x):
    """Global average pooling: (N, C, H, W) -> (N, C, 1, 1)"""
    last = channels_last(x)
    team, y = 1 if last else 32, new_like(x, *x.shape[:2], 1, 1, last=last)
    launch(FILE, "plane_mean", x.dtype, y.size,
           (dense(x, last), dense(y, last), x.shape[2] * x.shape[3], x.shape[1] if last else 1, team, y.size),
           blocks=-(-y.size * team // 256))
    return y


@in_float(reference)
def adaptive_avg_pool2d_backward(g, size):
    """Spread every g evenly over its window: the adjoint of `adaptive_avg_pool2d`."""
    return _map("adaptive_avg_pool_backward", g, size, *size, *g.shape[2:])


@in_float(reference)
def adaptive_max_pool2d(x, output_size):
    """The largest of each of OH x OW windows that cover the image, and its index; ties and NaN as `max_pool2d`."""
    return _map("adaptive_max_pool", x, output_size, *x.shape[2:], *output_size, indices=True)
