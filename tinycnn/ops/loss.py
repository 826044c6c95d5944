"""Losses.  Each takes reduction = "mean" (the default), "sum" or "none".

cross_entropy runs a fused kernel on rows (M, C), forwards and backwards; with create_graph its vjp differentiates the
composition log_softmax + pick the label's.  The others are compositions, stable where a naive formula overflows.
"""
from __future__ import annotations

from warnings import warn

from ..autograd import Tensor, is_grad_enabled, op, through
from ..backend import array_module, device_of, is_readable, kernels, to_device
from ..dtypes import is_floating
from ..methods import function
from .activation import logsigmoid, scaled_outside
from .arguments import as_tensor, check_dtypes
from .basic import add, check_broadcast, div, mul, neg, permute, reshape, sub
from .index import gather
from .math import abs, clamp, exp, log, log1p, where
from .reduce import mean, sum
from .softmax import log_softmax


def _reduced(name, losses, reduction, divisor=None):
    """The losses as reduction says; divisor: what "mean" divides by, if not their number."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return sum(losses)
    if reduction == "mean":
        return mean(losses) if divisor is None else div(sum(losses), divisor)
    raise ValueError(f'{name}: reduction must be "mean", "sum" or "none", got {reduction!r}')


# ---------------------------------------------------------------------------------------- classes

@op
def cross_entropy_rows(x, target, weight, ignore_index, label_smoothing):
    """Logits (M, C) and classes (M,) -> the losses (M,) of the rows, weighted, 0 where ignored."""
    k, w = kernels(x.data), None if weight is None else weight.data
    losses, logp = k.cross_entropy(x.data, target.data, w, ignore_index, label_smoothing)

    def composed(x):
        return _picked(log_softmax(x, 1), target, weight, ignore_index, label_smoothing)

    def vjp(g):
        if is_grad_enabled():
            return through(composed, [x], g)[0]
        return Tensor(k.cross_entropy_backward(g.data, logp, target.data, w, ignore_index, label_smoothing))
    return losses, (vjp,)


def _picked(logp, target, weight, ignore_index, label_smoothing):
    """What cross_entropy_rows computes, from log-probabilities, composed of ops."""
    (M, C), xp = logp.shape, array_module(logp.data)
    kept = target.data != ignore_index
    labels = xp.where(kept, target.data, 0)
    weights = xp.ones(C, logp.dtype) if weight is None else weight.data
    picked = reshape(gather(logp, 1, Tensor(labels[:, None])), (M,))
    losses = mul(picked, Tensor(-weights[labels] * (1 - label_smoothing)))
    if label_smoothing:
        losses = sub(losses, mul(sum(mul(logp, Tensor(weights)), 1), label_smoothing / C))
    return scaled_outside(losses, Tensor(kept), 0)


@function
def cross_entropy(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """-log softmax(input)[target], the loss of classification.

    input    logits (N, C), (C,) or (N, C, d1, ...), floating point
    target   classes 0..C-1, integers (N,), () or (N, d1, ...); or probabilities of input's shape
    weight   (C,): how much each class counts; "mean" divides by the sum of the targets' weights
    ignore_index      a label that does not count (classes only)
    label_smoothing   0..1: how much of each target is spread evenly over the classes (Szegedy et al. 2016, section 7)

    Raises TypeError for labels that are not integers, IndexError for one out of range (naming the row), ValueError for
    shapes or options that do not fit.  Labels on a GPU are not looked at, for the host would have to wait for them: one
    out of range makes its loss nan.  As torch.nn.functional.cross_entropy.
    """
    input, target, weight = map(as_tensor, (input, target, weight))
    _check_classes("cross_entropy", input, weight)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must lie in 0..1, got {label_smoothing}")
    if is_floating(target.dtype) and target.shape == input.shape:
        return _probable(input, target, weight, reduction, label_smoothing)
    return _labelled("cross_entropy", input, target, weight, ignore_index, reduction, lambda rows, labels:
                     cross_entropy_rows(rows, labels, weight, ignore_index, float(label_smoothing)))


@function
def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean"):
    """-input[target] for log-probabilities: cross_entropy without its softmax.

    Arguments and errors as cross_entropy, for classes.  As torch.nn.functional.nll_loss.
    """
    input, target, weight = map(as_tensor, (input, target, weight))
    _check_classes("nll_loss", input, weight)
    return _labelled("nll_loss", input, target, weight, ignore_index, reduction, lambda rows, labels:
                     _picked(rows, labels, weight, ignore_index, 0))


def _labelled(name, input, target, weight, ignore_index, reduction, losses_of):
    """The reduced losses_of(rows (M, C), labels (M,)) for input (N, C, d1, ...) and integer target (N, d1, ...)."""
    _check_labels(name, input, target, ignore_index)
    C, ndim = input.shape[min(1, input.ndim - 1)], input.ndim
    rows = input if ndim < 3 else permute(input, (0, *range(2, ndim), 1))                # (N, d1, ..., C)
    labels = Tensor(to_device(target.data.reshape(-1), device_of(input.data)))
    losses = losses_of(reshape(rows, (labels.numel(), C)), labels)
    divisor = None
    if reduction == "mean":
        kept = labels.data != ignore_index
        counted = kept if weight is None else weight.data[labels.data * kept] * kept
        divisor = Tensor(counted.sum(dtype=input.dtype))
    return _reduced(name, reshape(losses, target.shape), reduction, divisor)


def _probable(input, target, weight, reduction, label_smoothing):
    """cross_entropy for probabilities (N, C, ...) as targets."""
    dim = min(1, input.ndim - 1)
    C = input.shape[dim]
    if label_smoothing:
        target = add(mul(target, 1 - label_smoothing), label_smoothing / C)
    if weight is not None:
        target = mul(target, reshape(weight, (C, *(1,) * (input.ndim - 1 - dim))))        # (C, 1, ...)
    losses = neg(sum(mul(target, log_softmax(input, dim)), dim))
    return _reduced("cross_entropy", losses, reduction, float(losses.numel()))


def _check_classes(name, input, weight):
    check_dtypes(name, input, weight=weight)
    if not input.ndim:
        raise ValueError(f"{name}: expected input (N, C), (C,) or (N, C, ...), got a scalar")
    C = input.shape[min(1, input.ndim - 1)]
    if weight is not None and weight.shape != (C,):
        raise ValueError(f"{name}: weight has shape {weight.shape}, it must hold one number for each of the {C} "
                         f"classes of input {input.shape}")


def _check_labels(name, input, target, ignore_index):
    wanted = (*input.shape[:1], *input.shape[2:]) if input.ndim > 1 else ()
    if target.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels must be integers, got {target.dtype} of shape {target.shape}: use "
                        f"target.long(); class probabilities must have the input's shape {input.shape}")
    if target.shape != wanted:
        hint = ": use target.squeeze(1)" if target.shape == (*wanted[:1], 1, *wanted[1:]) else ""
        raise ValueError(f"{name}: target has shape {target.shape}, input {input.shape} needs {wanted}, one label for "
                         f"each prediction{hint}")
    if not is_readable(target.data):
        return
    labels, C = target.data.reshape(-1), input.shape[min(1, input.ndim - 1)]
    wrong = ((labels < 0) | (labels >= C)) & (labels != ignore_index)
    if wrong.any():
        row = int(wrong.argmax())
        raise IndexError(f"{name}: target[{row}] is {int(labels[row])}, but input {input.shape} has {C} classes: "
                         f"labels must lie in 0..{C - 1}; give the last layer more outputs or mend the label")


# ---------------------------------------------------------------------------------------- differences

def _pair(name, input, target):
    """Both as tensors; warns where they broadcast, which is rarely meant."""
    input, target = as_tensor(input), as_tensor(target)
    check_broadcast(name, input.shape, target.shape)
    if input.shape != target.shape:
        warn(f"{name}: input {input.shape} and target {target.shape} differ in shape and are broadcast: if that is not "
             "meant, reshape one of them", stacklevel=4)
    return input, target


def _elementwise(name, losses, weight, reduction, input, weighted_mean=True):
    """The losses weighted, element by element, and reduced; "mean" then divides by the sum of the weights."""
    if weight is None:
        return _reduced(name, losses, reduction)
    weight = as_tensor(weight)
    if weight.shape != input.shape:
        raise ValueError(f"{name}: weight {weight.shape} must have the shape of the input, {input.shape}")
    return _reduced(name, mul(losses, weight), reduction, sum(weight) if weighted_mean else None)


@function
def mse_loss(input, target, reduction="mean", weight=None):
    """(input - target)^2.  weight: of input's shape.  As torch.nn.functional.mse_loss."""
    input, target = _pair("mse_loss", input, target)
    d = sub(input, target)
    return _elementwise("mse_loss", mul(d, d), weight, reduction, input)


