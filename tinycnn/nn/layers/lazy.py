"""Lazy layers: the input's number of channels or features is learned from the first input.

Until then their parameters exist, in their places, without a shape; the first call fills the same parameters (an
optimizer may hold them already) and makes the layer an ordinary one.  As torch.nn.LazyLinear and its kin.
"""
from __future__ import annotations

from inspect import signature
from typing import Any

from ..module import Module
from ..parameter import UninitializedParameter
from .conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from .linear import Linear
from .norm import BatchNorm1d, BatchNorm2d

__all__ = ["LazyBatchNorm1d", "LazyBatchNorm2d", "LazyConv1d", "LazyConv2d", "LazyConvTranspose1d",
           "LazyConvTranspose2d", "LazyLinear"]


class _Lazy(Module):
    """Keeps the constructor's arguments; becomes `ordinary` when it sees its first input.

    channel_dim   the dimension of the input whose size is the ordinary layer's first argument
    """

    ordinary: type
    channel_dim: int

    def __init__(self, *args: Any, **kwargs: Any):
        bound = signature(self.ordinary).bind(1, *args, **kwargs)     # wrong arguments fail here, not at the first call
        self._options = dict(list(bound.arguments.items())[1:])
        affine = self._options.get("affine", True)
        for name, wanted in (("weight", affine), ("bias", affine and self._options.get("bias", True))):
            setattr(self, name, UninitializedParameter(f"{type(self).__name__}.{name}") if wanted else None)

    def forward(self, *inputs: Any) -> Any:
        """Become ordinary, then the ordinary forward."""
        shape, dim = inputs[0].shape, self.channel_dim
        if not -len(shape) <= dim < len(shape):
            raise ValueError(f"the first input has shape {shape}: there is no dimension {dim} to take the size from")
        layer, before = self.ordinary(shape[dim], **self._options), dict(vars(self))
        for name in ("weight", "bias"):
            if before[name] is not None:
                before[name].materialize(vars(layer)[name])
        del before["_options"]
        self.__class__ = self.ordinary
        vars(self).clear()
        vars(self).update({**vars(layer), **before})
        return self.forward(*inputs)

    def _convert(self, device, dtype):
        self._options.update({name: v for name, v in (("device", device), ("dtype", dtype)) if v is not None})

    def extra_repr(self) -> str:
        """0 for what is not known, then the arguments."""
        return ", ".join(["0", *(f"{name}={v!r}" for name, v in self._options.items())])


def _lazy(ordinary, channel_dim, what):
    """The lazy variant of a layer, with its signature less the first argument."""
    name = "Lazy" + ordinary.__name__
    arguments = signature(ordinary)
    return type(name, (_Lazy,), {
        "ordinary": ordinary, "channel_dim": channel_dim, "__module__": __name__,
        "__signature__": arguments.replace(parameters=list(arguments.parameters.values())[1:]),
        "__doc__": f"{ordinary.__name__} whose {what} is that of the first input.  As torch.nn.{name}."})


LazyLinear = _lazy(Linear, -1, "in_features")
LazyConv1d = _lazy(Conv1d, -2, "in_channels")
LazyConv2d = _lazy(Conv2d, -3, "in_channels")
LazyConvTranspose1d = _lazy(ConvTranspose1d, -2, "in_channels")
LazyConvTranspose2d = _lazy(ConvTranspose2d, -3, "in_channels")
LazyBatchNorm1d = _lazy(BatchNorm1d, 1, "num_features")
LazyBatchNorm2d = _lazy(BatchNorm2d, 1, "num_features")
