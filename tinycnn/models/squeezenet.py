"""SqueezeNet: AlexNet's accuracy with fifty times fewer parameters, by 1x1 convolutions.

Iandola et al., SqueezeNet, 2016 (arXiv:1602.07360), table 1 and figure 1; 1.1 is the authors' later one, with the
same accuracy at 2.4 times fewer operations.

    squeezenet1_0     output (224)    squeezenet1_1     output (224)
    7x7/2, 96         96x109x109      3x3/2, 64         64x111x111
    pool              96x54x54        pool              64x55x55
    fire 16, 64       128x54x54       fire 16, 64       128x55x55
    fire 16, 64       128x54x54       fire 16, 64       128x55x55
    fire 32, 128      256x54x54       pool              128x27x27
    pool              256x27x27       fire 32, 128      256x27x27
    fire 32, 128      256x27x27       fire 32, 128      256x27x27
    fire 48, 192      384x27x27       pool              256x13x13
    fire 48, 192      384x27x27       fire 48, 192      384x13x13
    fire 64, 256      512x27x27       fire 48, 192      384x13x13
    pool              512x13x13       fire 64, 256      512x13x13
    fire 64, 256      512x13x13       fire 64, 256      512x13x13
    dropout, 1x1 to the classes, ReLU, average
    numbers           1 248 424                         1 235 496

"fire s, e" squeezes to s channels by 1x1, and expands to e channels by 1x1 and e by 3x3.
"""
from __future__ import annotations

from collections.abc import Sequence as Row
from typing import Any

from ..autograd import Tensor
from ..nn import AdaptiveAvgPool2d, Conv2d, Dropout, Flatten, MaxPool2d, Module, ReLU, Sequential, init
from ..ops.shape import cat
from .base import ConvNet, initialise
from .recipes import PLAIN, imagenet
from .registry import register_family
from .resnet import IMAGE

PAPER = "Iandola et al. 2016, SqueezeNet"
POOL = "pool"


class Fire(Module):
    """Figure 1: few channels by 1x1, then many, half of them by 1x1 and half by 3x3."""

    def __init__(self, c_in: int, squeeze: int, expand: int):
        self.squeeze, self.squeeze_activation = Conv2d(c_in, squeeze, 1), ReLU()
        self.expand1x1, self.expand1x1_activation = Conv2d(squeeze, expand, 1), ReLU()
        self.expand3x3, self.expand3x3_activation = Conv2d(squeeze, expand, 3, padding=1), ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, 2 * expand, H, W)"""
        x = self.squeeze_activation(self.squeeze(x))
        return cat([self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))], 1)


def squeezenet(stem: tuple[int, int], layers: Row[Any], num_classes: int = 1000, in_channels: int = 3,
               dropout: float = 0.5) -> Module:
    """torchvision's SqueezeNet of a column of the table, from 21x21 (1.0) or 17x17 (1.1).

    stem: (channels, kernel) of the first convolution; layers: POOL, or (squeeze, expand) of a fire module.
    """
    c, kernel_size = stem
    features: list[Module] = [Conv2d(in_channels, c, kernel_size, 2), ReLU()]
    for layer in layers:
        if layer == POOL:
            features.append(MaxPool2d(3, 2, ceil_mode=True))
        else:
            features.append(Fire(c, *layer))
            c = 2 * layer[1]
    last = Conv2d(c, num_classes, 1)
    model = ConvNet({}, {"features": Sequential(*features)}, {
        "classifier": Sequential(Dropout(dropout), last, ReLU(), AdaptiveAvgPool2d(1)), "flatten": Flatten()})
    initialise(model, init.kaiming_uniform_, zero_bias=True)
    init.normal_(last.weight, 0.0, 0.01)
    return model


register_family(squeezenet, {
    "squeezenet1_0": {"stem": (96, 7), "layers": (POOL, (16, 64), (16, 64), (32, 128), POOL, (32, 128), (48, 192),
                                                  (48, 192), (64, 256), POOL, (64, 256))},
    "squeezenet1_1": {"stem": (64, 3), "layers": (POOL, (16, 64), (16, 64), POOL, (32, 128), (32, 128), POOL,
                                                  (48, 192), (48, 192), (64, 256), (64, 256))},
}, PAPER, 2016, IMAGE, {"default": PLAIN, "paper": imagenet(0.04, weight_decay=2e-4, batch_size=512)})
