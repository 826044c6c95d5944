"""Jacobians, Hessians and products with them, from grad() alone: `tc.autograd.functional`, as torch's.

backward computes u'J, a product with the Jacobian J from the left, whatever the number of inputs.  The rest follows:

    vjp   u'J          one backward
    jvp   J v          u'J is linear in u, so its own vjp with respect to u is J v: two backwards
    jacobian           u'J for each one-hot u: a backward for each element of the outputs
    vhp   v'H          the vjp of the gradient of a scalar function
    hvp   H v          the jvp of that gradient; the same numbers where H is symmetric, at more cost
    hessian            the jacobian of the gradient
    directional        D^k f [v1, ..., vk] = the gradient of D^(k-1) f [v1, ..., v(k-1)], times vk: any order k
"""
from __future__ import annotations

from typing import Any, Callable, Sequence

from .autograd import Tensor, alias, enable_grad, grad
from .backend import array_module
from .methods import FUNCTIONS


def vjp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(*inputs), v'J): the product of v, shaped as the outputs, with the Jacobian J of `func`.

    func          function of Tensors that returns a Tensor or a tuple of them
    inputs        a floating-point Tensor or a tuple of them; v'J has their structure and shapes
    v             may be left out for a single output of one element, where it is 1
    create_graph  record how the results came from the inputs, so that they can be differentiated again
    strict        refuse outputs that do not depend on an input, instead of answering with zeros

    Raises TypeError for what is no Tensor, ValueError for a v of the wrong number or shapes, RuntimeError for a v that
    cannot be left out and for what `strict` refuses.  As torch.autograd.functional.vjp.

    >>> vjp(lambda x: x * x, Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))[1]
    Tensor([ 2., 40.], dtype=float32)
    """
    with enable_grad():
        points, single = _points("vjp", inputs, create_graph)
        outputs, lone = _outputs("vjp", func(*points), strict)
        v = _vector("vjp", v, outputs, "output")
    found = _products("vjp", outputs, points, v, create_graph, strict)
    return _packed(outputs, lone, create_graph), _packed(found, single, create_graph)


def jvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(*inputs), J v): the derivative of `func` along v, which is shaped as the inputs.

    J v has the structure and shapes of the outputs; v may be left out for a single input of one element, where it is
    1.  Arguments and errors otherwise as vjp.  As torch.autograd.functional.jvp.

    >>> jvp(lambda x: (x * x).sum(), Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))[1]
    Tensor(42., dtype=float32)
    """
    with enable_grad():
        points, single = _points("jvp", inputs, create_graph)
        v = _vector("jvp", v, points, "input")
        outputs, lone = _outputs("jvp", func(*points), strict)
    found = _pushed("jvp", outputs, points, v, create_graph, strict)
    return _packed(outputs, lone, create_graph), _packed(found, lone, create_graph)


def jacobian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode") -> Any:
    """All first derivatives of `func`: a Tensor of shape (*output shape, *input shape).

    A tuple of these, one per input, if `inputs` is a tuple; a tuple over the outputs of what it would be for one, if
    `func` returns a tuple.  Raises NotImplementedError for vectorize=True and strategy="forward-mode"; arguments and
    errors otherwise as vjp.  As torch.autograd.functional.jacobian.

    >>> jacobian(lambda x: x * x, Tensor([1.0, 2.0]))
    Tensor([[2., 0.],
            [0., 4.]], dtype=float32)
    """
    _only_backwards("jacobian", vectorize, strategy)
    with enable_grad():
        points, single = _points("jacobian", inputs, create_graph)
        outputs, lone = _outputs("jacobian", func(*points), strict)
        rows = [_jacobians(y, points, create_graph, strict) for y in outputs]
    rows = [_packed(row, single, create_graph) for row in rows]
    return rows[0] if lone else tuple(rows)


