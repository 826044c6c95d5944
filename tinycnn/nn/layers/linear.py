"""Layers that are matrix products, or rows of a matrix."""
from __future__ import annotations

from math import sqrt
from typing import Any

from ...autograd import Tensor, no_grad
from .. import functional as F
from .. import init
from ..module import Module
from .base import parameter, positive_sizes

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
        bound = 1 / sqrt(in_features)
        self.weight = parameter((out_features, in_features), lambda p: init.kaiming_uniform_(p, a=sqrt(5)), dtype, device)
        self.bias = parameter((out_features,), lambda p: init.uniform_(p, -bound, bound), dtype, device) if bias else None

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
        bound = 1 / sqrt(in1_features)
        shape = (out_features, in1_features, in2_features)
        self.weight = parameter(shape, lambda p: init.uniform_(p, -bound, bound), dtype, device)
        self.bias = parameter((out_features,), lambda p: init.uniform_(p, -bound, bound), dtype, device) if bias else None

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """functional.bilinear with the layer's weight and bias."""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """in1_features, in2_features, out_features, bias."""
        return (f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
                f"out_features={self.out_features}, bias={self.bias is not None}")


class Embedding(Module):
    """See functional.embedding.  weight (num_embeddings, embedding_dim), standard normal.  As torch.nn.Embedding."""

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 scale_grad_by_freq: bool = False, device: str | None = None, dtype: Any = None):
        positive_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx {padding_idx} is no row of {num_embeddings}")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.scale_grad_by_freq = scale_grad_by_freq
        self.weight = parameter((num_embeddings, embedding_dim), init.normal_, dtype, device)
        if padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    def forward(self, input: Any) -> Tensor:
        """The rows of weight at the integers of input."""
        return F.embedding(input, self.weight, self.padding_idx, scale_grad_by_freq=self.scale_grad_by_freq)

    def extra_repr(self) -> str:
        """num_embeddings, embedding_dim, padding_idx."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"
