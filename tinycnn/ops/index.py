"""Picking elements by position, and its adjoint: adding them back where they came from.

Picking the same element twice adds its gradients up.  All of it rests on two ops that are each other's adjoint:

    getitem(x, index)               x[index]
    _scatter_into(g, index, shape)  zeros of `shape`, then += g at index, repeated positions adding up
"""
from __future__ import annotations

from math import prod

import numpy as np

from ..autograd import Tensor, alias, as_array, op
from ..backend import array_module, kernels, to_numpy
from ..dtypes import is_floating
from ..methods import function
from .arguments import as_tensor, one_axis
from .basic import add, broadcast_to, reshape, to_dtype
from .math import select_by


class _Index:
    """An index with its tensors turned into arrays; `basic` if it makes a view, in which nothing repeats."""

    def __init__(self, index):
        parts = index if isinstance(index, tuple) else (index,)
        self.parts = tuple(_plain(p) for p in parts)
        self.basic = not any(map(_is_array, self.parts))

    def stages(self):
        """The index, or two to apply one after the other where ints meet arrays.

        NumPy counts an int as one more array, which moves dimensions to the front; torch takes the ints first.
        """
        if self.basic or not any(map(_is_int, self.parts)):
            return [self]
        first, second = [], []
        for p in self.parts:
            if _is_int(p):
                first.append(p)
            elif _is_array(p):
                first += [slice(None)] * (p.ndim if p.dtype == np.bool_ else 1)
                second.append(p)
            else:
                first.append(p)
                second.append(p if p is Ellipsis else slice(None))
        return [_Index(tuple(first)), _Index(tuple(second))]


def _is_int(p):
    return isinstance(p, (int, np.integer)) and not isinstance(p, bool)


def _is_array(p):
    return hasattr(p, "dtype") and not isinstance(p, np.integer)


def _plain(part):
    if isinstance(part, Tensor):
        part = part.data
    if isinstance(part, (list, range)):
        part = np.asarray(part)
        part = part.astype(np.int64) if not part.size else part
    if hasattr(part, "dtype") and part.ndim == 0 and part.dtype.kind in "iu":
        return int(part)
    if hasattr(part, "dtype") and part.dtype.kind not in "iub":
        raise IndexError(f"getitem: an index must be integers or booleans, got {part.dtype}")
    if isinstance(part, slice) and (part.step or 1) < 0:
        raise ValueError("getitem: a slice's step must be positive: use flip for the reverse order")
    return part


@function
def getitem(input, index):
    """input[index]: ints, slices, None, ..., boolean masks, integer arrays or tensors, mixed as NumPy mixes them.

    Raises IndexError for an index out of range or too many of them, ValueError for a negative step.  Arrays of indices
    on a GPU are not looked at, for the host would have to wait for them: CuPy counts on from the front again.
    As torch.Tensor.__getitem__.
    """
    for stage in _Index(index).stages():
        input = _getitem(input, stage)
    return input


@op
def _getitem(input, index):
    """input[index]."""
    x = input.data
    try:
        y = x[index.parts]
    except IndexError as error:
        raise IndexError(f"getitem: {error} (shape {x.shape})") from None
    shape = x.shape
    return y, (lambda g: _scatter_into(g, index, shape),)


@op
def _scatter_into(g, index, shape):
    """The adjoint of _getitem: g added up at index in zeros of a shape."""
    xp = array_module(g.data)
    if index.basic:
        out = xp.zeros(shape, g.dtype)
        out[index.parts] = g.data
    else:
        parts = tuple(xp.asarray(part) if isinstance(part, np.ndarray) else part for part in index.parts)
        indexed = _dimensions(parts, len(shape))
        size, D = prod(shape[:indexed]), prod(shape[indexed:])
        rows = xp.arange(size).reshape(shape[:indexed])[parts].reshape(-1)                   # which row each one is of
        out = kernels(g.data).scatter_add(g.data.reshape(rows.size, D), rows, size).reshape(shape)
    return out, (lambda gg: _getitem(gg, index),)


def _dimensions(parts, ndim):
    """How many dimensions an index says something about: those behind them are rows, taken as a whole."""
    if any(p is Ellipsis for p in parts):
        return ndim
    return sum(p.ndim if _is_array(p) and p.dtype == np.bool_ else p is not None and type(p) is not bool for p in parts)


