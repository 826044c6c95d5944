"""LeNet-5 and its batch-normalised form, as the book has them.

Zhang et al., Dive into Deep Learning, sections 7.6 (LeNet) and 8.5 (batch normalization), after
LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 1998, figure 2.

    layer       lenet              output     bn_lenet           output
    conv        5x5, 6, pad 2      6x28x28    5x5, 6             6x24x24
    activation  sigmoid                       BN, sigmoid
    pool        average 2x2        6x14x14    average 2x2        6x12x12
    conv        5x5, 16            16x10x10   5x5, 16            16x8x8
    activation  sigmoid                       BN, sigmoid
    pool        average 2x2        16x5x5     average 2x2        16x4x4
    linear      120, sigmoid       120        120, BN, sigmoid   120
    linear      84, sigmoid        84         84, BN, sigmoid    84
    linear      10                 10         10                 10
    parameters  61 706                        44 878

bn_lenet pads nothing, so its first linear layer sees 256 numbers and not 400: this is the book's, not a slip here.
"""
from __future__ import annotations

from ..nn import AvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, Flatten, Linear, Module, Sequential, Sigmoid, init
from .registry import register_model

PAPER = "LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition"
BOOK = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.1, "batch_size": 128, "epochs": 10, "schedule": "constant"}
# Sigmoids pass little gradient: Adam's steps do not depend on its size, and one cycle starts and ends gently.  Steps
# this long leave the plateau soon: MNIST 0.9894 to 0.9906 in 3 epochs (3 seeds); lr 0.01 gives 0.9865, 0.03 0.9884.
DEFAULT = {"optimizer": "adam", "lr": 0.02, "batch_size": 64, "epochs": 10, "schedule": "onecycle"}


@register_model(PAPER, 1998, (1, 1, 28, 28), {"default": DEFAULT, "book": BOOK})
def lenet(num_classes: int = 10, in_channels: int = 1) -> Module:
    """The book's LeNet, for (N, in_channels, 28, 28): sigmoids and average pooling, 61 706 parameters."""
    return xavier(Sequential(
        Conv2d(in_channels, 6, 5, padding=2), Sigmoid(), AvgPool2d(2, 2),
        Conv2d(6, 16, 5), Sigmoid(), AvgPool2d(2, 2),
        Flatten(),
        Linear(400, 120), Sigmoid(),
        Linear(120, 84), Sigmoid(),
        Linear(84, num_classes)))


@register_model(PAPER + "; Ioffe & Szegedy 2015, Batch Normalization", 2015, (1, 1, 28, 28),
                {"default": {**DEFAULT, "lr": 0.01, "batch_size": 128}, "book": BOOK})
def bn_lenet(num_classes: int = 10, in_channels: int = 1) -> Module:
    """The book's LeNet with batch normalization before each sigmoid, for (N, in_channels, 28, 28)."""
    return xavier(Sequential(
        Conv2d(in_channels, 6, 5), BatchNorm2d(6), Sigmoid(), AvgPool2d(2, 2),
        Conv2d(6, 16, 5), BatchNorm2d(16), Sigmoid(), AvgPool2d(2, 2),
        Flatten(),
        Linear(256, 120), BatchNorm1d(120), Sigmoid(),
        Linear(120, 84), BatchNorm1d(84), Sigmoid(),
        Linear(84, num_classes)))


def xavier(model: Module) -> Module:
    """The book's init_cnn: Xavier-uniform weights of every linear and convolutional layer; biases as they are."""
    for layer in model.modules():
        if isinstance(layer, (Conv2d, Linear)):
            init.xavier_uniform_(layer.weight)
    return model
