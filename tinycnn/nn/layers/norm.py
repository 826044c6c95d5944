"""Normalisation layers: functional.py's norms with their weight, bias and running statistics."""
from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...autograd import Tensor, is_replaying
from .. import functional as F
from .. import init
from ..module import Module
from .base import Layer, parameter, positive_sizes

__all__ = ["BatchNorm1d", "BatchNorm2d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "LayerNorm",
           "LocalResponseNorm", "RMSNorm"]


class _RunningNorm(Module):
    """Weight and bias (num_features,) if affine; running_mean, running_var and num_batches_tracked if tracked."""

    ranks: tuple[int, ...] = ()
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    letters = ""
    unbatched = 0                                    # the number of dimensions of an input without N
    cure = "reshape or unsqueeze it"

    def _set(self, num_features, eps, momentum, affine, track_running_stats, device, dtype, bias):
        positive_sizes(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        shape = (num_features,)
        self.weight = parameter(shape, init.ones_, dtype, device) if affine else None
        self.bias = parameter(shape, init.zeros_, dtype, device) if affine and bias else None
        kept = track_running_stats
        self.register_buffer("running_mean", parameter(shape, init.zeros_, dtype, device).detach() if kept else None)
        self.register_buffer("running_var", parameter(shape, init.ones_, dtype, device).detach() if kept else None)
        self.register_buffer("num_batches_tracked", Tensor(np.zeros((), np.int64)) if kept else None)

    def _check(self, input):
        if input.ndim not in self.ranks:
            raise ValueError(f"expected an input {self.letters}, got shape {input.shape}: {self.cure}")
        C = input.shape[0 if input.ndim == self.unbatched else 1]
        if C != self.num_features:
            raise ValueError(f"input {input.shape} has {C} channels, expected {self.num_features}: use "
                             f"{type(self).__name__}({C})")

    def reset_running_stats(self) -> None:
        """Forget the running statistics."""
        if self.running_mean is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def extra_repr(self) -> str:
        """num_features, eps, momentum, affine, bias, track_running_stats."""
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}")


class _BatchNorm(_RunningNorm):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: str | None = None, dtype: Any = None, *, bias: bool = True):
        self._set(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor, *, relu: bool = False, residual: Tensor | None = None) -> Tensor:
        """functional.batch_norm: by the batch's statistics in training, by the running ones in evaluation.

        relu   functional.batch_norm_relu instead, with the residual: see nn/fused.py
        """
        self._check(input)
        counting = self.training and self.num_batches_tracked is not None
        used = counting or not self.training
        arguments = (input, self.running_mean if used else None, self.running_var if used else None, self.weight,
                     self.bias, self.training or self.running_mean is None, self._momentum(counting), self.eps)
        y = F.batch_norm_relu(*arguments, residual) if relu else F.batch_norm(*arguments)
        if counting and not is_replaying():          # after a batch that was accepted
            self.num_batches_tracked.data += 1
        return y

    def _momentum(self, counting):
        """How much the new statistics count; with momentum=None all batches count alike (a running average)."""
        if self.momentum is not None:
            return self.momentum
        return 1 / (int(self.num_batches_tracked.item()) + 1) if counting else 0.0


class BatchNorm1d(_BatchNorm):
    """See functional.batch_norm, for (N, C) and (N, C, L).  As torch.nn.BatchNorm1d."""

    ranks, letters = (2, 3), "(N, C) or (N, C, L)"
    cure = "images need BatchNorm2d, a single row unsqueeze(0)"


class BatchNorm2d(_BatchNorm):
    """See functional.batch_norm, for (N, C, H, W).  As torch.nn.BatchNorm2d."""

    ranks, letters = (4,), "(N, C, H, W)"
    cure = "a single image needs unsqueeze(0), the output of a Linear layer BatchNorm1d"


class _InstanceNorm(_RunningNorm):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
                 track_running_stats: bool = False, device: str | None = None, dtype: Any = None, *,
                 bias: bool = True):
        self._set(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        """functional.instance_norm; images without N are taken too."""
        self._check(input)
        x = input if input.ndim == self.ranks[-1] else input.unsqueeze(0)
        y = F.instance_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                            self.training or not self.track_running_stats, self.momentum or 0.0, self.eps)
        return y if y.ndim == input.ndim else y.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """See functional.instance_norm, for (N, C, L) or (C, L).  As torch.nn.InstanceNorm1d."""

    ranks, unbatched, letters = (2, 3), 2, "(N, C, L) or (C, L)"


class InstanceNorm2d(_InstanceNorm):
    """See functional.instance_norm, for (N, C, H, W) or (C, H, W).  As torch.nn.InstanceNorm2d."""

    ranks, unbatched, letters = (3, 4), 3, "(N, C, H, W) or (C, H, W)"


class LayerNorm(Module):
    """See functional.layer_norm.  weight and bias of shape normalized_shape.  As torch.nn.LayerNorm."""

    def __init__(self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
                 device: str | None = None, dtype: Any = None):
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self.weight = parameter(shape, init.ones_, dtype, device) if elementwise_affine else None
        self.bias = parameter(shape, init.zeros_, dtype, device) if elementwise_affine and bias else None

    def forward(self, input: Tensor) -> Tensor:
        """functional.layer_norm over the last dimensions."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """normalized_shape, eps, elementwise_affine, bias."""
        return (f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
                f"bias={self.bias is not None}")


class RMSNorm(Module):
    """See functional.rms_norm.  weight of shape normalized_shape.  As torch.nn.RMSNorm."""

    def __init__(self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True,
                 device: str | None = None, dtype: Any = None):
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self.weight = parameter(shape, init.ones_, dtype, device) if elementwise_affine and prod(shape) else None

    def forward(self, input: Tensor) -> Tensor:
        """functional.rms_norm over the last dimensions."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """normalized_shape, eps, elementwise_affine."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """See functional.group_norm.  weight and bias (num_channels,).  As torch.nn.GroupNorm."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
                 device: str | None = None, dtype: Any = None, *, bias: bool = True):
        positive_sizes("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.weight = parameter((num_channels,), init.ones_, dtype, device) if affine else None
        self.bias = parameter((num_channels,), init.zeros_, dtype, device) if affine and bias else None

    def forward(self, input: Tensor) -> Tensor:
        """functional.group_norm with the layer's weight and bias."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """num_groups, num_channels, eps, affine, bias."""
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")


class LocalResponseNorm(Layer):
    """Each value over a power of its neighbours' squares, across channels; see functional.local_response_norm.

    As torch.nn.LocalResponseNorm.
    """

    function = staticmethod(F.local_response_norm)
    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def extra_repr(self) -> str:
        """size, alpha, beta, k."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
