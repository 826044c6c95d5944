"""Softmax and cross-entropy on the GPU: see loss.cu."""
from __future__ import annotations

from ..reference import loss as reference
from .arrays import in_float, new, plain, team
from .launch import launch

__all__ = ["softmax", "softmax_backward", "log_softmax", "log_softmax_backward",
           "cross_entropy", "cross_entropy_backward"]


def _by_rows(kernel, *arrays):
    """An array like the last one, which the kernel fills row by row from all of them."""
    x = arrays[-1]
    y = new(x, *x.shape)
    _launch(kernel, x, *(plain(a, x) for a in arrays), y)
    return y


def _launch(kernel, x, *arguments):
    threads, blocks = team(*x.shape)
    launch("loss.cu", kernel, x.dtype, x.size, (*arguments, *x.shape, threads), blocks=blocks)


@in_float(reference)
def softmax(x):
    """(M, C) -> (M, C), every row positive with sum 1."""
    return _by_rows("softmax", x)


@in_float(reference)
def softmax_backward(g, y):
    """y * (g - sum(g * y)) for the softmax y."""
    return _by_rows("softmax_backward", g, y)


@in_float(reference)
def log_softmax(x):
    """(M, C) -> (M, C), the logarithm of softmax, exact where softmax underflows."""
    return _by_rows("log_softmax", x)


@in_float(reference)
def log_softmax_backward(g, y):
    """g - softmax * sum(g) for the log-softmax y."""
    return _by_rows("log_softmax_backward", g, y)


@in_float(reference)
def cross_entropy(x, target, weight, ignore_index, label_smoothing):
    """Logits (M, C) and classes (M,) -> the weighted loss of each row (M,), and log-softmax (M, C)."""
    if not x.size:
        return reference.cross_entropy(x, target, weight, ignore_index, label_smoothing)
    logp, losses = new(x, *x.shape), new(x, x.shape[0])
    _launch("cross_entropy", x, plain(x), plain(target.astype("int64", copy=False)), plain(weight, x), logp, losses,
            ignore_index, label_smoothing)
    return losses, logp


@in_float(reference)
def cross_entropy_backward(g, logp, target, weight, ignore_index, label_smoothing):
    """The gradient of the logits for the gradients g (M,) of the rows' losses: g * (softmax * sum(share) - share)."""
    gx = new(logp, *logp.shape)
    _launch("cross_entropy_backward", logp, plain(g, logp), plain(logp), plain(target.astype("int64", copy=False)),
            plain(weight, logp), gx, ignore_index, label_smoothing)
    return gx
