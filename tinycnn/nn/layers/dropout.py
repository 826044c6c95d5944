"""Dropout: active in training, the identity in evaluation."""
from __future__ import annotations

from ...autograd import Tensor
from ...methods import FUNCTIONS
from .base import FunctionLayer, layers


class _Dropout(FunctionLayer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not 0 <= self.p <= 1:
            raise ValueError(f"{type(self).__name__}: p is a probability and must lie in 0..1, got {self.p}")

    def forward(self, input: Tensor) -> Tensor:
        """The function in the layer's mode."""
        return FUNCTIONS[self.function](input, self.p, self.training)

    def extra_repr(self) -> str:
        """p."""
        return f"p={self.p}"


__all__ = layers(globals(), _Dropout, {
    "Dropout": ("dropout", "p inplace"),
    "Dropout1d": ("dropout1d", "p inplace"),
    "Dropout2d": ("dropout2d", "p inplace"),
    "Dropout3d": ("dropout3d", "p inplace"),
    "AlphaDropout": ("alpha_dropout", "p inplace", {"p": 0.5}),
    "FeatureAlphaDropout": ("feature_alpha_dropout", "p inplace", {"p": 0.5}),
})
