"""Activations: each applies the function of functional.py of the same name."""
from __future__ import annotations

from typing import Any

from ...autograd import Tensor
from .. import functional as F
from .. import init as initialise
from ..module import Module
from .base import Layer, parameter

__all__ = ["CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
           "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softmax",
           "Softmax2d", "Softmin", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold"]


class ReLU(Layer):
    """max(x, 0).  As torch.nn.ReLU."""

    function = staticmethod(F.relu)
    inplace: bool = False


class ReLU6(Layer):
    """x clipped to 0..6.  As torch.nn.ReLU6."""

    function = staticmethod(F.relu6)
    inplace: bool = False


class LeakyReLU(Layer):
    """x where positive, else negative_slope * x.  As torch.nn.LeakyReLU."""

    function = staticmethod(F.leaky_relu)
    negative_slope: float = 0.01
    inplace: bool = False


class ELU(Layer):
    """x where positive, else alpha * (exp(x) - 1).  As torch.nn.ELU."""

    function = staticmethod(F.elu)
    alpha: float = 1.0
    inplace: bool = False


class SELU(Layer):
    """ELU with the scale and alpha that keep mean 0 and variance 1.  As torch.nn.SELU."""

    function = staticmethod(F.selu)
    inplace: bool = False


class CELU(Layer):
    """x where positive, else alpha * (exp(x/alpha) - 1).  As torch.nn.CELU."""

    function = staticmethod(F.celu)
    alpha: float = 1.0
    inplace: bool = False


class GELU(Layer):
    """x times the normal distribution function of x; approximate="tanh" for its quick form.  As torch.nn.GELU."""

    function = staticmethod(F.gelu)
    approximate: str = "none"


class SiLU(Layer):
    """x * sigmoid(x), also called swish.  As torch.nn.SiLU."""

    function = staticmethod(F.silu)
    inplace: bool = False


class Mish(Layer):
    """x * tanh(softplus(x)).  As torch.nn.Mish."""

    function = staticmethod(F.mish)
    inplace: bool = False


class Hardswish(Layer):
    """x * hardsigmoid(x).  As torch.nn.Hardswish."""

    function = staticmethod(F.hardswish)
    inplace: bool = False


class Hardsigmoid(Layer):
    """x/6 + 1/2 clipped to 0..1.  As torch.nn.Hardsigmoid."""

    function = staticmethod(F.hardsigmoid)
    inplace: bool = False


class Hardtanh(Layer):
    """x clipped to min_val..max_val.  As torch.nn.Hardtanh."""

    function = staticmethod(F.hardtanh)
    min_val: float = -1.0
    max_val: float = 1.0
    inplace: bool = False


class Softplus(Layer):
    """log(1 + exp(beta * x)) / beta; x itself where beta * x > threshold.  As torch.nn.Softplus."""

    function = staticmethod(F.softplus)
    beta: float = 1.0
    threshold: float = 20.0


class Softsign(Layer):
    """x / (1 + |x|).  As torch.nn.Softsign."""

    function = staticmethod(F.softsign)


class Softshrink(Layer):
    """x moved towards 0 by lambd, 0 between.  As torch.nn.Softshrink."""

    function = staticmethod(F.softshrink)
    lambd: float = 0.5

    def extra_repr(self) -> str:
        """lambd."""
        return str(self.lambd)


class Hardshrink(Layer):
    """x where |x| > lambd, else 0.  As torch.nn.Hardshrink."""

    function = staticmethod(F.hardshrink)
    lambd: float = 0.5

    def extra_repr(self) -> str:
        """lambd."""
        return str(self.lambd)


class Tanhshrink(Layer):
    """x - tanh(x).  As torch.nn.Tanhshrink."""

    function = staticmethod(F.tanhshrink)


class Threshold(Layer):
    """x where above threshold, else value.  As torch.nn.Threshold."""

    function = staticmethod(F.threshold)
    threshold: float
    value: float
    inplace: bool = False


class LogSigmoid(Layer):
    """log(sigmoid(x)).  As torch.nn.LogSigmoid."""

    function = staticmethod(F.logsigmoid)


class GLU(Layer):
    """The first half of dimension dim times the sigmoid of the second.  As torch.nn.GLU."""

    function = staticmethod(F.glu)
    dim: int = -1


class Sigmoid(Layer):
    """1 / (1 + exp(-x)).  As torch.nn.Sigmoid."""

    function = staticmethod(F.sigmoid)


class Tanh(Layer):
    """tanh(x).  As torch.nn.Tanh."""

    function = staticmethod(F.tanh)


class Softmax(Layer):
    """exp(x) over its sum along dim.  As torch.nn.Softmax."""

    function = staticmethod(F.softmax)
    dim: int


class LogSoftmax(Layer):
    """log(softmax(x)) along dim.  As torch.nn.LogSoftmax."""

    function = staticmethod(F.log_softmax)
    dim: int


class Softmin(Layer):
    """softmax(-x) along dim.  As torch.nn.Softmin."""

    function = staticmethod(F.softmin)
    dim: int


class RReLU(Layer):
    """LeakyReLU whose slope is drawn from lower..upper in training and lies in their middle otherwise.

    As torch.nn.RReLU.
    """

    function = staticmethod(F.rrelu)
    lower: float = 1 / 8
    upper: float = 1 / 3
    inplace: bool = False

    def forward(self, input: Tensor) -> Tensor:
        """functional.rrelu in the layer's mode."""
        return F.rrelu(input, self.lower, self.upper, self.training)


class PReLU(Module):
    """LeakyReLU with learned slopes: weight (num_parameters,), one for all channels or one each.  As torch.nn.PReLU."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: str | None = None, dtype: Any = None):
        self.num_parameters, self.init = num_parameters, init
        self.weight = parameter((num_parameters,), lambda p: initialise.constant_(p, init), dtype, device)

    def forward(self, input: Tensor) -> Tensor:
        """functional.prelu with the layer's slopes."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """num_parameters."""
        return f"num_parameters={self.num_parameters}"


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W).  As torch.nn.Softmax2d."""

    def forward(self, input: Tensor) -> Tensor:
        """Softmax over dim -3."""
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected (N, C, H, W) or (C, H, W), got shape {input.shape}: unsqueeze it")
        return F.softmax(input, -3)
