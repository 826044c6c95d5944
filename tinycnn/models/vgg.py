"""VGG: blocks of 3x3 convolutions, each ended by a pool.

Simonyan & Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015
(arXiv:1409.1556), table 1; Zhang et al., Dive into Deep Learning, section 8.2 (the book's).

    block (output at 224)   A 11     B 13     C 16           D 16     E 19
    64,  112x112            3        3 3      3 3            3 3      3 3
    128, 56x56              3        3 3      3 3            3 3      3 3
    256, 28x28              3 3      3 3      3 3 1          3 3 3    3 3 3 3
    512, 14x14              3 3      3 3      3 3 1          3 3 3    3 3 3 3
    512, 7x7                3 3      3 3      3 3 1          3 3 3    3 3 3 3
    linear                  4096, 4096, 1000, with dropout
    millions of numbers     132.9    133.0    133.6          138.4    143.7

A number is a convolution of that kernel, with padding, and ReLU (in the _bn nets batch norm between them).  The book's
nets have one channel, ten classes, and the last map goes into the linear layers as it is.
"""
from __future__ import annotations

from collections.abc import Sequence as Row

from ..nn import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    init,
)
from .base import ConvNet, initialise, numbered
from .recipes import DEFAULT, PLAIN, book, imagenet
from .registry import register_family

PAPER = "Simonyan & Zisserman 2015, Very Deep Convolutional Networks for Large-Scale Image Recognition"
WIDTHS = (64, 128, 256, 512, 512)
KERNELS = {                                          # the kernels of each block: the columns of the table
    "A": ("3", "3", "33", "33", "33"),
    "B": ("33", "33", "33", "33", "33"),
    "C": ("33", "33", "331", "331", "331"),
    "D": ("33", "33", "333", "333", "333"),
    "E": ("33", "33", "3333", "3333", "3333"),
}


def block(c_in: int, c_out: int, kernels: str, batch_norm: bool = False) -> list[Module]:
    """The layers of one block: a convolution (batch norm) and ReLU per kernel, and the pool."""
    layers: list[Module] = []
    for k in map(int, kernels):
        layers += [Conv2d(c_in, c_out, k, padding=k // 2), *([BatchNorm2d(c_out)] if batch_norm else []), ReLU()]
        c_in = c_out
    return [*layers, MaxPool2d(2, 2)]


def vgg(config: str, batch_norm: bool = False, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5,
        init_weights: bool = True) -> Module:
    """torchvision's VGG of a column of the table, from 32x32.

    init_weights: He et al. 2015 for convolutions and N(0, 0.01) for linear layers, or else the layers' own.
    """
    layers, c = [], in_channels
    for width, kernels in zip(WIDTHS, KERNELS[config]):
        layers += block(c, width, kernels, batch_norm)
        c = width
    model = ConvNet({}, {"features": Sequential(*layers)}, {
        "avgpool": AdaptiveAvgPool2d(7), "flatten": Flatten(),
        "classifier": Sequential(Linear(c * 7 * 7, 4096), ReLU(), Dropout(dropout),
                                 Linear(4096, 4096), ReLU(), Dropout(dropout),
                                 Linear(4096, num_classes))})
    if init_weights:
        initialise(model, lambda w: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
                   lambda w: init.normal_(w, 0, 0.01), zero_bias=True)
    return model


def vgg_d2l(config: str, widths: Row[int] = WIDTHS, num_classes: int = 10, in_channels: int = 1,
            dropout: float = 0.5) -> Module:
    """The book's VGG for 224x224 grey images, Xavier-initialised.  Its small net narrows the blocks, not the head."""
    blocks, c = [], in_channels
    for width, kernels in zip(widths, KERNELS[config]):
        blocks.append(Sequential(*block(c, width, kernels)))
        c = width
    head = (Flatten(), Linear(c * 7 * 7, 4096), ReLU(), Dropout(dropout), Linear(4096, 4096), ReLU(), Dropout(dropout),
            Linear(4096, num_classes))
    model = ConvNet({}, numbered(*blocks), numbered(*head, start=len(blocks)))
    return initialise(model, init.xavier_uniform_, init.xavier_uniform_)


register_family(vgg, {"vgg11": {"config": "A"}, "vgg13": {"config": "B"}, "vgg16_c": {"config": "C"},
                      "vgg16": {"config": "D"}, "vgg19": {"config": "E"}},
                PAPER, 2014, (1, 3, 224, 224),
                {"default": PLAIN, "paper": imagenet(0.01, weight_decay=5e-4, epochs=74)})
register_family(vgg, {"vgg11_bn": {"config": "A", "batch_norm": True}, "vgg13_bn": {"config": "B", "batch_norm": True},
                      "vgg16_bn": {"config": "D", "batch_norm": True}, "vgg19_bn": {"config": "E", "batch_norm": True}},
                PAPER, 2015, (1, 3, 224, 224), {"default": {**DEFAULT, "lr": 0.02}, "paper": imagenet(0.1)})
register_family(vgg_d2l, {"vgg11_d2l": {"config": "A"}, "vgg13_d2l": {"config": "B"}, "vgg16_d2l": {"config": "D"},
                          "vgg19_d2l": {"config": "E"},
                          "vgg11_small_d2l": {"config": "A", "widths": (16, 32, 64, 128, 128)}},
                PAPER, 2014, (1, 1, 224, 224), {"default": PLAIN, "book": book(0.01, 224)})
