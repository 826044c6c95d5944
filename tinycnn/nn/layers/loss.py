"""Losses as layers: forward(input, target)."""
from __future__ import annotations

from typing import Any

from .base import FunctionLayer, layers


class _Loss(FunctionLayer):
    """A loss; class weights are kept as buffers, so that they move with the module."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for name in {"weight", "pos_weight"} & set(self.takes):
            value = vars(self).pop(name)
            self.register_buffer(name, value, persistent=value is not None)


__all__ = layers(globals(), _Loss, {
    "CrossEntropyLoss": ("cross_entropy", "weight ignore_index reduction label_smoothing"),
    "NLLLoss": ("nll_loss", "weight ignore_index reduction"),
    "MSELoss": ("mse_loss", "reduction"),
    "L1Loss": ("l1_loss", "reduction"),
    "SmoothL1Loss": ("smooth_l1_loss", "reduction beta"),
    "HuberLoss": ("huber_loss", "reduction delta"),
    "BCELoss": ("binary_cross_entropy", "weight reduction"),
    "BCEWithLogitsLoss": ("binary_cross_entropy_with_logits", "weight reduction pos_weight"),
    "KLDivLoss": ("kl_div", "reduction log_target"),
})
