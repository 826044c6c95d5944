"""Losses on distances, margins and distributions.  Each takes reduction = "mean" (the default), "sum" or "none"."""
from __future__ import annotations

from itertools import zip_longest
from math import log as _log
from math import pi

from ..autograd import Tensor
from ..backend import array_module
from ..methods import function
from .activation import logsigmoid, relu, scaled_outside
from .arguments import as_tensor, check_dtypes
from .basic import add, broadcast_to, check_broadcast, div, mul, neg, reshape, sub
from .index import gather
from .loss import _check_classes, _check_labels, _check_same, _reduced
from .math import clamp, exp, log, minimum, pow, rsqrt, where
from .reduce import mean, norm, sum


# ---------------------------------------------------------------------------------------- distances

@function
def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """x1.x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim` of x1 and x2 broadcast.

    As torch.nn.functional.cosine_similarity.
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    check_dtypes("cosine_similarity", x1, x2=x2)
    check_broadcast("cosine_similarity", x1.shape, x2.shape)
    shape = tuple(max(a, b) if a and b else 0 for a, b in zip_longest(x1.shape[::-1], x2.shape[::-1], fillvalue=1))
    x1, x2 = (broadcast_to(x, shape[::-1]) for x in (x1, x2))
    lengths = [clamp(norm(x, 2, dim, keepdim=True), min=eps) for x in (x1, x2)]
    return sum(mul(div(x1, lengths[0]), div(x2, lengths[1])), dim)


@function
def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """The p-norm of x1 - x2 + eps along the last dimension.  As torch.nn.functional.pairwise_distance."""
    x1, x2 = as_tensor(x1), as_tensor(x2)
    check_dtypes("pairwise_distance", x1, x2=x2)
    check_broadcast("pairwise_distance", x1.shape, x2.shape)
    return norm(add(sub(x1, x2), eps), p, -1, keepdim=keepdim)


@function
def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) with d = pairwise_distance(p, eps).

    (..., D) each.  swap: if the positive is nearer to the negative than the anchor is, its distance counts.
    Raises ValueError unless margin > 0.  As torch.nn.functional.triplet_margin_loss.  Balntas et al. (2016), section 3.
    """
    if margin <= 0:
        raise ValueError(f"triplet_margin_loss: margin must be positive, got {margin}")
    anchor, positive, negative = map(as_tensor, (anchor, positive, negative))
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ValueError(f"triplet_margin_loss: anchor {anchor.shape}, positive {positive.shape} and negative "
                         f"{negative.shape} must have as many dimensions: unsqueeze the smaller")
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    near = pairwise_distance(anchor, positive, p, eps)
    return _reduced("triplet_margin_loss", clamp(add(sub(near, far), margin), min=0), reduction)


# ---------------------------------------------------------------------------------------- labels 1 and -1

def _by_sign(target, positive, negative):
    """positive where target is 1, negative where it is -1, 0 elsewhere."""
    t = as_tensor(target).data
    return add(where(t == 1, positive, 0.0), where(t == -1, negative, 0.0))


@function
def cosine_embedding_loss(input1, input2, target, margin=0, reduction="mean"):
    """1 - cos where target is 1, max(0, cos - margin) where it is -1, cos the cosine of the rows' angle.

    input1, input2 (N, D) and target (N,), or (D,) and ().  Raises ValueError for other shapes.
    As torch.nn.functional.cosine_embedding_loss.
    """
    input1, input2, target = map(as_tensor, (input1, input2, target))
    check_dtypes("cosine_embedding_loss", input1, input2=input2)
    if input1.ndim not in (1, 2) or input2.ndim != input1.ndim or target.ndim != input1.ndim - 1:
        raise ValueError(f"cosine_embedding_loss: expected inputs (N, D) and target (N,), or (D,) and (), got "
                         f"{input1.shape}, {input2.shape} and {target.shape}")
    check_broadcast("cosine_embedding_loss", input1.shape, input2.shape)
    squares = [add(sum(mul(x, x), -1), 1e-12) for x in (input1, input2)]
    cosine = mul(sum(mul(input1, input2), -1), rsqrt(mul(squares[0], squares[1])))
    losses = _by_sign(target, sub(1.0, cosine), clamp(sub(cosine, margin), min=0))
    return _reduced("cosine_embedding_loss", losses, reduction)


