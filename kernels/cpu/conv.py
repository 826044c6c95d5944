"""Convolution: im2col a tile at a time, times the weights, in registers.

    input, channels last                  patches of 96 output        panels of the      output, channels last
    +-----------------------+             pixels: im2col              weights
    |   +-------+           |             +------------------+        +----+ +----+      +----+----+
    |   | i j c |-----------|--gather-->  | i j c  (pixel 0) |   @    | K  | | K  |  ->  | 96 pixels |
    |   +-------+           |             | i j c  (pixel 1) |        |    | |    |      | O channels|
    +-----------------------+             +------------------+        +----+ +----+      +----+----+
                                           96 x K,  K = KH*KW*C/G       NR columns each

    memory     channels last: the C channels of a tap are one contiguous run.  The patches live in scratch of the task
               and stay in its cache; nothing of the size of the whole im2col matrix is ever written
    parallel   over tiles of output pixels (and groups); tiles are cut by the shapes alone and nothing is shared, so
               the results are the same bits on any number of threads
    work       2 * N*OH*OW * O * K floating-point operations

The three passes are one gather.  With step and offsets (one per tap)

    patch of position (a, b) = input[a*step + offset_i, b*step + offset_j, :]     zeros where that lies outside

* forwards: step = stride, offset_i = i*dilation - padding.
* the gradient of the input: input pixel y gets gy at oy = (y + padding - i*dilation) / stride, for the taps where that
  is whole.  Pixels of one phase (y mod stride) share their taps: for each phase step = 1, and no zeros are multiplied.
* the gradient of the weight: the patches of the forward pass, transposed, times gy: a sum over all pixels, in parts of
  fixed size that are added up in order.

A 1x1 convolution of stride 1 is a matrix product and goes to matmul.py; a depthwise one (C/G = 1) to depthwise.py.
"""
import numpy as np
from numba import njit, prange

from . import depthwise
from .layout import nchw, nhwc
from .matmul import matmul
from .microkernel import BYTES, ROWS, move, panel_width, panels, tiles
from .threads import parallel

__all__ = ["im2col", "col2im", "conv2d", "conv2d_input", "conv2d_weight"]

TILE = 8 * ROWS                                      # output pixels of one task
PARTS = 8                                            # the most parts a sum over pixels is cut into
PART_BYTES = 1 << 21                                 # ... as long as a part's result is smaller than this


# ---------------------------------------------------------------------------------------- geometry

def _forward(win):
    """Offsets of the taps along both axes."""
    return (np.arange(win.KH) * win.DH - win.PH, np.arange(win.KW) * win.DW - win.PW)


