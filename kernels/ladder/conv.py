"""Convolution, a ladder of five rungs: the same sums, ever closer to what the processor can do, then fewer of them.

    y[n, o, oy, ox] = bias[o] + sum over c, i, j of  x[n, c, oy*SH - PH + i*DH, ox*SW - PW + j*DW] * weight[o, c, i, j]

              seven loops        im2col             tiled              register-tiled
    reads     x from anywhere    rows of a matrix   the same few       the same few, straight into
                                 that is KH*KW x    kilobytes again,   multiplications
                                 as large as x      out of the cache
    sums      one, in a          blocks, inside     48 KB at most, in  24 vectors,
              register           NumPy's BLAS       the cache          in registers
    threads   one                BLAS's own         all                all

The fifth, Winograd's, computes a 3x3 convolution with a quarter of the multiplications.  The others take any stride,
padding, dilation and number of groups, and float32 as well as float64.  The direct sum is 2 * N*OH*OW * O * C/G*KH*KW
floating-point operations, and rates are given for these on every rung.
"""
import numpy as np
from numba import njit

from ..cpu.conv import conv2d
from ..cpu.layout import nchw, nhwc
from ..cpu.threads import mine, parallel
from ..cpu.vector import lanes
from .rung import Rung

PIXELS, OUTPUTS = 16, 64                             # of a tile: 16 * 64 sums are 4 KB of float32


def _biases(bias, weight):
    return np.zeros(len(weight), weight.dtype) if bias is None else np.ascontiguousarray(bias)


# ---------------------------------------------------------------------------------------- 1: seven loops

def seven_loops(x, weight, bias, win, groups):
    """The definition, as it stands in textbooks: one loop for each letter of n, o, oy, ox, c, i, j.

        x[n, c]                weight[o, c]       y[n, o]
        . . . . . .            +-------+          . . . .
        . +-------+            | a b c |          . # . .         # = sum of nine products, and this
        . | . . . |      *     | d e f |    =     . . . .             for every channel c
        . | . . . |            | g h i |          . . . .
        . +-------+            +-------+

    Compiled, and still some hundred times slower than the machine: one product at a time, each waiting for the sum
    before it; one thread; and weights and inputs are read again for each output, from wherever they are by then.
    """
    y = np.empty((len(x), len(weight), win.OH, win.OW), x.dtype)
    _seven_loops(np.ascontiguousarray(x), np.ascontiguousarray(weight), _biases(bias, weight), win, groups, y)
    return y


@njit(cache=True)
def _seven_loops(x, weight, bias, win, groups, y):
    O, channels, KH, KW = weight.shape               # channels: of one group
    for n in range(len(x)):
        for o in range(O):
            first = o // (O // groups) * channels
            for oy in range(win.OH):
                for ox in range(win.OW):
                    total = bias[o]
                    for c in range(channels):
                        for i in range(KH):
                            for j in range(KW):
                                iy, ix = oy * win.SH - win.PH + i * win.DH, ox * win.SW - win.PW + j * win.DW
                                if 0 <= iy < win.H and 0 <= ix < win.W:
                                    total += x[n, first + c, iy, ix] * weight[o, c, i, j]
                    y[n, o, oy, ox] = total


# ---------------------------------------------------------------------------------------- 2: im2col

