"""Layers that only move elements about."""
from __future__ import annotations

from typing import Any

from ...autograd import Tensor
from .. import functional as F
from ..module import Module
from .base import FunctionLayer, layers

__all__ = layers(globals(), FunctionLayer, {
    "Flatten": ("flatten", "start_dim end_dim", {"start_dim": 1}),
    "PixelShuffle": ("pixel_shuffle", "upscale_factor"),
    "PixelUnshuffle": ("pixel_unshuffle", "downscale_factor"),
    "ChannelShuffle": ("channel_shuffle", "groups"),
    "Upsample": ("interpolate", "size scale_factor mode align_corners recompute_scale_factor"),
    "Unfold": ("unfold", "kernel_size dilation padding stride"),
    "Fold": ("fold", "output_size kernel_size dilation padding stride"),
    "Unflatten": ("unflatten", "dim sizes"),
}) + ["CircularPad1d", "CircularPad2d", "ConstantPad1d", "ConstantPad2d", "ReflectionPad1d", "ReflectionPad2d",
      "ReplicationPad1d", "ReplicationPad2d", "ZeroPad1d", "ZeroPad2d"]


class _Pad(Module):
    """functional.pad with sizes kept: an int for all sides, or (left, right, top, bottom)."""

    dims, mode = 2, "constant"

    def __init__(self, padding: Any):
        self.padding = (padding,) * (2 * self.dims) if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != 2 * self.dims:
            raise ValueError(f"{type(self).__name__}: padding must be an int or {2 * self.dims} ints, got {padding!r}")
        self.value = 0.0

    def forward(self, input: Tensor) -> Tensor:
        """The input with its border."""
        return F.pad(input, self.padding, self.mode, self.value if self.mode == "constant" else None)

    def extra_repr(self) -> str:
        """padding, and the value where there is one."""
        return f"{self.padding}" + (f", value={self.value}" if self.value else "")


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float):
        super().__init__(padding)
        self.value = value


for _kind, _base, _mode in (("Zero", _Pad, "constant"), ("Constant", _ConstantPad, "constant"),
                            ("Reflection", _Pad, "reflect"), ("Replication", _Pad, "replicate"),
                            ("Circular", _Pad, "circular")):
    for _dims in (1, 2):
        _name = f"{_kind}Pad{_dims}d"
        globals()[_name] = type(_name, (_base,), {"dims": _dims, "mode": _mode, "__module__": __name__,
                                                  "__doc__": f"See functional.pad.  As torch.nn.{_name}."})
