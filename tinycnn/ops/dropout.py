"""Dropout.  The mask is a function of a seed, drawn anew for each call from tinycnn.random, so nothing is stored for
backward; a captured graph (tinycnn/cuda.py) draws one for each run.  `inplace` is accepted as everywhere (see
activation.py): the result is returned, the input keeps its values.
"""
from __future__ import annotations

from math import sqrt

from ..autograd import Tensor, op
from ..backend import Varying, array_module, kernels
from ..dtypes import finfo
from ..methods import function
from ..random import draw, next_seed
from .activation import leaky_relu, scaled_outside
from .arguments import as_tensor, check_dtypes
from .basic import add, div, mul
from .softmax import softmax


@op
def drop(x, p, seed):
    """x with each element zeroed with probability p and divided by 1 - p otherwise, as `seed` decides: linear in x."""
    return kernels(x.data).dropout(x.data, p, seed), (lambda g: drop(g, p, seed),)


@function
def dropout(input, p=0.5, training=True, inplace=False):
    """Zero each element with probability p and divide the others by 1 - p; the input itself unless training.

    Raises ValueError if p is not in 0..1.  As torch.nn.functional.dropout.  Srivastava et al. (2014), section 4.
    """
    input = _checked("dropout", input, p)
    return drop(input, p, Varying(next_seed)) if training and p else input


@function
def dropout1d(input, p=0.5, training=True, inplace=False):
    """Zero whole channels of (N, C, L) or (C, L); otherwise as dropout.  As torch.nn.functional.dropout1d."""
    return _drop_channels("dropout1d", input, p, training, (2, 3), (2,))


@function
def dropout2d(input, p=0.5, training=True, inplace=False):
    """Zero whole channels of (N, C, H, W); otherwise as dropout.  (N, C, L) is taken as dropout1d takes it, by torch's
    habit.  As torch.nn.functional.dropout2d.  Tompson et al. (2015), arXiv:1411.4280, section 3.2.
    """
    return _drop_channels("dropout2d", input, p, training, (3, 4), ())


@function
def dropout3d(input, p=0.5, training=True, inplace=False):
    """Zero whole channels of (N, C, D, H, W) or (C, D, H, W); otherwise as dropout.

    As torch.nn.functional.dropout3d.
    """
    return _drop_channels("dropout3d", input, p, training, (4, 5), (4,))


def _drop_channels(name, input, p, training, ndims, unbatched):
    """unbatched: the numbers of dimensions with which the input is a single image (C, ...)."""
    input = _checked(name, input, p)
    if input.ndim not in ndims:
        raise ValueError(f"{name}: expected an input of {ndims[0]} or {ndims[1]} dimensions, got shape {input.shape}")
    if not training or not p:
        return input
    lead = 1 if input.ndim in unbatched else 2
    return mul(input, drop(_ones(input, lead), p, Varying(next_seed)))


@function
def stochastic_depth(input, p, mode, training=True):
    """Zero the whole input (mode "batch") or each image of it (mode "row") with probability p; otherwise as dropout.

    input (N, ...).  Raises ValueError for another mode or if p is not in 0..1.  As torchvision.ops.stochastic_depth.
    Huang et al. (2016), arXiv:1603.09382, section 3.
    """
    input = _checked("stochastic_depth", input, p)
    if mode not in ("batch", "row"):
        raise ValueError(f'stochastic_depth: mode must be "batch" or "row", got {mode!r}')
    return mul(input, drop(_ones(input, mode == "row"), p, Varying(next_seed))) if training and p else input


def _ones(x, lead):
    """Ones of shape (*x.shape[:lead], 1, ..., 1)."""
    return Tensor(array_module(x.data).ones((*x.shape[:lead], *(1,) * (x.ndim - lead)), x.dtype))


def _checked(name, input, p):
    input = as_tensor(input)
    check_dtypes(name, input)
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be a probability in 0..1, got {p}")
    return input


