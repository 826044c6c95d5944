"""Normalisation on the GPU: see norm.cu."""
from __future__ import annotations

from math import prod
from typing import NamedTuple

from ..reference import norm as reference
from .arrays import channels_last, dense, in_float, new, new_like, parameter, plain, team, wide
from .launch import launch

__all__ = ["batch_norm", "batch_norm_backward", "batch_norm_eval", "batch_norm_eval_backward",
           "batch_norm_relu", "batch_norm_relu_backward", "batch_norm_relu_eval", "batch_norm_relu_eval_backward",
           "layer_norm", "layer_norm_backward", "group_norm", "group_norm_backward",
           "local_response_norm", "local_response_norm_backward"]
FILE = "norm.cu"
# (blocks at most, elements of a thread at least): sums of many elements, each read once; and one pass over all of them.
SUMS, PASS = (2048, 16), (8192, 4)


class Split(NamedTuple):
    """x (M, C, R) divided among blocks: norm.cu has the picture."""

    C: int
    R: int
    count: int
    lanes: int
    step: int
    parts: int

    @property
    def blocks(self) -> int:
        """One for each part of each tile of `lanes` channels."""
        return -(-self.C // self.lanes) * self.parts

    @property
    def work(self) -> tuple[int, ...]:
        """What the kernels take."""
        return self[:5]


def _split(N, C, pixels, last, size):
    most, least = size
    R = 1 if last else pixels
    power = C & -C                                   # the largest power of 2 that divides C
    lanes = 1 if R > 1 else min(256, power) if power >= 32 else min(32, 1 << (C - 1).bit_length())
    count = N * pixels
    parts = max(1, min(most // -(-C // lanes), -(-count * lanes // (256 * least))))
    step = -(-count // parts)
    return Split(C, R, count, lanes, step, -(-count // step))


def _split_images(x, last, size):
    return _split(x.shape[0], x.shape[1], prod(x.shape[2:]), last, size)


def _on_the_gpu(x):
    """Whether there is something to do, and not more than 32 bits can count."""
    return 0 < x.size < x.shape[1] << 30


# ---------------------------------------------------------------------------------------- batch norm

def _batch_norm(x, statistics, weight, bias, residual, relu, eps):
    """The pass that makes y; statistics: mean and var (C,), after both in float64 (2, C) or None."""
    last = channels_last(x)
    split, y = _split_images(x, last, PASS), new_like(x, last=last)
    launch(FILE, "batch_norm", x.dtype, x.size,
           (dense(x, last), *statistics, parameter(weight, x), parameter(bias, x), dense(residual, last, x), relu,
            dense(y, last), eps, *split.work), blocks=split.blocks)
    return y


def _by_batch(x, weight, bias, residual, relu, eps):
    last = channels_last(x)
    split, (mean, var) = _split_images(x, last, SUMS), [new(x, x.shape[1], dtype=wide(x)) for _ in range(2)]
    (means, squares), exact = new(x, 2, split.C, split.parts, dtype="float64"), new(x, 2, split.C, dtype="float64")
    launch(FILE, "batch_parts", x.dtype, x.size, (dense(x, last), means, squares, *split), blocks=split.blocks)
    threads, blocks = team(split.C, split.parts)
    launch(FILE, "batch_statistics", mean.dtype, x.size,
           (means, squares, exact, mean, var, split.C, split.count, split.step, split.parts, threads), blocks=blocks)
    return _batch_norm(x, (exact, mean, var), weight, bias, residual, relu, eps), mean, var


def _batch_norm_backward(g, y, x, mean, var, weight, eps, training, residual):
    """gx, gweight, gbias, and what of g counts (not where y <= 0, if y is given), if it is wanted."""
    last = channels_last(x)
    g, y, laid = dense(g, last, x), dense(y, last, x), dense(x, last)
    mean, var = parameter(mean, x), parameter(var, x)
    gweight, gbias, exact = _channel_gradients((g, y, laid), (mean, None, 1, 1), var, eps, _split_images(x, last, SUMS))
    split, gx, kept = _split_images(x, last, PASS), new_like(x, last=last), new_like(x, last=last) if residual else None
    launch(FILE, "batch_norm_backward", x.dtype, x.size,
           (g, y, laid, mean, var, parameter(weight, x), exact if training else None, dense(gx, last),
            dense(kept, last), eps, *split.work), blocks=split.blocks)
    return gx, gweight, gbias, kept


def _channel_gradients(arrays, statistics, var, eps, split):
    """Sums over each channel: gweight, gbias, and gbias and gweight in float64 (2, C)."""
    x = arrays[-1]
    (sums, products), exact = new(x, 2, split.C, split.parts, dtype="float64"), new(x, 2, split.C, dtype="float64")
    gweight, gbias = (new(x, split.C, dtype=wide(x)) for _ in range(2))
    launch(FILE, "channel_sums", x.dtype, x.size,
           (*arrays, *statistics[:2], sums, products, *statistics[2:], *split), blocks=split.blocks)
    threads, blocks = team(split.C, split.parts)
    launch(FILE, "channel_gradients", gweight.dtype, x.size,
           (sums, products, var, gweight, gbias, exact, eps, split.C, split.parts, threads), blocks=blocks)
    return gweight, gbias, exact


@in_float(reference)
def batch_norm(x, weight, bias, eps):
    """Normalise every channel of (N, C, ...) by its own batch.  Returns y, mean (C,), biased variance (C,)."""
    if not _on_the_gpu(x):
        return reference.batch_norm(x, weight, bias, eps)
    return _by_batch(x, weight, bias, None, False, eps)


@in_float(reference)
def batch_norm_relu(x, weight, bias, eps, residual):
    """relu(batch_norm(x) + residual), residual like x or None.  Returns y, mean (C,), biased variance (C,)."""
    if not _on_the_gpu(x):
        return reference.batch_norm_relu(x, weight, bias, eps, residual)
    return _by_batch(x, weight, bias, residual, True, eps)


@in_float(reference)
def batch_norm_eval(x, mean, var, weight, bias, eps):
    """Normalise every channel of (N, C, ...) by given statistics (C,)."""
    if not _on_the_gpu(x):
        return reference.batch_norm_eval(x, mean, var, weight, bias, eps)
    return _batch_norm(x, (None, parameter(mean, x), parameter(var, x)), weight, bias, None, False, eps)


@in_float(reference)
def batch_norm_relu_eval(x, mean, var, weight, bias, eps, residual):
    """relu(batch_norm_eval(x) + residual), residual like x or None."""
    if not _on_the_gpu(x):
        return reference.batch_norm_relu_eval(x, mean, var, weight, bias, eps, residual)
    return _batch_norm(x, (None, parameter(mean, x), parameter(var, x)), weight, bias, residual, True, eps)


@in_float(reference)
def batch_norm_backward(g, x, mean, var, weight, eps):
    """Gradients (gx, gweight, gbias) of `batch_norm` for mean and var it returned."""
    if not _on_the_gpu(x):
        return reference.batch_norm_backward(g, x, mean, var, weight, eps)
    return _batch_norm_backward(g, None, x, mean, var, weight, eps, True, False)[:3]


@in_float(reference)
def batch_norm_eval_backward(g, x, mean, var, weight, eps):
    """Gradients (gx, gweight, gbias) of `batch_norm_eval`; the statistics are constants."""
    if not _on_the_gpu(x):
        return reference.batch_norm_eval_backward(g, x, mean, var, weight, eps)
    return _batch_norm_backward(g, None, x, mean, var, weight, eps, False, False)[:3]


@in_float(reference)
def batch_norm_relu_backward(g, y, x, mean, var, weight, eps, residual):
    """Gradients (gx, gweight, gbias, gresidual) of `batch_norm_relu` for its y, mean and var; see the reference."""
    if not _on_the_gpu(x):
        return reference.batch_norm_relu_backward(g, y, x, mean, var, weight, eps, residual)
    return _batch_norm_backward(g, y, x, mean, var, weight, eps, True, residual)


@in_float(reference)
def batch_norm_relu_eval_backward(g, y, x, mean, var, weight, eps, residual):
    """The same of `batch_norm_relu_eval`; the statistics are constants."""
    if not _on_the_gpu(x):
        return reference.batch_norm_relu_eval_backward(g, y, x, mean, var, weight, eps, residual)
    return _batch_norm_backward(g, y, x, mean, var, weight, eps, False, residual)


# ---------------------------------------------------------------------------------------- layer and group norm

def _rows(x, weight, bias, eps, M, R, G, last):
    """y, mean (M,), 1/std (M,) of M rows; R pixels share a weight, G rows make an image."""
    D, y, mean, rstd = x.size // M, new_like(x, last=last), new(x, M), new(x, M)
    threads, blocks = team(M, D)
    launch(FILE, "row_norm", x.dtype, x.size,
           (dense(x, last), plain(weight, x), plain(bias, x), dense(y, last), mean, rstd, eps, M, D, R, G, last,
            threads), blocks=blocks)
    return y, mean, rstd


def _rows_backward(g, x, mean, rstd, weight, M, R, G, last):
    D, gx = x.size // M, new_like(x, last=last)
    threads, blocks = team(M, D)
    g, x, mean, rstd = dense(g, last, x), dense(x, last), plain(mean, x), plain(rstd, x)
    launch(FILE, "row_norm_backward", x.dtype, x.size,
           (g, x, mean, rstd, plain(weight, x), dense(gx, last), M, D, R, G, last, threads), blocks=blocks)
    split = _split(M // G, D // R * G, R, last, SUMS)
    return gx, *_channel_gradients((g, None, x), (mean, rstd, R, G), None, 0, split)[:2]


@in_float(reference)
def layer_norm(x, weight, bias, eps):
    """Normalise every row of (M, D).  Returns y, mean (M,), 1/std (M,)."""
    if not x.size:
        return reference.layer_norm(x, weight, bias, eps)
    return _rows(x, weight, bias, eps, x.shape[0], 1, 1, False)


@in_float(reference)
def layer_norm_backward(g, x, mean, rstd, weight):
    """Gradients (gx, gweight, gbias) of `layer_norm`."""
    if not x.size:
        return reference.layer_norm_backward(g, x, mean, rstd, weight)
    return _rows_backward(g, x, mean, rstd, weight, x.shape[0], 1, 1, False)


@in_float(reference)
def group_norm(x, num_groups, weight, bias, eps):
    """Normalise every image's groups of channels.  Returns y, mean (N, G), 1/std (N, G)."""
    if not x.size:
        return reference.group_norm(x, num_groups, weight, bias, eps)
    N, pixels = x.shape[0], prod(x.shape[2:])
    y, mean, rstd = _rows(x, weight, bias, eps, N * num_groups, pixels, num_groups, channels_last(x))
    return y, mean.reshape(N, num_groups), rstd.reshape(N, num_groups)


@in_float(reference)
def group_norm_backward(g, x, mean, rstd, num_groups, weight):
    """Gradients (gx, gweight, gbias) of `group_norm`."""
    if not x.size:
        return reference.group_norm_backward(g, x, mean, rstd, num_groups, weight)
    return _rows_backward(g, x, mean.reshape(-1), rstd.reshape(-1), weight, x.shape[0] * num_groups, prod(x.shape[2:]),
                          num_groups, channels_last(x))


# ---------------------------------------------------------------------------------------- response norm

@in_float(reference)
def local_response_norm(x, size, alpha, beta, k):
    """y = x / (k + alpha/size * sum of x^2 over `size` neighbouring channels)^beta"""
    last = channels_last(x)
    y = new_like(x, last=last)
    launch(FILE, "response_norm", x.dtype, x.size,
           (dense(x, last), dense(y, last), x.shape[1], 1 if last else prod(x.shape[2:]), size, alpha, beta, k, x.size))
    return y


@in_float(reference)
def local_response_norm_backward(g, x, size, alpha, beta, k):
    """Gradient of `local_response_norm`: its own factor, and each neighbour's share."""
    last = channels_last(x)
    gx = new_like(x, last=last)
    launch(FILE, "response_norm_backward", x.dtype, x.size,
           (dense(g, last, x), dense(x, last), dense(gx, last), x.shape[1], 1 if last else prod(x.shape[2:]), size,
            alpha, beta, k, x.size))
    return gx
