"""The sizes of a sliding window (convolution, pooling), worked out once and shared by all backends.

Along one axis, with input size H, kernel KH, stride SH, padding PH on both sides and dilation DH,
the kernel covers a span of DH*(KH - 1) + 1 cells and takes

    OH = (H + 2*PH - DH*(KH - 1) - 1) // SH + 1          steps  (rounded up with ceil_mode)

     PH          H            PH
    . . | x x x x x x x x x | . .
    [k   k   k]                        output 0: DH = 2, KH = 3
          [k   k   k]                  output 1: SH = 3
"""
from __future__ import annotations

from functools import lru_cache
from numbers import Integral
from typing import NamedTuple


class Window(NamedTuple):
    """Heights and widths of: input, kernel, stride, padding before the input, dilation, output.

    The padding after the input is whatever the output size asks for: a read outside counts as padding.
    """
    H: int
    W: int
    KH: int
    KW: int
    SH: int
    SW: int
    PH: int
    PW: int
    DH: int
    DW: int
    OH: int
    OW: int


def is_pair(v) -> bool:
    """Whether v is a tuple of two ints, and there is nothing to do: so it is in nearly all calls."""
    return type(v) is tuple and len(v) == 2 and type(v[0]) is type(v[1]) is int


def pair(v) -> tuple[int, int]:
    """One number or two -> two ints.

    >>> pair(3), pair((1, 2)), pair([4])
    ((3, 3), (1, 2), (4, 4))
    """
    if is_pair(v):
        return v
    if isinstance(v, (int, Integral)):               # the second question takes ten times as long as the first
        return int(v), int(v)
    values = tuple(v) if isinstance(v, (tuple, list)) else ()
    if len(values) == 1:
        values *= 2
    if len(values) != 2 or not all([isinstance(n, (int, Integral)) for n in values]):
        raise TypeError(f"expected one integer or a pair (height, width) of integers, got {v!r}")
    return int(values[0]), int(values[1])


def window(size, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False) -> Window:
    """Return the `Window` of a kernel sliding over an image of `size` (H, W).

    Raises ValueError if a size or stride is not positive, the padding negative, or the kernel does not fit.

    >>> window((224, 224), 7, stride=2, padding=3).OH
    112
    >>> window(5, 2, stride=2, ceil_mode=True).OH
    3
    """
    return _window(*map(pair, (size, kernel_size, stride, padding, dilation)), bool(ceil_mode))


@lru_cache(1024)
def _window(sizes, kernel, strides, paddings, dilations, ceil_mode):
    for name, values, least in (("kernel_size", kernel, 1), ("stride", strides, 1),
                                ("padding", paddings, 0), ("dilation", dilations, 1)):
        if min(values) < least:
            raise ValueError(f"{name} must be at least {least}, got {values}")
    out = tuple(_steps(*axis, ceil_mode) for axis in zip(sizes, kernel, strides, paddings, dilations))
    if min(out) < 1:
        (H, W), (KH, KW), (PH, PW), (DH, DW) = sizes, kernel, paddings, dilations
        raise ValueError(
            f"kernel {KH}x{KW} (dilation {DH}x{DW}) does not fit in input {H}x{W} with padding {PH}x{PW}: the output "
            f"would be {out[0]}x{out[1]}; use a larger input, more padding, or a smaller kernel")
    return Window(*sizes, *kernel, *strides, *paddings, *dilations, *out)


def _steps(n, k, s, p, d, ceil_mode):
    room = n + 2 * p - d * (k - 1) - 1               # below 0 if the kernel is larger than the padded input
    steps = max(0, (room + (s - 1 if ceil_mode else 0)) // s + 1)
    if ceil_mode and (steps - 1) * s >= n + p:       # the last window must start inside the input or its left padding
        steps -= 1
    return steps
