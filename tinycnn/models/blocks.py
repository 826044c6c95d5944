"""Blocks that several families share, under torchvision's names."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import Tensor
from ..ops.shape import cat
from ..nn import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Module, ReLU, Sequential, functional as F
from ..nn.fused import then_relu


class ConvNormActivation(Sequential):
    """Convolution ("0"), norm ("1"), activation ("2"): the padding keeps the size, the bias is left to the norm.

    norm and activation are functions that make the layer; None: no such layer.  As torchvision's
    Conv2dNormActivation.
    """

    def __init__(self, c_in: int, c_out: int, kernel_size: int = 3, stride: int = 1, padding: int | None = None,
                 groups: int = 1, norm: Callable[..., Module] | None = BatchNorm2d,
                 activation: Callable[[], Module] | None = ReLU, bias: bool | None = None):
        padding = (kernel_size - 1) // 2 if padding is None else padding
        bias = norm is None if bias is None else bias
        super().__init__(Conv2d(c_in, c_out, kernel_size, stride, padding, groups=groups, bias=bias))
        if norm is not None:
            self.append(norm(c_out))
        if activation is not None:
            self.append(activation())


class BasicConv2d(Module):
    """Convolution without bias, batch norm with eps 0.001, ReLU: torchvision's GoogLeNet and Inception v3."""

    def __init__(self, c_in: int, c_out: int, kernel_size: Any, stride: int = 1, padding: Any = 0):
        self.conv = Conv2d(c_in, c_out, kernel_size, stride, padding, bias=False)
        self.bn = BatchNorm2d(c_out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, OH, OW)"""
        return then_relu(self.bn, None, self.conv(x))


class SqueezeExcitation(Module):
    """Channels weighted by what is in the whole image: x * sigmoid(fc2(relu(fc1(mean of x)))).

    Hu et al. 2018 (arXiv:1709.01507), section 3, figure 2; fc1 and fc2 are 1x1 convolutions.
    """

    def __init__(self, input_channels: int, squeeze_channels: int):
        self.avgpool = AdaptiveAvgPool2d(1)
        self.fc1 = Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = Conv2d(squeeze_channels, input_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same"""
        return x * F.sigmoid(self.fc2(then_relu(self.fc1, None, self.avgpool(x))))


def make_divisible(v: float, divisor: int) -> int:
    """The multiple of divisor nearest to v, at least divisor and not more than a tenth below v."""
    new = max(divisor, int(v + divisor / 2) // divisor * divisor)
    return new + divisor if new < 0.9 * v else new


def transform_input(x: Tensor) -> Tensor:
    """Images normalised by ImageNet's mean and deviation -> by 0.5 and 0.5, as TensorFlow's weights want them."""
    channels = [x[:, i:i + 1] * (std / 0.5) + (mean - 0.5) / 0.5
                for i, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225)))]
    return cat(channels, 1)
