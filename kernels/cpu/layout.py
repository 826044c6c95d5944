"""The memory layout of images on the CPU: logical N C H W, channels last in memory.

    logical   x[n, c, y, x]            what users see, whatever the strides
    memory    n, y, x, c               the channels of a pixel are neighbours: one vector load takes 16 of them

NumPy's elementwise functions keep the layout, so it is converted once, where the images come in.
"""
import numpy as np


def nhwc(x):
    """(N, C, H, W) with any strides -> (N, H, W, C) in C order; no copy if the channels are last in memory already."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def nchw(x):
    """(N, H, W, C) seen as (N, C, H, W); no copy."""
    return x.transpose(0, 3, 1, 2)
