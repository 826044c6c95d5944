"""ResNet as the book has it.

Zhang et al., Dive into Deep Learning, section 8.6, after He et al., Deep Residual Learning for Image Recognition,
CVPR 2016 (arXiv:1512.03385), table 1.

    part   output (96x96)   resnet18_d2l                             resnet34_d2l
    0      64 x 24 x 24     7x7, 64, stride 2, BN, ReLU; 3x3 max pool, stride 2
    b2     64 x 24 x 24     [3x3, 64; 3x3, 64] x 2                   x 3
    b3     128 x 12 x 12    [3x3, 128; 3x3, 128] x 2                 x 4, the first with stride 2
    b4     256 x 6 x 6      [3x3, 256; 3x3, 256] x 2                 x 6, the first with stride 2
    b5     512 x 3 x 3      [3x3, 512; 3x3, 512] x 2                 x 3, the first with stride 2
    last   10               average pool, linear
    numbers                 11 178 378                               21 290 250

Unlike the paper's, the book's convolutions have biases (dead weight before a batch norm) and its 1x1 shortcuts have
no batch norm.
"""
from __future__ import annotations

from collections.abc import Sequence as Row

from ..autograd import Tensor
from ..nn import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    init,
)
from ..nn.fused import then_relu
from .base import ConvNet, initialise
from .recipes import DEFAULT, book
from .registry import register_family
from .resnet import PAPER


class Residual(Module):
    """3x3, 3x3 and the shortcut around them, 1x1 where the shape changes (the book's figure 8.6.3)."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1):
        self.conv1 = Conv2d(c_in, c_out, 3, stride, 1)
        self.conv2 = Conv2d(c_out, c_out, 3, 1, 1)
        self.conv3 = Conv2d(c_in, c_out, 1, stride) if stride > 1 or c_in != c_out else None
        self.bn1, self.bn2 = BatchNorm2d(c_out), BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H/stride, W/stride)"""
        y = self.conv2(then_relu(self.bn1, None, self.conv1(x)))
        return then_relu(self.bn2, None, y, x if self.conv3 is None else self.conv3(x))


def stem(in_channels: int) -> Sequential:
    """The first layers of the book's ResNet and DenseNet."""
    return Sequential(Conv2d(in_channels, 64, 7, 2, 3), BatchNorm2d(64), ReLU(), MaxPool2d(3, 2, 1))


def resnet_d2l(layers: Row[int], num_classes: int = 10, in_channels: int = 1) -> Module:
    """The book's ResNet, Xavier-initialised, for (N, in_channels, H, W); it was made for 96x96."""
    widths = (64, 64, 128, 256, 512)
    body = {f"b{i + 2}": Sequential(Residual(widths[i], widths[i + 1], 2 if i else 1),
                                    *(Residual(widths[i + 1], widths[i + 1]) for _ in range(n - 1)))
            for i, n in enumerate(layers)}
    head = {"last": Sequential(AdaptiveAvgPool2d(1), Flatten(), Linear(512, num_classes))}
    return initialise(ConvNet({"0": stem(in_channels)}, body, head), init.xavier_uniform_, init.xavier_uniform_)


register_family(resnet_d2l, {"resnet18_d2l": {"layers": (2, 2, 2, 2)}, "resnet34_d2l": {"layers": (3, 4, 6, 3)}},
                PAPER, 2015, (1, 1, 96, 96), {"default": DEFAULT, "book": book(0.01, 96)})
