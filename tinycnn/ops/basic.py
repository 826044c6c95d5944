"""Arithmetic, broadcasting, shapes and the matrix product: what the vjps of all other ops are written with."""
from __future__ import annotations

from operator import add as _add, mul as _mul, neg as _neg, sub as _sub, truediv as _div

import numpy as np

from ..autograd import Tensor, as_array, op
from ..backend import array_module, as_they_lie, beside, kernels
from ..dtypes import is_floating, sixteen_bits
from ..methods import FUNCTIONS, function

_DEFAULT_FLOAT = np.dtype(np.float32)
_OF_NUMBERS = ("add", "sub", "mul", "div", "floor_divide")   # torch takes two numbers, too


# ---------------------------------------------------------------------------------------- operands

def operands(name, x, y):
    """The arrays (or Python numbers) of a binary op's operands, ready for NumPy, promoted as torch promotes them.

    Python numbers and tensors without dimensions never raise the precision of a tensor with dimensions; integers
    meeting floats take the floats' dtype.  Raises TypeError for other kinds, ValueError for shapes that do not
    broadcast or different devices.
    """
    x, y = _number_or_array(name, x), _number_or_array(name, y)
    if not hasattr(x, "dtype") and not hasattr(y, "dtype"):
        if name not in _OF_NUMBERS:
            raise TypeError(f"{name}: at least one operand must be a tensor, got {x!r} and {y!r}")
        x = as_array(x)
    if not hasattr(x, "dtype") or not hasattr(y, "dtype"):
        return with_float(x, y), with_float(y, x)
    if x.dtype != y.dtype:
        dtype = result_dtype(x, y)
        x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
    check_broadcast(name, x.shape, y.shape)
    return beside(y, x), beside(x, y)


def _number_or_array(name, v):
    if isinstance(v, Tensor):
        return v._data
    if isinstance(v, np.generic):
        return v.item()
    if isinstance(v, (bool, int, float)):
        return v
    raise TypeError(f"{name}: expected tensors, arrays or numbers, got {type(v).__name__}: {v!r:.60}")


def with_float(v, other):
    """v, such that NumPy makes the right dtype of the two: an array of integers that meets a Python float as float32,
    not float64; a number that meets bfloat16 as bfloat16, not float32.
    """
    if not hasattr(v, "dtype"):
        return other.dtype.type(v) if other.dtype.name == "bfloat16" else v
    return v.astype(_DEFAULT_FLOAT) if isinstance(other, float) and not is_floating(v.dtype) else v


def result_dtype(*arrays):
    """torch's promotion of arrays: kind first (bool < int < float), then those with dimensions, then width."""
    highest = max(map(_kind, arrays))
    decisive = [a for a in arrays if _kind(a) == highest]
    dtypes = {a.dtype for a in decisive if a.ndim} or {a.dtype for a in decisive}
    mixed = len(dtypes) > 1 and all(map(sixteen_bits, dtypes))           # neither float16 nor bfloat16 holds the other
    return _DEFAULT_FLOAT if mixed else np.result_type(*dtypes)


def _kind(a):
    return 2 if is_floating(a.dtype) else "biu".index(a.dtype.kind) and 1


def check_broadcast(name, x, y):
    """Raise a ValueError that names the op and the dimension unless the shapes x and y broadcast."""
    if x == y:
        return
    for i, (a, b) in enumerate(zip(x[::-1], y[::-1]), 1):
        if a != b and a != 1 and b != 1:
            raise ValueError(f"{name}: shapes {x} and {y} do not broadcast: dimension -{i} is {a} in one "
                             f"and {b} in the other; they must be equal, or one of them 1 (reshape or unsqueeze)")


def shape_of(v):
    """The shape of a tensor, () of a number: vjps mention shapes, not tensors, so as not to keep those alive."""
    return v.shape if isinstance(v, Tensor) else ()


def scale(g, x):
    """g times a Python number or a constant array, leaving no needless work for 1."""
    return g if isinstance(x, (int, float)) and x == 1 else mul(g, x)


# ---------------------------------------------------------------------------------------- broadcasting

@op
def sum_to(x, shape):
    """Sum x down to `shape`: the adjoint of broadcasting.  (..., *shape broadcast) -> shape"""
    data, whole = x.data, x.shape
    if whole == shape:
        return data, (lambda g: g,)
    lead = data.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 != data.shape[lead + i])
    if data.ndim > 1 and axes == (0, *range(2, data.ndim)):
        total = kernels(data).channel_sums(data)
    else:
        total = data.sum(axes, keepdims=True)
    return total.reshape(shape), (lambda g: broadcast_to(g, whole),)


@op
def broadcast_to(input, size):
    """x seen in the larger shape `size`, without a copy.

    size: ints, one per dimension.  Returns a read-only view.  Raises ValueError if x does not broadcast to it.
    As torch.broadcast_to.
    """
    x, size, shape = input.data, tuple(int(n) for n in size), input.shape
    try:
        y = array_module(x).broadcast_to(x, size)
    except ValueError:
        raise ValueError(f"broadcast_to: {x.shape} does not broadcast to {size}: from the right, every dimension must "
                         "be equal or 1") from None
    return y, (lambda g: sum_to(g, shape),)


# ---------------------------------------------------------------------------------------- arithmetic

@op
def add(input, other, alpha=1):
    """input + alpha * other, elementwise with broadcasting.  As torch.add."""
    x, y = operands("add", input, other)
    a, b = shape_of(input), shape_of(other)
    return as_they_lie(_add, x, y if alpha == 1 else y * alpha), (
        lambda g: sum_to(g, a),
        lambda g: sum_to(scale(g, alpha), b))