@function
def l1_loss(input, target, reduction="mean", weight=None):
    """|input - target|.  weight: of input's shape.  As torch.nn.functional.l1_loss."""
    input, target = _pair("l1_loss", input, target)
    return _elementwise("l1_loss", abs(sub(input, target)), weight, reduction, input)


def _huber(d, delta):
    """d^2/2 within delta, delta * (|d| - delta/2) beyond: c * (d - c/2) with c = d clipped to -delta..delta."""
    c = clamp(d, -delta, delta)
    return mul(c, sub(d, mul(c, 0.5)))


@function
def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """(input - target)^2 / 2 where they differ by less than delta, delta * (|input - target| - delta/2) beyond.

    Raises ValueError unless delta > 0.  As torch.nn.functional.huber_loss.  Huber (1964).
    """
    if delta <= 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    input, target = _pair("huber_loss", input, target)
    return _elementwise("huber_loss", _huber(sub(input, target), delta), weight, reduction, input, weighted_mean=False)


@function
def smooth_l1_loss(input, target, reduction="mean", beta=1.0):
    """huber_loss / beta; l1_loss for beta = 0.  As torch.nn.functional.smooth_l1_loss.

    Raises ValueError for a negative beta.  Girshick (2015), arXiv:1504.08083, equation 3.
    """
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must be at least 0, got {beta}")
    input, target = _pair("smooth_l1_loss", input, target)
    d = sub(input, target)
    return _reduced("smooth_l1_loss", div(_huber(d, beta), beta) if beta else abs(d), reduction)


