"""DenseNet: every layer sees the outputs of all layers before it in its block.

Huang et al., Densely Connected Convolutional Networks, CVPR 2017 (arXiv:1608.06993), table 1; Zhang et al., Dive into
Deep Learning, section 8.7 (the book's).

    part          output (224)   121      169      201      161        densenet_d2l (96: output)
    7x7/2, pool   56x56          64       64       64       96         64x24x24
    denseblock1   56x56          6 x 32   6 x 32   6 x 32   6 x 48     4 x 32: 192x24x24
    transition1   28x28          half the channels, 2x2 average pool   96x12x12
    denseblock2   28x28          12       12       12       12         4: 224x12x12, then 112x6x6
    denseblock3   14x14          24       32       48       36         4: 240x6x6, then 120x3x3
    denseblock4   7x7            16       32       32       24         4: 248x3x3
    head          norm, ReLU, average, linear

    densenetBC (-BC in the paper)   layer: norm, ReLU, 1x1 to 4k channels, norm, ReLU, 3x3 to k; transitions halve
    without                         layer: norm, ReLU, 3x3 to k; transitions keep the channels

    net            121        169         201         161         d2l
    numbers        7 978 856  14 149 480  20 013 928  28 681 000  758 226

The CIFAR nets have three blocks behind one 3x3 convolution; their numbers stand beside their rows below.

A layer concatenates what came before, so that a block of L layers copies O(L^2) maps, and keeps them for backward,
with what norm and ReLU made of them.  memory_efficient=True computes these again instead (Pleiss et al. 2017,
arXiv:1707.06990): what is kept is O(L).
"""
from __future__ import annotations

from collections.abc import Sequence as Row

from ..autograd import Tensor
from ..nn import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ModuleDict,
    ReLU,
    Sequential,
    init,
)
from ..nn.fused import then_relu
from ..ops.shape import cat
from ..recompute import checkpoint
from .base import ConvNet, initialise
from .recipes import DEFAULT, book, cifar, imagenet
from .registry import register_family
from .resnet import IMAGE, SMALL, conv1x1, conv3x3
from .resnet_d2l import stem as book_stem

PAPER = "Huang et al. 2017, Densely Connected Convolutional Networks"


def joined(maps: Row[Tensor]) -> Tensor:
    """Maps (N, C_i, H, W) one behind the other: (N, sum of C_i, H, W)."""
    return maps[0] if len(maps) == 1 else cat(maps, 1)


class DenseLayer(Module):
    """norm, ReLU, 1x1, norm, ReLU, 3x3 on all maps so far; with bn_size 0 norm, ReLU, 3x3 alone (section 3)."""

    def __init__(self, c_in: int, growth_rate: int, bn_size: int, drop_rate: float, memory_efficient: bool):
        middle = bn_size * growth_rate
        self.norm1, self.relu1 = BatchNorm2d(c_in), ReLU()
        if middle:
            self.conv1 = conv1x1(c_in, middle)
            self.norm2, self.relu2 = BatchNorm2d(middle), ReLU()
            self.conv2 = conv3x3(middle, growth_rate, padding=1)
        else:
            self.conv1 = conv3x3(c_in, growth_rate, padding=1)
        self.bottleneck, self.memory_efficient = bool(middle), memory_efficient
        self.dropout = Dropout(drop_rate)

    def _joined(self, *maps):
        return self.conv1(then_relu(self.norm1, self.relu1, joined(maps)))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """All maps so far, each (N, C_i, H, W) -> (N, growth_rate, H, W)"""
        again = self.memory_efficient and self.training
        x = checkpoint(self._joined, *maps) if again else self._joined(*maps)
        if self.bottleneck:
            x = self.conv2(then_relu(self.norm2, self.relu2, x))
        return self.dropout(x)


class DenseBlock(ModuleDict):
    """Layers that each add growth_rate channels to what the next one sees (figure 1)."""

    def __init__(self, layers: int, c_in: int, growth_rate: int, *options: object):
        super().__init__({f"denselayer{i + 1}": DenseLayer(c_in + i * growth_rate, growth_rate, *options)
                          for i in range(layers)})

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_in + layers * growth_rate, H, W)"""
        maps = [x]
        for layer in self.values():
            maps.append(layer(maps))
            if not layer.memory_efficient:           # joined once, and not again by each layer behind
                maps = [joined(maps)]
        return joined(maps)


class Transition(Sequential):
    """norm, ReLU, 1x1, 2x2 average pool: half the size, c_out channels."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__({"norm": BatchNorm2d(c_in), "relu": ReLU(), "conv": conv1x1(c_in, c_out),
                          "pool": AvgPool2d(2, 2)})


