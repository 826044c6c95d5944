"""Normalisation on the GPU: see norm.cu."""
from __future__ import annotations

from ..reference import norm as reference
from ..reference._xp import array_module
from .arrays import in_float, new, plain
from .launch import launch

__all__ = ["batch_norm", "batch_norm_backward", "batch_norm_eval", "batch_norm_eval_backward",
           "layer_norm", "layer_norm_backward", "group_norm", "group_norm_backward",
           "local_response_norm", "local_response_norm_backward"]


def _channels(x):
    """C, the elements of one image's channel, and the elements of a channel in all images, of x (N, C, ...)."""
    C = x.shape[1]
    rest = x[0, 0].size if x.shape[0] and C else 0
    return C, rest, x.shape[0] * rest


@in_float(reference)
def batch_norm(x, weight, bias, eps):
    """Normalise every channel of (N, C, ...) by its own batch.  Returns y, mean (C,), biased variance (C,)."""
    C, rest, count = _channels(x)
    if not count:
        return reference.batch_norm(x, weight, bias, eps)
    y, mean, var = new(x, *x.shape), new(x, C), new(x, C)
    launch("norm.cu", "batch_norm", x.dtype, x.size,
           (plain(x), plain(weight, x), plain(bias, x), y, mean, var, C, rest, count, eps), blocks=C)
    return y, mean, var


@in_float(reference)
def batch_norm_eval(x, mean, var, weight, bias, eps):
    """Normalise every channel of (N, C, ...) by given statistics (C,)."""
    C, rest, _ = _channels(x)
    y = new(x, *x.shape)
    launch("norm.cu", "batch_norm_eval", x.dtype, x.size,
           (plain(x), *(plain(v, x) for v in (mean, var, weight, bias)), y, C, rest, eps, x.size))
    return y


def _batch_norm_backward(g, x, mean, var, weight, eps, training):
    C, rest, count = _channels(x)
    gx, gweight, gbias = new(x, *x.shape), new(x, C), new(x, C)
    launch("norm.cu", "batch_norm_backward", x.dtype, x.size,
           (plain(g, x), plain(x), *(plain(v, x) for v in (mean, var, weight)), gx, gweight, gbias, C, rest, count, eps,
            training), blocks=C)
    return gx, gweight, gbias


@in_float(reference)
def batch_norm_backward(g, x, mean, var, weight, eps):
    """Gradients (gx, gweight, gbias) of `batch_norm` for mean and var it returned."""
    if not x.size:
        return reference.batch_norm_backward(g, x, mean, var, weight, eps)
    return _batch_norm_backward(g, x, mean, var, weight, eps, True)


@in_float(reference)
def batch_norm_eval_backward(g, x, mean, var, weight, eps):
    """Gradients (gx, gweight, gbias) of `batch_norm_eval`; the statistics are constants."""
    if not x.size:
        return reference.batch_norm_eval_backward(g, x, mean, var, weight, eps)
    return _batch_norm_backward(g, x, mean, var, weight, eps, False)


def _rows(x, weight, bias, eps, M, D, R, G):
    """y, mean (M,), 1/std (M,) of M rows of D elements; R elements share a weight, G rows make an image."""
    y, mean, rstd = new(x, *x.shape), new(x, M), new(x, M)
    launch("norm.cu", "row_norm", x.dtype, x.size,
           (plain(x), plain(weight, x), plain(bias, x), y, mean, rstd, D, R, G, eps), blocks=M)
    return y, mean, rstd


def _rows_backward(g, x, mean, rstd, weight, M, D, R, G):
    gx, C = new(x, *x.shape), D // R * G
    gweight, gbias = new(x, C), new(x, C)
    g, x, mean, rstd = plain(g, x), plain(x), plain(mean, x), plain(rstd, x)
    launch("norm.cu", "row_norm_backward", x.dtype, x.size, (g, x, mean, rstd, plain(weight, x), gx, D, R, G), blocks=M)
    launch("norm.cu", "row_norm_parameters", x.dtype, x.size, (g, x, mean, rstd, gweight, gbias, M, D, R, G), blocks=C)
    return gx, gweight, gbias


@in_float(reference)
def layer_norm(x, weight, bias, eps):
    """Normalise every row of (M, D).  Returns y, mean (M,), 1/std (M,)."""
    if not x.size:
        return reference.layer_norm(x, weight, bias, eps)
    return _rows(x, weight, bias, eps, *x.shape, 1, 1)


@in_float(reference)
def layer_norm_backward(g, x, mean, rstd, weight):
    """Gradients (gx, gweight, gbias) of `layer_norm`."""
    if not x.size:
        return reference.layer_norm_backward(g, x, mean, rstd, weight)
    return _rows_backward(g, x, mean, rstd, weight, *x.shape, 1, 1)


@in_float(reference)
def group_norm(x, num_groups, weight, bias, eps):
    """Normalise every image's groups of channels.  Returns y, mean (N, G), 1/std (N, G)."""
    if not x.size:
        return reference.group_norm(x, num_groups, weight, bias, eps)
    N, rest = x.shape[0], _channels(x)[1]
    y, mean, rstd = _rows(x, weight, bias, eps, N * num_groups, x[0].size // num_groups, rest, num_groups)
    return y, mean.reshape(N, num_groups), rstd.reshape(N, num_groups)


@in_float(reference)
def group_norm_backward(g, x, mean, rstd, num_groups, weight):
    """Gradients (gx, gweight, gbias) of `group_norm`."""
    if not x.size:
        return reference.group_norm_backward(g, x, mean, rstd, num_groups, weight)
    rest = _channels(x)[1]
    return _rows_backward(g, x, mean.reshape(-1), rstd.reshape(-1), weight, x.shape[0] * num_groups,
                          x[0].size // num_groups, rest, num_groups)


def _pixels(x):
    """The elements of one image's channel."""
    return array_module(x).empty(x.shape[2:], "int8").size


@in_float(reference)
def local_response_norm(x, size, alpha, beta, k):
    """y = x / (k + alpha/size * sum of x^2 over `size` neighbouring channels)^beta"""
    y = new(x, *x.shape)
    launch("norm.cu", "response_norm", x.dtype, x.size,
           (plain(x), y, x.shape[1], _pixels(x), size, alpha, beta, k, x.size))
    return y


@in_float(reference)
def local_response_norm_backward(g, x, size, alpha, beta, k):
    """Gradient of `local_response_norm`: its own factor, and each neighbour's share."""
    gx = new(x, *x.shape)
    launch("norm.cu", "response_norm_backward", x.dtype, x.size,
           (plain(g, x), plain(x), gx, x.shape[1], _pixels(x), size, alpha, beta, k, x.size))
    return gx
