"""Images as a whole: borders, sizes, patches, and shuffles between channels and pixels."""
from __future__ import annotations

from math import floor

import numpy as np

from ..autograd import Tensor, op
from ..backend import array_module, kernels, window
from ..methods import function
from .basic import matmul, permute, reshape
from .index import index_select
from .shape import movedim, narrow


# ---------------------------------------------------------------------------------------- borders

@function
def pad(input, pad, mode="constant", value=None):
    """A border around the last dimensions.

    pad    (left, right) of the last dimension, then (top, bottom) of the one before, ...; negative sizes crop
    mode   "constant" (of `value`, 0 by default), "reflect" (without the edge), "replicate", "circular"

    Raises ValueError for an odd number of sizes, too many of them, or a border wider than the mode can fill.
    As torch.nn.functional.pad.
    """
    sizes = [int(n) for n in pad]
    if len(sizes) % 2 or len(sizes) > 2 * input.ndim:
        raise ValueError(f"pad: expected (left, right, top, bottom, ...), at most {2 * input.ndim} numbers for shape "
                         f"{input.shape}, got {tuple(pad)}")
    pairs = [tuple(sizes[i:i + 2]) for i in range(0, len(sizes), 2)]
    axes = [input.ndim - 1 - k for k in range(len(pairs))]
    for axis, (before, after) in zip(axes, pairs):
        if input.shape[axis] + before + after < 0:
            raise ValueError(f"pad: {(before, after)} leaves nothing of dimension {axis} of shape {input.shape}")
    if mode == "constant":
        return _pad_constant(input, axes, pairs, 0.0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise ValueError(f"pad: mode {mode!r} is none of 'constant', 'reflect', 'replicate', 'circular'")
    if value not in (None, 0, 0.0):
        raise ValueError(f"pad: mode {mode!r} takes no value")
    if not len(pairs) <= 3 or input.ndim not in (len(pairs) + 1, len(pairs) + 2):
        raise ValueError(f"pad: mode {mode!r} pads the last {len(pairs)} of {len(pairs) + 1} or {len(pairs) + 2} "
                         f"dimensions, got shape {input.shape}")
    for axis, (before, after) in zip(axes, pairs):
        if mode == "circular" and min(before, after) < 0:                 # what is cut off does not come round
            start = max(0, -before)
            input = narrow(input, axis, start, input.shape[axis] - start - max(0, -after))
            before, after = max(0, before), max(0, after)
        positions = _border_positions(input.shape, axis, before, after, mode)
        input = index_select(input, axis, positions)
    return input


def _pad_constant(x, axes, pairs, value):
    """Crop where a size is negative, then pad."""
    for axis, (before, after) in zip(axes, pairs):
        if before < 0 or after < 0:
            start = max(0, -before)
            x = narrow(x, axis, start, x.shape[axis] - start - max(0, -after))
    widths = [(0, 0)] * x.ndim
    for axis, (before, after) in zip(axes, pairs):
        widths[axis] = (max(0, before), max(0, after))
    return _surround(x, tuple(widths), value) if any(max(w) for w in widths) else x


@op
def _surround(input, widths, value):
    """input with a constant border; widths: (before, after) per dimension."""
    return array_module(input.data).pad(input.data, widths, constant_values=value), (lambda g: _inner(g, widths),)


@op
def _inner(input, widths):
    """What _surround surrounds: its adjoint for value 0."""
    slices = tuple(slice(before, n - after) for (before, after), n in zip(widths, input.shape))
    return input.data[slices], (lambda g: _surround(g, widths, 0.0),)


def _border_positions(shape, axis, before, after, mode):
    """For each position of the padded axis, the position of the input it shows."""
    n = shape[axis]
    widest = {"reflect": n - 1, "replicate": max(before, after) if n else 0, "circular": n}[mode]
    if max(before, after) > widest:
        raise ValueError(f"pad: a {mode} border of {max(before, after)} does not fit dimension {axis} of shape "
                         f"{shape}: at most {widest}")
    at = np.arange(-before, n + after)
    if mode == "reflect":
        at = np.abs(at)
        return np.where(at >= n, 2 * (n - 1) - at, at)
    return at.clip(0, n - 1) if mode == "replicate" else at % n


# ---------------------------------------------------------------------------------------- sizes

@function
def interpolate(input, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None,
                antialias=False):
    """(N, C, *sizes) at other sizes, given by `size` or as multiples by `scale_factor`.

    mode           "nearest", "nearest-exact", "linear" (3-D), "bilinear" (4-D), "bicubic" (4-D), "trilinear" (5-D),
                   "area"
    align_corners  whether the corner pixels' centres (True) or the images' outlines (False, the default) coincide
    antialias      for "bilinear" and "bicubic": an output pixel of a smaller image is the mean of all it covers

    Raises ValueError for a mode that does not fit the dimensions or the options, or for both or neither of size and
    scale_factor.  As torch.nn.functional.interpolate.
    """
    dims = input.ndim - 2
    if dims < 1:
        raise ValueError(f"interpolate: expected (N, C, sizes...), got shape {input.shape}")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias goes with modes 'bilinear' and 'bicubic', not with {mode!r}")
    expected = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
    if mode not in ("nearest", "nearest-exact", "area", *expected) or expected.get(mode, dims) != dims:
        raise ValueError(f"interpolate: mode {mode!r} does not fit shape {input.shape}: nearest, nearest-exact and "
                         "area fit all, linear needs 3 dimensions, bilinear and bicubic 4, trilinear 5")
    if align_corners is not None and mode not in expected:
        raise ValueError(f"interpolate: align_corners has no meaning for mode {mode!r}")
    sizes, ratios = _target("interpolate", input.shape[2:], size, scale_factor, recompute_scale_factor)
    for axis, (n, ratio) in enumerate(zip(sizes, ratios), 2):
        if mode in ("nearest", "nearest-exact"):
            half = 0.5 if mode == "nearest-exact" else 0.0
            at = np.floor((np.arange(n) + half) * ratio).astype(np.int64).clip(0, input.shape[axis] - 1)
            input = index_select(input, axis, at)
        else:
            input = _mix(input, axis, _areas(input.shape[axis], n) if mode == "area" else
                         (_filtering if antialias else _mixing)(input.shape[axis], n, ratio, bool(align_corners),
                                                                mode == "bicubic"))
    return input


def _target(name, sizes, size, scale_factor, recompute):
    """Output sizes, and input pixels per output pixel."""
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{name}: give either size or scale_factor")
    given = size if size is not None else scale_factor
    given = tuple(given) if isinstance(given, (tuple, list)) else (given,) * len(sizes)
    if len(given) != len(sizes):
        raise ValueError(f"{name}: {given} must hold one number for each of the sizes {sizes}")
    if size is not None:
        if recompute:
            raise ValueError(f"{name}: recompute_scale_factor goes with scale_factor, not with size")
        out = tuple(int(n) for n in given)
        ratios = [n / k if k else 0.0 for n, k in zip(sizes, out)]
    else:
        out = tuple(floor(n * s) for n, s in zip(sizes, given))
        ratios = [n / k if k else 0.0 for n, k in zip(sizes, out)] if recompute else [1 / s for s in given]
    if min(out) < 1:
        raise ValueError(f"{name}: the output would have sizes {out}")
    return out, ratios


def _areas(n, out):
    """(out, n): the mean over the inputs floor(i*n/out) .. ceil((i+1)*n/out), as adaptive pooling takes it."""
    at, i = np.arange(n), np.arange(out)[:, None]
    inside = (at >= i * n // out) & (at < -(-(i + 1) * n // out))
    return inside / inside.sum(1, keepdims=True)


def _mixing(n, out, ratio, align_corners, cubic):
    """(out, n): the weight of every input in every output, along one axis."""
    if align_corners:
        source = np.arange(out) * ((n - 1) / (out - 1) if out > 1 else 0.0)
    else:
        source = (np.arange(out) + 0.5) * ratio - 0.5
        source = source if cubic else source.clip(0)
    first = np.floor(source).astype(np.int64)
    part = source - first
    table = np.zeros((out, n))
    taps = [(0, 1 - part), (1, part)] if not cubic else [(k - 1, _cubic(np.abs(part + 1 - k))) for k in range(4)]
    for k, weight in taps:
        np.add.at(table, (np.arange(out), (first + k).clip(0, n - 1)), weight)
    return table


def _filtering(n, out, ratio, align_corners, cubic):
    """The same with the filter stretched over the inputs that an output covers, as Pillow does it."""
    if align_corners:
        ratio = (n - 1) / (out - 1) if out > 1 else 0.0
    apart = np.abs(np.arange(n) + 0.5 - ratio * (np.arange(out)[:, None] + 0.5)) / max(ratio, 1.0)
    table = _cubic(apart, -0.5) if cubic else (1 - apart).clip(0)
    return table / table.sum(1, keepdims=True)


def _cubic(d, a=-0.75):
    """The convolution kernel of Keys (1981) at distance d."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _mix(x, axis, table):
    """Every line along the axis times the table."""
    lines = movedim(x, axis, -1)                                          # (..., n)
    weights = Tensor(array_module(lines.data).asarray(table.T.astype(lines.dtype)))
    out = matmul(reshape(lines, (-1, lines.shape[-1])), weights)
    return movedim(reshape(out, (*lines.shape[:-1], len(table))), -1, axis)


# ---------------------------------------------------------------------------------------- channels <-> pixels

@function
def pixel_shuffle(input, upscale_factor):
    """(..., C*r*r, H, W) -> (..., C, H*r, W*r).  As torch.nn.functional.pixel_shuffle.  Shi et al. 2016."""
    r = upscale_factor
    *lead, CRR, H, W = _at_least_3d("pixel_shuffle", input)
    if r < 1 or CRR % (r * r):
        raise ValueError(f"pixel_shuffle: {CRR} channels are not a multiple of upscale_factor squared, {r}^2")
    n = len(lead)
    x = reshape(input, (*lead, CRR // (r * r), r, r, H, W))
    x = permute(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))            # (..., C, H, r, W, r)
    return reshape(x, (*lead, CRR // (r * r), H * r, W * r))


@function
def pixel_unshuffle(input, downscale_factor):
    """(..., C, H*r, W*r) -> (..., C*r*r, H, W).  As torch.nn.functional.pixel_unshuffle."""
    r = downscale_factor
    *lead, C, HR, WR = _at_least_3d("pixel_unshuffle", input)
    if r < 1 or HR % r or WR % r:
        raise ValueError(f"pixel_unshuffle: sizes {HR}x{WR} are not multiples of downscale_factor {r}")
    n = len(lead)
    x = reshape(input, (*lead, C, HR // r, r, WR // r, r))
    x = permute(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))            # (..., C, r, r, H, W)
    return reshape(x, (*lead, C * r * r, HR // r, WR // r))


def _at_least_3d(name, x):
    if x.ndim < 3:
        raise ValueError(f"{name}: expected (..., C, H, W), got shape {x.shape}")
    return x.shape


@function
def channel_shuffle(input, groups):
    """Channels (G, C/G) read as (C/G, G): every group gets some of all.  As torch.nn.functional.channel_shuffle.

    Zhang et al. 2018, ShuffleNet, figure 1.
    """
    if input.ndim < 3 or groups < 1 or input.shape[1] % groups:
        raise ValueError(f"channel_shuffle: {groups} groups do not divide the channels of shape {input.shape} "
                         "(N, C, ...)")
    N, C, *rest = input.shape
    x = reshape(input, (N, groups, C // groups, *rest))
    return reshape(permute(x, (0, 2, 1, *range(3, x.ndim))), input.shape)


# ---------------------------------------------------------------------------------------- patches

@op
def _im2col(x, win):
    """(N, C, H, W) -> (N, C*KH*KW, OH*OW)"""
    return kernels(x.data).im2col(x.data, win), (lambda g: _col2im(g, win),)


@op
def _col2im(cols, win):
    """(N, C*KH*KW, OH*OW) -> (N, C, H, W)"""
    return kernels(cols.data).col2im(cols.data, win), (lambda g: _im2col(g, win),)


@function
def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """The patches of images as columns: (N, C, H, W) -> (N, C*KH*KW, OH*OW), or without N.

    Raises ValueError for other shapes or a kernel that does not fit.  As torch.nn.functional.unfold.
    """
    if input.ndim not in (3, 4) or 0 in input.shape[-3:]:
        raise ValueError(f"unfold: expected images (N, C, H, W) or (C, H, W), got shape {input.shape}")
    x = input if input.ndim == 4 else reshape(input, (1, *input.shape))
    cols = _im2col(x, window(x.shape[2:], kernel_size, stride, padding, dilation))
    return cols if input.ndim == 4 else reshape(cols, cols.shape[1:])


@function
def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """The adjoint of unfold: patches added up into images, (N, C*KH*KW, L) -> (N, C, *output_size), or without N.

    Raises ValueError if the number of rows or columns does not fit the geometry.  As torch.nn.functional.fold.
    """
    if input.ndim not in (2, 3):
        raise ValueError(f"fold: expected (N, C*KH*KW, L) or (C*KH*KW, L), got shape {input.shape}")
    cols = input if input.ndim == 3 else reshape(input, (1, *input.shape))
    win = window(output_size, kernel_size, stride, padding, dilation)
    if cols.shape[1] % (win.KH * win.KW) or cols.shape[2] != win.OH * win.OW:
        raise ValueError(f"fold: shape {input.shape} does not fit: the rows must be a multiple of {win.KH}*{win.KW}, "
                         f"the columns {win.OH}*{win.OW}")
    x = _col2im(cols, win)
    return x if input.ndim == 3 else reshape(x, x.shape[1:])