@function
def hinge_embedding_loss(input, target, margin=1.0, reduction="mean"):
    """input where target is 1, max(0, margin - input) where it is -1.  As torch.nn.functional.hinge_embedding_loss."""
    input = as_tensor(input)
    check_dtypes("hinge_embedding_loss", input)
    t = as_tensor(target).data                       # torch adds both where the target is neither
    losses = add(where(t != 1, clamp(sub(margin, input), min=0), 0.0), where(t != -1, input, 0.0))
    return _reduced("hinge_embedding_loss", losses, reduction)


@function
def margin_ranking_loss(input1, input2, target, margin=0, reduction="mean"):
    """max(0, margin - target * (input1 - input2)): input1 should be the larger where target is 1, the smaller at -1.

    Raises ValueError if the numbers of dimensions differ.  As torch.nn.functional.margin_ranking_loss.
    """
    input1, input2, target = map(as_tensor, (input1, input2, target))
    if not input1.ndim == input2.ndim == target.ndim:
        raise ValueError(f"margin_ranking_loss: input1 {input1.shape}, input2 {input2.shape} and target {target.shape} "
                         "must have as many dimensions: unsqueeze the smaller")
    return _reduced("margin_ranking_loss", clamp(sub(margin, mul(target, sub(input1, input2))), min=0), reduction)


@function
def soft_margin_loss(input, target, reduction="mean"):
    """log(1 + exp(-target * input)) for targets 1 and -1, without overflow.

    As torch.nn.functional.soft_margin_loss.
    """
    input, target = as_tensor(input), as_tensor(target)
    _check_same("soft_margin_loss", input, target)
    return _reduced("soft_margin_loss", neg(logsigmoid(mul(target, input))), reduction)


# ---------------------------------------------------------------------------------------- several classes

@function
def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, reduction="mean"):
    """The mean over the classes c other than the target t of max(0, margin - input_t + input_c)^p.

    input (N, C) or (C,), target (N,) or () or (1,), weight (C,) or None: factors by target; p 1 or 2.
    Raises as cross_entropy.  As torch.nn.functional.multi_margin_loss.
    """
    input, target, weight = map(as_tensor, (input, target, weight))
    shape = target.shape                             # of the losses
    if input.ndim < 2 and target.shape == (1,):
        target = reshape(target, ())
    input = reshape(input, (1,)) if not input.ndim else input             # one class
    _check_classes("multi_margin_loss", input, weight)
    if p not in (1, 2) or input.ndim > 2:
        raise ValueError(f"multi_margin_loss: p must be 1 or 2 and the input (N, C) or (C,), got {p} and {input.shape}")
    _check_labels("multi_margin_loss", input, target, None)
    C = input.shape[-1]
    rows, labels = reshape(input, (target.numel(), C)), target.data.reshape(-1, 1)        # (N, C), (N, 1)
    others = Tensor(array_module(labels).arange(C) != labels)
    excess = relu(add(sub(rows, gather(rows, 1, Tensor(labels))), margin))
    losses = div(sum(scaled_outside(pow(excess, p) if p != 1 else excess, others, 0), 1), C)
    if weight is not None:
        losses = mul(losses, Tensor(weight.data[labels[:, 0]]))
    return _reduced("multi_margin_loss", reshape(losses, shape), reduction)


