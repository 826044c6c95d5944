"""Mixed precision: inside `with autocast(...)`, functions choose the precision they compute in.

    conv2d, linear, matmul, ...       16 bits: their inputs are rounded first; products of 16 bits, sums of 32
    softmax, losses, exp, sum, ...    float32: their inputs are widened first, for range or because they add up much
    cat, stack, dot, ...              the widest of their inputs
    everything else                   what comes: a ReLU or a pooling of 16 bits gives 16 bits

Parameters stay float32: what is rounded is a copy, and gradients come back in float32.  16 bits halve the bytes of
activations, and tensor cores multiply them fastest.  Micikevicius et al. (2018), Mixed Precision Training
(arXiv:1710.03740); the lists are torch.autocast's, with
mean, var and std among the wide: here they are sums.
"""
from __future__ import annotations

import threading
from contextlib import ContextDecorator
from functools import wraps
from typing import Any, Callable

import numpy as np

from .backend import autocast_dtype, known
from .dtypes import floating, is_floating, sixteen_bits

NARROW = set("""conv1d conv2d conv2d_relu conv_transpose1d conv_transpose2d linear matmul mm bmm mv prelu""".split())
WIDE = set("""
    pow exp expm1 log log10 log1p log2 reciprocal rsqrt tan softplus cumprod cumsum prod sum mean var std norm logsumexp
    softmax log_softmax softmin layer_norm group_norm rms_norm normalize local_response_norm cosine_similarity
    pairwise_distance cross_entropy nll_loss binary_cross_entropy_with_logits kl_div l1_loss mse_loss smooth_l1_loss
    huber_loss margin_ranking_loss hinge_embedding_loss cosine_embedding_loss multi_margin_loss multilabel_margin_loss
    multilabel_soft_margin_loss soft_margin_loss poisson_nll_loss gaussian_nll_loss triplet_margin_loss
    """.split())
WIDEST = set("cat stack dot bilinear where scatter_add".split())


class _Mode(threading.local):
    current: Any = None                              # (device, dtype) of the innermost block that is enabled


_mode = _Mode()


class autocast(ContextDecorator):
    """`with` block or decorator: functions on a device compute in 16 bits where that is safe; per thread.

    device_type  "cpu", "cuda" or "cuda-emu": tensors of other devices are left alone
    dtype        float16 (the default on GPUs: use a GradScaler) or bfloat16 (needs the package ml_dtypes)
    enabled      False: full precision inside, whatever is outside

    Backward needs no autocast: each op computes its gradients in the precision it computed in.
    binary_cross_entropy raises RuntimeError inside, as torch's does: use binary_cross_entropy_with_logits.
    Raises ValueError for an unknown device, TypeError unless the dtype has 16 bits.  As torch.autocast.
    """

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True):
        where = known(device_type)
        self._wanted, self._before = (where, _half(where, dtype)) if enabled else None, []

    def __enter__(self) -> autocast:
        self._before.append(_mode.current)
        _mode.current = self._wanted
        return self

    def __exit__(self, *exception: Any) -> None:
        _mode.current = self._before.pop()

    def _recreate_cm(self):
        again = object.__new__(autocast)
        again._wanted, again._before = self._wanted, []
        return again


def _half(device, dtype):
    """The dtype to compute in.  Not asked for where autocast is switched off: ml_dtypes may not be there."""
    chosen = floating(dtype or autocast_dtype(device))
    if not sixteen_bits(chosen):
        raise TypeError(f"autocast: dtype must be float16 or bfloat16, got {chosen}")
    return chosen


def is_autocast_enabled() -> bool:
    """Whether this thread is inside an enabled autocast block.  As torch.is_autocast_enabled."""
    return _mode.current is not None


def casting(name: str, call: Callable) -> Callable:
    """`call`, the function `name`, with its inputs cast first inside autocast; itself if it takes what comes."""
    rule = _narrowed if name in NARROW else _widened if name in WIDE else _agreed if name in WIDEST else None
    if name == "binary_cross_entropy":
        rule = _refused
    if rule is None:
        return call

    @wraps(call)
    def cast_first(*args, **kwargs):
        mode = _mode.current
        if mode is None:
            return call(*args, **kwargs)
        where, dtype = mode
        to = rule(name, dtype, [t for t in _tensors([*args, *kwargs.values()]) if where == t.device])
        args, kwargs = [_cast(a, to) for a in args], {k: _cast(v, to) for k, v in kwargs.items()}
        _mode.current = None                         # what it is composed of takes what it is given
        try:
            return call(*args, **kwargs)
        finally:
            _mode.current = mode
    return cast_first


def _tensors(values):
    """Tensors, and those in lists and tuples."""
    for v in values:
        if isinstance(v, (list, tuple)):
            yield from _tensors(v)
        elif hasattr(v, "requires_grad"):
            yield v


def _cast(value, to):
    """A tensor, or a list of them, cast as `to` says: {id: dtype}."""
    if isinstance(value, (list, tuple)):
        return type(value)([_cast(v, to) for v in value])
    dtype = to.get(id(value))
    return value if dtype is None else value.to(dtype)


# The rules: name, dtype and the tensors of the device -> {id: new dtype}.

def _narrowed(name, dtype, tensors):
    return {id(t): dtype for t in tensors if t.dtype == np.float32 or sixteen_bits(t.dtype)}


def _widened(name, dtype, tensors):
    return {id(t): np.float32 for t in tensors if sixteen_bits(t.dtype)}


def _agreed(name, dtype, tensors):
    floats = [t for t in tensors if is_floating(t.dtype)]
    return _widened(name, dtype, floats) if any(not sixteen_bits(t.dtype) for t in floats) else {}


def _refused(name, dtype, tensors):
    raise RuntimeError(f"{name}: its gradient overflows in 16 bits, so it may not be used inside autocast: use "
                       "binary_cross_entropy_with_logits, or leave autocast for it (autocast(..., enabled=False))")