def vhp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(*inputs), v'H): the product of v, shaped as the inputs, with the Hessian H of `func`.

    `func` returns a single Tensor of one element (RuntimeError otherwise); v may be left out for a single input of one
    element.  Arguments and errors otherwise as vjp.  As torch.autograd.functional.vhp.

    >>> vhp(lambda x: (x * x * x).sum(), Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))[1]
    Tensor([  6., 120.], dtype=float32)
    """
    with enable_grad():
        points, single = _points("vhp", inputs, create_graph)
        v = _vector("vhp", v, points, "input")
        outputs = [_scalar("vhp", func(*points), strict)]
        gradients = _products("vhp", outputs, points, [None], True, strict)
    found = _products("vhp", gradients, points, v, create_graph, strict)
    return _packed(outputs, True, create_graph), _packed(found, single, create_graph)


def hvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """(func(*inputs), H v): as vhp, and the same numbers where second derivatives are continuous, at more cost.

    As torch.autograd.functional.hvp.

    >>> hvp(lambda x: (x * x * x).sum(), Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))[1]
    Tensor([  6., 120.], dtype=float32)
    """
    with enable_grad():
        points, single = _points("hvp", inputs, create_graph)
        v = _vector("hvp", v, points, "input")
        outputs = [_scalar("hvp", func(*points), strict)]
        gradients = _products("hvp", outputs, points, [None], True, strict)
    found = _pushed("hvp", gradients, points, v, create_graph, strict)
    return _packed(outputs, True, create_graph), _packed(found, single, create_graph)


def hessian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:
    """All second derivatives of a `func` that returns one element: a Tensor of shape (*input shape, *input shape).

    For a tuple of inputs a tuple of tuples: [i][j] is d2 func / d input i d input j.  A backward for each element of
    the inputs: for small ones.  Arguments and errors otherwise as jacobian and vhp.
    As torch.autograd.functional.hessian.

    >>> hessian(lambda x: (x * x * x).sum(), Tensor([1.0, 2.0]))
    Tensor([[ 6.,  0.],
            [ 0., 12.]], dtype=float32)
    """
    _only_backwards("hessian", vectorize, outer_jacobian_strategy)

    def gradient(*points):
        y = _scalar("hessian", func(*points), strict)
        found = _products("hessian", [y], list(points), [None], True, strict)
        return tuple(found) if isinstance(inputs, tuple) else found[0]
    return jacobian(gradient, inputs, create_graph, strict)


def directional(func: Callable, inputs: Any, directions: Sequence, create_graph: bool = False) -> Tensor:
    """D^k func [v1, ..., vk]: the derivative of order k along k directions, each shaped as the inputs.  0-d.

    For a function of one variable and directions of 1 that is its k-th derivative; for k directions the same it is the
    k-th derivative of t -> func(inputs + t v) at 0.  No direction is order 0: the value.  Nested backwards, k of them.
    `func` returns a single Tensor of one element; arguments and errors otherwise as vjp.

    >>> one = Tensor([1.0])
    >>> directional(lambda x: (x * x * x).sum(), Tensor([2.0]), [one, one, one])
    Tensor(6., dtype=float32)
    """
    with enable_grad():
        points, _ = _points("directional", inputs, create_graph)
        directions = [_vector("directional", v, points, "input") for v in directions]
        value = _scalar("directional", func(*points), False).sum()
        for order, v in enumerate(directions, 1):
            keep = create_graph or order < len(directions)
            gradients = _products("directional", [value], points, [None], keep, False)
            terms = [(g * d).sum() for g, d in zip(gradients, v)]
            value = sum(terms[1:], terms[0])
    return _packed([value], True, create_graph)


# ---------------------------------------------------------------------------------------- arguments

def _tensors(name, what, given):
    """A list of tensors, and whether it was a lone one."""
    lone = not isinstance(given, tuple)
    for t in (given,) if lone else given:
        if not isinstance(t, Tensor) and not hasattr(t, "dtype"):
            raise TypeError(f"{name}: {what} must be a Tensor or a tuple of Tensors, got {type(t).__name__}")
    return [t if isinstance(t, Tensor) else Tensor(t) for t in ((given,) if lone else given)], lone


def _points(name, inputs, create_graph):
    """The inputs as tensors of their own that require grad, so that `func` may mention the originals too."""
    tensors, lone = _tensors(name, "the inputs", inputs)
    return [alias(t) if create_graph and t.requires_grad else t.detach().requires_grad_() for t in tensors], lone


def _outputs(name, results, strict):
    outputs, lone = _tensors(name, "what the function returns", results)
    for i, y in enumerate(outputs):
        if strict and not y.requires_grad:
            raise RuntimeError(f"{name}: output {i} does not depend on the inputs, which strict=True refuses")
    return outputs, lone


def _scalar(name, result, strict):
    (y, *more), lone = _outputs(name, result, strict)
    if more or not lone or y.data.size != 1:
        got = f"one of shape {y.shape}" if lone else "a tuple"
        raise RuntimeError(f"{name}: the function must return a single Tensor of one element, got {got}: sum it")
    return y


def _vector(name, v, like, what):
    """The tensors of v, one per tensor in `like` and of its shape."""
    if v is None:
        if len(like) != 1 or like[0].data.size != 1:
            raise RuntimeError(f"{name}: v can only be left out for a single {what} of one element")
        return [_ones(like[0])]
    v, _ = _tensors(name, "v", v)
    if [t.shape for t in v] != [t.shape for t in like]:
        raise ValueError(f"{name}: v must have the shapes of the {what}s, {[t.shape for t in like]}, "
                         f"got {[t.shape for t in v]}")
    return v


def _only_backwards(name, vectorize, strategy):
    if vectorize:
        raise NotImplementedError(f"{name}: vectorize=True is not offered; leave it out, the result is the same")
    if strategy != "reverse-mode":
        raise NotImplementedError(f"{name}: only the strategy 'reverse-mode' is offered, got {strategy!r}")


# ---------------------------------------------------------------------------------------- products

def _products(name, outputs, points, seeds, create_graph, strict):
    """One gradient per point; zeros where nothing leads there."""
    found = [None] * len(points)
    used = [(y, s) for y, s in zip(outputs, seeds) if y.requires_grad]
    if used:
        ys, seeds = zip(*used)
        found = grad(ys, points, seeds, retain_graph=True, create_graph=create_graph, allow_unused=True)
    return [_or_zeros(name, g, t, i, create_graph, strict) for i, (g, t) in enumerate(zip(found, points))]


def _pushed(name, outputs, points, v, create_graph, strict):
    """J v for each output: the gradients of w'J with respect to w.  It is linear in w, so w may be anything: zeros."""
    with enable_grad():
        w = [Tensor(_zeros(y), requires_grad=True) for y in outputs]
        pulled = _products(name, outputs, points, w, True, strict)
    return _products(name, pulled, w, v, create_graph, strict)


