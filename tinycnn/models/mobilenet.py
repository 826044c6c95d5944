"""MobileNetV2: depthwise convolutions between thin layers, and shortcuts between the thin ones.

Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018 (arXiv:1801.04381), table 2.

    input (224)   operator      t   c     n   s
    3x224x224     3x3           -   32    1   2
    32x112x112    bottleneck    1   16    1   1
    16x112x112    bottleneck    6   24    2   2
    24x56x56      bottleneck    6   32    3   2
    32x28x28      bottleneck    6   64    4   2
    64x14x14      bottleneck    6   96    3   1
    96x14x14      bottleneck    6   160   3   2
    160x7x7       bottleneck    6   320   1   1
    320x7x7       1x1           -   1280  1   1
    1280x7x7      average, dropout, linear        3 504 872 numbers

n blocks of c channels, the first with stride s; inside, t times as many channels as go in.
"""
from __future__ import annotations

from collections.abc import Sequence as Row
from functools import partial

from ..autograd import Tensor
from ..nn import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    Module,
    ReLU6,
    Sequential,
    init,
)
from .base import ConvNet, initialise
from .blocks import ConvNormActivation, make_divisible
from .recipes import DEFAULT, imagenet
from .registry import register_family
from .resnet import IMAGE

PAPER = "Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks"
TABLE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

conv_relu6 = partial(ConvNormActivation, activation=ReLU6)


class InvertedResidual(Module):
    """1x1 to more channels, 3x3 in each of them, 1x1 to few (figure 3b); without ReLU at the end (section 3.2)."""

    def __init__(self, c_in: int, c_out: int, stride: int, expand_ratio: int):
        wide = round(c_in * expand_ratio)
        widen = [conv_relu6(c_in, wide, 1)] if expand_ratio != 1 else []
        self.conv = Sequential(*widen, conv_relu6(wide, wide, 3, stride, groups=wide),
                               Conv2d(wide, c_out, 1, bias=False), BatchNorm2d(c_out))
        self.use_res_connect = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H/stride, W/stride)"""
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


def mobilenet(num_classes: int = 1000, in_channels: int = 3, width_mult: float = 1.0,
              inverted_residual_setting: Row[Row[int]] = TABLE, round_nearest: int = 8, dropout: float = 0.2) -> Module:
    """torchvision's MobileNetV2, for images of any size.

    width_mult                 all channels times this, rounded to multiples of round_nearest (section 3.4)
    inverted_residual_setting  the table: (t, c, n, s) of each row
    """
    def scaled(c):
        return make_divisible(c * width_mult, round_nearest)
    c, last = scaled(32), make_divisible(1280 * max(1.0, width_mult), round_nearest)
    features: list[Module] = [conv_relu6(in_channels, c, 3, 2)]
    for t, channels, n, s in inverted_residual_setting:
        for k in range(n):
            features.append(InvertedResidual(c, scaled(channels), 1 if k else s, t))
            c = scaled(channels)
    features.append(conv_relu6(c, last, 1))
    model = ConvNet({}, {"features": Sequential(*features)}, {
        "avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(),
        "classifier": Sequential(Dropout(dropout), Linear(last, num_classes))})
    return initialise(model, lambda w: init.kaiming_normal_(w, mode="fan_out"), lambda w: init.normal_(w, 0, 0.01),
                      zero_bias=True)


register_family(mobilenet, {"mobilenet_v2": {}}, PAPER, 2018, IMAGE,
                {"default": DEFAULT, "paper": imagenet(0.045, optimizer="rmsprop", weight_decay=4e-5, epochs=300)})
