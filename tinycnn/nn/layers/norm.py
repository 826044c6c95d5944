"""Normalisation layers: functional.py's norms with their weight, bias and running statistics."""
from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...autograd import Tensor, no_grad
from .. import functional as F
from .. import init
from ..module import Module
from .base import FunctionLayer, layers, parameter, positive_sizes

__all__ = ["BatchNorm1d", "BatchNorm2d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "LayerNorm", "RMSNorm",
           *layers(globals(), FunctionLayer, {"LocalResponseNorm": ("local_response_norm", "size alpha beta k")})]


class _RunningNorm(Module):
    """Weight and bias (num_features,) if affine; running_mean, running_var and num_batches_tracked if tracked."""

    ranks: tuple[int, ...] = ()
    letters = ""

    def _set(self, num_features, eps, momentum, affine, track_running_stats, device, dtype):
        positive_sizes(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        shape = (num_features,)
        self.weight = parameter(shape, init.ones_, dtype, device) if affine else None
        self.bias = parameter(shape, init.zeros_, dtype, device) if affine else None
        kept = track_running_stats
        self.register_buffer("running_mean", parameter(shape, init.zeros_, dtype, device).detach() if kept else None)
        self.register_buffer("running_var", parameter(shape, init.ones_, dtype, device).detach() if kept else None)
        self.register_buffer("num_batches_tracked", Tensor(np.zeros((), np.int64)) if kept else None)

    def _check(self, input):
        if input.ndim not in self.ranks:
            raise ValueError(f"expected {self.letters}, got shape {input.shape}")

    def _factor(self):
        """How much the new statistics count; with momentum=None all batches count alike (a running average)."""
        if not (self.training and self.track_running_stats):
            return 0.0 if self.momentum is None else self.momentum
        with no_grad():
            self.num_batches_tracked.add_(1)
        return 1 / int(self.num_batches_tracked.item()) if self.momentum is None else self.momentum

    def extra_repr(self) -> str:
        """num_features, eps, momentum, affine, track_running_stats."""
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"track_running_stats={self.track_running_stats}")


class _BatchNorm(_RunningNorm):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: str | None = None, dtype: Any = None):
        self._set(num_features, eps, momentum, affine, track_running_stats, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """functional.batch_norm: by the batch's statistics in training, by the running ones in evaluation."""
        self._check(input)
        by_batch = self.training or self.running_mean is None
        tracked = not self.training or self.track_running_stats
        before = None if self.num_batches_tracked is None else self.num_batches_tracked.data.copy()
        try:
            return F.batch_norm(input, self.running_mean if tracked else None, self.running_var if tracked else None,
                                self.weight, self.bias, by_batch, self._factor(), self.eps)
        except Exception:
            if before is not None:
                self.num_batches_tracked.data = before           # a refused batch is not counted
            raise


class BatchNorm1d(_BatchNorm):
    """See functional.batch_norm, for (N, C) and (N, C, L).  As torch.nn.BatchNorm1d."""

    ranks, letters = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """See functional.batch_norm, for (N, C, H, W).  As torch.nn.BatchNorm2d."""

    ranks, letters = (4,), "(N, C, H, W)"


class _InstanceNorm(_RunningNorm):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
                 track_running_stats: bool = False, device: str | None = None, dtype: Any = None):
        self._set(num_features, eps, momentum, affine, track_running_stats, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """functional.instance_norm; images without N are taken too."""
        self._check(input)
        x = input if input.ndim == self.ranks[-1] else input.unsqueeze(0)
        by_input = self.training or not self.track_running_stats
        y = F.instance_norm(x, self.running_mean, self.running_var, self.weight, self.bias, by_input, self._factor(),
                            self.eps)
        return y if y.ndim == input.ndim else y.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """See functional.instance_norm, for (N, C, L) or (C, L).  As torch.nn.InstanceNorm1d."""

    ranks, letters = (2, 3), "(N, C, L) or (C, L)"


class InstanceNorm2d(_InstanceNorm):
    """See functional.instance_norm, for (N, C, H, W) or (C, H, W).  As torch.nn.InstanceNorm2d."""

    ranks, letters = (3, 4), "(N, C, H, W) or (C, H, W)"


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
        """normalized_shape, eps, elementwise_affine."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


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
                 device: str | None = None, dtype: Any = None):
        positive_sizes("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.weight = parameter((num_channels,), init.ones_, dtype, device) if affine else None
        self.bias = parameter((num_channels,), init.zeros_, dtype, device) if affine else None

    def forward(self, input: Tensor) -> Tensor:
        """functional.group_norm with the layer's weight and bias."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """num_groups, num_channels, eps, affine."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"
