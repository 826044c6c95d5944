"""Which algorithm computes a convolution: a table, read from above; the first row that fits is taken.

    algorithm    multiplications, of the direct sum's        where it pays (measured on two cores with AVX-512)
    grouped      all of them, in full vectors                groups of 1, 2, 4, 8 or 16 channels, out as in
    winograd4    1/4, and 2.25 times the image is written    3x3, stride 1: 0.4 of direct's time at 64 channels 56x56,
                 and read again                              0.6 at 256 14x14; not where 4x4 tiles mostly hang over
    winograd2    1/2.25                                      6x6 and 2x2 maps, which 4x4 tiles cover badly: 0.55 of
                                                             direct; and in place of winograd4 if that is too inexact
    direct       all of them                                 everything else

The choice depends on the layer and never on the batch: an image's result must not depend on its company.
"""
import numpy as np

from ..precision import get_float32_conv_precision
from .grouped import suits
from .vector import lanes

LEAST = 32                                           # with fewer channels the transforms take longer than they save


def algorithm(pass_, win, inside, outside, groups, dtype):
    """"grouped", "winograd4", "winograd2" or "direct".

    pass_            "output" or "input", the map that is computed; or "weight"
    inside, outside  channels of a group, in and out
    """
    if inside == 1 and groups > 1 or groups > 1 and suits(inside, outside, dtype):
        return "grouped"
    height, width = (win.H, win.W) if pass_ == "input" else (win.OH, win.OW)
    if not _transformable(win, inside, outside, groups, dtype):
        return "direct"
    costs = {4: 2.25 * _covered(height, width, 4), 2: 4 * _covered(height, width, 2)}
    if get_float32_conv_precision() == "highest":
        del costs[4]
    best = min(costs, key=costs.get)
    return f"winograd{best}" if costs[best] <= LIMITS[pass_] else "direct"


# Up to how many multiplications a pixel (direct: 9) a transform is faster.  The gradient of the weights gains most: its
# direct form reads both images once for each tap.
LIMITS = {"output": 4.7, "input": 4.7, "weight": 7.2}


def _transformable(win, inside, outside, groups, dtype):
    plain = (win.KH, win.KW, win.SH, win.SW, win.DH, win.DW) == (3, 3, 1, 1, 1, 1) and groups == 1
    whole = not (inside % lanes(dtype) or outside % lanes(dtype))
    return dtype == np.float32 and plain and whole and min(inside, outside) >= LEAST


def _covered(height, width, m):
    """How many times the map's pixels the m x m tiles that cover it have."""
    return -(-height // m) * -(-width // m) * m * m / (height * width)
