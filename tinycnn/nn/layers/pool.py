"""Pooling."""
from __future__ import annotations

from typing import Any

from .. import functional as F
from .base import Layer, size_tuple

__all__ = ["AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AvgPool1d",
           "AvgPool2d", "LPPool1d", "LPPool2d", "MaxPool1d", "MaxPool2d", "MaxUnpool1d", "MaxUnpool2d"]


class _Strided(Layer):
    """A pool whose stride is its kernel_size unless given."""

    def __post_init__(self) -> None:
        if self.stride is None:
            self.stride = self.kernel_size


class MaxPool2d(_Strided):
    """The largest of each window; see functional.max_pool2d.  As torch.nn.MaxPool2d."""

    function = staticmethod(F.max_pool2d)
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    dilation: Any = 1
    return_indices: bool = False
    ceil_mode: bool = False


class MaxPool1d(MaxPool2d):
    """The largest of each window; see functional.max_pool1d.  As torch.nn.MaxPool1d."""

    function = staticmethod(F.max_pool1d)


class AvgPool1d(Layer):
    """The mean of each window; see functional.avg_pool1d.  As torch.nn.AvgPool1d."""

    function = staticmethod(F.avg_pool1d)
    shown = ("kernel_size", "stride", "padding")
    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def __post_init__(self) -> None:
        stride = self.kernel_size if self.stride is None else self.stride
        self.kernel_size = size_tuple(self.kernel_size, 1, "AvgPool1d", "kernel_size")
        self.stride = size_tuple(stride, 1, "AvgPool1d", "stride")
        self.padding = size_tuple(self.padding, 1, "AvgPool1d", "padding")


class AvgPool2d(_Strided):
    """The mean of each window; see functional.avg_pool2d.  As torch.nn.AvgPool2d."""

    function = staticmethod(F.avg_pool2d)
    shown = ("kernel_size", "stride", "padding")
    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None


class AdaptiveAvgPool1d(Layer):
    """Means of as many windows as asked for; see functional.adaptive_avg_pool1d.  As torch.nn.AdaptiveAvgPool1d."""

    function = staticmethod(F.adaptive_avg_pool1d)
    output_size: Any


class AdaptiveAvgPool2d(Layer):
    """Means of as many windows as asked for; see functional.adaptive_avg_pool2d.  As torch.nn.AdaptiveAvgPool2d."""

    function = staticmethod(F.adaptive_avg_pool2d)
    output_size: Any


class AdaptiveMaxPool1d(Layer):
    """Largest of as many windows as asked for; see functional.adaptive_max_pool1d.  As torch.nn.AdaptiveMaxPool1d."""

    function = staticmethod(F.adaptive_max_pool1d)
    shown = ("output_size",)
    output_size: Any
    return_indices: bool = False


class AdaptiveMaxPool2d(Layer):
    """Largest of as many windows as asked for; see functional.adaptive_max_pool2d.  As torch.nn.AdaptiveMaxPool2d."""

    function = staticmethod(F.adaptive_max_pool2d)
    shown = ("output_size",)
    output_size: Any
    return_indices: bool = False


class LPPool1d(Layer):
    """The norm_type-norm of each window; see functional.lp_pool1d.  As torch.nn.LPPool1d."""

    function = staticmethod(F.lp_pool1d)
    norm_type: float
    kernel_size: Any
    stride: Any = None
    ceil_mode: bool = False


class LPPool2d(LPPool1d):
    """The norm_type-norm of each window; see functional.lp_pool2d.  As torch.nn.LPPool2d."""

    function = staticmethod(F.lp_pool2d)


class _Unpool(Layer):
    """The way back of a max pool: forward(input, indices, output_size=None)."""

    dims = 2

    def __post_init__(self) -> None:
        name, stride = type(self).__name__, self.kernel_size if self.stride is None else self.stride
        self.kernel_size = size_tuple(self.kernel_size, self.dims, name, "kernel_size")
        self.stride = size_tuple(stride, self.dims, name, "stride")
        self.padding = size_tuple(self.padding, self.dims, name, "padding")

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Any:
        """The values at their indices, zeros elsewhere."""
        return self.function(input, indices, **self.options(), output_size=output_size)


class MaxUnpool2d(_Unpool):
    """Values back where max_pool2d(return_indices=True) found them; see functional.max_unpool2d.

    As torch.nn.MaxUnpool2d.
    """

    function = staticmethod(F.max_unpool2d)
    kernel_size: Any
    stride: Any = None
    padding: Any = 0


class MaxUnpool1d(MaxUnpool2d):
    """Values back where max_pool1d(return_indices=True) found them; see functional.max_unpool1d.

    As torch.nn.MaxUnpool1d.
    """

    dims = 1
    function = staticmethod(F.max_unpool1d)
