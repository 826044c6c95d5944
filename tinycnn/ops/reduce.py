"""Reductions: over all elements, or over the dimensions `dim` (an int or several), kept as sizes of 1 by `keepdim`."""
from __future__ import annotations

from math import prod as _product

import numpy as np

from ..autograd import Tensor, op
from ..backend import array_module
from ..dtypes import is_floating
from ..methods import function
from .arguments import as_tensor, axes_of, one_axis
from .basic import add, broadcast_to, div, mul, reshape, sub, to_dtype
from .math import abs, exp, floating, log, pow, select_by, zero
from .shape import cat, expand, flip, movedim, narrow, unsqueeze


def _kept(shape, axes):
    """The shape with the axes kept as sizes of 1."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def spread(t, shape, axes):
    """A reduced tensor over the whole shape again."""
    return broadcast_to(reshape(t, _kept(shape, axes)), shape)


def _summands(x, dtype):
    """The array in `dtype`; by default as it is, but booleans and integers in int64."""
    return x.astype(dtype or (x.dtype if is_floating(x.dtype) else np.int64), copy=False)


# ---------------------------------------------------------------------------------------- sums and means

@op
def sum(input, dim=None, keepdim=False, dtype=None):
    """The sum; integers and booleans in int64.  As torch.sum."""
    x, axes = _summands(input.data, dtype), axes_of("sum", input, dim)
    shape = input.shape
    return x.sum(axes, keepdims=keepdim), (lambda g: spread(g, shape, axes),)


@function
def mean(input, dim=None, keepdim=False, dtype=None):
    """The mean; nan of nothing.  Raises TypeError for integers.  As torch.mean."""
    if not is_floating(np.dtype(dtype or input.dtype)):
        raise TypeError(f"mean: the mean of {np.dtype(dtype or input.dtype)} is no such number: use x.float().mean()")
    axes = axes_of("mean", input, dim)
    return div(sum(input, dim, keepdim, dtype), _product([input.shape[a] for a in axes]))


@op
def prod(input, dim=None, keepdim=False, dtype=None):
    """The product; the gradient is right where elements are zero.  As torch.prod."""
    x, axes = _summands(input.data, dtype), axes_of("prod", input, dim)
    return x.prod(axes, keepdims=keepdim), (
        lambda g: mul(spread(g, input.shape, axes), _product_of_others(input, axes)),)


def _product_of_others(x, axes):
    """At each element, the product of all others along the axes: of those before it and those after it."""
    order = [i for i in range(x.ndim) if i not in axes]
    moved = movedim(x, axes, tuple(range(len(order), x.ndim)))
    lead = moved.shape[:len(order)]
    rows = reshape(moved, (*lead, _product([x.shape[a] for a in axes])))
    before = _exclusive_products(rows)
    after = flip(_exclusive_products(flip(rows, (-1,))), (-1,))
    return movedim(reshape(mul(before, after), moved.shape), tuple(range(len(order), x.ndim)), axes)


def _exclusive_products(rows):
    """(..., n): at k the product of elements 0 .. k-1."""
    n = rows.shape[-1]
    ones = Tensor(array_module(rows.data).ones((*rows.shape[:-1], min(n, 1)), rows.dtype))
    return cumprod(cat([ones, narrow(rows, -1, 0, max(n - 1, 0))], -1), -1)


@function
def var(input, dim=None, correction=1, keepdim=False, unbiased=None):
    """The variance, divided by n - correction (unbiased=False: by n).  As torch.var."""
    axes, divisor = _axes_and_divisor("var", input, dim, correction, unbiased)
    centred = _centred(as_tensor(input), axes)
    return div(sum(mul(centred, centred), axes or None, keepdim), divisor)


@function
def std(input, dim=None, correction=1, keepdim=False, unbiased=None):
    """The square root of `var`, also where var itself over- or underflows.  As torch.std."""
    axes, divisor = _axes_and_divisor("std", input, dim, correction, unbiased)
    y = _deviation(input, axes, divisor)
    return y if keepdim else reshape(y, [n for i, n in enumerate(input.shape) if i not in axes])


def _axes_and_divisor(name, input, dim, correction, unbiased):
    """What var and std reduce, and what they divide by: n - correction."""
    if isinstance(dim, bool):                        # torch also takes var(unbiased)
        dim, unbiased = None, dim
    if isinstance(correction, bool):                 # ... and var(dim, unbiased, keepdim)
        unbiased, correction = correction, 1
    if unbiased is not None:
        correction = int(unbiased)
    axes = axes_of(name, input, dim)
    n = _product([input.shape[a] for a in axes])
    return axes, float(max(0, n - (1 if correction is None else correction)))


def _centred(x, axes):
    """x minus its mean along the axes.  Counted from the first number, for the mean of equals may not be exact."""
    first = x.detach()
    for a in axes:
        first = narrow(first, a, 0, min(1, x.shape[a]))
    from_first = sub(x, first)
    return sub(from_first, mean(from_first, axes or None, True))


@op
def _deviation(x, axes, divisor):
    """sqrt(sum of squares / divisor) of what _centred gives, over axes kept as sizes of 1; no gradient at 0, as torch.

    The squares are of multiples of the largest: those of 1e30 and 1e-30 would leave float32's range.
    """
    xp, centred = array_module(x.data), _centred(x.detach(), axes).data
    unit = xp.abs(centred).max(axes, keepdims=True) if x.numel() else xp.zeros((), x.dtype)
    unit = xp.where((unit > 0) & (unit < np.inf), unit, xp.ones_like(unit))
    y = xp.sqrt(((centred / unit) ** 2).sum(axes, keepdims=True) / divisor) * unit

    def vjp(g, y):
        slope = div(div(_centred(x, axes), y), divisor)
        return select_by(mul(g, slope), 0.0, Tensor(y.data != 0))
    return y, (vjp,)


@op
def _safe_sqrt(v):
    """sqrt whose gradient is 0 where v is 0, as torch's norm has it."""
    return array_module(v.data).sqrt(v.data), (
        lambda g, y: select_by(div(g, mul(y, 2)), 0.0, Tensor(y.data != 0)),)


