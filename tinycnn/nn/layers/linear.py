"""Layers that are matrix products, or rows of a matrix."""
from __future__ import annotations

from typing import Any

from ...autograd import Tensor, no_grad
from .. import functional as F
from .. import init
from ..module import Module
from .base import parameter, positive_sizes, uniform_parameter

__all__ = ["Bilinear", "Embedding", "Identity", "Linear"]


class Identity(Module):
    """The input; takes and ignores any arguments.  As torch.nn.Identity."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def forward(self, input: Tensor) -> Tensor:
        """The input."""
        return input


class Linear(Module):
    """See functional.linear.  weight (out_features, in_features), bias (out_features,).

    Both start uniform in +-1/sqrt(in_features).  As torch.nn.Linear.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: str | None = None,
                 dtype: Any = None):
        positive_sizes(type(self).__name__, in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = uniform_parameter((out_features, in_features), in_features, dtype, device)
        self.bias = uniform_parameter((out_features,), in_features, dtype, device) if bias else None

    def forward(self, input: Tensor) -> Tensor:
        """functional.linear with the layer's weight and bias."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """in_features, out_features, bias."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """See functional.bilinear.  weight (out_features, in1_features, in2_features).  As torch.nn.Bilinear."""

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True,
                 device: str | None = None, dtype: Any = None):
        positive_sizes("Bilinear", in1_features=in1_features, in2_features=in2_features, out_features=out_features)
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.weight = uniform_parameter((out_features, in1_features, in2_features), in1_features, dtype, device)
        self.bias = uniform_parameter((out_features,), in1_features, dtype, device) if bias else None

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """functional.bilinear with the layer's weight and bias."""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """in1_features, in2_features, out_features, bias."""
        return (f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
                f"out_features={self.out_features}, bias={self.bias is not None}")


class Embedding(Module):
    """See functional.embedding.  weight (num_embeddings, embedding_dim), standard normal, zeros at padding_idx.

    As torch.nn.Embedding, without sparse gradients.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False, *,
                 device: str | None = None, dtype: Any = None):
        positive_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx={padding_idx} is not one of the {num_embeddings} rows")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq
        self.weight = parameter((num_embeddings, embedding_dim), init.normal_, dtype, device)
        if padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, **options: Any) -> Embedding:
        """An Embedding whose weight is a copy of `embeddings`, not trained if freeze."""
        layer = cls(*embeddings.shape, **options, dtype=embeddings.dtype, device=embeddings.device)
        with no_grad():
            layer.weight.copy_(embeddings)
        layer.weight.requires_grad_(not freeze)
        return layer

    def forward(self, input: Any) -> Tensor:
        """The rows of weight at the integers of input."""
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
                           self.scale_grad_by_freq)

    def extra_repr(self) -> str:
        """num_embeddings, embedding_dim, and what differs from the defaults."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        for name, default in (("padding_idx", None), ("max_norm", None), ("norm_type", 2.0),
                              ("scale_grad_by_freq", False)):
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text