# ---------------------------------------------------------------------------------------- along one dimension

def integers(name, index):
    """An index tensor or array as an integer array.  Raises TypeError for anything else."""
    a = as_array(index)
    if a.dtype.kind not in "iu":
        raise TypeError(f"{name}: the index must be integers, got {a.dtype}")
    return a


@function
def index_select(input, dim, index):
    """The slices at `index` (a vector of ints) along dim.  As torch.index_select."""
    axis, at = one_axis("index_select", input, dim), integers("index_select", index)
    if at.ndim > 1:
        raise ValueError(f"index_select: the index must be a vector, got shape {at.shape}")
    if not input.ndim:
        return getitem(reshape(input, (1,)), int(at.reshape(-1)[0]))
    return getitem(input, (slice(None),) * axis + (at.reshape(-1),))


def _grid(name, input, axis, index):
    """The full integer index that picks, for every position of `index`, that entry along the axis."""
    if index.ndim != max(input.ndim, 1):
        raise ValueError(f"{name}: the index has shape {index.shape}, the input {input.shape}: they need as many "
                         "dimensions")
    for d in range(input.ndim):
        if d != axis and index.shape[d] > input.shape[d]:
            raise ValueError(f"{name}: the index, {index.shape}, is larger than the input, {input.shape}, in "
                             f"dimension {d}")
    n = input.shape[axis]
    if index.size and (index.min() < 0 or index.max() >= n):
        raise IndexError(f"{name}: index {int(index.max() if index.max() >= n else index.min())} is out of range for "
                         f"dim {axis} of shape {input.shape}: expected 0..{n - 1}")
    xp = array_module(index)
    return tuple(index if d == axis else xp.arange(k).reshape((-1,) + (1,) * (index.ndim - 1 - d))
                 for d, k in enumerate(index.shape))


@function
def gather(input, dim, index):
    """out[i, j] = input[index[i, j], j] for dim 0, and so on.  As torch.gather."""
    axis, at = one_axis("gather", input, dim), integers("gather", index)
    if not at.size:
        return reshape(getitem(reshape(input, (-1,)), slice(0, 0)), at.shape)
    if not input.ndim:
        return reshape(getitem(reshape(input, (1,)), at.reshape(-1)), at.shape)
    return getitem(input, _grid("gather", input, axis, at))


@function
def take_along_dim(input, indices, dim=None):
    """gather whose index broadcasts against the input; dim None: the flattened input.  As torch.take_along_dim."""
    at = integers("take_along_dim", indices)
    if dim is None:
        return getitem(reshape(input, (-1,)), at.reshape(-1))
    axis = one_axis("take_along_dim", input, dim)
    common = [n if k == 1 else k for k, n in zip(at.shape, input.shape)]  # a size of 0 goes with 1, too
    shape, wide = ((*common[:axis], sizes[axis], *common[axis + 1:]) for sizes in (at.shape, input.shape))
    at = array_module(at).where(at < 0, at + input.shape[axis], at)       # gather counts from the front only
    return gather(broadcast_to(input, wide), axis, array_module(at).broadcast_to(at, shape))


@function
def scatter_add(input, dim, index, src):
    """input with src added at the positions gather would read.  As torch.scatter_add."""
    if not input.ndim:
        return reshape(scatter_add(*_as_vectors(input, dim, index, src)), ())
    axis, at = one_axis("scatter_add", input, dim), integers("scatter_add", index)
    grid = _Index(_grid("scatter_add", input, axis, at))
    return add(input, _scatter_into(_part("scatter_add", input, src, at), grid, input.shape))


def _as_vectors(input, dim, index, src):
    """The arguments of scatter with vectors of one element in place of tensors without dimensions."""
    src = src if isinstance(src, (int, float)) else reshape(src, (-1,))
    return reshape(input, (1,)), dim, integers("scatter", index).reshape(-1), src


def _part(name, input, src, at):
    """As much of src as the index `at` asks for.  Raises TypeError or ValueError if it does not fit."""
    src = as_tensor(src)
    if src.dtype != input.dtype:
        raise TypeError(f"{name}: input is {input.dtype}, src is {src.dtype}: convert one, src.to(input.dtype)")
    if src.ndim != at.ndim or any(k > n for k, n in zip(at.shape, src.shape)):
        raise ValueError(f"{name}: the index, {at.shape}, does not fit into src, {src.shape}")
    return getitem(src, tuple(slice(0, k) for k in at.shape))