@function
def logsumexp(input, dim, keepdim=False):
    """log(sum(exp(input))) without overflow.  As torch.logsumexp."""
    input = as_tensor(input)
    axes, xp = axes_of("logsumexp", input, dim), array_module(input.data)
    x, some = floating(input), _product([input.shape[a] for a in axes])
    top = x.max(axes, keepdims=True) if some else xp.zeros(_kept(x.shape, axes), x.dtype)
    top = Tensor(xp.where(xp.isfinite(top), top, x.dtype.type(0)))
    y = add(log(sum(exp(sub(input, top)), axes, True)), top)
    return y if keepdim else reshape(y, sum(input.detach(), axes).shape)


# ---------------------------------------------------------------------------------------- extremes

def _extreme(name, largest):
    def call(input, dim=None, keepdim=False):
        x, axes = input.data, axes_of(name, input, dim)
        if not _product([x.shape[a] for a in axes]):
            raise ValueError(f"{name}: no {'largest' if largest else 'smallest'} element in shape {x.shape}, dim {dim}")
        y = (x.max if largest else x.min)(axes, keepdims=keepdim) if axes else x

        def shared(g, y):
            hits = (x == spread(y.detach(), input.shape, axes).data).astype(g.dtype)
            count = hits.sum(axes, keepdims=True) if axes else hits
            return mul(spread(g, input.shape, axes), Tensor(hits / count))
        return y, (shared,)
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = (f"The {'largest' if largest else 'smallest'} element; equals share the gradient evenly.\n\n"
                    f"    Raises ValueError if there is none.  As torch.{name}.\n    ")
    return op(call)


amax, amin = _extreme("amax", True), _extreme("amin", False)


# ---------------------------------------------------------------------------------------- norms, running sums, tests

