"""Pooling on the GPU: see pool.cu."""
from __future__ import annotations

from ..reference import pool as reference
from ..reference._xp import array_module
from .arrays import in_float, new, plain
from .launch import launch

__all__ = ["max_pool2d", "max_pool2d_backward", "max_pool2d_gather", "avg_pool2d", "avg_pool2d_backward",
           "adaptive_avg_pool2d", "adaptive_avg_pool2d_backward", "adaptive_max_pool2d"]


@in_float(reference)
def max_pool2d(x, win):
    """The largest of each window and its index y*W + x: the first of equals; the last NaN, if there is one."""
    y = new(x, *x.shape[:2], win.OH, win.OW)
    where = new(x, *y.shape, dtype="int64")
    launch("pool.cu", "max_pool", x.dtype, y.size, (plain(x), y, where, win, y.size))
    return y, where


@in_float(reference)
def max_pool2d_backward(g, indices, size):
    """Add every g to the cell its maximum came from: (N, C, OH, OW) -> (N, C, H, W); adjoint of the gather."""
    gx = new(g, *g.shape[:2], *size)
    outputs = g.shape[2] * g.shape[3]
    launch("pool.cu", "max_pool_backward", g.dtype, gx.size,
           (plain(g), plain(indices), gx, size[0] * size[1], outputs, gx.size))
    return gx


@in_float(reference)
def max_pool2d_gather(x, indices):
    """The cells at `indices` of each plane, 0 for index -1: (N, C, H, W), (N, C, OH, OW) -> (N, C, OH, OW)"""
    y = new(x, *indices.shape)
    launch("pool.cu", "max_pool_gather", x.dtype, y.size,
           (plain(x), plain(indices), y, x.shape[2] * x.shape[3], indices.shape[2] * indices.shape[3], y.size))
    return y


def _divisors(x, win, count_include_pad, divisor_override, pad_after):
    xp = array_module(x)
    return plain(reference.window_divisors(xp, win, count_include_pad, divisor_override, pad_after, x.dtype))


@in_float(reference)
def avg_pool2d(x, win, count_include_pad, divisor_override, pad_after):
    """The mean of each window."""
    y = new(x, *x.shape[:2], win.OH, win.OW)
    divisors = _divisors(x, win, count_include_pad, divisor_override, pad_after)
    launch("pool.cu", "avg_pool", x.dtype, y.size, (plain(x), divisors, y, win, y.size))
    return y


@in_float(reference)
def avg_pool2d_backward(g, win, count_include_pad, divisor_override, pad_after):
    """Spread every g evenly over its window: the adjoint of `avg_pool2d`."""
    gx = new(g, *g.shape[:2], win.H, win.W)
    divisors = _divisors(g, win, count_include_pad, divisor_override, pad_after)
    launch("pool.cu", "avg_pool_backward", g.dtype, gx.size, (plain(g), divisors, gx, win, gx.size))
    return gx


@in_float(reference)
def adaptive_avg_pool2d(x, output_size):
    """The mean of each of OH x OW windows that cover the image."""
    y = new(x, *x.shape[:2], *output_size)
    launch("pool.cu", "adaptive_avg_pool", x.dtype, y.size, (plain(x), y, *x.shape[2:], *output_size, y.size))
    return y


@in_float(reference)
def adaptive_avg_pool2d_backward(g, size):
    """Spread every g evenly over its window: the adjoint of `adaptive_avg_pool2d`."""
    gx = new(g, *g.shape[:2], *size)
    launch("pool.cu", "adaptive_avg_pool_backward", g.dtype, gx.size, (plain(g), gx, *size, *g.shape[2:], gx.size))
    return gx


@in_float(reference)
def adaptive_max_pool2d(x, output_size):
    """The largest of each of OH x OW windows that cover the image, and its index; ties and NaN as `max_pool2d`."""
    y = new(x, *x.shape[:2], *output_size)
    where = new(x, *y.shape, dtype="int64")
    launch("pool.cu", "adaptive_max_pool", x.dtype, y.size, (plain(x), y, where, *x.shape[2:], *output_size, y.size))
    return y, where