@function
def multilabel_margin_loss(input, target, reduction="mean"):
    """The sum of max(0, 1 - input_t + input_c) over an image's classes t and all other classes c, divided by C.

    input    (N, C) or (C,)
    target   integers of the same shape: each row names its classes and then -1; what follows does not count

    Raises ValueError if the shapes differ, IndexError for a class out of range.
    As torch.nn.functional.multilabel_margin_loss.
    """
    input, target = as_tensor(input), as_tensor(target)
    _check_same("multilabel_margin_loss", input, target)
    check_dtypes("multilabel_margin_loss", input)
    if target.dtype.kind not in "iu" or input.ndim > 2:
        raise ValueError(f"multilabel_margin_loss: expected input (N, C) or (C,) and a target of integers, got "
                         f"{input.shape} and {target.dtype}")
    C, xp = input.shape[-1] if input.ndim else 1, array_module(target.data)
    rows, labels = reshape(input, (-1, C)), target.data.reshape(-1, C)
    if labels.size and not -1 <= int(labels.min()) <= int(labels.max()) < C:
        raise IndexError(f"multilabel_margin_loss: target holds {int(labels.min())}..{int(labels.max())}: classes must "
                         f"lie in 0..{C - 1}, -1 ends a row")
    named = (labels < 0).cumsum(1) == 0                                   # (N, C): before the row's first -1
    labels = xp.where(named, labels, 0)
    is_target = ((labels[:, :, None] == xp.arange(C)) & named[:, :, None]).any(1)
    excess = relu(sub(reshape(rows, (-1, 1, C)), sub(reshape(gather(rows, 1, Tensor(labels)), (-1, C, 1)), 1.0)))
    counted = Tensor(named[:, :, None] & ~is_target[:, None])             # (N, C, C): target t, other class c
    losses = div(sum(scaled_outside(excess, counted, 0), (1, 2)), C)
    return _reduced("multilabel_margin_loss", reshape(losses, input.shape[:-1]), reduction)


@function
def multilabel_soft_margin_loss(input, target, weight=None, reduction="mean"):
    """binary_cross_entropy_with_logits, averaged over the classes (the last dimension) first.

    input, target (..., C), weight broadcast to them.  As torch.nn.functional.multilabel_soft_margin_loss.
    """
    input, target = as_tensor(input), as_tensor(target)
    _check_same("multilabel_soft_margin_loss", input, target)
    losses = neg(add(mul(target, logsigmoid(input)), mul(sub(1.0, target), logsigmoid(neg(input)))))
    losses = losses if weight is None else mul(losses, weight)
    return _reduced("multilabel_soft_margin_loss", mean(losses, -1), reduction)


# ---------------------------------------------------------------------------------------- distributions

@function
def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """(log var + (input - target)^2 / var) / 2: minus the log-likelihood of `target` under normal distributions.

    var    of input's shape, or without or with 1 as its last size, or a number; below eps it counts as eps, but keeps
           its gradient
    full   add the constant log(2 pi) / 2

    Raises ValueError for a negative var or one of another shape.  As torch.nn.functional.gaussian_nll_loss.
    """
    input, target = as_tensor(input), as_tensor(target)
    var = as_tensor(var if hasattr(var, "shape") else array_module(input.data).full(input.shape, var, input.dtype))
    if var.shape == input.shape[:-1] != input.shape:
        var = reshape(var, (*var.shape, 1))
    if var.ndim != input.ndim or [m for n, m in zip(input.shape, var.shape) if n != m] not in ([], [1]):
        raise ValueError(f"gaussian_nll_loss: var {var.shape} must have the shape of the input, {input.shape}; one "
                         "size may be 1")
    if (var.data < 0).any():
        raise ValueError("gaussian_nll_loss: var has negative elements; predict its logarithm and take exp")
    var = add(var, Tensor(array_module(var.data).maximum(eps - var.data, 0)))
    d = sub(input, target)
    losses = mul(add(log(var), div(mul(d, d), var)), 0.5)
    return _reduced("gaussian_nll_loss", add(losses, _log(2 * pi) / 2) if full else losses, reduction)


@function
def poisson_nll_loss(input, target, log_input=True, full=False, eps=1e-8, reduction="mean"):
    """rate - target * log rate: minus the log-likelihood of the counts `target` under Poisson distributions.

    log_input   input is log rate, otherwise the rate, to whose logarithm's argument eps is added
    full        add Stirling's approximation of log target! where target > 1

    As torch.nn.functional.poisson_nll_loss.
    """
    input, target = as_tensor(input), as_tensor(target)
    check_dtypes("poisson_nll_loss", input)
    check_broadcast("poisson_nll_loss", input.shape, target.shape)
    if log_input:
        losses = sub(exp(input), mul(target, input))
    else:
        losses = sub(input, mul(target, log(add(input, eps))))
    if full:
        t = clamp(target, 1.0)
        stirling = add(sub(mul(t, log(t)), t), mul(log(mul(t, 2 * pi)), 0.5))
        losses = add(losses, where(target.data > 1, stirling, 0.0))
    return _reduced("poisson_nll_loss", losses, reduction)
