"""What is done to the parameters or gradients of a model as a whole."""
from __future__ import annotations

from typing import Any, Iterable

import numpy as np

from ..autograd import Tensor, no_grad
from ..backend import array_module


def _graded(parameters):
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in parameters if p.grad is not None]


def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False) -> Tensor:
    """Scale all gradients together so that the norm of all their elements is at most max_norm; returns what it was.

    Raises RuntimeError for a norm of nan or inf if error_if_nonfinite.  As torch.nn.utils.clip_grad_norm_.
    Pascanu et al. 2013, algorithm 1.
    """
    grads = _graded(parameters)
    norms = [float(array_module(g.data).linalg.norm(g.data.reshape(-1), norm_type)) for g in grads]
    total = float(np.linalg.norm(norms, norm_type)) if norms else 0.0
    if error_if_nonfinite and not np.isfinite(total):
        raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {total}: the loss or a gradient overflowed")
    scale = max_norm / (total + 1e-6)
    if not scale >= 1:                                # also for nan, as torch
        with no_grad():
            for g in grads:
                g.mul_(scale)
    return Tensor(np.float32(total))


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Clip every element of every gradient to +-clip_value.  As torch.nn.utils.clip_grad_value_."""
    with no_grad():
        for g in _graded(parameters):
            g.clamp_(-clip_value, clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters as one vector.  As torch.nn.utils.parameters_to_vector."""
    from ..ops.shape import cat
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the parts of one vector into parameters.  As torch.nn.utils.vector_to_parameters."""
    at = 0
    with no_grad():
        for p in parameters:
            p.copy_(vec.detach()[at:at + p.numel()].reshape(p.shape))
            at += p.numel()
