"""Lazy layers: the input's number of channels or features is learned from the first input.

Until then their parameters exist, in their places, without a shape; the first call makes the layer an ordinary one.
As torch.nn.LazyLinear and its kin; the "modern remedy" of Zhang et al., Dive into Deep Learning, section 6.4.
"""
from __future__ import annotations

from inspect import signature
from typing import Any

from ..module import Module, Parameter
from .conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from .linear import Linear
from .norm import BatchNorm1d, BatchNorm2d

__all__ = ["LazyBatchNorm1d", "LazyBatchNorm2d", "LazyConv1d", "LazyConv2d", "LazyConvTranspose1d",
           "LazyConvTranspose2d", "LazyLinear"]


class UninitializedParameter(Parameter):
    """A Parameter that has no shape yet: any use of its values says what to do."""

    def __init__(self, layer: str):
        self.layer, self.requires_grad, self.grad = layer, True, None
        self._node, self._hooks, self._version = None, None, 0

    @property
    def _data(self):
        raise ValueError(f"a parameter of {self.layer} has no shape yet: call the model once with an input "
                         "(for example a batch of zeros) before using its parameters")

    def __deepcopy__(self, memo):
        return UninitializedParameter(self.layer)

    def __repr__(self) -> str:
        return f"UninitializedParameter({self.layer})"


class _Lazy(Module):
    """Keeps the constructor's arguments; becomes `ordinary` when it sees its first input."""

    ordinary: type
    channel_dim = 1

    def __init__(self, *args: Any, **kwargs: Any):
        name = type(self).__name__
        self._arguments = (args, kwargs)
        signature(self.ordinary).bind(1, *args, **kwargs)             # wrong arguments fail here, not at the first call
        self.weight = UninitializedParameter(name)
        self.bias = UninitializedParameter(name) if kwargs.get("bias", True) else None

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        args, kwargs = self._arguments
        size = inputs[0].shape[self.channel_dim]
        layer = self.ordinary(size, *args, **kwargs)
        layer.training = self.training
        vars(layer).update({k: v for k, v in vars(self).items() if k.endswith("_hooks")})
        vars(self).clear()
        self.__class__ = self.ordinary
        vars(self).update(vars(layer))
        return self(*inputs, **options)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        args, kwargs = self._arguments
        return ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())])


class LazyLinear(_Lazy):
    """Linear whose in_features is the last size of the first input.  As torch.nn.LazyLinear."""

    ordinary, channel_dim = Linear, -1


class LazyConv1d(_Lazy):
    """Conv1d whose in_channels is that of the first input (N, C, L).  As torch.nn.LazyConv1d."""

    ordinary = Conv1d


class LazyConv2d(_Lazy):
    """Conv2d whose in_channels is that of the first input (N, C, H, W).  As torch.nn.LazyConv2d."""

    ordinary = Conv2d


class LazyConvTranspose1d(_Lazy):
    """ConvTranspose1d whose in_channels is that of the first input.  As torch.nn.LazyConvTranspose1d."""

    ordinary = ConvTranspose1d


class LazyConvTranspose2d(_Lazy):
    """ConvTranspose2d whose in_channels is that of the first input.  As torch.nn.LazyConvTranspose2d."""

    ordinary = ConvTranspose2d


class LazyBatchNorm1d(_Lazy):
    """BatchNorm1d whose num_features is the number of channels of the first input.  As torch.nn.LazyBatchNorm1d."""

    ordinary = BatchNorm1d


class LazyBatchNorm2d(_Lazy):
    """BatchNorm2d whose num_features is the number of channels of the first input.  As torch.nn.LazyBatchNorm2d."""

    ordinary = BatchNorm2d