def im2col(x, weight, bias, win, groups):
    """Write every patch out as a column; then the convolution is a matrix product, which somebody has made fast.

        weight (O, K)          columns (K, OH*OW)                      y (O, OH*OW)
        +-----------+          +---+---+---+---+-----+                 +-----------------+
        | a b c d.. |     @    | p | p | p | p |     |        =        |                 |
        |           |          | 0 | 1 | 2 | 3 | ... |                 |                 |
        +-----------+          +---+---+---+---+-----+                 +-----------------+
                                K = C/G*KH*KW numbers each

    BLAS uses all vector units and threads.  The price: neighbouring patches overlap, so that the columns are KH*KW
    times as large as x, written once and read again.
    """
    N, C, O, K = len(x), x.shape[1], len(weight), weight[0].size
    below = max(0, (win.OH - 1) * win.SH + (win.KH - 1) * win.DH + 1 - win.PH - win.H)
    right = max(0, (win.OW - 1) * win.SW + (win.KW - 1) * win.DW + 1 - win.PW - win.W)
    padded = np.pad(x, ((0, 0), (0, 0), (win.PH, below), (win.PW, right)))
    sn, sc, sy, sx = padded.strides
    patches = np.lib.stride_tricks.as_strided(                            # a view: what overlaps is there only once
        padded, (N, C, win.KH, win.KW, win.OH, win.OW), (sn, sc, sy * win.DH, sx * win.DW, sy * win.SH, sx * win.SW))
    columns = patches.reshape(N, groups, K, win.OH * win.OW)              # a copy: here they are written out
    y = weight.reshape(groups, O // groups, K) @ columns                  # (N, G, O/G, OH*OW)
    y = y.reshape(N, O, win.OH, win.OW)
    return y if bias is None else y + bias.reshape(O, 1, 1)


# ---------------------------------------------------------------------------------------- 3: tiled

def tiled(x, weight, bias, win, groups):
    """No columns: work out a small tile of y at a time, so that all it needs stays in the first-level cache.

                         weight[c, i, j]:   | 64 outputs, side by side |        4 KB of sums
        16 pixels of     pixel  0           +--------------------------+
        one row of y:           1           |   sums of 16 pixels      |   +=   x[pixel + tap, c] * the weights above
                                ...         |   by 64 outputs          |
                               15           +--------------------------+

    A weight that was fetched serves 16 pixels, an input 64 outputs.  Channels are last in memory, in x, weight and y,
    so that the innermost loop runs over neighbours and the compiler turns it into vector code.  Tiles are independent:
    threads share them out.  What is left: every sum is fetched from the cache and put back for each single product.
    """
    O, channels = weight.shape[:2]
    y, size = np.empty((len(x), win.OH, win.OW, O), x.dtype), O // groups
    w = np.zeros((groups, win.KH, win.KW, channels, -(-size // OUTPUTS) * OUTPUTS), x.dtype)
    w[..., :size] = weight.reshape(groups, size, channels, win.KH, win.KW).transpose(0, 3, 4, 2, 1)
    w = w.reshape(groups, win.KH, win.KW, channels, -1, OUTPUTS)          # the last block is filled up with zeros
    _tiled(nhwc(x), np.ascontiguousarray(w.transpose(0, 4, 1, 2, 3, 5)), _biases(bias, weight), win, y)
    return nchw(y)


@parallel
def _tiled(thread, x, weight, bias, win, y):
    groups, blocks, KH, KW, channels, _ = weight.shape
    strips, outputs = (win.OW + PIXELS - 1) // PIXELS, len(bias) // groups
    for task in mine(thread, len(x) * win.OH * strips * groups * blocks):
        block, g, strip = task % blocks, task // blocks % groups, task // blocks // groups % strips
        row = task // blocks // groups // strips
        n, oy, ox0, o0 = row // win.OH, row % win.OH, strip * PIXELS, block * OUTPUTS
        sums = np.zeros((min(PIXELS, win.OW - ox0), OUTPUTS), x.dtype)
        for i in range(KH):
            iy = oy * win.SH - win.PH + i * win.DH
            if 0 <= iy < win.H:
                for j in range(KW):
                    ix = ox0 * win.SW - win.PW + j * win.DW
                    _add_tap(sums, x[n, iy], ix, win.SW, g * channels, weight[g, block, i, j])
        for p in range(len(sums)):
            for o in range(min(OUTPUTS, outputs - o0)):
                at = g * outputs + o0 + o
                y[n, oy, ox0 + p, at] = sums[p, o] + bias[at]


@njit(cache=True, fastmath={"contract"})             # multiply and add in one instruction
def _add_tap(sums, line, ix, step, first, weight):
    """One tap of the kernel, all channels: weight (C/G, OUTPUTS) and line (W, C), from pixel ix and channel `first`."""
    for c in range(len(weight)):
        for p in range(len(sums)):
            if 0 <= ix + p * step < len(line):
                factor = line[ix + p * step, first + c]
                for o in range(OUTPUTS):
                    sums[p, o] += factor * weight[c, o]


# ---------------------------------------------------------------------------------------- 4: register-tiled

def register_tiled(x, weight, bias, win, groups):
    """The tile is so small that its sums stay in registers: 6 pixels by 64 outputs, spelled out as vector code.

              weight:          |  16  |  16  |  16  |  16  |      4 vectors fetched
        pixel 0 --copied-->    | sum  | sum  | sum  | sum  |
              1 --copied-->    | sum  | sum  | sum  | sum  |      24 sums of 16 numbers: 24 of the 32 registers
              ...              |      |      |      |      |
              5 --copied-->    | sum  | sum  | sum  | sum  |

    Per step 10 fetches feed 24 multiply-adds, where the rung before needed two fetches and a store for each one: now
    the multipliers are the limit.  No compiler finds this tiling in ordinary loops, so kernels/cpu/microkernel.py
    generates it.  Still no columns: a patch's numbers are read where they lie in x (kernels/cpu/correlate.py).
    """
    return conv2d(x, weight, bias, win, groups, how="direct")


# ---------------------------------------------------------------------------------------- 5: Winograd

def winograd(x, weight, bias, win, groups):
    """Multiply less: 36 products for 16 neighbouring outputs, where the direct sum has 16 * 9 = 144 of them.

        x: 6x6 tile           36 numbers             36 sums               y: 4x4 tile
        +-----------+         +-----------+          +-----------+         +-------+
        | . . . . . | B' x B  | . . . . . |  times   | . . . . . | A' m A  | . . . |
        | . . . . . | ----->  | . . . . . | -------> | . . . . . | ----->  | . . . |
        | . . . . . |         | . . . . . |  G w G'  | . . . . . |         +-------+
        +-----------+         +-----------+  (6x6)   +-----------+

    Neighbouring outputs multiply the same inputs by the same weights, at different places.  Transformed, by additions
    mostly and once for all channels, tile and kernel meet in one product for each of 36 places, which all 16 outputs
    share; over the channels these are 36 matrix products, done by the register tile of the rung before.  The price is
    some accuracy: errors up to 2e-5 of the largest result (kernels/cpu/winograd.py).
    """
    return conv2d(x, weight, bias, win, groups, how="winograd4")


def winograd_limits(x, weight, bias, win, groups):
    """Winograd's tiles are made for one kind of kernel; and vectors of channels must be full."""
    if (win.KH, win.KW, win.SH, win.SW, win.DH, win.DW, groups) != (3, 3, 1, 1, 1, 1, 1):
        return "for 3x3 kernels with stride, dilation and groups of 1 only"
    if x.dtype != np.float32:
        return "for float32 only"
    full = lanes(x.dtype)
    return f"for multiples of {full} channels only" if x.shape[1] % full or len(weight) % full else ""


RUNGS = [
    Rung("seven loops", seven_loops, "NCHW"),
    Rung("im2col", im2col, "NCHW"),
    Rung("tiled", tiled, "NHWC"),
    Rung("register-tiled", register_tiled, "NHWC"),
    Rung("Winograd", winograd, "NHWC", winograd_limits),
]
