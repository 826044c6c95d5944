"""The memory layout of images on the CPU: logical N C H W, channels last in memory.

    logical   x[n, c, y, x]            what users see, whatever the strides
    memory    n, y, x, c               the channels of a pixel are neighbours: one vector load takes 16 of them

NumPy's elementwise functions keep the layout, so it is converted once, where the images come in.
"""
from ctypes import addressof, c_char

import numpy as np


def nhwc(x):
    """(N, C, H, W) with any strides -> (N, H, W, C) in C order; no copy if the channels are last in memory already."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def nchw(x):
    """(N, H, W, C) seen as (N, C, H, W); no copy."""
    return x.transpose(0, 3, 1, 2)


def address(array):
    """Where an array's numbers begin in memory: three times as fast as array.ctypes.data, where it can be."""
    try:
        return addressof(c_char.from_buffer(array))
    except (TypeError, ValueError):                  # read-only, not in C order, empty
        return array.ctypes.data


def flat_alike(first, *others):
    """All arrays (of one shape) flat in the memory order of the first, and a function that takes a result back.

    The order is kept if it is C order or channels-last; other strides are copied to C order.
    """
    last = first.ndim == 4 and not first.flags.c_contiguous and first.transpose(0, 2, 3, 1).flags.c_contiguous
    flat = [(nhwc(a) if last else np.ascontiguousarray(a)).reshape(-1) for a in (first, *others)]
    shape = first.shape
    if last:
        return flat, lambda y: nchw(y.reshape(shape[0], *shape[2:], shape[1]))
    return flat, lambda y: y.reshape(shape)
