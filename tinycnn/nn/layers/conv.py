"""Convolutions and transposed convolutions of sequences (1d) and images (2d)."""
from __future__ import annotations

from math import prod
from typing import Any

from ...autograd import Tensor
from .. import functional as F
from ..module import Module
from .base import positive_sizes, size_tuple, uniform_parameter

__all__ = ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d"]

_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What all convolutions share: sizes checked, weight and bias drawn as torch draws them."""

    dims = 2
    transposed = False

    def _set(self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
             device, dtype):
        layer, n = type(self).__name__, self.dims
        positive_sizes(layer, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{layer}: groups={groups} must divide in_channels={in_channels} and "
                             f"out_channels={out_channels}")
        modes = _MODES[:1] if self.transposed else _MODES
        if padding_mode not in modes:
            raise ValueError(f"{layer}: padding_mode {padding_mode!r} is none of {', '.join(modes)}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = size_tuple(kernel_size, n, layer, "kernel_size", 1)
        self.stride = size_tuple(stride, n, layer, "stride", 1)
        self.dilation = size_tuple(dilation, n, layer, "dilation", 1)
        named = isinstance(padding, str)
        self.padding = self._named_padding(padding) if named else size_tuple(padding, n, layer, "padding", 0)
        self.padding_mode = padding_mode
        shape = ((in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups))
        fan_in = shape[1] * prod(self.kernel_size)
        self.weight = uniform_parameter((*shape, *self.kernel_size), fan_in, dtype, device)
        self.bias = uniform_parameter((out_channels,), fan_in, dtype, device) if bias else None

    def _named_padding(self, padding):
        layer = type(self).__name__
        if self.transposed or padding not in ("same", "valid"):
            known = "an int or a tuple of ints" if self.transposed else "'same', 'valid', an int or a tuple of ints"
            raise ValueError(f"{layer}: padding must be {known}, got {padding!r}")
        if padding == "same" and set(self.stride) != {1}:
            raise ValueError(f"{layer}: padding='same' needs stride 1, got stride={self.stride}: give the padding as a "
                             "number")
        return padding

    def extra_repr(self) -> str:
        """in, out, kernel_size, stride, and what differs from the defaults."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        ones, zeros = (1,) * self.dims, (0,) * self.dims
        for name, default in (("padding", zeros), ("dilation", ones), ("output_padding", zeros), ("groups", 1),
                              ("padding_mode", "zeros")):
            if getattr(self, name, default) != default:
                text += f", {name}={getattr(self, name)}"
        return text + ("" if self.bias is not None else ", bias=False")


class _Convolution(_Conv):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
                 device: str | None = None, dtype: Any = None):
        self._set(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device,
                  dtype)

    def _arguments(self, input):
        """Those of functional.conv2d (conv1d)."""
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._border(), self.padding_mode), 0
        return input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups

    def _border(self):
        """(left, right, top, bottom) for functional.pad."""
        if self.padding == "valid":
            return (0, 0) * self.dims
        if self.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size)]
            sides = [(n // 2, n - n // 2) for n in total]
        else:
            sides = [(p, p) for p in self.padding]
        return tuple(n for side in reversed(sides) for n in side)


class Conv2d(_Convolution):
    """See functional.conv2d.  weight (out_channels, in_channels/groups, KH, KW), bias (out_channels,).

    Both start uniform in +-1/sqrt(fan_in).  As torch.nn.Conv2d.
    """

    def forward(self, input: Tensor, *, relu: bool = False, residual: Tensor | None = None) -> Tensor:
        """functional.conv2d with the layer's weight and options.

        relu   functional.conv2d_relu instead, with the residual: see nn/fused.py
        """
        arguments = self._arguments(input)
        return F.conv2d_relu(*arguments, residual) if relu else F.conv2d(*arguments)


class Conv1d(_Convolution):
    """See functional.conv1d.  weight (out_channels, in_channels/groups, K), bias (out_channels,).

    Both start uniform in +-1/sqrt(fan_in).  As torch.nn.Conv1d.
    """

    dims = 1

    def forward(self, input: Tensor) -> Tensor:
        """functional.conv1d with the layer's weight and options."""
        return F.conv1d(*self._arguments(input))


class _Transposed(_Conv):
    transposed = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1,
                 padding_mode: str = "zeros", device: str | None = None, dtype: Any = None):
        self._set(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device,
                  dtype)
        self.output_padding = size_tuple(output_padding, self.dims, type(self).__name__, "output_padding")

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """functional.conv_transpose2d (1d); output_size picks among the sizes a stride leaves open."""
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        convolve = F.conv_transpose2d if self.dims == 2 else F.conv_transpose1d
        return convolve(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _extra(self, input, output_size):
        """The output_padding that gives output_size."""
        sizes, wanted = input.shape[-self.dims:], tuple(output_size)[-self.dims:]
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in
                 zip(sizes, self.stride, self.padding, self.dilation, self.kernel_size)]
        extra = tuple(w - n for w, n in zip(wanted, least))
        if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, self.stride, self.dilation)):
            raise ValueError(f"output_size {wanted} cannot be reached from {sizes}: each size must lie in "
                             f"{least} .. +{[s - 1 for s in self.stride]}")
        return extra


class ConvTranspose2d(_Transposed):
    """See functional.conv_transpose2d.  weight (in_channels, out_channels/groups, KH, KW).

    As torch.nn.ConvTranspose2d.
    """


class ConvTranspose1d(_Transposed):
    """See functional.conv_transpose1d.  weight (in_channels, out_channels/groups, K).  As torch.nn.ConvTranspose1d."""

    dims = 1