def _phases(win):
    """For each phase of the stride: first pixel, taps and offsets along both axes."""
    def axis(size, K, S, P, D):
        for first in range(min(S, size)):
            taps = [i for i in reversed(range(K)) if (first + P - i * D) % S == 0]   # offsets then ascend
            yield first, taps, np.array([(first + P - i * D) // S for i in taps], np.int64)
    for y0, rows, yoff in axis(win.H, win.KH, win.SH, win.PH, win.DH):
        for x0, columns, xoff in axis(win.W, win.KW, win.SW, win.PW, win.DW):
            yield y0, rows, yoff, x0, columns, xoff


def _zeros(x, taps):
    """Enough zeros for a row of taps of x, in whole vectors."""
    return np.zeros(taps * x.shape[3] + BYTES, x.dtype)


def _is_pointwise(win, groups):
    """A 1x1 kernel that meets every pixel once: no gather is needed."""
    return (win.KH, win.KW, win.SH, win.SW, win.PH, win.PW, groups) == (1, 1, 1, 1, 0, 0, 1) \
        and (win.OH, win.OW) == (win.H, win.W)


def _is_depthwise(weight, groups):
    return groups > 1 and weight.shape[1] == 1


# ---------------------------------------------------------------------------------------- the three passes

def conv2d(x, weight, bias, win, groups):
    """(N, C, H, W), (O, C/G, KH, KW), (O,) or None -> (N, O, OH, OW)"""
    (N, C), O = x.shape[:2], weight.shape[0]
    x, y = nhwc(x), np.empty((N, win.OH, win.OW, O), x.dtype)
    b = np.zeros(O, x.dtype) if bias is None else np.ascontiguousarray(bias)
    if not y.size:
        return nchw(y)
    if _is_depthwise(weight, groups):
        depthwise.correlate(x, weight, b, win, y)
    elif _is_pointwise(win, groups):
        y = matmul(x.reshape(-1, C), weight.reshape(O, C).T).reshape(y.shape)
        if bias is not None:
            y += b
    else:
        w = weight.reshape(groups, O // groups, C // groups, win.KH, win.KW)
        w = w.transpose(0, 3, 4, 2, 1).reshape(groups, -1, O // groups)   # (G, KH*KW*C/G, O/G)
        w = np.concatenate([w, b.reshape(groups, 1, -1)], 1)              # the bias: one more row, met by a 1
        _correlate(x, _zeros(x, win.KW), *_forward(win), win.SH, win.SW, panels(w), 1, y, 0, 1, 0, 1)
    return nchw(y)


def conv2d_input(gy, weight, win, groups):
    """The gradient with respect to x: (N, O, OH, OW), (O, C/G, KH, KW) -> (N, C, H, W)"""
    N, O = gy.shape[:2]
    Cg = weight.shape[1]
    C = Cg * groups
    gy, gx = nhwc(gy), np.empty((N, win.H, win.W, C), gy.dtype)
    if not gx.size:
        return nchw(gx)
    if _is_depthwise(weight, groups):
        depthwise.spread(gy, weight, win, gx)
    elif _is_pointwise(win, groups):
        gx = matmul(gy.reshape(-1, O), weight.reshape(O, C)).reshape(gx.shape)
    else:
        w = weight.reshape(groups, O // groups, Cg, win.KH, win.KW)
        for y0, rows, yoff, x0, columns, xoff in _phases(win):
            if not rows or not columns:
                gx[:, y0::win.SH, x0::win.SW] = 0
                continue
            part = w[:, :, :, rows][:, :, :, :, columns].transpose(0, 3, 4, 1, 2).reshape(groups, -1, Cg)
            _correlate(gy, _zeros(gy, win.KW), yoff, xoff, 1, 1, panels(part), 0, gx, y0, win.SH, x0, win.SW)
    return nchw(gx)


def conv2d_weight(x, gy, win, groups):
    """The gradient with respect to the weight: (N, C, H, W), (N, O, OH, OW) -> (O, C/G, KH, KW)"""
    (N, C), O = x.shape[:2], gy.shape[1]
    Cg, Og = C // groups, O // groups
    x, gy = nhwc(x), nhwc(gy)
    if not x.size or not gy.size:
        return np.zeros((O, Cg, win.KH, win.KW), x.dtype)
    if groups > 1 and Cg == 1:
        return depthwise.weight(x, gy, win)
    NR = panel_width(Og, x.dtype)
    K = win.KH * win.KW * Cg
    padded = -(-Og // NR) * NR
    tiles_ = -(-N * win.OH * win.OW // TILE)
    parts = max(1, min(tiles_, PARTS, PART_BYTES * PARTS // max(1, K * padded * x.itemsize)))
    sums = np.empty((parts, groups, K, Og), x.dtype)
    _weight_sums(x, _zeros(x, win.KW), gy, *_forward(win), win.SH, win.SW, NR, sums)
    total = sums[0]
    for part in sums[1:]:
        total += part
    gw = total.reshape(groups, win.KH, win.KW, Cg, Og).transpose(0, 4, 3, 1, 2)
    return np.ascontiguousarray(gw).reshape(O, Cg, win.KH, win.KW)


# ---------------------------------------------------------------------------------------- the kernels

@njit(cache=True, nogil=True, error_model="numpy")
def gather(x, zeros, yoff, xoff, ystep, xstep, A, B, first, rows, c0, channels, ones, out):
    """Patches of the positions first .. first+rows-1 (counted over N, A, B) into out, each ended by `ones` ones.

    Runs are copied as whole vectors: what is written beyond a run is written over by the next, and out has room for
    one vector more.  zeros is at least as long as a row of taps.
    """
    H, W, C = x.shape[1:]
    flat = x.reshape(-1)
    taps, shift = xoff.size, lanes_log2(x)
    # Where the taps of a kernel row are neighbours in memory, they are copied as one run.
    joined = channels == C and (taps == 1 or (xoff[taps - 1] - xoff[0] == taps - 1 and xoff[1] - xoff[0] == 1))
    n, a, b = first // (A * B), first // B % A, first % B
    at = 0
    for _ in range(rows):
        for i in range(yoff.size):
            y = a * ystep + yoff[i]
            row = (n * H + y) * W
            if y < 0 or y >= H:
                copy(zeros, 0, out, at, taps * channels, shift)
            elif joined and b * xstep + xoff[0] >= 0 and b * xstep + xoff[0] + taps <= W:
                copy(flat, (row + b * xstep + xoff[0]) * C, out, at, taps * C, shift)
            elif joined:                             # the run is cut by the left or right border
                left = b * xstep + xoff[0]
                skip = min(max(0, -left), taps)
                keep = max(0, min(taps, W - left) - skip)
                copy(zeros, 0, out, at, skip * C, shift)
                copy(flat, (row + left + skip) * C, out, at + skip * C, keep * C, shift)
                copy(zeros, 0, out, at + (skip + keep) * C, (taps - skip - keep) * C, shift)
            else:
                for j in range(taps):
                    xx = b * xstep + xoff[j]
                    if 0 <= xx < W:
                        copy(flat, (row + xx) * C + c0, out, at + j * channels, channels, shift)
                    else:
                        copy(zeros, 0, out, at + j * channels, channels, shift)
            at += taps * channels
        for _ in range(ones):
            out[at] = 1
            at += 1
        n, a, b = step(n, a, b, A, B)


@njit(cache=True, nogil=True, error_model="numpy")
def step(n, a, b, A, B):
    """The next position, counted over N, A, B; without divisions."""
    if b + 1 < B:
        return n, a, b + 1
    return (n, a + 1, 0) if a + 1 < A else (n + 1, 0, 0)


@njit(cache=True, nogil=True, error_model="numpy")
def lanes_log2(x):
    """The logarithm to base 2 of how many numbers of x one vector holds."""
    shift = 0
    while x.itemsize << shift < BYTES:
        shift += 1
    return shift


@njit(cache=True, nogil=True, error_model="numpy")
def copy(source, start, out, at, count, shift):
    """Copy `count` numbers in whole vectors of 2^shift: up to a vector more is written, and read if it is there."""
    vectors = (count + (1 << shift) - 1) >> shift    # a division would cost as much as the copy
    if start + (vectors << shift) <= source.size:
        move(out, at, source, start, vectors)
    else:
        for k in range(count):
            out[at + k] = source[start + k]


@parallel
def _correlate(x, zeros, yoff, xoff, ystep, xstep, w, ones, out, y0, dy, x0, dx):
    """out[n, y0 + a*dy, x0 + b*dx, :] = (patch(n, a, b), ones) @ w, for all positions that lie inside out."""
    G, P, K, NR = w.shape
    A, B = (out.shape[1] - y0 + dy - 1) // dy, (out.shape[2] - x0 + dx - 1) // dx
    channels, O = x.shape[3] // G, out.shape[3] // G
    count = x.shape[0] * A * B
    strips = (count + TILE - 1) // TILE
    flat_w, flat_out = w.reshape(-1), out.reshape(-1)
    for task in prange(strips * G):
        g, first = task % G, task // G * TILE
        rows = min(TILE, count - first)
        padded = (rows + ROWS - 1) // ROWS * ROWS
        patches = np.empty(padded * K + BYTES, x.dtype)
        result = np.empty(padded * P * NR, x.dtype)
        gather(x, zeros, yoff, xoff, ystep, xstep, A, B, first, rows, g * channels, channels, ones, patches)
        for p in range(P):
            tiles(result, p * NR, P * NR, patches, 0, K, 1, padded, K, flat_w, (g * P + p) * K * NR, NR, False)
        whole = O >> lanes_log2(out)                 # whole vectors, then the rest one by one: the next pixel is not ours
        rest = whole << lanes_log2(out)
        n, a, b = first // (A * B), first // B % A, first % B
        for r in range(rows):
            at = ((n * out.shape[1] + y0 + a * dy) * out.shape[2] + x0 + b * dx) * G * O + g * O
            move(flat_out, at, result, r * P * NR, whole)
            for o in range(rest, O):
                flat_out[at + o] = result[r * P * NR + o]
            n, a, b = step(n, a, b, A, B)


@parallel
def _weight_sums(x, zeros, gy, yoff, xoff, ystep, xstep, NR, sums):
    """sums[part, g] (K, O/G) = patches' @ gy over the pixels of the part; parts are runs of whole tiles."""
    parts, G, K, O = sums.shape
    A, B = gy.shape[1], gy.shape[2]
    count, channels = x.shape[0] * A * B, x.shape[3] // G
    strips = (count + TILE - 1) // TILE
    P = (O + NR - 1) // NR
    padded = (K + ROWS - 1) // ROWS * ROWS           # here the rows of the result are the K rows of the patches'
    flat_gy, shift = gy.reshape(-1), lanes_log2(gy)
    for task in prange(parts * G):
        part, g = task // G, task % G
        patches = np.zeros(TILE * K + padded + BYTES, x.dtype)
        panel = np.zeros(P * TILE * NR + BYTES, x.dtype)
        result = np.zeros(padded * P * NR, x.dtype)
        for strip in range(part * strips // parts, (part + 1) * strips // parts):
            first = strip * TILE
            rows = min(TILE, count - first)
            gather(x, zeros, yoff, xoff, ystep, xstep, A, B, first, rows, g * channels, channels, 0, patches)
            for p in range(P):
                for r in range(rows):
                    pixel = (first + r) * G * O + g * O
                    copy(flat_gy, pixel + p * NR, panel, (p * TILE + r) * NR, min(NR, O - p * NR), shift)
                tiles(result, p * NR, P * NR, patches, 0, 1, K, padded, rows, panel, p * TILE * NR, NR, True)
        for k in range(K):
            for o in range(O):
                sums[part, g, k, o] = result[k * P * NR + o]


# ---------------------------------------------------------------------------------------- im2col for its own sake

def im2col(x, win):
    """(N, C, H, W) -> (N, C*KH*KW, OH*OW): column p holds the patch under output pixel p."""
    N, C = x.shape[:2]
    cols = np.empty((N, C, win.KH * win.KW, win.OH * win.OW), x.dtype)
    if cols.size:
        _im2col(np.ascontiguousarray(x), cols, win)
    return cols.reshape(N, C * win.KH * win.KW, win.OH * win.OW)


def col2im(cols, win):
    """The adjoint of `im2col`: add every patch back where it came from.  -> (N, C, H, W)"""
    N, C = cols.shape[0], cols.shape[1] // (win.KH * win.KW)
    x = np.zeros((N, C, win.H, win.W), cols.dtype)
    if x.size and cols.size:
        _col2im(np.ascontiguousarray(cols).reshape(N, C, win.KH * win.KW, win.OH * win.OW), x, win)
    return x


@parallel
def _im2col(x, cols, win):                           # x (N, C, H, W) -> cols (N, C, KH*KW, OH*OW)
    C = x.shape[1]
    for plane in prange(x.shape[0] * C):             # no two tasks write the same cell
        n, c = plane // C, plane % C
        for tap in range(win.KH * win.KW):
            i, j = tap // win.KW, tap % win.KW
            for oy in range(win.OH):
                y = oy * win.SH - win.PH + i * win.DH
                for ox in range(win.OW):
                    xx = ox * win.SW - win.PW + j * win.DW
                    inside = 0 <= y < win.H and 0 <= xx < win.W
                    cols[n, c, tap, oy * win.OW + ox] = x[n, c, y, xx] if inside else 0


@parallel
def _col2im(cols, x, win):                           # cols (N, C, KH*KW, OH*OW) -> x (N, C, H, W), += into zeros
    C = x.shape[1]
    for plane in prange(x.shape[0] * C):
        n, c = plane // C, plane % C
        for tap in range(win.KH * win.KW):
            i, j = tap // win.KW, tap % win.KW
            for oy in range(win.OH):
                y = oy * win.SH - win.PH + i * win.DH
                for ox in range(win.OW):
                    xx = ox * win.SW - win.PW + j * win.DW
                    if 0 <= y < win.H and 0 <= xx < win.W:
                        x[n, c, y, xx] += cols[n, c, tap, oy * win.OW + ox]
