"""Activations."""
from __future__ import annotations

from typing import Any

from ...autograd import Tensor
from .. import functional as F
from .. import init
from ..module import Module
from .base import FunctionLayer, layers, parameter

__all__ = layers(globals(), FunctionLayer, {
    "ReLU": ("relu", "inplace"),
    "ReLU6": ("relu6", "inplace"),
    "LeakyReLU": ("leaky_relu", "negative_slope inplace"),
    "ELU": ("elu", "alpha inplace"),
    "SELU": ("selu", "inplace"),
    "CELU": ("celu", "alpha inplace"),
    "GELU": ("gelu", "approximate"),
    "SiLU": ("silu", "inplace"),
    "Mish": ("mish", "inplace"),
    "Hardswish": ("hardswish", "inplace"),
    "Hardsigmoid": ("hardsigmoid", "inplace"),
    "Hardtanh": ("hardtanh", "min_val max_val inplace"),
    "Softplus": ("softplus", "beta threshold"),
    "Softsign": ("softsign", ""),
    "Softshrink": ("softshrink", "lambd"),
    "Hardshrink": ("hardshrink", "lambd"),
    "Tanhshrink": ("tanhshrink", ""),
    "Threshold": ("threshold", "threshold value inplace"),
    "LogSigmoid": ("logsigmoid", ""),
    "GLU": ("glu", "dim"),
    "Sigmoid": ("sigmoid", ""),
    "Tanh": ("tanh", ""),
    "Softmin": ("softmin", "dim"),
    "Softmax": ("softmax", "dim"),
    "LogSoftmax": ("log_softmax", "dim"),
}) + ["PReLU", "RReLU", "Softmax2d"]


class PReLU(Module):
    """See functional.prelu; weight (num_parameters,), one slope for all channels or one each.  As torch.nn.PReLU."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: str | None = None, dtype: Any = None):
        self.num_parameters = num_parameters
        self.weight = parameter((num_parameters,), lambda p: _constant(p, init), dtype, device)

    def forward(self, input: Tensor) -> Tensor:
        """functional.prelu with the layer's slopes."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """num_parameters."""
        return f"num_parameters={self.num_parameters}"


def _constant(p, value):
    init.constant_(p, value)


class RReLU(FunctionLayer):
    """See functional.rrelu; the slope is random in training.  As torch.nn.RReLU."""

    function, takes = "rrelu", ("lower", "upper", "inplace")

    def forward(self, input: Tensor) -> Tensor:
        """functional.rrelu in the layer's mode."""
        return F.rrelu(input, self.lower, self.upper, self.training)


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W).  As torch.nn.Softmax2d."""

    def forward(self, input: Tensor) -> Tensor:
        """Softmax over dim -3."""
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected (N, C, H, W) or (C, H, W), got shape {input.shape}")
        return F.softmax(input, -3)
