"""Every linear operation and its gradient are adjoint: <Ax, y> = <x, A'y>; and how far float32 is from it.

Which operations are linear is found by trying, argument by argument with the others held (a convolution is linear in
its input and in its weight), so that none is forgotten: all rows of tinycnn/cases and of cnn_functions.py are tried,
with f(x) - f(0) for an A that comes with a constant.

Where an operation only adds, copies, and multiplies by numbers such as 2 and 1/4, arithmetic with whole numbers is
exact in float64, and the two sides must be equal to the last bit.  Elsewhere (a mean of three) roundings remain.
"""
from functools import lru_cache

import numpy as np
import pytest
from cnn_functions import FUNCTIONS

import tinycnn as tc
from tinycnn.cases import all_cases
from tinycnn.cases.table import bound

F32, F64 = (float(np.finfo(dtype).eps) / 2 for dtype in (np.float32, np.float64))     # the error of one rounding
ROWS = {row.id: row for row in all_cases()}
each = pytest.mark.parametrize("name", [*ROWS, *FUNCTIONS])
LINEAR = {      # at least these, of which at least one row must be exact
    "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "linear", "bilinear", "embedding", "unfold", "fold",
    "matmul", "mm", "bmm", "mv", "dot", "outer", "einsum", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool2d",
    "max_unpool1d", "max_unpool2d", "interpolate", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "pad", "reshape", "permute", "transpose", "flatten", "squeeze", "unsqueeze", "expand", "tile",
    "repeat", "repeat_interleave", "cat", "stack", "split", "chunk", "unbind", "select", "narrow", "getitem", "gather",
    "index_select", "take_along_dim", "scatter", "scatter_add", "masked_fill", "masked_select", "where", "roll", "flip",
    "meshgrid", "tril", "triu", "diag", "diagonal", "trace", "sum", "mean", "cumsum", "add", "sub", "mul", "div", "neg",
    "lerp", "nll_loss", "dropout", "dropout2d",
}
ROUNDED = {     # at least these: their A has roots and quotients
    "batch_norm eval", "batch_norm eval, plain", "instance_norm eval", "layer_norm", "group_norm",
    "adaptive_avg_pool1d",
}
NOT_ADJOINT = {"embedding-[[0,2,2],[1,0,2]]-(3,4)-padding_idx=-1"}    # by definition: that row gets no gradient


@lru_cache(maxsize=None)
def subject(name):
    """A function that draws the same random numbers at every call, and its arguments."""
    if name in ROWS:
        func, tensors = bound(ROWS[name])
        return func, [t.data for t in tensors]
    func, *shapes = FUNCTIONS[name]
    rng = np.random.default_rng(3)
    return func, [rng.standard_normal(shape) for shape in shapes]


def outputs(name, tensors):
    tc.manual_seed(0)
    found = subject(name)[0](*tensors)
    found = found if isinstance(found, (tuple, list)) else [found]
    return [y for y in found if isinstance(y, tc.Tensor) and y.dtype.kind == "f"]


def forward(name, arrays, i=None, x=None):
    """All outputs in one vector, for the arguments given, the i-th replaced by x."""
    given = arrays if i is None else [*arrays[:i], x, *arrays[i + 1:]]
    return np.concatenate([y.data.ravel() for y in outputs(name, map(tc.Tensor, given))])


def backward(name, arrays, i, g):
    """The gradient of the i-th argument, for the gradient g of all outputs in one vector."""
    tensors = [tc.Tensor(a, requires_grad=k == i) for k, a in enumerate(arrays)]
    ys = outputs(name, tensors)
    parts = np.split(g, np.cumsum([y.data.size for y in ys])[:-1])
    ys, seeds = zip(*[(y, part.reshape(y.shape)) for y, part in zip(ys, parts) if y.requires_grad])
    return tc.grad(ys, tensors[i], seeds)[0].data


@lru_cache(maxsize=None)
def linear_arguments(name):
    """The arguments in which the operation is linear, and not constant: tried at three sizes."""
    return [i for i in range(len(subject(name)[1])) if all(is_linear(name, i, size) for size in (0.1, 1, 50))]


def is_linear(name, i, size):
    arrays = subject(name)[1]
    x, z = size * np.random.default_rng(0).standard_normal((2, *arrays[i].shape))
    try:
        zero, fx, fz, both = (forward(name, arrays, i, v) for v in (0 * x, x, z, 1.5 * x - 0.75 * z))
    except ValueError:                               # x is no probability, no variance, ...
        return False
    if not all(np.isfinite(v).all() for v in (zero, fx, fz, both)):
        return False
    largest = max(np.abs(v).max(initial=0) for v in (zero, fx, fz, both))
    off = np.abs((both - zero) - 1.5 * (fx - zero) + 0.75 * (fz - zero)).max(initial=0)
    return off <= 1e-12 * largest and (fx != zero).any()


