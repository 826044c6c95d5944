"""What is done to the parameters or gradients of a model as a whole."""
from __future__ import annotations

from math import inf
from typing import Any, Iterable

import numpy as np

from ..autograd import Tensor, no_grad
from ..backend import array_module
from ..ops.shape import cat


def _graded(parameters):
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in parameters if p.grad is not None]


def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False) -> Tensor:
    """Scale all gradients together so that the norm of all their elements is at most max_norm; returns what it was.

    Raises RuntimeError for a norm of nan or inf if error_if_nonfinite.  As torch.nn.utils.clip_grad_norm_.
    Pascanu et al. 2013, algorithm 1.
    """
    grads = _graded(parameters)
    if not grads:
        return Tensor(0.0)
    xp = array_module(grads[0].data)
    with np.errstate(all="ignore"):                  # float16's gradients overflow now and then: see GradScaler
        total = _norm(xp.stack([_norm(g.data, norm_type) for g in grads]), norm_type)
        if error_if_nonfinite and not xp.isfinite(total):
            raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {total}: the loss or a gradient "
                               "overflowed")
        scale = xp.minimum(max_norm / (total + 1e-6), 1)                  # nan stays nan, as in torch
        for g in grads:
            g.data *= scale
    return Tensor(total)


def _norm(x, p):
    """The p-norm of all elements; not linalg.norm, whose bits depend on the number of BLAS threads."""
    if p == inf:
        return abs(x).max() if x.size else x.sum()
    return (x * x).sum() ** 0.5 if p == 2 else (abs(x) ** p).sum() ** (1 / p)


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Clip every element of every gradient to +-clip_value.  As torch.nn.utils.clip_grad_value_."""
    with no_grad():
        for g in _graded(parameters):
            g.clamp_(-clip_value, clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters as one vector.  As torch.nn.utils.parameters_to_vector."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the parts of one vector into parameters.  As torch.nn.utils.vector_to_parameters.

    Raises ValueError, and changes nothing, unless it has as many elements as they.
    """
    parameters, at = list(parameters), 0
    total = sum(p.numel() for p in parameters)
    if vec.shape != (total,):
        raise ValueError(f"vector_to_parameters: the vector has shape {vec.shape}, the parameters need ({total},)")
    with no_grad():
        for p in parameters:
            p.copy_(vec.detach()[at:at + p.numel()].reshape(p.shape))
            at += p.numel()
