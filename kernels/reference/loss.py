"""Softmax and cross-entropy over the rows of (M, C).

    softmax(x)_c     = exp(x_c) / sum_k exp(x_k)          computed from x - max(x): exp never overflows
    log_softmax(x)_c = x_c - log sum_k exp(x_k)

Cross-entropy with label smoothing e (Szegedy et al. 2016, section 7) and class weights w, for the target class t:

    loss = (1 - e) * -w_t logp_t  +  e/C * sum_c -w_c logp_c
"""
from ._xp import array_module

__all__ = ["softmax", "softmax_backward", "log_softmax", "log_softmax_backward",
           "cross_entropy", "cross_entropy_backward"]


def _below_largest(x):
    """x - max(x) of each row; rows of nothing have no maximum."""
    return x - x.max(1, keepdims=True) if x.shape[1] else x


def softmax(x):
    """(M, C) -> (M, C), every row positive with sum 1."""
    e = array_module(x).exp(_below_largest(x))
    return e / e.sum(1, keepdims=True)


def softmax_backward(g, y):
    """y * (g - sum(g * y)) for the softmax y."""
    return y * (g - (g * y).sum(1, keepdims=True))


def log_softmax(x):
    """(M, C) -> (M, C), the logarithm of softmax, exact where softmax underflows."""
    xp = array_module(x)
    shifted = _below_largest(x)
    return shifted - xp.log(xp.exp(shifted).sum(1, keepdims=True))


def log_softmax_backward(g, y):
    """g - softmax * sum(g) for the log-softmax y."""
    return g - array_module(g).exp(y) * g.sum(1, keepdims=True)


def _kept_weights(logp, target, weight, ignore_index):
    """Which rows count (M,), their classes (with 0 for the ignored), and the class weights (C,), 1 by default."""
    xp = array_module(logp)
    kept = target != ignore_index
    weight = xp.ones(logp.shape[1], logp.dtype) if weight is None else weight
    return kept, xp.where(kept, target, 0), weight


def cross_entropy(x, target, weight, ignore_index, label_smoothing):
    """Logits (M, C) and classes (M,) -> the weighted loss of each row (M,), and log-softmax (M, C)."""
    logp = log_softmax(x)
    return row_losses(logp, target, weight, ignore_index, label_smoothing), logp


def row_losses(logp, target, weight, ignore_index, label_smoothing):
    """`cross_entropy` of the rows (M,), from log-softmax."""
    xp, (M, C) = array_module(logp), logp.shape
    kept, classes, w = _kept_weights(logp, target, weight, ignore_index)
    losses = -w[classes] * logp[xp.arange(M), classes]
    if label_smoothing:                        # else 0 * inf, where a class is impossible
        losses = losses * (1 - label_smoothing) - (w * logp).sum(1) * (label_smoothing / C)
    return xp.where(kept, losses, logp.dtype.type(0))


def cross_entropy_backward(g, logp, target, weight, ignore_index, label_smoothing):
    """The gradient of the logits for the gradients g (M,) of the rows' losses: g * (softmax * sum(share) - share)."""
    xp, (M, C) = array_module(g), logp.shape
    kept, classes, w = _kept_weights(logp, target, weight, ignore_index)
    share = xp.tile(w * logp.dtype.type(label_smoothing / max(1, C)), (M, 1))    # how much of each -logp counts
    share[xp.arange(M), classes] += logp.dtype.type(1 - label_smoothing) * w[classes]
    gx = g[:, None] * (xp.exp(logp) * share.sum(1, keepdims=True) - share)
    return xp.where(kept[:, None], gx, logp.dtype.type(0))
