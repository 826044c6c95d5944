"""What functions do with their arguments before any computing: dims, sizes, images, dtypes."""
from __future__ import annotations

from numbers import Integral

import numpy as np

from ..dtypes import is_floating
from ..autograd import Tensor
from ..backend import Window, is_pair, window
from .basic import reshape


def as_tensor(t):
    """Arrays as Tensors; Tensors and None as they are."""
    return t if t is None or isinstance(t, Tensor) else Tensor(t)


def all_tensors(name, *values):
    """The values themselves.  Raises TypeError unless all are tensors."""
    for v in values:
        if not isinstance(v, Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(v).__name__}: {v!r:.60}")
    return values


def axes_of(name, x, dim):
    """dim (int, several, or None for all) -> a tuple of non-negative ints.  Raises IndexError, ValueError."""
    if dim is None or (isinstance(dim, (tuple, list)) and not len(dim)):
        return tuple(range(x.ndim))
    dims = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    n = max(x.ndim, 1)
    for d in dims:
        if not -n <= d < n:
            raise IndexError(f"{name}: dim {d} is out of range for shape {x.shape}: expected {-n} to {n - 1}")
    axes = tuple(int(d) % n for d in dims)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name}: dim {dim} names a dimension twice")
    return axes if x.ndim else ()


def one_axis(name, x, dim):
    """One dim -> a non-negative int."""
    if not isinstance(dim, (int, np.integer)):
        raise TypeError(f"{name}: dim must be one int, got {dim!r}")
    axes = axes_of(name, x, int(dim))
    return axes[0] if axes else 0


def sizes_of(args):
    """f(2, 3), f((2, 3)) and f([2, 3]) alike -> (2, 3)."""
    sizes = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
    return tuple(int(n) for n in sizes)


def sizes(name, what, v, dims, fill):
    """An int or `dims` ints -> (vertical, horizontal); one-dimensional functions get `fill` for the vertical."""
    if dims == 2 and is_pair(v):
        return v
    values = (v,) * dims if isinstance(v, (int, Integral)) else tuple(v) if isinstance(v, (tuple, list)) else ()
    if len(values) == 1:
        values *= dims
    if len(values) != dims or not all([isinstance(n, (int, Integral)) for n in values]):
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


def destination(targets, device=None, dtype=None):
    """What to(*targets) names, in any order: device, dtype, or a tensor for both.  -> device, dtype (None: as it is)"""
    for target in targets:
        if isinstance(target, Tensor):
            device, dtype = target.device, target.dtype
        elif isinstance(target, str) and not _names_dtype(target):
            device = target
        elif target is not None:
            dtype = np.dtype(target)
    return device, dtype


def _names_dtype(text):
    try:
        np.dtype(text)
    except TypeError:
        return False
    return True


def check_dtypes(name, x, **others):
    """Raise TypeError unless x is floating point and the others, where given, have its dtype."""
    if not is_floating(x.dtype):
        raise TypeError(f"{name}: the input must be floating point, got {x.dtype}: convert it first, x.float()")
    for what, t in others.items():
        if t is not None and t.dtype != x.dtype:
            raise TypeError(f"{name}: input is {x.dtype}, {what} is {t.dtype}: they must agree; convert one of them, "
                            f"x.to({what}.dtype)")
