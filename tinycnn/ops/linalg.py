"""Matrices: products under torch's names, which all end in `matmul`, triangles and diagonals."""
from __future__ import annotations

import string

import numpy as np

from ..autograd import Tensor, op
from ..backend import array_module
from ..methods import FUNCTIONS, function
from .arguments import as_tensor, one_axis
from .basic import matmul, mul, permute, reshape
from .index import getitem, scatter_add
from .reduce import sum
from .shape import expand, movedim


def _expect(name, *pairs):
    for t, ndim in pairs:
        if t.ndim != ndim:
            raise ValueError(f"{name}: expected {ndim} dimensions, got shape {t.shape}")


@function
def mm(input, mat2):
    """(A, K) @ (K, B) -> (A, B).  As torch.mm."""
    _expect("mm", (input, 2), (mat2, 2))
    return matmul(input, mat2)


@function
def bmm(input, mat2):
    """(N, A, K) @ (N, K, B) -> (N, A, B).  As torch.bmm."""
    _expect("bmm", (input, 3), (mat2, 3))
    if input.shape[0] != mat2.shape[0]:
        raise ValueError(f"bmm: {input.shape} and {mat2.shape} hold different numbers of matrices")
    return matmul(input, mat2)


@function
def mv(input, vec):
    """(A, K) @ (K,) -> (A,).  As torch.mv."""
    _expect("mv", (input, 2), (vec, 1))
    return matmul(input, vec)


@function
def dot(input, tensor):
    """(K,) . (K,) -> ().  As torch.dot."""
    _expect("dot", (input, 1), (tensor, 1))
    return matmul(input, tensor)


@function
def outer(input, vec2):
    """(A,), (B,) -> (A, B) of all products.  As torch.outer."""
    _expect("outer", (input, 1), (vec2, 1))
    return mul(reshape(input, (-1, 1)), vec2)


# ---------------------------------------------------------------------------------------- einsum

@function
def einsum(equation, *operands):
    """Sums of products named by letters: einsum("nij,njk->nik", x, y) is a batch of matrix products.

    A letter that the result lacks is summed over; one that an operand has twice is its diagonal; "..." stands for
    dimensions that broadcast.  Without "->" the result has the letters that occur once, in alphabetical order.
    Raises ValueError for letters and shapes that do not fit.  As torch.einsum.
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = operands[0]
    operands = [t if isinstance(t, Tensor) else Tensor(t) for t in operands]
    terms, result = _parse(equation, operands)
    sizes = _sizes(equation, terms, operands)
    parts = [_diagonals(t, term) for t, term in zip(operands, terms)]
    total, letters = parts[0]
    for k, (t, theirs) in enumerate(parts[1:], 1):
        later = set("".join(terms[k + 1:])) | set(result)
        total, letters = _contract(total, letters, t, theirs, later, sizes)
    total = sum(total, [i for i, c in enumerate(letters) if c not in result]) if set(letters) - set(result) else total
    letters = [c for c in letters if c in result]
    return permute(total, [letters.index(c) for c in result]) if len(result) > 1 else total


def _parse(equation, operands):
    """Terms and result with every "..." written out in letters that the equation does not use."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"einsum: {equation!r} names {len(terms)} operands, got {len(operands)}")
    spare = [c for c in string.ascii_letters if c not in equation]
    most = max(t.ndim - len(term.replace("...", "")) for t, term in zip(operands, terms))
    if min(t.ndim - len(term.replace("...", "")) for t, term in zip(operands, terms)) < 0:
        raise ValueError(f"einsum: {equation!r} has more letters than dimensions in {[t.shape for t in operands]}")
    dots = "".join(spare[:most])

    def written(term, ndim):
        extra = ndim - len(term.replace("...", ""))
        if extra and "..." not in term:
            raise ValueError(f"einsum: term {term!r} of {equation!r} does not name all {ndim} dimensions")
        return term.replace("...", dots[len(dots) - extra:])
    terms = [written(term, t.ndim) for term, t in zip(terms, operands)]
    if arrow:
        result = right.replace("...", dots)
    else:
        every = "".join(terms)
        result = dots + "".join(sorted(c for c in set(every) - set(dots) if every.count(c) == 1))
    if len(set(result)) != len(result) or set(result) - set("".join(terms)):
        raise ValueError(f"einsum: the result {result!r} of {equation!r} repeats a letter or has one no operand has")
    return terms, result