@function
def scatter(input, dim, index, src):
    """input with src (a tensor or a number) written at the positions gather would read.  As torch.scatter."""
    if not input.ndim:
        return reshape(scatter(*_as_vectors(input, dim, index, src)), ())
    axis, at = one_axis("scatter", input, dim), integers("scatter", index)
    grid = _Index(_grid("scatter", input, axis, at))
    if not at.size:
        return alias(input)
    xp = array_module(at)
    hit = xp.zeros(input.shape, bool)
    hit[grid.parts] = True
    if isinstance(src, (int, float)):
        return select_by(float(src) if is_floating(input.dtype) else src, input, Tensor(hit))
    # Of positions written more than once the last one wins, and alone receives the gradient.
    winner = xp.zeros(input.shape, np.int64)
    winner[grid.parts] = xp.arange(at.size).reshape(at.shape)
    part = reshape(_part("scatter", input, src, at), (-1,))
    written = reshape(getitem(part, winner.reshape(-1)), input.shape)
    return select_by(written, input, Tensor(hit))


@function
def repeat_interleave(input, repeats, dim=None, output_size=None):
    """Every element repeated so many times in a row: an int, or one count per element along dim.

    output_size  the sum of the counts, where known; ValueError if it is not.  As torch.repeat_interleave.
    """
    x = reshape(input, (-1,)) if dim is None else input
    axis = 0 if dim is None else one_axis("repeat_interleave", input, dim)
    counts = to_numpy(as_array(repeats))
    rows = np.repeat(np.arange(x.shape[axis]), counts)
    if output_size not in (None, len(rows)):
        raise ValueError(f"repeat_interleave: output_size is {output_size}, but the repeats add up to {len(rows)}")
    return index_select(x, axis, rows)


# ---------------------------------------------------------------------------------------- by a mask

def _mask(name, mask):
    m = as_array(mask)
    if m.dtype != np.bool_:
        raise TypeError(f"{name}: the mask must be boolean, got {m.dtype}: compare, e.g. x > 0")
    return m


@function
def masked_fill(input, mask, value):
    """value (a number or a tensor of one element) where the mask holds, input elsewhere.  As torch.masked_fill."""
    m = _mask("masked_fill", mask)
    if isinstance(value, Tensor):
        if value.ndim:
            raise ValueError(f"masked_fill: value must have no dimensions, got shape {value.shape}")
        value = to_dtype(value, input.dtype)
    return select_by(value, input, Tensor(m))


@function
def masked_select(input, mask):
    """The elements where the mask holds, as a vector; the two broadcast.  As torch.masked_select."""
    m = _mask("masked_select", mask)
    shape = np.broadcast_shapes(input.shape, m.shape)
    return getitem(broadcast_to(input, shape), array_module(m).broadcast_to(m, shape))


@function
def nonzero(input, as_tuple=False):
    """(how many, ndim): the positions of the nonzero elements, int64; as_tuple: one vector per dimension instead.

    As torch.nonzero.
    """
    x = as_tensor(input).data
    if as_tuple:
        return tuple(Tensor(i) for i in array_module(x).atleast_1d(x).nonzero())
    if not x.ndim:
        return Tensor(array_module(x).zeros((int(bool(x)), 0), np.int64))
    return Tensor(array_module(x).stack(x.nonzero(), 1))


@function
def one_hot(tensor, num_classes=-1):
    """(...) of classes -> (..., num_classes) of zeros and a one, int64; by default as many classes as needed.

    Raises ValueError for a class below 0 or not below num_classes.  As torch.nn.functional.one_hot.
    """
    labels = integers("one_hot", tensor)
    if num_classes == -1:
        if not labels.size:
            raise ValueError("one_hot: num_classes must be given for an empty tensor")
        num_classes = int(labels.max()) + 1
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(f"one_hot: classes lie in {int(labels.min())}..{int(labels.max())}, expected "
                         f"0..{num_classes - 1}")
    xp = array_module(labels)
    return Tensor((labels[..., None] == xp.arange(num_classes)).astype(np.int64))
