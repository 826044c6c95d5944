"""NiN: 1x1 convolutions are small fully connected nets at every pixel; the classifier is an average over the image.

Lin et al., Network In Network, ICLR 2014 (arXiv:1312.4400), figure 2; Zhang et al., Dive into Deep Learning,
section 8.3 (the book's).

    block     nin_imagenet (224)            nin_d2l (224, grey)   nin_cifar (32)
    1         11x11/4, 96, 96, 96           the same              5x5, 192, 160, 96
              3x3 pool                      the same              3x3 pool, dropout
    2         5x5, 256, 256, 256            the same              5x5, 192, 192, 192
              3x3 pool                      the same              3x3 average, dropout
    3         3x3, 384, 384, 384            the same
              3x3 pool, dropout             the same
    last      3x3, 1024, 1024, classes      3x3, 10, 10, 10       3x3, 192, 192, classes
              global average
    numbers   7 595 176                     1 992 166             966 986

A block is a convolution of the kernel given and two 1x1 convolutions, of the widths given, with ReLU after each: also
after the last, so that logits are never negative.
"""
from __future__ import annotations

from ..nn import AdaptiveAvgPool2d, AvgPool2d, Conv2d, Dropout, Flatten, MaxPool2d, Module, ReLU, Sequential, init
from .base import ConvNet, initialise, numbered, other_classes
from .recipes import PLAIN, book, cifar, imagenet
from .registry import register_model

PAPER = "Lin et al. 2014, Network In Network"


def block(c_in: int, widths: tuple[int, int, int], kernel_size: int, stride: int = 1, padding: int = 0) -> Sequential:
    """A convolution and two 1x1 convolutions, each with ReLU (the book's nin_block)."""
    a, b, c = widths
    return Sequential(Conv2d(c_in, a, kernel_size, stride, padding), ReLU(), Conv2d(a, b, 1), ReLU(),
                      Conv2d(b, c, 1), ReLU())


class NiN(ConvNet):
    """A net whose classifier is its last block; the ReLU behind the last convolution belongs to it."""

    def classifier_path(self) -> str:
        """The last 1x1 convolution of the first layer of the head."""
        return f"{self.part_names['head'][0]}.4"

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh last 1x1 convolution; in the book's net, whose last block is as wide as there are classes, too."""
        self.get_submodule(self.part_names["head"][0])[4] = other_classes(self.get_classifier(), num_classes)


def _nin(body, last, wide, num_classes, dropout):
    """The body's layers, the last block of widths (*wide, num_classes) on `last` channels, and the average."""
    layers = (*body, Dropout(dropout))
    head = (block(last, (*wide, num_classes), 3, padding=1), AdaptiveAvgPool2d(1), Flatten())
    return NiN({}, numbered(*layers), numbered(*head, start=len(layers)))


def _initialised(model):
    """He et al. 2015, but the last layer starts small and above zero: behind it stands a ReLU, and a class whose logit
    is negative for every image would never get a gradient again."""
    initialise(model, init.kaiming_normal_, zero_bias=True)
    last = model.get_classifier()
    init.kaiming_normal_(last.weight, a=10.0)        # a tenth of the usual deviation: gain sqrt(2 / (1 + a^2))
    init.constant_(last.bias, 0.5)
    return model


def _imagenet_body(in_channels):
    return (block(in_channels, (96, 96, 96), 11, 4), MaxPool2d(3, 2),
            block(96, (256, 256, 256), 5, padding=2), MaxPool2d(3, 2),
            block(256, (384, 384, 384), 3, padding=1), MaxPool2d(3, 2))


@register_model(PAPER, 2013, (1, 3, 224, 224), {"default": PLAIN, "paper": imagenet(0.01, weight_decay=5e-4)})
def nin_imagenet(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Module:
    """The authors' net for ImageNet, 7 595 176 parameters."""
    return _initialised(_nin(_imagenet_body(in_channels), 384, (1024, 1024), num_classes, dropout))


@register_model(PAPER, 2013, (1, 1, 224, 224), {"default": PLAIN, "book": book(0.05, 224)})
def nin_d2l(num_classes: int = 10, in_channels: int = 1, dropout: float = 0.5) -> Module:
    """The book's NiN, Xavier-initialised, 1 992 166 parameters: its last block is as wide as there are classes."""
    model = _nin(_imagenet_body(in_channels), 384, (num_classes, num_classes), num_classes, dropout)
    return initialise(model, init.xavier_uniform_)


@register_model(PAPER, 2013, (1, 3, 32, 32), {"default": PLAIN, "paper": cifar(weight_decay=5e-4)})
def nin_cifar(num_classes: int = 10, in_channels: int = 3, dropout: float = 0.5) -> Module:
    """The paper's net for CIFAR-10 (section 4.2), 966 986 parameters."""
    body = (block(in_channels, (192, 160, 96), 5, padding=2), MaxPool2d(3, 2, ceil_mode=True), Dropout(dropout),
            block(96, (192, 192, 192), 5, padding=2), AvgPool2d(3, 2, ceil_mode=True))
    return _initialised(_nin(body, 192, (192, 192), num_classes, dropout))
