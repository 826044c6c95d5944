"""Learning-rate schedules.  Names, arguments and values: torch.optim.lr_scheduler.

A schedule sets group["lr"] when it is made, which is its step 0, and again at every step().  As in torch each computes
the next rate from the present one, so that several schedules of one optimizer multiply.
"""
from .annealing import CosineAnnealingLR, CosineAnnealingWarmRestarts, OneCycleLR
from .base import LRScheduler
from .combined import ChainedScheduler, SequentialLR
from .decay import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from .plateau import ReduceLROnPlateau

__all__ = ["ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR",
           "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR", "OneCycleLR", "PolynomialLR",
           "ReduceLROnPlateau", "SequentialLR", "StepLR"]