@function
def norm(input, p="fro", dim=None, keepdim=False, dtype=None):
    """The vector p-norm (sum |x|^p)^(1/p) over dim; p may be inf, -inf, 0 (count of nonzeros) or "fro" (2).

    As torch.norm; the gradient at a norm of 0 is 0.
    """
    x = input if dtype is None else to_dtype(input, dtype)
    if not is_floating(x.dtype):
        raise TypeError(f"norm: the input must be floating point, got {x.dtype}: convert it first, x.float()")
    axes = axes_of("norm", x, dim)
    p = 2 if p in ("fro", None) else p
    if p == "nuc":
        raise ValueError("norm: the nuclear norm is not offered: p must be a number, inf, -inf or 'fro'")
    if p in (float("inf"), float("-inf")):
        return (amax if p > 0 else amin)(abs(x), axes or None, keepdim)
    if p == 0:
        return sum(_nonzeros(x), axes or None, keepdim)
    if p == 1:
        return sum(abs(x), axes or None, keepdim)
    if p == 2:
        return _safe_sqrt(sum(mul(x, x), axes or None, keepdim))
    total = sum(_safe_powers(abs(x), p) if p < 1 else pow(abs(x), p), axes or None, keepdim)
    return safe_root(total, p)


@op
def _nonzeros(x):
    """1 where x is not 0, else 0."""
    return (x.data != 0).astype(x.dtype), (zero,)


@op
def _safe_powers(v, p):
    """v ** p whose gradient is 0 where v is 0, though its slope is infinite there for p < 1."""
    some = Tensor(v.data != 0)
    return v.data ** p, (lambda g: select_by(mul(g, mul(pow(select_by(v, 1.0, some), p - 1), p)), 0.0, some),)


@op
def safe_root(v, p):
    """v ** (1/p) whose gradient is 0 where v is 0."""
    return v.data ** (1 / p), (
        lambda g: select_by(mul(g, div(pow(v, 1 / p - 1), p)), 0.0, Tensor(v.data != 0)),)


@op
def cumsum(input, dim, dtype=None):
    """Running sums along dim.  As torch.cumsum."""
    axis = one_axis("cumsum", input, dim)
    x = _summands(input.data, dtype)
    return (x.cumsum(axis) if x.ndim else x), (lambda g: _reversed_cumsum(g, axis),)


def _reversed_cumsum(g, axis):
    return flip(cumsum(flip(g, (axis,)), axis), (axis,)) if g.ndim else g


@op
def cumprod(input, dim, dtype=None):
    """Running products along dim; the gradient is right where elements are zero.  As torch.cumprod."""
    axis = one_axis("cumprod", input, dim)
    x = _summands(input.data, dtype)
    return (x.cumprod(axis) if x.ndim else x), (lambda g: _cumprod_vjp(g, input, axis) if g.ndim else g,)


def _cumprod_vjp(g, x, axis):
    """sum over k >= i of g_k times the product of x_0 .. x_k without x_i, by an (n, n) table of products."""
    n, xp = x.shape[axis], array_module(x.data)
    rows = movedim(x, axis, -1)                                           # (..., n)
    eye = Tensor(xp.eye(n, dtype=bool))
    table = expand(unsqueeze(rows, -2), (*rows.shape[:-1], n, n))         # row i: x with x_i replaced by 1
    table = cumprod(select_by(1.0, table, eye), -1)
    later = Tensor(xp.triu(xp.ones((n, n), bool)))                        # k >= i
    table = select_by(table, 0.0, later)                                  # not times 0: a product may be infinite
    out = sum(mul(table, unsqueeze(movedim(g, axis, -1), -2)), -1)
    return movedim(out, -1, axis)


@op
def any(input, dim=None, keepdim=False):
    """Whether any element is nonzero.  As torch.any."""
    return (input.data != 0).any(axes_of("any", input, dim), keepdims=keepdim), None


@op
def all(input, dim=None, keepdim=False):
    """Whether all elements are nonzero.  As torch.all."""
    return (input.data != 0).all(axes_of("all", input, dim), keepdims=keepdim), None


@op
def count_nonzero(input, dim=None):
    """How many elements are nonzero.  As torch.count_nonzero."""
    return (input.data != 0).sum(axes_of("count_nonzero", input, dim), dtype="int64"), None


