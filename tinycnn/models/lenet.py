"""LeNet-5 as published, as the book has it, and with the book's batch normalization.

LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 1998, figure 2 and table I;
Zhang et al., Dive into Deep Learning, sections 7.6 (LeNet) and 8.5 (batch normalization).

    layer       lenet5 (32)                       output     lenet (28)       output     bn_lenet (28)      output
    conv        5x5, 6                            6x28x28    5x5, 6, pad 2    6x28x28    5x5, 6             6x24x24
    activation                                               sigmoid                     BN, sigmoid
    pool        sum 2x2 * a + b, tanh             6x14x14    average 2x2      6x14x14    average 2x2        6x12x12
    conv        5x5, 16, see table I; tanh        16x10x10   5x5, 16          16x10x10   5x5, 16            16x8x8
    activation                                               sigmoid                     BN, sigmoid
    pool        sum 2x2 * a + b, tanh             16x5x5     average 2x2      16x5x5     average 2x2        16x4x4
    linear      120 (a 5x5 convolution), tanh     120        120, sigmoid     120        120, BN, sigmoid   120
    linear      84, tanh                          84         84, sigmoid      84         84, BN, sigmoid    84
    last        distances to 10 codes             10         10               10         10                 10
    numbers     60 000                                       61 706                      44 878

bn_lenet pads nothing, so its first linear layer sees 256 numbers and not 400: this is the book's, not a slip here.
"""
from __future__ import annotations

import numpy as np

from ..autograd import Tensor
from ..nn import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Linear,
    Module,
    ModuleList,
    Parameter,
    Sigmoid,
    functional as F,
    init,
)
from ..ops.shape import cat
from .base import ConvNet, initialise, numbered
from .recipes import book
from .registry import register_model

PAPER = "LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition"
# Sigmoids pass little gradient: Adam's steps do not depend on its size, and one cycle starts and ends gently.  Steps
# this long leave the plateau soon: MNIST 0.9894 to 0.9906 in 3 epochs (3 seeds); lr 0.01 gives 0.9865, 0.03 0.9884.
DEFAULT = {"optimizer": "adam", "lr": 0.02, "batch_size": 64, "epochs": 10, "schedule": "onecycle"}


@register_model(PAPER, 1998, (1, 1, 28, 28), {"default": DEFAULT, "book": book(0.1)})
def lenet(num_classes: int = 10, in_channels: int = 1) -> Module:
    """The book's LeNet, for (N, in_channels, 28, 28): sigmoids and average pooling, 61 706 parameters."""
    body = (Conv2d(in_channels, 6, 5, padding=2), Sigmoid(), AvgPool2d(2, 2),
            Conv2d(6, 16, 5), Sigmoid(), AvgPool2d(2, 2))
    head = (Flatten(),
            Linear(400, 120), Sigmoid(),
            Linear(120, 84), Sigmoid(),
            Linear(84, num_classes))
    return initialise(ConvNet({}, numbered(*body), numbered(*head, start=len(body))),
                      init.xavier_uniform_, init.xavier_uniform_)


@register_model(PAPER + "; Ioffe & Szegedy 2015, Batch Normalization", 2015, (1, 1, 28, 28),
                {"default": {**DEFAULT, "lr": 0.01, "batch_size": 128}, "book": book(0.1)})
def bn_lenet(num_classes: int = 10, in_channels: int = 1) -> Module:
    """The book's LeNet with batch normalization before each sigmoid, for (N, in_channels, 28, 28)."""
    body = (Conv2d(in_channels, 6, 5), BatchNorm2d(6), Sigmoid(), AvgPool2d(2, 2),
            Conv2d(6, 16, 5), BatchNorm2d(16), Sigmoid(), AvgPool2d(2, 2))
    head = (Flatten(),
            Linear(256, 120), BatchNorm1d(120), Sigmoid(),
            Linear(120, 84), BatchNorm1d(84), Sigmoid(),
            Linear(84, num_classes))
    return initialise(ConvNet({}, numbered(*body), numbered(*head, start=len(body))),
                      init.xavier_uniform_, init.xavier_uniform_)


# ---------------------------------------------------------------------------------------- 1998

# Table I: which maps of S2 each map of C3 sees: three neighbours, four neighbours, four others, all six.
C3 = (*((i, (i + 1) % 6, (i + 2) % 6) for i in range(6)),
      *((i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6) for i in range(6)),
      (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5))


class ScaledTanh(Module):
    """1.7159 tanh(2x/3): f(1) = 1 and f(-1) = -1, where the curve bends most (appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same"""
        return 1.7159 * F.tanh(x * (2 / 3))


