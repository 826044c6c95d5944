"""Which algorithm computes a convolution: a table, read from above; the first row that fits is taken.

    algorithm    multiplications, of the direct sum's        where it pays (measured on two cores with AVX-512)
    grouped      all of them, in full vectors                groups of 1, 2, 4, 8 channels, out as in; with 32
                                                             registers those that fill a vector, 16, for the gradient
                                                             of weights of maps wider than 6 only: 0.6 of direct's time
                                                             at 64 channels 24x24, 1.4 at 512 6x6.  With AVX2, whose
                                                             register tile is small: 0.7 at 256 in groups of 8 12x12
    winograd4    1/4, and 2.25 times the image is written    3x3, stride 1: 0.4 of direct's time at 64 channels 56x56,
                 and read again                              0.7 at 256 14x14; gradients of weights, but where tiles
                                                             reach so far beyond the map that winograd2 has no more to
                                                             multiply: 6x6, 0.7 of winograd4's time at 128 channels
    winograd2    1/2.25; of a 5x5 kernel's, 1/2.8            3x3, small maps: 0.75 at 256 6x6, 0.95 at 512 7x7 (3x3
                                                             maps: direct); for winograd4 where that is too inexact.
                                                             5x5: 0.4 at 96 to 256 channels 26x26, 0.7 at 48 6x6
    direct       all of them                                 everything else

The choice depends on the layer and never on the batch: an image's result must not depend on its company.  Where
`tinycnn tune` has measured another algorithm to be faster on this machine, that one is taken (tuned.py).
"""
from functools import lru_cache

import numpy as np

from ..precision import get_float32_conv_precision
from . import tuned
from .grouped import T, suits
from .vector import REGISTERS, lanes

DIRECT = {(False, 3): 9, (True, 3): 9, (False, 5): 25, (True, 5): 16}   # (gradient of weights?, kernel's side)
LOADING = 10                                         # multiplications a pixel; measured: 384@12 and 256@14 are a draw
LEAST = {3: 32, 5: 16}                               # with fewer channels the transforms take longer than they save


def algorithm(pass_, win, inside, outside, groups, dtype):
    """"grouped", "winograd4", "winograd2" or "direct".

    pass_            "output" or "input", the map that is computed; or "weight"
    inside, outside  channels of a group, in and out
    """
    layer = tuned.Layer(pass_, win, inside, outside, groups, np.dtype(dtype))
    measured = tuned.choice(layer)
    return measured if measured and measured in possible(layer) else by_table(layer)


def possible(layer):
    """All algorithms that compute a layer as exactly as is asked for."""
    _, win, inside, outside, groups, dtype = layer
    grouped = ["grouped"] * (groups > 1 and (inside == 1 or suits(inside, outside, dtype)))
    exact = get_float32_conv_precision() == "highest"
    sizes = () if not _transformable(win, inside, outside, groups, dtype) else (4, 2) if win.KH == 3 else (2,)
    return ["direct", *grouped, *(f"winograd{m}" for m in sizes if m + win.KH - 1 == 4 or not exact)]


def by_table(layer):
    """The table's choice."""
    return _cheapest(layer, get_float32_conv_precision())


@lru_cache(1024)                                     # for a small layer the choice takes as long as the work
def _cheapest(layer, precision):
    """What the table says while the precision is this one."""
    pass_, win, inside, _, _, dtype = layer
    names = possible(layer)
    alone = REGISTERS == 32 and inside == lanes(dtype) and (pass_ != "weight" or win.OW < T)
    if "grouped" in names and not alone:
        return "grouped"
    height, width = (win.H, win.W) if pass_ == "input" else (win.OH, win.OW)
    costs = {"direct": DIRECT.get((pass_ == "weight", win.KH), 0)}
    costs |= {f"winograd{m}": _cost(pass_, height, width, m, win.KH) for m in (2, 4) if f"winograd{m}" in names}
    return min(costs, key=costs.get)


def _cost(pass_, height, width, m, r):
    """Multiplications a pixel with m x m tiles, and what the transformed weights, (m + r - 1)^2 of them, add on a map
    so small that they are hardly used before the next ones come.  The gradient of weights is spared that."""
    places = (m + r - 1) ** 2
    covered = -(-height // m) * -(-width // m) * m * m / (height * width)    # pixels of tiles, in those of the map
    return places / m ** 2 * covered + (0 if pass_ == "weight" else LOADING * places / (height * width))


def _transformable(win, inside, outside, groups, dtype):
    plain = win.KH == win.KW in (3, 5) and (win.SH, win.SW, win.DH, win.DW) == (1, 1, 1, 1) and groups == 1
    whole = not (inside % lanes(dtype) or outside % lanes(dtype))
    return dtype == np.float32 and plain and whole and min(inside, outside) >= LEAST[win.KH]