def densenet(growth_rate: int = 32, block_config: Row[int] = (6, 12, 24, 16), num_init_features: int = 64,
             bn_size: int = 4, drop_rate: float = 0.0, num_classes: int = 1000, memory_efficient: bool = False,
             in_channels: int = 3, compression: float = 0.5, small_stem: bool = False) -> Module:
    """torchvision's DenseNet of a column of the table, from 29x29.

    growth_rate        k: the channels each layer adds
    block_config       how many layers each block has
    num_init_features  channels of the stem
    bn_size            the 1x1 convolutions have bn_size * k channels; 0: there are none
    drop_rate          dropout after each layer
    memory_efficient   compute concatenations, norms and ReLUs again in backward instead of keeping them
    compression        what share of the channels a transition keeps
    small_stem         a 3x3 convolution alone: for images of 32x32
    """
    c = num_init_features
    stem = ({"conv0": conv3x3(in_channels, c, padding=1)} if small_stem else
            {"conv0": Conv2d(in_channels, c, 7, 2, 3, bias=False), "norm0": BatchNorm2d(c), "relu0": ReLU(),
             "pool0": MaxPool2d(3, 2, 1)})
    layers = dict(stem)
    for i, n in enumerate(block_config, 1):
        layers[f"denseblock{i}"] = DenseBlock(n, c, growth_rate, bn_size, drop_rate, memory_efficient)
        c += n * growth_rate
        if i < len(block_config):
            layers[f"transition{i}"] = Transition(c, int(c * compression))
            c = int(c * compression)
    layers[f"norm{len(block_config) + 1}"] = BatchNorm2d(c)
    model = ConvNet({}, {"features": Sequential(layers), "relu": ReLU()},
                    {"avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "classifier": Linear(c, num_classes)})
    initialise(model, init.kaiming_normal_)
    init.zeros_(model.classifier.bias)
    return model


class BookDenseBlock(Module):
    """The book's block: norm, ReLU, 3x3, without bottleneck; `net` holds its layers."""

    def __init__(self, layers: int, c_in: int, growth_rate: int):
        self.net = Sequential(*(Sequential(BatchNorm2d(c), ReLU(), Conv2d(c, growth_rate, 3, padding=1))
                                for c in range(c_in, c_in + layers * growth_rate, growth_rate)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_in + layers * growth_rate, H, W)"""
        for layer in self.net:
            x = cat([x, layer(x)], 1)
        return x


BookDenseBlock.__name__ = "DenseBlock"               # what summaries of the book show


def densenet_d2l(growth_rate: int = 32, arch: Row[int] = (4, 4, 4, 4), num_classes: int = 10, in_channels: int = 1,
                 xavier_init: bool = False) -> Module:
    """The book's DenseNet for any size from 29x29; it was made for 96x96 grey images.

    xavier_init: as the book means it; see alexnet_d2l for why its second edition trains without.
    """
    body, c = {}, 64
    for i, n in enumerate(arch, 1):
        body[f"dense_blk{i}"] = BookDenseBlock(n, c, growth_rate)
        c += n * growth_rate
        if i < len(arch):
            body[f"tran_blk{i}"] = Sequential(BatchNorm2d(c), ReLU(), Conv2d(c, c // 2, 1), AvgPool2d(2, 2))
            c //= 2
    head = {"last": Sequential(BatchNorm2d(c), ReLU(), AdaptiveAvgPool2d(1), Flatten(), Linear(c, num_classes))}
    model = ConvNet({"0": book_stem(in_channels)}, body, head)
    return initialise(model, init.xavier_uniform_, init.xavier_uniform_) if xavier_init else model


def _cifar(depth, growth_rate, bottleneck=True):
    """The row of a net of `depth` layers for CIFAR (section 3, Implementation Details)."""
    layers = (depth - 4) // 3
    row = {"growth_rate": growth_rate, "num_classes": 10, "small_stem": True}
    if bottleneck:
        return {**row, "block_config": (layers // 2,) * 3, "num_init_features": 2 * growth_rate}
    return {**row, "block_config": (layers,) * 3, "num_init_features": 16, "bn_size": 0, "compression": 1.0}


register_family(densenet, {
    "densenet121": {},
    "densenet161": {"growth_rate": 48, "block_config": (6, 12, 36, 24), "num_init_features": 96},
    "densenet169": {"block_config": (6, 12, 32, 32)},
    "densenet201": {"block_config": (6, 12, 48, 32)},
}, PAPER, 2016, IMAGE, {"default": DEFAULT, "paper": imagenet()})
register_family(densenet, {
    "densenet40_12_cifar": _cifar(40, 12, bottleneck=False),                        # 1 019 722
    "densenet100_12_cifar": _cifar(100, 12, bottleneck=False),                      # 6 979 642
    "densenet_bc100_12_cifar": _cifar(100, 12),                                     # 769 162
    "densenet_bc250_24_cifar": _cifar(250, 24),                                     # 15 324 406
    "densenet_bc190_40_cifar": _cifar(190, 40),                                     # 25 624 430
}, PAPER, 2016, SMALL, {"default": DEFAULT, "paper": cifar(batch_size=64, epochs=300)})
register_family(densenet_d2l, {"densenet_d2l": {}}, PAPER, 2016, (1, 1, 96, 96),
                {"default": DEFAULT, "book": book(0.01, 96)})
