"""Other shapes for the same elements: views where possible, and their adjoints."""
from __future__ import annotations

from math import prod as _product

import numpy as np

from ..autograd import Tensor, op
from ..backend import array_module, memory_order
from ..methods import FUNCTIONS, function
from .arguments import axes_of, one_axis, sizes_of
from .basic import broadcast_to, permute, reshape, result_dtype, to_dtype


@function
def view(input, *shape):
    """reshape under its other name.  As torch.Tensor.view; a copy is made where the memory does not allow a view."""
    if len(shape) == 1 and not isinstance(shape[0], (int, tuple, list)):
        return to_dtype(input, shape[0])
    return reshape(input, sizes_of(shape))


@function
def view_as(input, other):
    """input in the shape of other.  As torch.Tensor.view_as."""
    return reshape(input, other.shape)


@function
def reshape_as(input, other):
    """input in the shape of other.  As torch.Tensor.reshape_as."""
    return reshape(input, other.shape)


@function
def transpose(input, dim0, dim1):
    """Two dimensions swapped, without a copy.  As torch.transpose."""
    order = list(range(input.ndim))
    a, b = one_axis("transpose", input, dim0), one_axis("transpose", input, dim1)
    if input.ndim:
        order[a], order[b] = order[b], order[a]
    return permute(input, order)


@function
def swapaxes(input, axis0, axis1):
    """transpose under its NumPy name.  As torch.swapaxes."""
    return transpose(input, axis0, axis1)


@function
def t(input):
    """A matrix transposed; at most two dimensions.  As torch.t."""
    if input.ndim > 2:
        raise ValueError(f"t: expected at most 2 dimensions, got shape {input.shape}: use permute or transpose")
    return permute(input, range(input.ndim)[::-1])


@function
def movedim(input, source, destination):
    """Dimensions moved to other places, the rest in order.  As torch.movedim."""
    sources, places = axes_of("movedim", input, source), axes_of("movedim", input, destination)
    if len(sources) != len(places):
        raise ValueError(f"movedim: {len(sources)} sources for {len(places)} destinations")
    rest = iter(d for d in range(input.ndim) if d not in sources)
    taken = dict(zip(places, sources))
    return permute(input, [taken[d] if d in taken else next(rest) for d in range(input.ndim)])


@function
def flatten(input, start_dim=0, end_dim=-1):
    """The dimensions start_dim .. end_dim as one.  As torch.flatten."""
    if not input.ndim:
        return reshape(input, (1,))
    first, last = one_axis("flatten", input, start_dim), one_axis("flatten", input, end_dim)
    if first > last:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in shape {input.shape}")
    return reshape(input, (*input.shape[:first], _product(input.shape[first:last + 1]), *input.shape[last + 1:]))


@function
def unflatten(input, dim, sizes):
    """One dimension as several; one size may be -1.  As torch.unflatten."""
    axis, sizes = one_axis("unflatten", input, dim), list(sizes)
    n = input.shape[axis]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = n // max(1, -_product(sizes))
    if _product(sizes) != n:
        raise ValueError(f"unflatten: sizes {tuple(sizes)} do not multiply to {n}, the size of dim {dim}")
    return reshape(input, (*input.shape[:axis], *sizes, *input.shape[axis + 1:]))


@function
def squeeze(input, dim=None):
    """Without the dimensions of size 1 (among `dim`, if given).  As torch.squeeze."""
    axes = range(input.ndim) if dim is None else () if dim == () else axes_of("squeeze", input, dim)
    return reshape(input, [n for i, n in enumerate(input.shape) if n != 1 or i not in axes])


@function
def unsqueeze(input, dim):
    """A new dimension of size 1 before `dim`.  As torch.unsqueeze."""
    n = input.ndim + 1
    if not -n <= dim < n:
        raise IndexError(f"unsqueeze: dim {dim} is out of range for shape {input.shape}: expected {-n} to {n - 1}")
    dim %= n
    return reshape(input, (*input.shape[:dim], 1, *input.shape[dim:]))


@function
def expand(input, size):
    """input repeated along dimensions of size 1, without a copy; -1 keeps a size.  As torch.Tensor.expand."""
    size = tuple(size)
    lead = len(size) - input.ndim
    kept = [input.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(size)]
    if lead < 0 or -1 in kept:
        raise ValueError(f"expand: {input.shape} cannot be expanded to {size}: sizes are counted from the right, and a "
                         "new dimension cannot be -1")
    return broadcast_to(input, kept)


@function
def expand_as(input, other):
    """input expanded to the shape of other.  As torch.Tensor.expand_as."""
    return broadcast_to(input, other.shape)


@op
def contiguous(input):
    """The same elements, in C order in memory.  As torch.Tensor.contiguous."""
    x = input.data
    return array_module(x).ascontiguousarray(x).reshape(x.shape), (lambda g: g,)    # which makes () a (1,)


@op
def clone(input):
    """A copy that gradients pass through.  As torch.clone."""
    return input.data.copy(), (lambda g: g,)


