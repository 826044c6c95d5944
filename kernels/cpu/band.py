"""Few output channels: several neighbouring pixels are computed as one, so that vectors are full.

With 6 output channels a vector of 16 numbers is two thirds empty.  But the results of R pixels of a line lie next to
each other in memory, and together they are the product of one longer patch and of a matrix in which each pixel has the
kernel where its own patch lies:

    input, one line      weights: cells x pixels            output, R = 3 pixels of O channels
                          pixel 0  pixel 1  pixel 2
    cell 0               |  w0   |    .   |    .   |
    cell 1               |  w1   |   w0   |    .   |         |  o o o  |  o o o  |  o o o  |
    cell 2         @     |  w2   |   w1   |   w0   |    =      pixel 0   pixel 1   pixel 2
    cell 3               |   .   |   w2   |   w1   |
    cell 4               |   .   |    .   |   w2   |         kernel 3 wide, stride 1

The zeros are multiplied too: (KW + R - 1) / KW of the products for 1/R of the vectors.  For the gradient of the input
of a strided convolution, R is a multiple of the stride, and all its phases are computed at once.  The gradient of the
weights is the sum of the band's places where the kernel stands.  An inf or nan of the input reaches all R pixels.
"""
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .correlate import Walk
from .panels import pack_rows
from .vector import lanes

TURN = 8                                             # what a row of taps costs beside its products, in products


class Band(NamedTuple):
    """pixels: R;  walk: from blocks of R pixels to the cells they meet;  entries: (pixel, tap, cell) of each w."""
    pixels: int
    walk: Walk
    entries: tuple


@lru_cache(1024)
def banded(win, inwards, inside, columns, dtype):
    """The cheapest `Band` along the lines of the output, or with `inwards` of the input's gradient; None: no band.

    inside, columns   channels that are summed over, and channels of a pixel that is computed
    """
    width, stride = (win.W, win.SW) if inwards else (win.OW, 1)
    best, least = None, inside * win.KW * _vectors(columns, dtype) / stride + TURN
    for R in range(stride, min(width, 4 * lanes(dtype) // columns) + 1, stride):
        band = _band(win, inwards, R) if width % R == 0 and columns < lanes(dtype) else None
        if band:
            cost = (band.walk.offsets.size * inside * _vectors(R * columns, dtype) + TURN) / R
            if cost < least:
                best, least = band, cost
    return best


def _vectors(columns, dtype):
    return -(-columns // lanes(dtype))


def _band(win, inwards, R):
    """The band of R pixels; None if between the cells that they meet there are some that none does."""
    if inwards:
        met = [(j, t, (j + win.PW - t * win.DW) // win.SW) for j in range(R) for t in range(win.KW)
               if (j + win.PW - t * win.DW) % win.SW == 0]
        count, step = win.W // R, R // win.SW
    else:
        met = [(j, t, j * win.SW - win.PW + t * win.DW) for j in range(R) for t in range(win.KW)]
        count, step = win.OW // R, R * win.SW
    low, high = min(cell for _, _, cell in met), max(cell for _, _, cell in met)
    if len({cell for _, _, cell in met}) <= high - low:
        return None
    cells = np.arange(high - low + 1)
    return Band(R, Walk(0, 1, count, step, cells, low + cells), tuple((j, t, cell - low) for j, t, cell in met))


def band_panels(band, weight, rows):
    """`Panels` of the band of weight (columns, inside, KH, KW); `rows`: the rows of the kernel that are taken."""
    columns, inside = weight.shape[:2]
    matrix = np.zeros((len(rows), band.walk.offsets.size, inside, band.pixels, columns), weight.dtype)
    for pixel, tap, cell in band.entries:
        matrix[:, cell, :, pixel] = weight[:, :, rows, tap].transpose(2, 1, 0)
    width = band.pixels * columns
    return pack_rows(matrix.reshape(-1), 1, 0, np.arange(matrix.size // width) * width, width)


def unbanded(band, sums, gw):
    """The gradient of the band, (KH * cells * inside, R * columns, filled up) -> gw (columns, inside, KH, KW)."""
    columns, inside, KH, _ = gw.shape
    sums = sums[:, :band.pixels * columns].reshape(KH, band.walk.offsets.size, inside, band.pixels, columns)
    gw[:] = 0
    for pixel, tap, cell in band.entries:
        gw[..., tap] += sums[:, cell, :, pixel].transpose(2, 1, 0)
