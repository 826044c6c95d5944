"""Dropout: active in training, the identity in evaluation."""
from __future__ import annotations

from ...autograd import Tensor
from .. import functional as F
from .base import Layer

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout",
           "StochasticDepth"]


class Dropout(Layer):
    """Zeros for elements, with probability p, the others divided by 1 - p; see functional.dropout.

    Raises ValueError unless p lies in 0..1.  As torch.nn.Dropout.
    """

    function = staticmethod(F.dropout)
    shown = ("p", "inplace")
    p: float = 0.5
    inplace: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"{type(self).__name__}: p is a probability and must lie in 0..1, got {self.p}")

    def forward(self, input: Tensor) -> Tensor:
        """The function in the layer's mode."""
        return self.function(input, self.p, self.training)


class Dropout1d(Dropout):
    """Zeros for whole channels of (N, C, L); see functional.dropout1d.  As torch.nn.Dropout1d."""

    function = staticmethod(F.dropout1d)


class Dropout2d(Dropout):
    """Zeros for whole channels of (N, C, H, W); see functional.dropout2d.  As torch.nn.Dropout2d."""

    function = staticmethod(F.dropout2d)


class Dropout3d(Dropout):
    """Zeros for whole channels of (N, C, D, H, W); see functional.dropout3d.  As torch.nn.Dropout3d."""

    function = staticmethod(F.dropout3d)


class AlphaDropout(Dropout):
    """Dropout that keeps mean and variance, for SELU; see functional.alpha_dropout.  As torch.nn.AlphaDropout."""

    function = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(Dropout):
    """AlphaDropout of whole channels; see functional.feature_alpha_dropout.  As torch.nn.FeatureAlphaDropout."""

    function = staticmethod(F.feature_alpha_dropout)


class StochasticDepth(Layer):
    """Zeros for whole images (mode "row") or batches ("batch"), with probability p; see functional.stochastic_depth.

    Raises ValueError unless p lies in 0..1.  As torchvision.ops.StochasticDepth.
    """

    function = staticmethod(F.stochastic_depth)
    p: float
    mode: str = "row"

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"StochasticDepth: p is a probability and must lie in 0..1, got {self.p}")

    def forward(self, input: Tensor) -> Tensor:
        """The function in the layer's mode."""
        return self.function(input, self.p, self.mode, self.training)
