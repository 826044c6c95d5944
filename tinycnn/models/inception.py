"""Inception v3: large kernels taken apart into small and one-dimensional ones.

Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016 (arXiv:1512.00567), table 1 and
figures 5 to 7; names and numbers as torchvision has them.

    layer            output (299)   branches
    Conv2d_1a .. 4a  192x71x71      3x3/2, 3x3, 3x3, 3x3/2 pool, 1x1, 3x3
    3x3/2 pool       192x35x35
    Mixed_5b, 5c, 5d 288x35x35      1x1 | 1x1, 5x5 | 1x1, 3x3, 3x3 | average, 1x1                    (A, figure 5)
    Mixed_6a         768x17x17      3x3/2 | 1x1, 3x3, 3x3/2 | 3x3/2 pool                             (B)
    Mixed_6b .. 6e   768x17x17      1x1 | 1x1, 1x7, 7x1 | 1x1, 7x1, 1x7, 7x1, 1x7 | average, 1x1      (C, figure 6)
    Mixed_7a         1280x8x8       1x1, 3x3/2 | 1x1, 1x7, 7x1, 3x3/2 | 3x3/2 pool                   (D)
    Mixed_7b, 7c     2048x8x8       1x1 | 1x1, (1x3, 3x1) | 1x1, 3x3, (1x3, 3x1) | average, 1x1       (E, figure 7)
    average, dropout, linear        23 834 568 numbers, 27 161 264 with the auxiliary head

Every convolution is followed by batch norm and ReLU.  "(1x3, 3x1)" stand side by side.
"""
from __future__ import annotations

from typing import Any

from ..autograd import Tensor
from ..nn import AdaptiveAvgPool2d, AvgPool2d, Dropout, Flatten, Linear, MaxPool2d, Module, init
from ..ops.shape import cat, flatten
from .auxiliary import AuxiliaryNet
from .base import initialise
from .blocks import BasicConv2d
from .recipes import DEFAULT, imagenet
from .registry import register_model

PAPER = "Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision"


