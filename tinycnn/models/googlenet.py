"""GoogLeNet: blocks of four branches that see 1x1, 3x3, 5x5 and pooled neighbourhoods at once.

Szegedy et al., Going Deeper with Convolutions, CVPR 2015 (arXiv:1409.4842), table 1; Zhang et al., Dive into Deep
Learning, section 8.4 (the book's).

    layer        output (224)   1x1   3x3 after   5x5 after   1x1 after the pool
    7x7/2 conv   64x112x112
    3x3/2 pool   64x56x56
    1x1, 3x3     192x56x56
    3x3/2 pool   192x28x28
    3a           256x28x28      64    128  96     32   16     32
    3b           480x28x28      128   192  128    96   32     64
    3x3/2 pool   480x14x14
    4a           512x14x14      192   208  96     48   16     64
    4b           512x14x14      160   224  112    64   24     64
    4c           512x14x14      128   256  128    64   24     64
    4d           528x14x14      112   288  144    64   32     64
    4e           832x14x14      256   320  160    128  32     128
    pool         832x7x7
    5a           832x7x7        256   320  160    128  32     128
    5b           1024x7x7       384   384  192    128  48     128
    average, dropout, linear    numbers: paper 6 998 552, torchvision 6 624 904, book 5 977 530

"3x3 after" is the 1x1 convolution in front of the 3x3.  torchvision's net has batch norms, no biases, and a 3x3 where
the paper has 5x5; the paper's has response norms around the first convolutions; the book's has one channel, ten
classes and none of all this.  Auxiliary heads stand behind 4a and 4d; their losses count 0.3 (section 5).
"""
from __future__ import annotations

from ..autograd import Tensor
from ..nn import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    functional as F,
    init,
)
from ..nn.fused import then_relu
from ..ops.shape import cat, flatten
from .auxiliary import AuxiliaryNet
from .base import ConvNet, initialise, numbered
from .blocks import BasicConv2d
from .recipes import DEFAULT, PLAIN, book, imagenet
from .registry import register_model

PAPER = "Szegedy et al. 2015, Going Deeper with Convolutions"
BLOCKS = {                                           # the table: 1x1, (3x3 reduction, 3x3), (5x5 ...), after the pool
    "3a": (64, (96, 128), (16, 32), 32), "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64), "4b": (160, (112, 224), (24, 64), 64), "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64), "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128), "5b": (384, (192, 384), (48, 128), 128),
}


def width(row: tuple) -> int:
    """The channels that a block of the table puts out."""
    one, (_, three), (_, five), pooled = row
    return one + three + five + pooled


class PlainConv2d(Sequential):
    """Convolution with bias and ReLU: the paper's."""

    def __init__(self, c_in: int, c_out: int, kernel_size: int, stride: int = 1, padding: int = 0):
        super().__init__({"conv": Conv2d(c_in, c_out, kernel_size, stride, padding), "relu": ReLU()})