@op
def sub(input, other, alpha=1):
    """input - alpha * other, elementwise with broadcasting.  As torch.sub."""
    x, y = operands("sub", input, other)
    a, b = shape_of(input), shape_of(other)
    return as_they_lie(_sub, x, y if alpha == 1 else y * alpha), (
        lambda g: sum_to(g, a),
        lambda g: sum_to(scale(g, -alpha), b))


@op
def mul(input, other):
    """input * other, elementwise with broadcasting.  As torch.mul."""
    x, y = operands("mul", input, other)
    a, b = shape_of(input), shape_of(other)
    return as_they_lie(_mul, x, y), (
        lambda g: sum_to(mul(g, other), a),
        lambda g: sum_to(mul(g, input), b))


@op
def quotient(input, other):
    """input / other, elementwise with broadcasting; integers give float32."""
    x, y = operands("div", input, other)
    a, b = shape_of(input), shape_of(other)
    ratio = as_they_lie(_div, x, y)
    if not any(hasattr(v, "dtype") and is_floating(v.dtype) for v in (x, y)):
        ratio = ratio.astype(_DEFAULT_FLOAT)
    return ratio, (
        lambda g: sum_to(quotient(g, other), a),
        lambda g: sum_to(neg(mul(g, quotient(quotient(input, other), other))), b))       # other * other may overflow


@function
def div(input, other, rounding_mode=None):
    """input / other, elementwise with broadcasting; integers give float32 unless rounded.

    rounding_mode  None, "trunc" (towards zero) or "floor"; rounded quotients have no gradient.  As torch.div.
    """
    if rounding_mode is None:
        return quotient(input, other)
    if rounding_mode not in ("trunc", "floor"):
        raise ValueError(f"div: rounding_mode must be None, 'trunc' or 'floor', got {rounding_mode!r}")
    return FUNCTIONS["floor_divide" if rounding_mode == "floor" else "_truncated"](input, other)


@op
def neg(input):
    """-input.  As torch.neg."""
    return as_they_lie(_neg, input.data), (lambda g: neg(g),)


@op
def to_dtype(input, dtype):
    """input in another NumPy dtype; the gradient comes back in input's own."""
    home = input.dtype
    return input.data.astype(dtype, copy=False), (lambda g: to_dtype(g, home),)


# ---------------------------------------------------------------------------------------- shapes

@op
def reshape(input, shape):
    """The same elements in another shape; one size may be -1.  As torch.reshape.

    Raises ValueError if the number of elements differs.
    """
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)
    home = input.shape
    try:
        return input.data.reshape(shape), (lambda g: reshape(g, home),)
    except ValueError:
        raise ValueError(f"reshape: {input.shape} has {input.data.size} elements, which do not fill {shape}") from None


@op
def permute(input, dims):
    """The dimensions in another order, without a copy.  dims: a permutation of range(ndim).  As torch.permute."""
    ndim = input.ndim
    order = tuple(int(d) % ndim if -ndim <= d < ndim else ndim for d in dims)
    if sorted(order) != list(range(ndim)):
        raise ValueError(f"permute: {tuple(dims)} is not an order of the {ndim} dimensions of {input.shape}")
    back = tuple(sorted(range(ndim), key=order.__getitem__))
    return input.data.transpose(order), (lambda g: permute(g, back),)


def matrix_transpose(x):
    """(..., A, B) -> (..., B, A)"""
    return permute(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


# ---------------------------------------------------------------------------------------- matrix product

@op
def matrix_product(x, y):
    """(..., A, K) @ (..., K, B) -> (..., A, B), the leading dimensions broadcast."""
    a, b = x.shape, y.shape
    return kernels(x.data).matmul(x.data, y.data), (
        lambda g: sum_to(matrix_product(g, matrix_transpose(y)), a),
        lambda g: sum_to(matrix_product(matrix_transpose(x), g), b))


@function
def matmul(input, other):
    """Matrix product; vectors count as a row on the left and as a column on the right.

    (..., A, K) @ (..., K, B) -> (..., A, B);  (K,) @ (K,) -> ().  Raises ValueError if the K differ or an operand
    has no dimensions.  As torch.matmul.
    """
    x, y = (t if isinstance(t, Tensor) else Tensor(t) for t in (input, other))
    if not x.ndim or not y.ndim:
        raise ValueError(f"matmul: both operands need at least one dimension, got {x.shape} and {y.shape}")
    if x.dtype != y.dtype:
        raise TypeError(f"matmul: the dtypes differ, {x.dtype} and {y.dtype}: convert one, x.to(y.dtype)")
    K = y.shape[-2] if y.ndim > 1 else y.shape[0]
    if x.shape[-1] != K:
        raise ValueError(f"matmul: {x.shape} @ {y.shape}: the last dimension of the first, {x.shape[-1]}, must equal "
                         f"the {'second last' if y.ndim > 1 else 'only'} one of the second, {K}")
    rows = x if x.ndim > 1 else reshape(x, (1, -1))                       # (..., A, K)
    columns = y if y.ndim > 1 else reshape(y, (-1, 1))                    # (..., K, B)
    check_broadcast("matmul", rows.shape[:-2], columns.shape[:-2])
    out = matrix_product(rows, columns)
    kept = [n for n, keep in zip(out.shape[-2:], (x.ndim > 1, y.ndim > 1)) if keep]
    return out if len(kept) == 2 else reshape(out, (*out.shape[:-2], *kept))