# ---------------------------------------------------------------------------------------- for selu

@function
def alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Set elements to selu's lower bound with probability p; mean and variance stay what they are for inputs of mean 0
    and variance 1.

    Raises ValueError if p is not in 0..1.  As torch.nn.functional.alpha_dropout.  Klambauer et al. (2017),
    arXiv:1706.02515, section 3.
    """
    input = _checked("alpha_dropout", input, p)
    return _drop_to_bound(input, p, input.ndim) if training and p else input


@function
def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """alpha_dropout of whole channels of (N, C, ...).  As torch.nn.functional.feature_alpha_dropout."""
    input = _checked("feature_alpha_dropout", input, p)
    if not training or not p:
        return input
    if input.ndim < 2:
        raise ValueError(f"feature_alpha_dropout: expected input (N, C, ...), got shape {input.shape}")
    return _drop_to_bound(input, p, 2)


def _drop_to_bound(input, p, lead):
    if p == 1:
        return mul(input, 0.0)
    bound = 1.7580993408473766                       # selu(x) > -bound: its scale times its alpha
    kept = drop(_ones(input, lead), p, Varying(next_seed)).data > 0
    a = 1 / sqrt((bound * bound * p + 1) * (1 - p))
    noise = kept.astype(input.dtype)
    return add(mul(input, Tensor(noise * a)), Tensor((noise - 1 + p) * (bound * a)))


# ---------------------------------------------------------------------------------------- other random functions

@function
def rrelu(input, lower=1 / 8, upper=1 / 3, training=False, inplace=False):
    """leaky_relu with a slope drawn from lower..upper for each element; with their mean unless training.

    Raises ValueError if lower > upper.  As torch.nn.functional.rrelu.  Xu et al. (2015), arXiv:1505.00853, section 2.4.
    """
    input = as_tensor(input)
    check_dtypes("rrelu", input)
    if lower > upper:
        raise ValueError(f"rrelu: lower={lower} is larger than upper={upper}: swap them")
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    slopes = Tensor(_uniform(input, lower, upper))
    positive = input.data > 0
    return add(scaled_outside(input, Tensor(positive), 0), mul(scaled_outside(input, Tensor(~positive), 0), slopes))


@function
def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    """softmax((logits + Gumbel noise) / tau, dim): a sample of the classes that can be differentiated.

    hard   return one-hot vectors, with the gradient of the soft ones
    eps    without effect, here as in torch, which keeps it for old callers: no other value is accepted

    Raises ValueError unless tau > 0.  As torch.nn.functional.gumbel_softmax.  Jang et al. (2017), arXiv:1611.01144,
    section 2.
    """
    logits = as_tensor(logits)
    check_dtypes("gumbel_softmax", logits)
    if tau <= 0 or eps != 1e-10:
        raise ValueError(f"gumbel_softmax: tau must be positive, got {tau}, and eps left alone, got {eps}")
    xp = array_module(logits.data)
    tiny = logits.dtype.type(finfo(logits.dtype).tiny)
    noise = -xp.log(-xp.log(xp.maximum(_uniform(logits, 0.0, 1.0), tiny)))
    soft = softmax(div(add(logits, Tensor(noise)), tau), dim)
    if not hard:
        return soft
    one_hot = xp.expand_dims(soft.data.argmax(dim), dim) == _places(xp, soft, dim)
    return add(soft, Tensor(one_hot.astype(soft.dtype) - soft.data))


def _places(xp, x, dim):
    """0, 1, ... along `dim`, shaped to broadcast against x."""
    return xp.arange(x.shape[dim]).reshape([-1 if i == dim % x.ndim else 1 for i in range(x.ndim)])


def _uniform(x, low, high):
    """Numbers in low..high of x's shape, dtype and kind of array."""
    numbers = Varying(lambda: draw("uniform", low, high, x.shape))
    return numbers.on(x.data, x.dtype, x.shape)
