"""Softmax and its relatives: fused kernels on rows (M, D), forwards and backwards; ops when the graph is recorded."""
from __future__ import annotations

from math import prod

from ..autograd import Tensor, is_grad_enabled, op
from ..backend import kernels
from ..methods import function
from .arguments import as_tensor, check_dtypes
from .basic import to_dtype
from .math import exp
from .reduce import sum


@op
def softmax(input, dim, dtype=None):
    """exp(input) / sum(exp(input)) along `dim`, without overflow: positive, and 1 in sum.

    dtype   convert to this first

    Raises IndexError if there is no such dimension.  As torch.nn.functional.softmax.
    """
    x, dim = _prepared("softmax", input, dim, dtype)
    k = kernels(x)

    def vjp(g, y):
        if is_grad_enabled():
            return y * (g - sum(g * y, dim, keepdim=True))
        return Tensor(_rowwise(k.softmax_backward, dim, g.data, y.data))
    return _rowwise(k.softmax, dim, x), (vjp,)


@op
def log_softmax(input, dim, dtype=None):
    """log(softmax(input, dim)), more accurate than taking the two in turn.

    Arguments and errors as softmax.  As torch.nn.functional.log_softmax.
    """
    x, dim = _prepared("log_softmax", input, dim, dtype)
    k = kernels(x)

    def vjp(g, y):
        if is_grad_enabled():
            return g - exp(y) * sum(g, dim, keepdim=True)
        return Tensor(_rowwise(k.log_softmax_backward, dim, g.data, y.data))
    return _rowwise(k.log_softmax, dim, x), (vjp,)


@function
def softmin(input, dim, dtype=None):
    """softmax(-input, dim).  As torch.nn.functional.softmin."""
    return softmax(-as_tensor(input), dim, dtype)


def _prepared(name, input, dim, dtype):
    """The array in `dtype` and the dimension counted from the front."""
    if dtype is not None:
        input = to_dtype(input.detach(), dtype)
    check_dtypes(name, input)
    ndim = max(input.ndim, 1)
    if not isinstance(dim, int) or not -ndim <= dim < ndim:
        raise IndexError(f"{name}: dim={dim!r} is not a dimension of input {input.shape}: it must be an int in "
                         f"{-ndim}..{ndim - 1}")
    return input.data, dim % ndim


def _rowwise(kernel, dim, *arrays):
    """kernel((M, D) arrays) -> (M, D), with the dimension `dim` as D."""
    shape = arrays[0].shape
    if not shape:
        return _rowwise(kernel, 0, *(a.reshape(1) for a in arrays)).reshape(())
    last = [*range(dim), *range(dim + 1, len(shape)), dim]
    back = [*range(dim), len(shape) - 1, *range(dim, len(shape) - 1)]
    moved = [a.transpose(last) for a in arrays]
    y = kernel(*(a.reshape(prod(a.shape[:-1]), a.shape[-1]) for a in moved))   # (M, D)
    return y.reshape(moved[0].shape).transpose(back)