def _jacobians(y, points, create_graph, strict):
    """The Jacobian of one output with respect to each point."""
    flat, one_hot = FUNCTIONS["reshape"](y, (-1,)), array_module(y.data).eye(y.data.size, dtype=y.dtype)
    rows = [_products("jacobian", [flat], points, [Tensor(u)], create_graph, strict) for u in one_hot]
    if not rows:
        return [Tensor(_zeros(t, y.shape)) for t in points]
    return [FUNCTIONS["stack"](column).reshape(*y.shape, *t.shape) for column, t in zip(zip(*rows), points)]


def _or_zeros(name, g, t, i, create_graph, strict):
    if strict and g is None:
        raise RuntimeError(f"{name}: the result does not depend on entry {i}, which strict=True refuses")
    if strict and create_graph and not g.requires_grad:
        raise RuntimeError(f"{name}: the derivative with respect to entry {i} is constant, which strict=True refuses "
                           "where it is to be differentiated again")
    return Tensor(_zeros(t)) if g is None else g


def _zeros(t, before=()):
    return array_module(t.data).zeros((*before, *t.shape), t.dtype)


def _ones(t):
    return Tensor(array_module(t.data).ones_like(t.data))


def _packed(tensors, lone, create_graph):
    """The results in the structure that was asked for, without their history unless it is wanted."""
    tensors = [t if create_graph else t.detach() for t in tensors]
    return tensors[0] if lone else tuple(tensors)
