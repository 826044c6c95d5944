"""ConvNeXt: a convolutional net with the proportions of a transformer.

Liu et al., A ConvNet for the 2020s, CVPR 2022 (arXiv:2201.03545), table 9 and figure 4.

    part          output (224)   tiny       small      base        large
    stem          56x56          4x4, stride 4, layer norm: as many channels as block 1
    block 1       56x56          96 x 3     96 x 3     128 x 3     192 x 3
    block 2       28x28          192 x 3    192 x 3    256 x 3     384 x 3
    block 3       14x14          384 x 9    384 x 27   512 x 27    768 x 27
    block 4       7x7            768 x 3    768 x 3    1024 x 3    1536 x 3
    head          1000           average, layer norm, linear
    numbers                      28 589 128 50 223 688 88 591 464  197 767 336

A block adds scale * linear(gelu(linear(norm(7x7 depthwise(x))))), the first linear layer four times as wide; between
the blocks of the table stand layer norm and a 2x2 convolution of stride 2.
"""
from __future__ import annotations

from collections.abc import Sequence as Row
from functools import partial

import numpy as np

from ..autograd import Tensor
from ..nn import (
    GELU,
    AdaptiveAvgPool2d,
    Conv2d,
    Flatten,
    LayerNorm,
    Linear,
    Module,
    Parameter,
    Permute,
    Sequential,
    StochasticDepth,
    functional as F,
    init,
)
from ..ops.basic import permute
from .base import ConvNet, initialise
from .blocks import ConvNormActivation
from .recipes import CONVNEXT, Recipe
from .registry import register_family
from .resnet import IMAGE

PAPER = "Liu et al. 2022, A ConvNet for the 2020s"
PUBLISHED: Recipe = {"optimizer": "adamw", "lr": 4e-3, "weight_decay": 0.05, "batch_size": 4096, "epochs": 300,
                     "schedule": "cosine", "warmup_epochs": 20.0, "label_smoothing": 0.1, "augment": "mixup"}


class LayerNorm2d(LayerNorm):
    """Layer norm over the channels of every pixel."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> the same"""
        x = permute(input, (0, 2, 3, 1))                               # (N, H, W, C)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return permute(x, (0, 3, 1, 2))                                # (N, C, H, W)


class Block(Module):
    """Figure 4, right; the linear layers see (N, H, W, C), where they are 1x1 convolutions."""

    def __init__(self, dim: int, layer_scale: float, stochastic_depth_prob: float):
        self.layer_scale = Parameter(np.full((dim, 1, 1), layer_scale, np.float32))
        self.block = Sequential(
            Conv2d(dim, dim, 7, padding=3, groups=dim),
            Permute((0, 2, 3, 1)),
            LayerNorm(dim, eps=1e-6),
            Linear(dim, 4 * dim),
            GELU(),
            Linear(4 * dim, dim),
            Permute((0, 3, 1, 2)))
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")

    def forward(self, x: Tensor) -> Tensor:
        """(N, dim, H, W) -> the same"""
        return x + self.stochastic_depth(self.layer_scale * self.block(x))


def convnext(widths: Row[int], depths: Row[int], stochastic_depth_prob: float = 0.0, layer_scale: float = 1e-6,
             num_classes: int = 1000, in_channels: int = 3) -> Module:
    """torchvision's ConvNeXt of a column of the table, from 32x32.

    stochastic_depth_prob  with which the last block is left out in training; the ones before linearly less
    layer_scale            the first value of every block's scale (Touvron et al. 2021, arXiv:2103.17239, section 2)
    """
    norm = partial(LayerNorm2d, eps=1e-6)
    layers: list[Module] = [ConvNormActivation(in_channels, widths[0], 4, 4, padding=0, norm=norm, activation=None,
                                               bias=True)]
    rates = iter(np.linspace(0, stochastic_depth_prob, sum(depths)))
    for i, (width, depth) in enumerate(zip(widths, depths)):
        if i:
            layers.append(Sequential(norm(widths[i - 1]), Conv2d(widths[i - 1], width, 2, 2)))
        layers.append(Sequential(*(Block(width, layer_scale, float(next(rates))) for _ in range(depth))))
    model = ConvNet({}, {"features": Sequential(*layers)}, {
        "avgpool": AdaptiveAvgPool2d(1),
        "classifier": Sequential(norm(widths[-1]), Flatten(1), Linear(widths[-1], num_classes))})
    return initialise(model, *[lambda w: init.trunc_normal_(w, std=0.02)] * 2, zero_bias=True)


def _row(width, depth3, stochastic_depth_prob):
    """A column of the table: the width of block 1, the depth of block 3."""
    return {"widths": (width, 2 * width, 4 * width, 8 * width), "depths": (3, 3, depth3, 3),
            "stochastic_depth_prob": stochastic_depth_prob}


register_family(convnext, {"convnext_tiny": _row(96, 9, 0.1), "convnext_small": _row(96, 27, 0.4),
                           "convnext_base": _row(128, 27, 0.5), "convnext_large": _row(192, 27, 0.5)},
                PAPER, 2022, IMAGE, {"default": CONVNEXT, "paper": PUBLISHED})
