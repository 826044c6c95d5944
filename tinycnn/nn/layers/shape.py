"""Layers that only move elements about: reshaping, borders, resizing, patches."""
from __future__ import annotations

from typing import Any, ClassVar

from ...ops.basic import permute
from ...ops.shape import flatten, unflatten
from .. import functional as F
from .base import Layer, size_tuple

__all__ = ["ChannelShuffle", "CircularPad1d", "CircularPad2d", "ConstantPad1d", "ConstantPad2d", "Flatten", "Fold",
           "Permute", "PixelShuffle", "PixelUnshuffle", "ReflectionPad1d", "ReflectionPad2d", "ReplicationPad1d",
           "ReplicationPad2d", "Unflatten", "Unfold", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d",
           "ZeroPad1d", "ZeroPad2d"]


class Flatten(Layer):
    """Dimensions start_dim..end_dim as one: (N, C, H, W) -> (N, C*H*W).  As torch.nn.Flatten."""

    function = staticmethod(flatten)
    start_dim: int = 1
    end_dim: int = -1


class Unflatten(Layer):
    """Dimension dim as several, of sizes unflattened_size.  As torch.nn.Unflatten."""

    function = staticmethod(unflatten)
    dim: int
    unflattened_size: tuple[int, ...]

    def forward(self, input: Any) -> Any:
        """tinycnn.unflatten."""
        return unflatten(input, self.dim, self.unflattened_size)


class Permute(Layer):
    """The dimensions in another order: Permute((0, 2, 3, 1)) takes (N, C, H, W) to (N, H, W, C).

    As torchvision.ops.Permute.
    """

    function = staticmethod(permute)
    dims: tuple[int, ...]

    def forward(self, input: Any) -> Any:
        """tinycnn.permute."""
        return permute(input, self.dims)


class PixelShuffle(Layer):
    """(N, C*r*r, H, W) -> (N, C, H*r, W*r), r = upscale_factor; see functional.pixel_shuffle.

    As torch.nn.PixelShuffle.
    """

    function = staticmethod(F.pixel_shuffle)
    upscale_factor: int


class PixelUnshuffle(Layer):
    """(N, C, H*r, W*r) -> (N, C*r*r, H, W), r = downscale_factor; see functional.pixel_unshuffle.

    As torch.nn.PixelUnshuffle.
    """

    function = staticmethod(F.pixel_unshuffle)
    downscale_factor: int


class ChannelShuffle(Layer):
    """The channels of all groups in turn; see functional.channel_shuffle.  As torch.nn.ChannelShuffle."""

    function = staticmethod(F.channel_shuffle)
    groups: int


class Upsample(Layer):
    """The image resized; see functional.interpolate.  As torch.nn.Upsample."""

    function = staticmethod(F.interpolate)
    size: Any = None
    scale_factor: Any = None
    mode: str = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None

    def __post_init__(self) -> None:
        if self.scale_factor is not None:
            many = isinstance(self.scale_factor, (tuple, list))
            self.scale_factor = tuple(map(float, self.scale_factor)) if many else float(self.scale_factor)

    def extra_repr(self) -> str:
        """The size or the factor, whichever was given, and the mode."""
        size = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{size}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Upsample(mode="nearest").  As torch.nn.UpsamplingNearest2d."""

    def __init__(self, size: Any = None, scale_factor: Any = None):
        super().__init__(size, scale_factor)


class UpsamplingBilinear2d(Upsample):
    """Upsample(mode="bilinear", align_corners=True).  As torch.nn.UpsamplingBilinear2d."""

    def __init__(self, size: Any = None, scale_factor: Any = None):
        super().__init__(size, scale_factor, "bilinear", True)


class Unfold(Layer):
    """Every patch as a column; see functional.unfold.  As torch.nn.Unfold."""

    function = staticmethod(F.unfold)
    kernel_size: Any
    dilation: Any = 1
    padding: Any = 0
    stride: Any = 1


class Fold(Layer):
    """Columns added up to an image of output_size; see functional.fold.  As torch.nn.Fold."""

    function = staticmethod(F.fold)
    output_size: Any
    kernel_size: Any
    dilation: Any = 1
    padding: Any = 0
    stride: Any = 1


# ---------------------------------------------------------------------------------------- borders

class _Pad(Layer):
    """A border; padding: an int for all sides, or (left, right), or (left, right, top, bottom)."""

    mode: ClassVar[str] = "constant"
    dims: ClassVar[int] = 2
    padding: Any

    def __post_init__(self) -> None:
        self.padding = size_tuple(self.padding, 2 * self.dims, type(self).__name__, "padding")

    def forward(self, input: Any) -> Any:
        """The input with its border."""
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        """The padding."""
        return str(self.padding)


class _ConstantPad(_Pad):
    value: float

    def forward(self, input: Any) -> Any:
        """The input with its border."""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """The padding and the value."""
        return f"padding={self.padding}, value={self.value}"


class ZeroPad1d(_Pad):
    """A border of zeros: (..., L).  As torch.nn.ZeroPad1d."""

    dims = 1


class ZeroPad2d(_Pad):
    """A border of zeros: (..., H, W).  As torch.nn.ZeroPad2d."""


class ConstantPad1d(_ConstantPad):
    """A border of `value`: (..., L).  As torch.nn.ConstantPad1d."""

    dims = 1


class ConstantPad2d(_ConstantPad):
    """A border of `value`: (..., H, W).  As torch.nn.ConstantPad2d."""


class ReflectionPad1d(_Pad):
    """A border that mirrors the inside: (..., L).  As torch.nn.ReflectionPad1d."""

    dims = 1
    mode = "reflect"


class ReflectionPad2d(_Pad):
    """A border that mirrors the inside: (..., H, W).  As torch.nn.ReflectionPad2d."""

    mode = "reflect"


class ReplicationPad1d(_Pad):
    """A border that repeats the edge: (..., L).  As torch.nn.ReplicationPad1d."""

    dims = 1
    mode = "replicate"


class ReplicationPad2d(_Pad):
    """A border that repeats the edge: (..., H, W).  As torch.nn.ReplicationPad2d."""

    mode = "replicate"


class CircularPad1d(_Pad):
    """A border from the other side: (..., L).  As torch.nn.CircularPad1d."""

    dims = 1
    mode = "circular"


class CircularPad2d(_Pad):
    """A border from the other side: (..., H, W).  As torch.nn.CircularPad2d."""

    mode = "circular"
