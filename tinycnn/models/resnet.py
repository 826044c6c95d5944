"""ResNet-18 as the book has it.

Zhang et al., Dive into Deep Learning, section 8.6, after He et al., Deep Residual Learning for Image Recognition,
CVPR 2016 (arXiv:1512.03385), table 1.

    part   output (96x96)   resnet18_d2l
    0      64 x 24 x 24     7x7, 64, stride 2, BN, ReLU; 3x3 max pool, stride 2
    b2     64 x 24 x 24     [3x3, 64; 3x3, 64] x 2
    b3     128 x 12 x 12    [3x3, 128; 3x3, 128] x 2, the first with stride 2
    b4     256 x 6 x 6      [3x3, 256; 3x3, 256] x 2, the first with stride 2
    b5     512 x 3 x 3      [3x3, 512; 3x3, 512] x 2, the first with stride 2
    last   10               average pool, linear

Unlike the paper's, the book's convolutions have biases (dead weight before a batch norm) and its 1x1 shortcuts have
no batch norm.  11 178 378 parameters.
"""
from __future__ import annotations

from typing import Any

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
    functional as F,
)
from .lenet import xavier
from .registry import register_model

PAPER = "He et al. 2016, Deep Residual Learning for Image Recognition"
BOOK = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.01, "batch_size": 128, "epochs": 10, "schedule": "constant"}
DEFAULT = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 128, "epochs": 10,
           "schedule": "cosine"}


class Residual(Module):
    """3x3, 3x3 and the shortcut around them, 1x1 where the shape changes (the book's figure 8.6.3)."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1):
        self.conv1 = Conv2d(c_in, c_out, 3, stride, 1)
        self.conv2 = Conv2d(c_out, c_out, 3, 1, 1)
        self.conv3 = Conv2d(c_in, c_out, 1, stride) if stride > 1 or c_in != c_out else None
        self.bn1, self.bn2 = BatchNorm2d(c_out), BatchNorm2d(c_out)

    def forward(self, x: Any) -> Any:
        """(N, c_in, H, W) -> (N, c_out, H/stride, W/stride)"""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.conv3 is None else self.conv3(x)))


def _stage(c_in, c_out, stride):
    return Sequential(Residual(c_in, c_out, stride), Residual(c_out, c_out))


@register_model(PAPER, 2016, (1, 1, 96, 96), {"default": DEFAULT, "book": BOOK})
def resnet18_d2l(num_classes: int = 10, in_channels: int = 1) -> Module:
    """The book's ResNet-18, for (N, in_channels, H, W); it was made for 96x96."""
    model = Sequential({
        "0": Sequential(Conv2d(in_channels, 64, 7, 2, 3), BatchNorm2d(64), ReLU(), MaxPool2d(3, 2, 1)),
        "b2": _stage(64, 64, 1),
        "b3": _stage(64, 128, 2),
        "b4": _stage(128, 256, 2),
        "b5": _stage(256, 512, 2),
        "last": Sequential(AdaptiveAvgPool2d(1), Flatten(), Linear(512, num_classes))})
    return xavier(model)