class Branches(Module):
    """Branches side by side; each is a tuple of names of layers, or of tuples of layers that stand side by side."""

    layout: tuple[tuple[Any, ...], ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the branches' outputs, one after the other along the channels"""
        return cat([self._branch(names, x) for names in self.layout], 1)

    def _branch(self, names, x):
        for name in names:
            x = cat([getattr(self, n)(x) for n in name], 1) if isinstance(name, tuple) else getattr(self, name)(x)
        return x


class InceptionA(Branches):
    """Figure 5: a 5x5, and a 5x5 as two 3x3."""

    layout = (("branch1x1",), ("branch5x5_1", "branch5x5_2"), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
              ("pool", "branch_pool"))

    def __init__(self, c_in: int, pool_features: int):
        self.branch1x1 = BasicConv2d(c_in, 64, 1)
        self.branch5x5_1 = BasicConv2d(c_in, 48, 1)
        self.branch5x5_2 = BasicConv2d(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = BasicConv2d(c_in, 64, 1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, 3, padding=1)
        self.pool = AvgPool2d(3, 1, 1)
        self.branch_pool = BasicConv2d(c_in, pool_features, 1)


class InceptionB(Branches):
    """To half the size: convolutions of stride 2 beside a pool (figure 10)."""

    layout = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"), ("pool",))

    def __init__(self, c_in: int):
        self.branch3x3 = BasicConv2d(c_in, 384, 3, 2)
        self.branch3x3dbl_1 = BasicConv2d(c_in, 64, 1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, 3, 2)
        self.pool = MaxPool2d(3, 2)


ROW, COLUMN = {"kernel_size": (1, 7), "padding": (0, 3)}, {"kernel_size": (7, 1), "padding": (3, 0)}


class InceptionC(Branches):
    """Figure 6: 7x7 as 1x7 and 7x1, once and twice, with c channels between them."""

    layout = (("branch1x1",), ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
              ("branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"),
              ("pool", "branch_pool"))

    def __init__(self, c_in: int, c: int):
        self.branch1x1 = BasicConv2d(c_in, 192, 1)
        self.branch7x7_1 = BasicConv2d(c_in, c, 1)
        self.branch7x7_2 = BasicConv2d(c, c, **ROW)
        self.branch7x7_3 = BasicConv2d(c, 192, **COLUMN)
        self.branch7x7dbl_1 = BasicConv2d(c_in, c, 1)
        self.branch7x7dbl_2 = BasicConv2d(c, c, **COLUMN)
        self.branch7x7dbl_3 = BasicConv2d(c, c, **ROW)
        self.branch7x7dbl_4 = BasicConv2d(c, c, **COLUMN)
        self.branch7x7dbl_5 = BasicConv2d(c, 192, **ROW)
        self.pool = AvgPool2d(3, 1, 1)
        self.branch_pool = BasicConv2d(c_in, 192, 1)


class InceptionD(Branches):
    """To half the size again."""

    layout = (("branch3x3_1", "branch3x3_2"), ("branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"),
              ("pool",))

    def __init__(self, c_in: int):
        self.branch3x3_1 = BasicConv2d(c_in, 192, 1)
        self.branch3x3_2 = BasicConv2d(192, 320, 3, 2)
        self.branch7x7x3_1 = BasicConv2d(c_in, 192, 1)
        self.branch7x7x3_2 = BasicConv2d(192, 192, **ROW)
        self.branch7x7x3_3 = BasicConv2d(192, 192, **COLUMN)
        self.branch7x7x3_4 = BasicConv2d(192, 192, 3, 2)
        self.pool = MaxPool2d(3, 2)


class InceptionE(Branches):
    """Figure 7: 1x3 and 3x1 side by side."""

    layout = (("branch1x1",), ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b")),
              ("branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")), ("pool", "branch_pool"))

    def __init__(self, c_in: int):
        self.branch1x1 = BasicConv2d(c_in, 320, 1)
        self.branch3x3_1 = BasicConv2d(c_in, 384, 1)
        self.branch3x3_2a = BasicConv2d(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = BasicConv2d(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = BasicConv2d(c_in, 448, 1)
        self.branch3x3dbl_2 = BasicConv2d(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = BasicConv2d(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = BasicConv2d(384, 384, (3, 1), padding=(1, 0))
        self.pool = AvgPool2d(3, 1, 1)
        self.branch_pool = BasicConv2d(c_in, 192, 1)


class InceptionAux(Module):
    """The auxiliary head (figure 8): needs a map of at least 17x17, an image of 299."""

    def __init__(self, c_in: int, num_classes: int):
        self.pool = AvgPool2d(5, 3)
        self.conv0 = BasicConv2d(c_in, 128, 1)
        self.conv1 = BasicConv2d(128, 768, 5)
        self.avgpool = AdaptiveAvgPool2d(1)
        self.fc = Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> logits (N, num_classes)"""
        x = self.conv1(self.conv0(self.pool(x)))
        return self.fc(flatten(self.avgpool(x), 1))                    # (N, 768)


@register_model(PAPER, 2015, (1, 3, 299, 299), {"default": DEFAULT, "paper": imagenet(
    0.045, optimizer="rmsprop", weight_decay=4e-5, batch_size=32, label_smoothing=0.1, clip_norm=2.0)})
def inception_v3(num_classes: int = 1000, in_channels: int = 3, aux_logits: bool = True, transform_input: bool = False,
                 init_weights: bool = True, dropout: float = 0.5) -> Module:
    """torchvision's Inception v3, from 75x75 (with aux_logits, training from 299x299).

    In training it gives (logits, aux) if aux_logits, in evaluation the logits.  init_weights: a normal distribution
    cut off at 2, of deviation 0.1 (0.01 and 0.001 in the auxiliary head), or else the layers' own.
    """
    stem = {"Conv2d_1a_3x3": BasicConv2d(in_channels, 32, 3, 2), "Conv2d_2a_3x3": BasicConv2d(32, 32, 3),
            "Conv2d_2b_3x3": BasicConv2d(32, 64, 3, padding=1), "maxpool1": MaxPool2d(3, 2),
            "Conv2d_3b_1x1": BasicConv2d(64, 80, 1), "Conv2d_4a_3x3": BasicConv2d(80, 192, 3),
            "maxpool2": MaxPool2d(3, 2)}
    body = {"Mixed_5b": InceptionA(192, 32), "Mixed_5c": InceptionA(256, 64), "Mixed_5d": InceptionA(288, 64),
            "Mixed_6a": InceptionB(288), "Mixed_6b": InceptionC(768, 128), "Mixed_6c": InceptionC(768, 160),
            "Mixed_6d": InceptionC(768, 160), "Mixed_6e": InceptionC(768, 192),
            **({"AuxLogits": InceptionAux(768, num_classes)} if aux_logits else {}),
            "Mixed_7a": InceptionD(768), "Mixed_7b": InceptionE(1280), "Mixed_7c": InceptionE(2048)}
    head = {"avgpool": AdaptiveAvgPool2d(1), "dropout": Dropout(dropout), "flatten": Flatten(),
            "fc": Linear(2048, num_classes)}
    model = AuxiliaryNet(stem, body, head, {"AuxLogits": "Mixed_6e"}, 0.4, transform_input)
    if init_weights:
        initialise(model, *[lambda w: init.trunc_normal_(w, 0.0, 0.1, -2, 2)] * 2)
        if aux_logits:
            init.trunc_normal_(model.AuxLogits.conv1.conv.weight, 0.0, 0.01, -2, 2)
            init.trunc_normal_(model.AuxLogits.fc.weight, 0.0, 0.001, -2, 2)
    return model
