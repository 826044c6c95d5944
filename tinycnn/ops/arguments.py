"""What the convolution and pooling functions do with their arguments before any computing: sizes, images, dtypes."""
from __future__ import annotations

from numbers import Integral

from ..autograd import Tensor
from ..backend import Window, window
from .basic import reshape


def as_tensor(t):
    """Arrays as Tensors; Tensors and None as they are."""
    return t if t is None or isinstance(t, Tensor) else Tensor(t)


def sizes(name, what, v, dims, fill):
    """An int or `dims` ints -> (vertical, horizontal); one-dimensional functions get `fill` for the vertical."""
    values = (v,) * dims if isinstance(v, Integral) else tuple(v) if isinstance(v, (tuple, list)) else ()
    if len(values) == 1:
        values *= dims
    if len(values) != dims or not all(isinstance(n, Integral) for n in values):
        ints = "an int" if dims == 1 else "an int or a pair (vertical, horizontal) of ints"
        raise TypeError(f"{name}: {what} must be {ints}, got {v!r}")
    return (fill, *map(int, values))[-2:]


def as_images(name, x, dims):
    """x as a batch of images (N, C, H, W): (C, H, W) gets N = 1; for dims = 1, (N, C, L) and (C, L) get H = 1."""
    if x.ndim not in (dims + 1, dims + 2):
        letters = "H, W" if dims == 2 else "L"
        raise ValueError(f"{name}: expected input (N, C, {letters}) or (C, {letters}), got shape {x.shape}: "
                         "reshape or unsqueeze it")
    if 0 in x.shape[-dims - 1:]:
        raise ValueError(f"{name}: input {x.shape} has an empty dimension; only the batch may be empty")
    if x.ndim == 4:
        return x
    N, C = x.shape[:-dims] if x.ndim == dims + 2 else (1, x.shape[0])
    return reshape(x, (N, C, *((1,) * (2 - dims)), *x.shape[-dims:]))


def from_images(y, ndim, dims):
    """The way back of as_images, for an input that had `ndim` dimensions: (N, C, OH, OW) -> its kind of shape."""
    if ndim == 4:
        return y
    return reshape(y, (*y.shape[:2][dims + 2 - ndim:], *y.shape[4 - dims:]))


def sliding(name, *geometry) -> Window:
    """backend.window(*geometry) with the function's name in front of its errors."""
    try:
        return window(*geometry)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def check_dtypes(name, x, **others):
    """Raise TypeError unless x is floating point and the others, where given, have its dtype."""
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: the input must be floating point, got {x.dtype}: convert it first, x.float()")
    for what, t in others.items():
        if t is not None and t.dtype != x.dtype:
            raise TypeError(f"{name}: input is {x.dtype}, {what} is {t.dtype}: they must agree; convert one of them, "
                            f"x.to({what}.dtype)")
