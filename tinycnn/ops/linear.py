"""Layers that are matrix products (linear, bilinear) or rows of a matrix (embedding)."""
from __future__ import annotations

from math import prod

from ..autograd import Tensor, op
from ..backend import array_module, kernels
from ..methods import function
from .arguments import as_tensor, check_dtypes
from .basic import add, matrix_product, matrix_transpose, mul, permute, reshape, sum_to
from .index import index_select


@op
def affine(x, weight, bias):
    """(M, K), (O, K), (O,) or None -> x weight' + bias, (M, O)."""
    y = kernels(x.data).matmul(x.data, weight.data.T, None if bias is None else bias.data)
    O = weight.shape[0]
    return y, (
        lambda g: matrix_product(g, weight),
        lambda g: matrix_product(matrix_transpose(g), x),
        lambda g: reshape(sum_to(g, (1, O)), (O,)))


@function
def linear(input, weight, bias=None):
    """input weight' + bias.

    input    (..., K), any number of leading dimensions
    weight   (O, K), or (K,) for an output without the last dimension
    bias     (O,), () or None
    returns  (..., O)

    Raises ValueError if the last dimension of the input is not K or the bias does not fit; TypeError if the dtypes
    differ.  As torch.nn.functional.linear.
    """
    input, weight, bias = map(as_tensor, (input, weight, bias))
    check_dtypes("linear", input, weight=weight, bias=bias)
    if weight.ndim not in (1, 2) or not input.ndim:
        raise ValueError(f"linear: expected input (..., in_features) and weight (out_features, in_features), got "
                         f"{input.shape} and {weight.shape}")
    K, O = weight.shape[-1], weight.shape[:-1]
    if input.shape[-1] != K:
        raise ValueError(f"linear: input {input.shape} has {input.shape[-1]} features{_origin(input)}, weight "
                         f"{weight.shape} takes {K}: use Linear({input.shape[-1]}, {prod(O)}){_flattened(input, K)}")
    if bias is not None and bias.shape not in (O, ()):
        raise ValueError(f"linear: bias has shape {bias.shape}, weight {weight.shape} gives {prod(O)} outputs: "
                         f"bias must be {O}")
    if input.ndim == weight.ndim == 2:
        return affine(input, weight, bias)
    bias = bias if bias is None else reshape(bias, (prod(bias.shape),))
    y = affine(reshape(input, (prod(input.shape[:-1]), K)), reshape(weight, (prod(O), K)), bias)
    return reshape(y, (*input.shape[:-1], *O))


def _origin(input):
    """Where the features of a flattened input come from, as far as the graph knows: " (= 16*3*3 flattened)"."""
    node = input._node
    before = node.parents[0].shape if node is not None and node.name == "reshape" and node.parents else ()
    if len(before) > input.ndim and prod(before[input.ndim - 1:]) == input.shape[-1]:
        return f" (= {'*'.join(map(str, before[input.ndim - 1:]))} flattened)"
    return ""


def _flattened(input, in_features):
    """A hint for the commonest mistake: images that were never flattened."""
    if input.ndim != 4:
        return ""
    C, H, W = input.shape[1:]
    fits = ", which is what the weight takes" if C * H * W == in_features else ""
    return f", or flatten the images first: Flatten() gives {C}*{H}*{W} = {C * H * W} features{fits}"


@function
def bilinear(input1, input2, weight, bias=None):
    """y_o = input1' weight_o input2 + bias_o.

    input1 (..., I), input2 (..., J), weight (O, I, J), bias (O,) or None -> (..., O); equal leading dimensions.
    Raises ValueError for shapes that do not fit, TypeError if the dtypes differ.  As torch.nn.functional.bilinear.
    """
    input1, input2, weight, bias = map(as_tensor, (input1, input2, weight, bias))
    check_dtypes("bilinear", input1, input2=input2, weight=weight, bias=bias)
    lead = input1.shape[:-1]
    O, I, J = weight.shape if weight.ndim == 3 else (0, 0, 0)
    if weight.ndim != 3 or (*lead, I) != input1.shape or (*lead, J) != input2.shape:
        raise ValueError(f"bilinear: inputs {input1.shape} and {input2.shape} do not fit weight {weight.shape}: they "
                         "must be (..., I) and (..., J) with equal leading dimensions, the weight (O, I, J)")
    if bias is not None and bias.shape != (O,):
        raise ValueError(f"bilinear: bias has shape {bias.shape}, weight {weight.shape} needs ({O},)")
    M = prod(lead)
    left = matrix_product(reshape(input1, (M, I)), reshape(permute(weight, (1, 0, 2)), (I, O * J)))
    y = matrix_product(reshape(left, (M, O, J)), reshape(input2, (M, J, 1)))
    y = reshape(y, (*lead, O))
    return y if bias is None else add(y, bias)


# ---------------------------------------------------------------------------------------- embedding

@op
def scaled_gradient(x, factor):
    """x itself, but its gradient is multiplied by the constant `factor`."""
    return x.data, (lambda g: mul(g, factor),)


@function
def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """The rows of `weight` (V, D) that `input` names: integers of any shape (...) -> (..., D).

    padding_idx         this row gets no gradient
    max_norm            rows that are used are first scaled down, in place, to this norm (of order norm_type)
    scale_grad_by_freq  divide a row's gradient by how often it is used

    Raises TypeError for indices that are not integers, IndexError for one out of range, ValueError for sparse=True
    (there are no sparse gradients here).  As torch.nn.functional.embedding.
    """
    input, weight = as_tensor(input), as_tensor(weight)
    if sparse:
        raise ValueError("embedding: there are no sparse gradients here: leave sparse=False")
    if weight.ndim != 2:
        raise ValueError(f"embedding: the weight must be (rows, features), got shape {weight.shape}")
    rows, V = input.data, weight.shape[0]
    _check_rows(rows, V)
    if padding_idx is not None:
        if not -V <= padding_idx < V:
            raise ValueError(f"embedding: padding_idx={padding_idx} is not one of the {V} rows")
        padding_idx %= V
    if max_norm is not None:
        _renormalize(weight, rows, max_norm, norm_type)
    y = reshape(index_select(weight, 0, rows.reshape(-1)), (*rows.shape, weight.shape[1]))
    if padding_idx is None and not scale_grad_by_freq:
        return y
    xp = array_module(rows)
    factor = (rows != padding_idx).astype(weight.dtype)
    if scale_grad_by_freq:
        factor /= xp.bincount(rows.reshape(-1), minlength=V)[rows]
    return scaled_gradient(y, Tensor(factor[..., None]))


def _check_rows(rows, V):
    if rows.dtype.kind not in "iu":
        raise TypeError(f"embedding: indices must be integers, got {rows.dtype}: convert them, x.long()")
    if rows.size and not (0 <= int(rows.min()) and int(rows.max()) < V):
        raise IndexError(f"embedding: indices {int(rows.min())}..{int(rows.max())} for a weight of {V} rows: they must "
                         f"lie in 0..{V - 1}")


def _renormalize(weight, rows, max_norm, norm_type):
    """Scale the rows in use down to max_norm, in place."""
    w, used = weight.data, array_module(rows).unique(rows)
    norms = (abs(w[used]) ** norm_type).sum(1) ** (1 / norm_type)
    long = norms > max_norm
    w[used[long]] *= (max_norm / (norms[long] + 1e-7))[:, None].astype(w.dtype)
    weight._version += 1
