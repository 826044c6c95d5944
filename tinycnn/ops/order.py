"""Where the largest and the smallest are, and everything in order."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..autograd import Tensor, op
from ..backend import array_module
from ..dtypes import sixteen_bits
from ..methods import function
from .arguments import one_axis
from .basic import reshape
from .index import take_along_dim
from .math import maximum, minimum
from .reduce import amax, amin
from .shape import narrow


class ValuesIndices(NamedTuple):
    """What max, min, sort and topk along a dimension return."""
    values: Tensor
    indices: Tensor


def _arg_extreme(name, largest):
    def call(input, dim=None, keepdim=False):
        if not isinstance(input, Tensor):
            raise TypeError(f"{name}: expected a tensor, got {input.__class__.__name__}")
        x = input.data
        if not (x.size if dim is None or not x.ndim else x.shape[one_axis(name, input, dim)]):
            raise ValueError(f"{name}: no elements in shape {x.shape}, dim {dim}")
        pick = x.argmax if largest else x.argmin
        if dim is None:
            at = pick()
            return (at.reshape((1,) * x.ndim) if keepdim else at), None
        axis = one_axis(name, input, dim)
        if not x.ndim:
            return pick().reshape(()), None
        return pick(axis, keepdims=keepdim), None
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = (f"The index of the first {'largest' if largest else 'smallest'} element, int64; of the flattened "
                    f"tensor if dim is None.\n\n    As torch.{name}.\n    ")
    return op(call)


argmax, argmin = _arg_extreme("argmax", True), _arg_extreme("argmin", False)


def _max_or_min(name, whole, arg, elementwise):
    def call(input, dim=None, keepdim=False):
        if isinstance(dim, Tensor) or hasattr(dim, "dtype"):
            return (maximum if elementwise == "maximum" else minimum)(input, dim)
        if dim is None:
            return whole(input)
        at = arg(input, dim, True)
        values = take_along_dim(input, at, dim) if input.ndim else input
        if keepdim or not input.ndim:
            return ValuesIndices(values, at)
        axis = one_axis(name, input, dim)
        shape = input.shape[:axis] + input.shape[axis + 1:]
        return ValuesIndices(reshape(values, shape), reshape(at, shape))
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = (f"The {name} of all elements; along dim as (values, indices); of two tensors elementwise.\n\n"
                    f"    As torch.{name}.\n    ")
    return function(call)


max = _max_or_min("max", amax, argmax, "maximum")
min = _max_or_min("min", amin, argmin, "minimum")


# ---------------------------------------------------------------------------------------- in order

@function
def sort(input, dim=-1, descending=False, stable=False):
    """The elements in order along dim, and where they were: (values, indices).  As torch.sort."""
    at = argsort(input, dim, descending, stable)
    return ValuesIndices(take_along_dim(input, at, dim) if input.ndim else input, at)


@op
def argsort(input, dim=-1, descending=False, stable=False):
    """The indices that sort along dim, int64; equals keep their order.  As torch.argsort."""
    x, axis = input.data, one_axis("argsort", input, dim)
    if not x.ndim:
        return array_module(x).zeros((), np.int64), None
    x = x.astype(np.float32) if sixteen_bits(x.dtype) else x              # CuPy sorts no bfloat16
    if not descending:
        return x.argsort(axis, kind="stable"), None
    backwards = array_module(x).flip(x, axis).argsort(axis, kind="stable")
    return x.shape[axis] - 1 - array_module(x).flip(backwards, axis), None


@function
def topk(input, k, dim=-1, largest=True, sorted=True):
    """The k largest (or smallest) along dim, in order: (values, indices).  As torch.topk."""
    axis = one_axis("topk", input, dim)
    n = input.shape[axis] if input.ndim else 1
    if not 0 <= k <= n:
        raise ValueError(f"topk: k={k} is not in 0..{n}, the size of dim {dim}")
    both = sort(input, dim, largest)
    return ValuesIndices(*(narrow(t, axis, 0, k) for t in both)) if input.ndim else both