class Inception(Module):
    """The block of figure 2b; `large` is the kernel of its third branch, conv makes a convolution with what follows."""

    def __init__(self, c_in: int, row: tuple, conv: type[Module], large: int):
        one, (three_reduced, three), (five_reduced, five), pooled = row
        self.branch1 = conv(c_in, one, 1)
        self.branch2 = Sequential(conv(c_in, three_reduced, 1), conv(three_reduced, three, 3, padding=1))
        self.branch3 = Sequential(conv(c_in, five_reduced, 1), conv(five_reduced, five, large, padding=large // 2))
        self.branch4 = Sequential(MaxPool2d(3, 1, 1, ceil_mode=True), conv(c_in, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, width(row), H, W)"""
        return cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(Module):
    """An auxiliary head: a map of 4x4, a 1x1 convolution to 128 channels, two linear layers (section 5)."""

    def __init__(self, c_in: int, num_classes: int, conv: type[Module], pool: Module, dropout: float):
        self.pool = pool
        self.conv = conv(c_in, 128, 1)
        self.fc1 = Linear(2048, 1024)
        self.dropout = Dropout(dropout)
        self.fc2 = Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> logits (N, num_classes)"""
        x = flatten(self.conv(self.pool(x)), 1)                        # (N, 128*4*4)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


def _body(blocks):
    """The blocks with the pools between them, under torchvision's names."""
    return {**{f"inception{k}": blocks[k] for k in ("3a", "3b")}, "maxpool3": MaxPool2d(3, 2, ceil_mode=True),
            **{f"inception{k}": blocks[k] for k in ("4a", "4b", "4c", "4d", "4e")},
            "maxpool4": blocks["maxpool4"],
            **{f"inception{k}": blocks[k] for k in ("5a", "5b")}}


def _blocks(conv, large):
    widths = [192, *map(width, BLOCKS.values())]
    return {k: Inception(c_in, row, conv, large) for c_in, (k, row) in zip(widths, BLOCKS.items())}


def _aux(conv, pool, num_classes, dropout):
    return {name: InceptionAux(width(BLOCKS[after]), num_classes, conv, pool(), dropout)
            for name, after in (("aux1", "4a"), ("aux2", "4d"))}


AUX = {"aux1": "inception4a", "aux2": "inception4d"}


@register_model(PAPER, 2014, (1, 3, 224, 224), {"default": DEFAULT, "paper": imagenet(0.01, weight_decay=2e-4)})
def googlenet(num_classes: int = 1000, in_channels: int = 3, aux_logits: bool = True, transform_input: bool = False,
              init_weights: bool = True, dropout: float = 0.2, dropout_aux: float = 0.7) -> Module:
    """torchvision's GoogLeNet, from 15x15; 6 624 904 parameters and 6 379 984 of the auxiliary heads.

    In training it gives (logits, aux2, aux1) if aux_logits, in evaluation the logits.  init_weights: N(0, 0.01) cut
    off at 2, or else the layers' own.
    """
    stem = {"conv1": BasicConv2d(in_channels, 64, 7, 2, 3), "maxpool1": MaxPool2d(3, 2, ceil_mode=True),
            "conv2": BasicConv2d(64, 64, 1), "conv3": BasicConv2d(64, 192, 3, padding=1),
            "maxpool2": MaxPool2d(3, 2, ceil_mode=True)}
    body = _body({**_blocks(BasicConv2d, 3), "maxpool4": MaxPool2d(2, 2, ceil_mode=True)})
    if aux_logits:
        body |= _aux(BasicConv2d, lambda: AdaptiveAvgPool2d(4), num_classes, dropout_aux)
    head = {"avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "dropout": Dropout(dropout),
            "fc": Linear(1024, num_classes)}
    model = AuxiliaryNet(stem, body, head, AUX, 0.3, transform_input)
    if init_weights:
        initialise(model, *[lambda w: init.trunc_normal_(w, 0.0, 0.01, -2, 2)] * 2)
    return model


@register_model(PAPER, 2014, (1, 3, 224, 224), {"default": PLAIN, "paper": imagenet(0.01, weight_decay=2e-4)})
def googlenet_paper(num_classes: int = 1000, in_channels: int = 3, aux_logits: bool = True, dropout: float = 0.4,
                    dropout_aux: float = 0.7) -> Module:
    """The paper's GoogLeNet for 224x224 (the auxiliary heads need it), 6 998 552 parameters,
    13 378 280 with the heads.

    In training it gives (logits, aux2, aux1) if aux_logits, in evaluation the logits.
    """
    stem = {"conv1": PlainConv2d(in_channels, 64, 7, 2, 3), "maxpool1": MaxPool2d(3, 2, ceil_mode=True),
            "norm1": LocalResponseNorm(5), "conv2": PlainConv2d(64, 64, 1), "conv3": PlainConv2d(64, 192, 3, padding=1),
            "norm2": LocalResponseNorm(5), "maxpool2": MaxPool2d(3, 2, ceil_mode=True)}
    body = _body({**_blocks(PlainConv2d, 5), "maxpool4": MaxPool2d(3, 2, ceil_mode=True)})
    if aux_logits:
        body |= _aux(PlainConv2d, lambda: AvgPool2d(5, 3), num_classes, dropout_aux)
    head = {"avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "dropout": Dropout(dropout),
            "fc": Linear(1024, num_classes)}
    return initialise(AuxiliaryNet(stem, body, head, AUX, 0.3), init.xavier_uniform_, init.xavier_uniform_,
                      zero_bias=True)


class BookInception(Module):
    """The book's block (its figure 8.4.1): b3_2 is the second layer of the third branch."""

    def __init__(self, c_in: int, row: tuple):
        one, (three_reduced, three), (five_reduced, five), pooled = row
        self.b1_1 = Conv2d(c_in, one, 1)
        self.b2_1, self.b2_2 = Conv2d(c_in, three_reduced, 1), Conv2d(three_reduced, three, 3, padding=1)
        self.b3_1, self.b3_2 = Conv2d(c_in, five_reduced, 1), Conv2d(five_reduced, five, 5, padding=2)
        self.b4_1, self.b4_2 = MaxPool2d(3, 1, 1), Conv2d(c_in, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, width(row), H, W)"""
        b1 = then_relu(self.b1_1, None, x)
        b2 = then_relu(self.b2_2, None, then_relu(self.b2_1, None, x))
        b3 = then_relu(self.b3_2, None, then_relu(self.b3_1, None, x))
        b4 = then_relu(self.b4_2, None, self.b4_1(x))
        return cat([b1, b2, b3, b4], 1)


@register_model(PAPER, 2014, (1, 1, 96, 96), {"default": PLAIN, "book": book(0.01, 96)})
def googlenet_d2l(num_classes: int = 10, in_channels: int = 1) -> Module:
    """The book's GoogLeNet, Xavier-initialised, 5 977 530 parameters; it was made for 96x96 grey images."""
    widths = [192, *map(width, BLOCKS.values())]
    b = [BookInception(c_in, row) for c_in, row in zip(widths, BLOCKS.values())]
    stem = (Sequential(Conv2d(in_channels, 64, 7, 2, 3), ReLU(), MaxPool2d(3, 2, 1)),
            Sequential(Conv2d(64, 64, 1), ReLU(), Conv2d(64, 192, 3, padding=1), ReLU(), MaxPool2d(3, 2, 1)))
    body = (Sequential(*b[:2], MaxPool2d(3, 2, 1)), Sequential(*b[2:7], MaxPool2d(3, 2, 1)),
            Sequential(*b[7:], AdaptiveAvgPool2d(1), Flatten()))
    model = ConvNet(numbered(*stem), numbered(*body, start=2), {"5": Linear(1024, num_classes)})
    return initialise(model, init.xavier_uniform_, init.xavier_uniform_)