# ---------------------------------------------------------------------------------------- joining and parting

@op
def _join(tensors, axis):
    """The tensors one behind the other along the axis."""
    arrays = [t.data for t in tensors]
    starts = np.cumsum([0] + [a.shape[axis] for a in arrays])
    return _joined(arrays, axis), tuple(
        _part_vjp(axis, int(start), a.shape[axis]) for start, a in zip(starts, arrays))


def _joined(arrays, axis):
    """The arrays one after the other; channels-last in memory, as they are."""
    xp, order = array_module(arrays[0]), memory_order(*arrays)
    if order is None:
        return xp.concatenate(arrays, axis)
    joined = xp.concatenate([a.transpose(order) for a in arrays], order.index(axis))
    return joined.transpose([order.index(i) for i in range(len(order))])


def _part_vjp(axis, start, length):
    return lambda g: narrow(g, axis, start, length)


@function
def cat(tensors, dim=0):
    """The tensors one after the other along dim; the other sizes must agree.  As torch.cat.

    Raises ValueError naming the two shapes that do not fit, TypeError for an empty list.
    """
    tensors = [v if isinstance(v, Tensor) else Tensor(v) for v in tensors]
    if not tensors:
        raise ValueError("cat: expected a list of at least one tensor")
    first = next((v for v in tensors if v.shape != (0,)), tensors[0])
    axis = one_axis("cat", first, dim)
    others = first.shape[:axis], first.shape[axis + 1:]
    nothing = (*others[0], 0, *others[1])                                 # as which torch takes a tensor of shape (0,)
    tensors = [reshape(v, nothing) if v.shape == (0,) and first.ndim else v for v in tensors]
    for v in tensors:
        if v.ndim != first.ndim or not v.ndim or (v.shape[:axis], v.shape[axis + 1:]) != others:
            raise ValueError(f"cat: shapes {first.shape} and {v.shape} do not fit along dim {dim}: all other sizes "
                             "must be equal (and there must be at least one dimension)")
    dtype = result_dtype(*[v.data for v in tensors])
    return _join([v if v.dtype == dtype else to_dtype(v, dtype) for v in tensors], axis)


@function
def stack(tensors, dim=0):
    """The tensors, of one shape, along a new dimension.  As torch.stack."""
    tensors = [v if isinstance(v, Tensor) else Tensor(v) for v in tensors]
    for v in tensors:
        if v.shape != tensors[0].shape:
            raise ValueError(f"stack: shapes {tensors[0].shape} and {v.shape} differ")
    return cat([unsqueeze(v, dim) for v in tensors], dim if dim >= 0 else dim + tensors[0].ndim + 1)


@op
def narrow(input, dim, start, length):
    """The elements start .. start+length-1 along dim, without a copy.  As torch.narrow."""
    if not isinstance(start, (int, np.integer)) and (start.ndim or start.dtype.kind not in "iu"):
        raise TypeError(f"narrow: start must be an integer, or a tensor of one without dimensions, got {start!r:.60}")
    axis, start = one_axis("narrow", input, dim), int(start)
    n = input.shape[axis] if input.ndim else 0
    start += n if start < 0 else 0
    if not (0 <= start <= n and 0 <= length <= n - start):
        raise (ValueError if 0 <= start <= n else IndexError)(
            f"narrow: start {start} and length {length} do not lie in dim {dim} of shape {input.shape}")
    slices = (slice(None),) * axis + (slice(start, start + length),)
    return input.data[slices], (lambda g: _widen(g, axis, start, n),)


@op
def _widen(input, axis, start, n):
    """input at `start` along the axis of zeros of size n: the adjoint of narrow."""
    x = input.data
    out = array_module(x).zeros((*x.shape[:axis], n, *x.shape[axis + 1:]), x.dtype)
    out[(slice(None),) * axis + (slice(start, start + x.shape[axis]),)] = x
    length = x.shape[axis]
    return out, (lambda g: narrow(g, axis, start, length),)


@function
def split(tensor, split_size_or_sections, dim=0):
    """Parts of the given size (the last may be smaller) or sizes, along dim; a tuple.  As torch.split."""
    axis, sections = one_axis("split", tensor, dim), split_size_or_sections
    n = tensor.shape[axis]
    if isinstance(sections, (int, np.integer)):
        if sections < 0 or (sections == 0 and n):
            raise ValueError(f"split: the size of a part must be positive, got {sections}")
        sections = [min(sections, n - at) for at in range(0, n, sections)] if n else [0]
    if _total(sections) != n or min(sections, default=0) < 0:
        raise ValueError(f"split: sections {list(sections)} do not add up to {n}, the size of dim {dim}")
    ends = np.cumsum([0, *sections])
    return tuple(narrow(tensor, axis, int(at), int(k)) for at, k in zip(ends, sections))


def _total(values):
    total = 0
    for v in values:
        total += v
    return total


