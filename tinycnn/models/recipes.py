"""How nets are trained: settings of train.Config that several families share.

DEFAULT is for images of 28 to 32 pixels and a CPU; the others are published.
"""
from __future__ import annotations

from typing import Any, Mapping

Recipe = Mapping[str, Any]

DEFAULT: Recipe = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 128,
                   "epochs": 10, "schedule": "cosine"}
# Without batch norm long steps break deep nets: short ones, a warm-up and a bound on the gradient instead.
PLAIN: Recipe = {**DEFAULT, "lr": 0.01, "warmup_epochs": 1.0, "clip_norm": 1.0}
CONVNEXT: Recipe = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05, "batch_size": 128, "epochs": 10,
                    "schedule": "cosine", "warmup_epochs": 1.0, "label_smoothing": 0.1}


def book(lr: float, image_size: int = 0) -> Recipe:
    """Zhang et al., Dive into Deep Learning, second edition: plain SGD on Fashion-MNIST, pixels as they are in 0..1."""
    return {"optimizer": "sgd", "momentum": 0.0, "lr": lr, "batch_size": 128, "epochs": 10, "schedule": "constant",
            "image_size": image_size, "mean": (0.0,), "std": (1.0,)}


def imagenet(lr: float = 0.1, **changes: Any) -> Recipe:
    """He et al. 2016, section 3.4: the recipe of most nets since; the papers' own changes go over it."""
    return {"optimizer": "sgd", "lr": lr, "momentum": 0.9, "weight_decay": 1e-4, "batch_size": 256, "epochs": 90,
            "schedule": "step", **changes}


def cifar(**changes: Any) -> Recipe:
    """He et al. 2016, section 4.2: 64 000 steps, a tenth after one half and three quarters, shifts and flips."""
    return {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "batch_size": 128, "epochs": 164,
            "schedule": "multistep", "augment": "crop+flip", **changes}