# ---------------------------------------------------------------------------------------- adjoint

def pairs(name):
    """For each linear argument, three times: x, y = Ax, g, A'g and f(0), for whole numbers x and g."""
    arrays = [powers_of_two(a) for a in subject(name)[1]]
    for i in linear_arguments(name):
        rng = np.random.default_rng(1)
        for _ in range(3):
            x = whole(rng, arrays[i].shape)
            zero, fx = forward(name, arrays, i, 0 * x), forward(name, arrays, i, x)
            g = whole(rng, fx.shape)
            yield x, fx - zero, g, backward(name, [*arrays[:i], x, *arrays[i + 1:]], i, g), zero


def powers_of_two(a):
    """The same signs, and sizes rounded down to 1/8, 1/4, ... 4."""
    return np.sign(a) * 2.0 ** np.clip(np.floor(np.log2(np.abs(a) + 1e-9)), -3, 2)


def whole(rng, shape):
    """Whole numbers from -3 to 3, none of them 0: every element counts."""
    return rng.choice([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0], shape)


def exact(*arrays):
    """Whether all are whole multiples of 2^-24, and small: what came about by rounding is not."""
    return all((a * 2.0**24 == np.round(a * 2.0**24)).all() and np.abs(a).max(initial=0) < 2.0**20 for a in arrays)


@each
def test_adjoint(name):
    for x, y, g, gx, zero in pairs(name):
        left, right = (y * g).sum(), (x * gx).sum()
        if name in NOT_ADJOINT:
            assert left != right
        elif exact(y, gx, zero):
            assert left == right
        else:       # every product may be off by a few roundings of the largest number that came up
            largest = 3 * max(np.abs(v).max() for v in (y, gx, zero))
            assert abs(left - right) <= 8 * F64 * largest * (x.size + y.size)


def test_no_linear_operation_is_forgotten():
    found, equal = set(), set()
    for name in [*ROWS, *FUNCTIONS]:
        op = ROWS[name].op if name in ROWS else name
        for _, y, _, gx, zero in pairs(name):
            (equal if exact(y, gx, zero) else found).add(op)
    assert not LINEAR - equal and not ROUNDED - found - equal
    assert not (found | equal) & {"relu", "max_pool2d", "abs", "exp", "softmax", "clamp", "sort", "softplus", "sign"}


# ---------------------------------------------------------------------------------------- float32

FEW = 4             # roundings in a coefficient: a quotient, a root, a logarithm
DIFFERENCES = {"cross_entropy", "multilabel_soft_margin_loss"}       # a coefficient is log p = x - log(sum of exp)


@each
def test_float32_is_as_exact_as_sums_are(name):
    """y_j = sum_i a_ji x_i of n terms, in any order: |computed - y_j| <= n u sum_i |a_ji| |x_i| with u = 2^-24, as each
    term is rounded once as a product and at most n - 1 times in sums (Higham, Accuracy and Stability of Numerical
    Algorithms, section 3.1); the FEW roundings of the a_ji themselves come on top.  The same holds for the gradient,
    with the columns of A.  A coefficient that is a difference is off by roundings of the largest instead.

    Where an operation is linear in several arguments (a convolution in input, weight and bias), its sums are those of
    the argument with the most terms; a constant f(0) is one more term.
    """
    arrays = [np.where(np.isfinite(a), a, 1).astype(np.float32) for a in subject(name)[1]]
    wide = [a.astype(np.float64) for a in arrays]
    terms, sizes = 0, 0.0
    for i in linear_arguments(name):
        A, zero = matrix(name, wide, i)
        g = np.random.default_rng(2).standard_normal(len(A)).astype(np.float32)
        if name not in NOT_ADJOINT:
            gx = backward(name, arrays, i, g)
            cancelled = name in ROWS and ROWS[name].op in DIFFERENCES
            coefficients = np.where(A != 0, np.abs(A).max(), 0) if cancelled else np.abs(A)
            assert_within(gx.ravel(), A.T @ g, (A != 0).sum(0), coefficients.T @ np.abs(g))
        terms = np.maximum(terms, (A != 0).sum(1))
        sizes = np.maximum(sizes, np.abs(A) @ np.abs(wide[i].ravel()) + np.abs(zero))
    if linear_arguments(name):
        assert_within(forward(name, arrays), forward(name, wide), terms, sizes)


def matrix(name, arrays, i):
    """A and f(0), column by column."""
    zero, units = forward(name, arrays, i, 0 * arrays[i]), np.eye(arrays[i].size)
    columns = [forward(name, arrays, i, unit.reshape(arrays[i].shape)) - zero for unit in units]
    return np.array(columns).reshape(len(units), zero.size).T, zero


def assert_within(computed, expected, terms, sizes):
    assert (np.abs(computed - expected) <= (terms + FEW) * F32 * sizes).all()