@function
def chunk(input, chunks, dim=0):
    """At most `chunks` parts of equal size (the last may be smaller).  As torch.chunk."""
    if chunks < 1:
        raise ValueError(f"chunk: the number of chunks must be positive, got {chunks}")
    n = input.shape[one_axis("chunk", input, dim)]
    return split(input, max(1, -(-n // chunks)) if n else [0] * chunks, dim)


@function
def unbind(input, dim=0):
    """The slices along dim, without that dimension; a tuple.  As torch.unbind."""
    return tuple(select(input, dim, i) for i in range(input.shape[one_axis("unbind", input, dim)]))


@function
def select(input, dim, index):
    """The slice at index along dim.  As torch.select."""
    axis = one_axis("select", input, dim)
    n = input.shape[axis] if input.ndim else 0
    if not -n <= index < n:
        raise IndexError(f"select: index {index} is out of range for dim {dim} of shape {input.shape}")
    return reshape(narrow(input, axis, index % n, 1), (*input.shape[:axis], *input.shape[axis + 1:]))


# ---------------------------------------------------------------------------------------- reordering and repeating

@op
def flip(input, dims):
    """The order reversed along dims.  As torch.flip."""
    axes = axes_of("flip", input, dims) if not isinstance(dims, (tuple, list)) or len(dims) else ()
    return array_module(input.data).flip(input.data, axes), (lambda g: flip(g, axes),)


@function
def roll(input, shifts, dims=None):
    """Elements moved along dims, those pushed out coming in at the other end.  As torch.roll."""
    shifts = shifts if isinstance(shifts, (tuple, list)) else (shifts,)
    if dims is None or dims == ():
        if len(shifts) != 1:
            raise ValueError(f"roll: {len(shifts)} shifts need as many dims")
        return reshape(_roll(reshape(input, (-1,)), tuple(shifts), (0,)), input.shape)
    dims = dims if isinstance(dims, (tuple, list)) else (dims,)
    if len(dims) != len(shifts):
        raise ValueError(f"roll: {len(shifts)} shifts for {len(dims)} dims")
    if not input.ndim:
        raise IndexError(f"roll: dims {dims} of a tensor without dimensions")
    return _roll(input, tuple(shifts), tuple(one_axis("roll", input, d) for d in dims))


@op
def _roll(input, shifts, axes):
    """The elements moved on along the axes, those pushed out at one end back in at the other."""
    return array_module(input.data).roll(input.data, shifts, axes) if input.ndim else input.data, (
        lambda g: _roll(g, tuple(-s for s in shifts), axes),)


@function
def tile(input, dims):
    """input repeated like tiles, dims times along each dimension (counted from the right).  As torch.tile."""
    dims = tuple(dims)
    return repeat(input, (1,) * (input.ndim - len(dims)) + dims)


@function
def repeat(input, repeats):
    """input repeated along each dimension; one count per dimension, more on the left.  As torch.Tensor.repeat."""
    counts = tuple(repeats)
    lead = len(counts) - input.ndim
    if lead < 0 or min(counts, default=0) < 0:
        raise ValueError(f"repeat: {counts} must hold one count >= 0 for each dimension of {input.shape}")
    shape = (1,) * lead + input.shape
    pairs = [k for n in shape for k in (1, n)]                            # (1, n0, 1, n1, ...)
    wide = [k for c, n in zip(counts, shape) for k in (c, n)]             # (c0, n0, c1, n1, ...)
    return reshape(broadcast_to(reshape(input, pairs), wide), [c * n for c, n in zip(counts, shape)])


@function
def meshgrid(*tensors, indexing="ij"):
    """Coordinates of a grid from its axes, vectors of n0, n1, ...: a tuple of tensors (n0, n1, ...).

    indexing "xy" swaps the first two dimensions of the results.  Raises ValueError for anything else than vectors or
    an unknown indexing.  As torch.meshgrid.
    """
    tensors = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    if indexing not in ("ij", "xy") or not tensors or max(v.ndim for v in tensors) > 1:
        raise ValueError(f"meshgrid: expected vectors and indexing 'ij' or 'xy', got shapes "
                         f"{[v.shape for v in tensors]} and {indexing!r}")
    sizes = [_product(v.shape) for v in tensors]
    grids = [broadcast_to(reshape(v, [n if j == i else 1 for j in range(len(sizes))]), sizes)
             for i, (v, n) in enumerate(zip(tensors, sizes))]
    return tuple(transpose(grid, 0, 1) if indexing == "xy" and len(sizes) > 1 else grid for grid in grids)


def _variadic(name, f, parameter):
    def call(input, *args, **kwargs):
        return f(input, kwargs.pop(parameter) if parameter in kwargs else sizes_of(args), **kwargs)
    call.__name__, call.__doc__ = name, f.__doc__
    return call


# Methods take sizes one by one; torch's functions take them as a tuple.  FUNCTIONS serves both.
for _name, _f, _parameter in (
        ("reshape", reshape, "shape"), ("permute", permute, "dims"), ("flip", flip, "dims"), ("tile", tile, "dims"),
        ("expand", expand, "size"), ("repeat", repeat, "repeats")):
    FUNCTIONS[_name] = _variadic(_name, _f, _parameter)
