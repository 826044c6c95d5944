"""AlexNet: as the paper, torchvision and the book have it.

Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, NeurIPS 2012, figure 2;
Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014 (torchvision's);
Zhang et al., Dive into Deep Learning, section 8.1 (the book's).

    layer     alexnet_2012 (227)       alexnet (224)     alexnet_d2l (224, grey)
    conv      11x11, 96, stride 4      64, pad 2         96, pad 1
              LRN, 3x3 pool            pool              pool
    conv      5x5, 256, 2 groups       192               256
              LRN, 3x3 pool            pool              pool
    conv      3x3, 384                 384               384
    conv      3x3, 384, 2 groups       256               384
    conv      3x3, 256, 2 groups       256               256
              3x3 pool                 pool, to 6x6      pool
    linear    4096, dropout            dropout, 4096     4096, dropout
    linear    4096, dropout            dropout, 4096     4096, dropout
    linear    1000                     1000              10
    numbers   60 965 224               61 100 840        46 764 746

Every convolution and all but the last linear layer are followed by ReLU; pools are 3x3 with stride 2.  The two groups
were the two GPUs of 2012.
"""
from __future__ import annotations

from ..nn import (
    AdaptiveAvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    init,
)
from .base import ConvNet, initialise, numbered
from .recipes import PLAIN, book, imagenet
from .registry import register_model

PAPER = "Krizhevsky et al. 2012, ImageNet Classification with Deep Convolutional Neural Networks"
PUBLISHED = imagenet(0.01, weight_decay=5e-4, batch_size=128)


@register_model(PAPER, 2012, (1, 3, 224, 224), {"default": PLAIN, "paper": PUBLISHED})
def alexnet(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Module:
    """torchvision's AlexNet, from 63x63: the one-tower net of 2014, 61 100 840 parameters."""
    features = Sequential(
        Conv2d(in_channels, 64, 11, 4, 2), ReLU(), MaxPool2d(3, 2),
        Conv2d(64, 192, 5, padding=2), ReLU(), MaxPool2d(3, 2),
        Conv2d(192, 384, 3, padding=1), ReLU(),
        Conv2d(384, 256, 3, padding=1), ReLU(),
        Conv2d(256, 256, 3, padding=1), ReLU(), MaxPool2d(3, 2))
    classifier = Sequential(
        Dropout(dropout), Linear(256 * 6 * 6, 4096), ReLU(),
        Dropout(dropout), Linear(4096, 4096), ReLU(),
        Linear(4096, num_classes))
    return ConvNet({}, {"features": features},
                   {"avgpool": AdaptiveAvgPool2d(6), "flatten": Flatten(), "classifier": classifier})


@register_model(PAPER, 2012, (1, 3, 227, 227), {"default": PLAIN, "paper": PUBLISHED})
def alexnet_2012(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Module:
    """The paper's AlexNet for 227x227 (its 224 is a slip), with groups and response norms, 60 965 224 parameters.

    The paper sums squares where LocalResponseNorm takes their mean over 5 channels, so alpha is 5 times its 1e-4.
    """
    def norm():
        return LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    features = Sequential(
        Conv2d(in_channels, 96, 11, 4), ReLU(), norm(), MaxPool2d(3, 2),
        Conv2d(96, 256, 5, padding=2, groups=2), ReLU(), norm(), MaxPool2d(3, 2),
        Conv2d(256, 384, 3, padding=1), ReLU(),
        Conv2d(384, 384, 3, padding=1, groups=2), ReLU(),
        Conv2d(384, 256, 3, padding=1, groups=2), ReLU(), MaxPool2d(3, 2))
    classifier = Sequential(
        Linear(256 * 6 * 6, 4096), ReLU(), Dropout(dropout),
        Linear(4096, 4096), ReLU(), Dropout(dropout),
        Linear(4096, num_classes))
    model = ConvNet({}, {"features": features}, {"flatten": Flatten(), "classifier": classifier})
    initialise(model, _narrow, _narrow, zero_bias=True)
    for layer in (features[4], features[10], features[12], classifier[0], classifier[3]):
        init.ones_(layer.bias)                       # section 5: so that ReLUs see positive inputs at first
    return model


def _narrow(weight):
    """Section 5: a normal distribution with standard deviation 0.01."""
    init.normal_(weight, 0.0, 0.01)


@register_model(PAPER, 2012, (1, 1, 224, 224), {"default": PLAIN, "book": book(0.01, 224)})
def alexnet_d2l(num_classes: int = 10, in_channels: int = 1, dropout: float = 0.5, xavier_init: bool = False) -> Module:
    """The book's AlexNet for 224x224 grey images, 46 764 746 parameters.

    xavier_init: as the book means it.  In effect its second edition leaves the layers' own initialisation: it applies
    init_cnn while the layers are lazy (LazyConv2d, LazyLinear), and init_cnn looks for Conv2d and Linear.  The same
    happens to densenet_d2l and regnetx32_d2l; the book's other nets are initialised after a first forward pass.
    """
    body = (Conv2d(in_channels, 96, 11, 4, 1), ReLU(), MaxPool2d(3, 2),
            Conv2d(96, 256, 5, padding=2), ReLU(), MaxPool2d(3, 2),
            Conv2d(256, 384, 3, padding=1), ReLU(),
            Conv2d(384, 384, 3, padding=1), ReLU(),
            Conv2d(384, 256, 3, padding=1), ReLU(), MaxPool2d(3, 2))
    head = (Flatten(),
            Linear(6400, 4096), ReLU(), Dropout(dropout),
            Linear(4096, 4096), ReLU(), Dropout(dropout),
            Linear(4096, num_classes))
    model = ConvNet({}, numbered(*body), numbered(*head, start=len(body)))
    return initialise(model, init.xavier_uniform_, init.xavier_uniform_) if xavier_init else model