# ---------------------------------------------------------------------------------------- probabilities

@op
def log_likelihood(p, target):
    """target log p + (1 - target) log(1 - p), each logarithm cut off at -100 as torch does."""
    xp, x, t = array_module(p.data), p.data, target.data
    y = t * xp.maximum(xp.log(x), -100) + (1 - t) * xp.maximum(xp.log1p(-x), -100)
    return y, (
        lambda g: div(mul(g, sub(target, p)), clamp(mul(p, sub(1.0, p)), min=1e-12)),
        lambda g: mul(g, sub(clamp(log(p), min=-100.0), clamp(log1p(neg(p)), min=-100.0))))


@function
def binary_cross_entropy(input, target, weight=None, reduction="mean"):
    """-(target log input + (1 - target) log(1 - input)) for probabilities; logarithms are cut off at -100.

    input, target   of equal shape, the input in 0..1;  weight   broadcast to them

    Raises ValueError if the shapes differ or the input leaves 0..1.  As torch.nn.functional.binary_cross_entropy.
    """
    input, target = as_tensor(input), as_tensor(target)
    check_dtypes("binary_cross_entropy", input, target=target)
    _check_same("binary_cross_entropy", input, target)
    low, high = (float(f()) for f in (input.data.min, input.data.max)) if input.numel() else (0, 0)
    if low < 0 or high > 1:                          # nan passes
        raise ValueError(f"binary_cross_entropy: the input must be probabilities in 0..1, got {low:g}..{high:g}: apply "
                         "sigmoid, or use binary_cross_entropy_with_logits")
    return _weighted("binary_cross_entropy", neg(log_likelihood(input, target)), weight, reduction)


@function
def binary_cross_entropy_with_logits(input, target, weight=None, reduction="mean", pos_weight=None):
    """binary_cross_entropy of sigmoid(input), without overflow.

    pos_weight   how much the positive targets count, broadcast to them

    Raises ValueError if the shapes do not fit.  As torch.nn.functional.binary_cross_entropy_with_logits.
    """
    input, target = as_tensor(input), as_tensor(target)
    check_dtypes("binary_cross_entropy_with_logits", input)
    _check_same("binary_cross_entropy_with_logits", input, target)
    logp = logsigmoid(input)
    if pos_weight is not None:
        logp = mul(logp, add(mul(target, sub(pos_weight, 1.0)), 1.0))
    losses = sub(mul(sub(1.0, target), input), logp)
    return _weighted("binary_cross_entropy_with_logits", losses, weight, reduction)


def _check_same(name, input, target):
    if input.shape != target.shape:
        raise ValueError(f"{name}: target {target.shape} must have the shape of the input, {input.shape}: reshape or "
                         "unsqueeze it")


def _weighted(name, losses, weight, reduction):
    return _reduced(name, losses if weight is None else mul(losses, weight), reduction)


@function
def kl_div(input, target, reduction="mean", log_target=False):
    """target * (log target - input): the divergence of log-probabilities `input` from probabilities `target`.

    reduction    also "batchmean": the sum divided by input.shape[0], the mathematical definition
    log_target   target holds log-probabilities, too

    As torch.nn.functional.kl_div.  Kullback and Leibler (1951).
    """
    input, target = _pair("kl_div", input, target)
    if log_target:
        losses = mul(exp(target), sub(target, input))
    else:
        logarithm = log(where(target.data != 0, target, 1.0))             # 0 log 0 = 0
        losses = mul(target, sub(logarithm, input))
    if reduction == "batchmean":
        return div(sum(losses), input.shape[0] if input.ndim else 1)
    return _reduced("kl_div", losses, reduction)
