"""tinycnn: a deep-learning engine small enough to read.

    import tinycnn as tc
    x = tc.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    x.grad                                           # Tensor([2., 4.], dtype=float32)

What torch has at its top level is here, what it has in torch.nn.functional is in tc.nn.functional; names, arguments
and defaults are PyTorch's, dtypes NumPy's.  tc.nn, tc.optim, tc.models, tc.data, tc.train and the rest are loaded when
they are first used; kernels are compiled when they are first called.
"""
from __future__ import annotations

from importlib import import_module as _import_module

import numpy as _np

from . import _checkout, autograd, derivatives
from .amp import autocast, is_autocast_enabled
from .autograd import (
    Tensor, enable_grad, grad, is_anomaly_enabled, is_grad_enabled, no_grad, op, set_grad_enabled,
)
from .backend import (
    empty_cache, get_float32_conv_precision, get_float32_matmul_precision, set_float32_conv_precision,
    set_float32_matmul_precision, use_tuned_convolutions,
)
from .explain import explain as _explain
from .graph import graph as _graph
from .gradcheck import gradcheck, gradcheck_model, gradgradcheck
from .ops.activation import celu, hardshrink, prelu, relu, selu, threshold
from .ops.basic import (
    add, broadcast_to, div, div as divide, matmul, mul, mul as multiply, neg, permute, reshape, sub, sub as subtract,
)
from .ops.compare import (
    allclose, bitwise_and, bitwise_not, bitwise_or, bitwise_xor, eq, equal, ge, gt, isclose, isfinite, isinf, isnan, le,
    logical_and, logical_not, logical_or, logical_xor, lt, ne,
)
from .ops.conv import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from .ops.creation import (
    arange, as_tensor, empty, empty_like, eye, from_numpy, full, full_like, linspace, ones, ones_like, rand,
    rand_like, randint, randn, randn_like, randperm, tensor, zeros, zeros_like,
)
from .ops.division import floor_divide, remainder
from .ops.dropout import alpha_dropout, dropout, feature_alpha_dropout, rrelu
from .ops.image import channel_shuffle, pixel_shuffle, pixel_unshuffle
from .ops.index import (
    gather, index_select, masked_fill, masked_select, nonzero, repeat_interleave, scatter, scatter_add, take_along_dim,
)
from .ops.linalg import bmm, diag, diagonal, dot, einsum, mm, mv, outer, trace, tril, triu
from .ops.linear import bilinear, embedding
from .ops.loss import binary_cross_entropy_with_logits, kl_div
from .ops.margin import (
    cosine_embedding_loss, cosine_similarity, hinge_embedding_loss, margin_ranking_loss, pairwise_distance,
    poisson_nll_loss, triplet_margin_loss,
)
from .ops.math import (
    abs, ceil, clamp, clip, cos, erf, exp, expm1, floor, lerp, log, log10, log1p, log2, maximum, minimum,
    nan_to_num, pow, reciprocal, round, rsqrt, sigmoid, sign, sin, sqrt, square, tan, tanh, trunc, where,
)
from .ops.norm import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from .ops.order import argmax, argmin, argsort, max, min, sort, topk
from .ops.pool import adaptive_avg_pool1d, adaptive_max_pool1d, avg_pool1d, max_pool1d, max_pool2d
from .ops.reduce import all, amax, amin, any, count_nonzero, cumprod, cumsum, logsumexp, mean, norm, prod, std, sum, var
from .ops.shape import (
    cat, chunk, clone, flatten, flip, meshgrid, movedim, narrow, roll, select, split, squeeze, stack, swapaxes, t, tile,
    transpose, unbind, unflatten, unsqueeze,
)
from .ops.softmax import log_softmax, softmax
from .random import get_rng_state, manual_seed, set_rng_state
from .recompute import checkpoint, checkpoint_sequential

autograd.graph = _graph
autograd.functional = derivatives                   # torch's name for it; it is built on autograd, not part of it

__version__ = "0.1.0"

float16, float32, float64 = _np.float16, _np.float32, _np.float64
int8, int16, int32, int64, uint8, bool_ = _np.int8, _np.int16, _np.int32, _np.int64, _np.uint8, _np.bool_

_SUBMODULES = ("amp", "autograd", "backend", "cases", "cli", "conformance", "cuda", "data", "distributed", "io",
               "kernels", "models", "nn", "ops", "optim", "random", "summary", "train")
_FROM = {"save": "io", "load": "io"}                 # name -> the submodule that has it


def __getattr__(name: str):
    if name in _SUBMODULES:
        return _import_module(f"{__name__}.{name}")
    if name == "bfloat16":                           # of the package ml_dtypes, which not everybody has
        return _import_module(f"{__name__}.dtypes").bfloat16()
    if name in _FROM:
        return getattr(_import_module(f"{__name__}.{_FROM[name]}"), name)
    raise AttributeError(f"module 'tinycnn' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_SUBMODULES, *_FROM})