def _sizes(equation, terms, operands):
    sizes: dict[str, int] = {}
    for term, t in zip(terms, operands):
        for c, n in zip(term, t.shape):
            if sizes.setdefault(c, n) not in (n, 1) and n != 1:
                raise ValueError(f"einsum: {c!r} in {equation!r} is {sizes[c]} in one operand and {n} in another")
            sizes[c] = max(sizes[c], n)
    return sizes


def _diagonals(t, term):
    """Letters an operand has twice replaced by its diagonal."""
    letters = list(term)
    for c in dict.fromkeys(term):
        while letters.count(c) > 1:
            i = letters.index(c)
            j = letters.index(c, i + 1)
            t = diagonal(t, 0, i, j)
            letters = [k for n, k in enumerate(letters) if n not in (i, j)] + [c]
    return t, letters


def _contract(x, xs, y, ys, later, sizes):
    """The product of two operands, summed over the letters nobody needs later: one batched matrix product."""
    x, xs = _sum_alone(x, xs, set(ys) | later)
    y, ys = _sum_alone(y, ys, set(xs) | later)
    batch = [c for c in xs if c in ys and c in later]
    inner = [c for c in xs if c in ys and c not in later]
    rows, columns = [c for c in xs if c not in ys], [c for c in ys if c not in xs]

    def arranged(t, letters, *groups):
        order = [c for group in groups for c in group]
        t = permute(t, [letters.index(c) for c in order]) if order else t
        t = expand(t, [sizes[c] for c in order])
        return reshape(t, [_volume(group, sizes) for group in groups])
    product = matmul(arranged(x, xs, batch, rows, inner), arranged(y, ys, batch, inner, columns))
    letters = [*batch, *rows, *columns]
    return reshape(product, [sizes[c] for c in letters]), letters


def _sum_alone(t, letters, needed):
    alone = [i for i, c in enumerate(letters) if c not in needed]
    return (sum(t, alone) if alone else t), [c for c in letters if c in needed]


def _volume(letters, sizes):
    n = 1
    for c in letters:
        n *= sizes[c]
    return n


# ---------------------------------------------------------------------------------------- triangles and diagonals

@op
def tril(input, diagonal=0):
    """The lower triangle of matrices (..., A, B), zeros above `diagonal`.  As torch.tril."""
    _check_matrix("tril", input)
    return array_module(input.data).tril(input.data, diagonal), (lambda g: tril(g, diagonal),)


@op
def triu(input, diagonal=0):
    """The upper triangle of matrices (..., A, B), zeros below `diagonal`.  As torch.triu."""
    _check_matrix("triu", input)
    return array_module(input.data).triu(input.data, diagonal), (lambda g: triu(g, diagonal),)


def _check_matrix(name, x):
    if x.ndim < 2:
        raise ValueError(f"{name}: expected at least 2 dimensions, got shape {x.shape}")


@function
def diagonal(input, offset=0, dim1=0, dim2=1):
    """The elements at (i, i + offset) of two dimensions, as a new last dimension.  As torch.diagonal."""
    a, b = one_axis("diagonal", input, dim1), one_axis("diagonal", input, dim2)
    if a == b:
        raise ValueError(f"diagonal: dim1 and dim2 are the same, {dim1}")
    moved = movedim(input, (a, b), (input.ndim - 2, input.ndim - 1))
    A, B = moved.shape[-2:]
    n = max(0, min(A + min(offset, 0), B - max(offset, 0)))
    i = np.arange(n)
    return getitem(moved, (..., i + max(-offset, 0), i + max(offset, 0)))


@function
def diag(input, diagonal=0):
    """A vector as the diagonal of a matrix, or the diagonal of a matrix.  As torch.diag."""
    input, offset = as_tensor(input), diagonal
    if input.ndim == 2:
        return FUNCTIONS["diagonal"](input, offset)
    if input.ndim != 1:
        raise ValueError(f"diag: expected 1 or 2 dimensions, got shape {input.shape}")
    n = input.shape[0] + abs(offset)
    i = np.arange(input.shape[0])
    flat = (i + max(-offset, 0)) * n + i + max(offset, 0)
    zeros = Tensor(array_module(input.data).zeros(n * n, input.dtype))
    return reshape(scatter_add(zeros, 0, flat, input), (n, n))


@function
def trace(input):
    """The sum of a matrix's diagonal.  As torch.trace."""
    _expect("trace", (input, 2))
    return sum(diagonal(input))