class Subsampling(Module):
    """The sum over 2x2 pixels times a learnt coefficient, plus a learnt bias: two numbers for each map."""

    def __init__(self, channels: int):
        self.weight = Parameter(np.full((channels, 1, 1), 0.25, np.float32))
        self.bias = Parameter(np.zeros((channels, 1, 1), np.float32))
        self.pool = AvgPool2d(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H/2, W/2)"""
        return 4 * self.pool(x) * self.weight + self.bias


class PartialConv(Module):
    """5x5 convolutions that see some of the maps each: table[i] lists those of output map i."""

    def __init__(self, table: tuple[tuple[int, ...], ...]):
        self.table = table
        self.maps = ModuleList([Conv2d(len(seen), 1, 5) for seen in table])

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, len(table), H-4, W-4)"""
        return cat([conv(x[:, list(seen)]) for conv, seen in zip(self.maps, self.table)], 1)


# Stylised figures of 7x12 pixels, the target code of each digit (figure 3).
GLYPHS = """
.#####. ...#... .#####. .#####. .....#. ####### ..####. ####### .#####. .#####.
##...## ..##... ##...## ##...## ....##. ##..... .##.... ##...## ##...## ##...##
##...## .###... ##...## .....## ...###. ##..... ##..... .....## ##...## ##...##
##...## ...#... .....## .....## ..#.##. ##..... ##..... .....## ##...## ##...##
##...## ...#... .....## .....## ..#.##. ######. ##.###. ....##. .##.##. ##...##
##...## ...#... ....##. ...###. .#..##. ##...## ###..## ....##. ..###.. .##.###
##...## ...#... ...##.. .....## .#..##. .....## ##...## ...##.. .##.##. ..##.##
##...## ...#... ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...#... .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...#... ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
##...## ...#... ##..... ##...## ....##. ##...## .##.##. ..##... ##...## ...##..
.#####. .#####. ####### .#####. ....##. .#####. ..###.. ..##... .#####. .####..
"""


def codes(num_classes: int) -> np.ndarray:
    """(num_classes, 84) of +-1: the glyphs of the ten digits; for other numbers of classes, drawn at random."""
    if num_classes != 10:
        return np.random.default_rng(num_classes).choice([-1.0, 1.0], (num_classes, 84)).astype(np.float32)
    columns = np.array([[list(glyph) for glyph in line.split()] for line in GLYPHS.split("\n")[1:-1]])   # (12, 10, 7)
    return np.where(columns.transpose(1, 0, 2).reshape(10, 84) == "#", 1.0, -1.0).astype(np.float32)


class Distances(Module):
    """Minus the squared distance to each class's code, which is fixed: the radial basis functions of equation 7."""

    def __init__(self, num_classes: int):
        self.register_buffer("codes", codes(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 84) -> (N, num_classes)"""
        return -((x[:, None] - self.codes) ** 2).sum(2)


@register_model(PAPER, 1998, (1, 1, 32, 32), {"default": {**DEFAULT, "lr": 0.005}})
def lenet5(num_classes: int = 10, in_channels: int = 1) -> Module:
    """LeNet-5 of 1998 for (N, in_channels, 32, 32), 60 000 parameters: logits are minus squared distances to codes.

    Digits have the paper's kind of codes, pictures of 7x12 pixels; with another number of classes they are random.
    """
    body = {"C1": Conv2d(in_channels, 6, 5), "S2": Subsampling(6), "tanh2": ScaledTanh(),
            "C3": PartialConv(C3), "tanh3": ScaledTanh(), "S4": Subsampling(16), "tanh4": ScaledTanh(),
            "C5": Conv2d(16, 120, 5), "tanh5": ScaledTanh()}
    head = {"flatten": Flatten(), "F6": Linear(120, 84), "tanh6": ScaledTanh(), "output": Distances(num_classes)}
    model = LeNet5({}, body, head)
    for layer in model.modules():
        if isinstance(layer, (Conv2d, Linear)):      # appendix A: uniform in +-2.4 / fan_in
            bound = 2.4 / np.prod(layer.weight.shape[1:])
            init.uniform_(layer.weight, -bound, bound)
    return model


class LeNet5(ConvNet):
    """A net whose classifier is the layer of codes."""

    def classifier_path(self) -> str:
        """The layer of codes."""
        return "output"

    def reset_classifier(self, num_classes: int) -> None:
        """Codes for another number of classes."""
        like = self.F6.weight
        self.output = Distances(num_classes).to(device=like.device, dtype=like.dtype)
