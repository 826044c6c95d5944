"""Cases from PyTorch's op_db, answered by PyTorch.  The only module of tinycnn that imports torch.

op_db (torch.testing._internal.common_methods_invocations) is the table that PyTorch's own tests run through: for every
operation a generator of sample inputs, some with a second, larger one of reference inputs and some with one of inputs
that must be refused.
"""
from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np

from .cases import Case, Leaf, LeftOut, found, mapped
from .registry import Operation

_INVISIBLE = ("_stacklevel",)                        # keywords that only say where a warning points
_MOST_DIMENSIONS = 64                                # NumPy's


class _Inexpressible(Exception):
    """The reason why an argument cannot be handed to another engine."""


def pytorch() -> Any:
    """The torch module.  Raises ImportError, with the cure, if it or what op_db needs is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module("torch.testing._internal.common_methods_invocations")
            return import_module("torch")
    except ImportError as error:
        raise ImportError(f"conformance asks PyTorch's op_db, which cannot be imported ({error}): pip install "
                          "'tinycnn[conformance]', or --load a file of cases that were dumped before") from error


def cases(operation: Operation, dtype: str = "float64", reference_inputs: bool = False,
          samples: int | None = None, largest: int | None = None) -> Iterator[Case | LeftOut]:
    """The samples of an operation and then the invalid inputs, each as a Case, or LeftOut with a reason.

    dtype              of the samples; operations on integers keep theirs
    reference_inputs   op_db's larger set, where it has one
    samples            at most so many, evenly spread over all; invalid inputs are always all of them
    largest            only samples with at most so many numbers; of each operation at least the smallest

    Draws the same numbers each time and leaves the generators of torch and NumPy as they were.  Raises ImportError
    without torch, LookupError if op_db has no such entry.
    """
    torch = pytorch()
    entry = _entry(operation)
    kind = getattr(torch, dtype) if getattr(torch, dtype) in entry.dtypes else torch.int64
    draw = entry.reference_inputs if reference_inputs else entry.sample_inputs
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")              # of what is deprecated in PyTorch
        torch.manual_seed(0)
        state = np.random.get_state()
        np.random.seed(0)
        try:
            # Without requires_grad=True some entries give fewer samples: fewer to differentiate numerically.
            drawn = list(draw("cpu", kind, requires_grad=False))
            invalid = list(entry.error_inputs("cpu")) if entry.error_inputs_func else []
            for sample in _chosen(torch, drawn, samples, largest):
                yield _answered(torch, operation, entry, sample)
            for error in invalid:
                yield _refused(torch, operation, entry, error.sample_input)
        finally:
            np.random.set_state(state)


def _chosen(torch, drawn, samples, largest):
    """At most `samples` of them, evenly spread over those with at most `largest` numbers."""
    sizes = [sum(t.numel() for t in found(torch.Tensor, [s.input, s.args, s.kwargs])) for s in drawn]
    bound = max(sizes) if largest is None else max(largest, min(sizes))
    small = [sample for sample, size in zip(drawn, sizes) if size <= bound]
    places = np.linspace(0, len(small) - 1, min(samples or len(small), len(small)))
    return [small[i] for i in places.round().astype(int)]


def _entry(operation: Operation) -> Any:
    op_db = import_module("torch.testing._internal.common_methods_invocations").op_db
    for entry in op_db:
        if (entry.name, entry.variant_test_name) == (operation.entry, operation.variant):
            return entry
    raise LookupError(f"op_db of this PyTorch has no {operation.entry!r}, variant {operation.variant!r}")


# ---------------------------------------------------------------------------------------- one sample

def _answered(torch, operation, entry, sample):
    """The Case of a valid sample, computed with PyTorch on copies; the Case has the arrays as they lie in memory."""
    if sample.kwargs.get("sparse"):
        return LeftOut(operation.op, "sparse gradients")
    args, kwargs = _call(torch, operation, sample)
    for t in _differentiable(torch, operation, args, kwargs) if entry.supports_autograd else []:
        t.requires_grad_()
    try:
        case = _case(torch, operation, args, kwargs)
    except _Inexpressible as reason:
        return LeftOut(operation.op, str(reason))
    if operation.torn and any(np.isnan(leaf.array).any() for leaf in found(Leaf, case.args) if leaf.requires_grad):
        return LeftOut(operation.op, "PyTorch's gradient at NaN depends on the place")
    args, kwargs = mapped(lambda v: _copied(v) if isinstance(v, torch.Tensor) else v, (args, kwargs))
    tensors = found(torch.Tensor, [args, kwargs])
    try:
        answer = entry.op(*_swapped(operation, args), **kwargs)
        results = found(torch.Tensor, [answer]) or [torch.tensor(answer)]                 # of a Python value
    except NotImplementedError:
        return LeftOut(operation.op, "PyTorch cannot differentiate it")
    except Exception:                                # any kind: not all of op_db's reference inputs are valid
        return LeftOut(operation.op, "PyTorch cannot compute it")
    outputs = tuple(t.detach().numpy().copy() for t in results)
    try:
        cotangents, gradients = _gradients(torch, results, [t for t in tensors if t.requires_grad])
    except Exception:
        return LeftOut(operation.op, "PyTorch cannot differentiate it")
    pairs = enumerate(zip([t.detach().numpy() for t in tensors], found(Leaf, [case.args, case.kwargs])))
    changed = {i: new for i, (new, leaf) in pairs
               if not np.array_equal(new, leaf.array, equal_nan=new.dtype.kind == "f")}
    return case._replace(outputs=outputs, changed=changed, cotangents=cotangents, gradients=gradients)


def _gradients(torch, results, inputs):
    """(random cotangents of the results, the gradients of all so weighted), None for each that has none."""
    weights = [torch.randn(t.shape, dtype=t.dtype) if t.requires_grad else None for t in results]
    differentiable = [t for t in results if t.requires_grad]
    gradients = [None] * len(inputs)
    if differentiable:
        gradients = torch.autograd.grad(differentiable, inputs, [w for w in weights if w is not None],
                                        allow_unused=True)
    return [tuple(None if t is None else t.numpy() for t in ts) for ts in (weights, gradients)]


def _refused(torch, operation, entry, sample):
    """The Case of an invalid sample, if PyTorch does refuse it."""
    args, kwargs = _call(torch, operation, sample)
    try:
        case = _case(torch, operation, args, kwargs)._replace(refused=True)
    except _Inexpressible as reason:
        return LeftOut(operation.op, f"invalid, but {reason}")
    try:
        entry.op(*_swapped(operation, args), **kwargs)
    except Exception:                                # any kind is a refusal
        return case
    return LeftOut(operation.op, "invalid, but PyTorch accepts it")


def _call(torch, operation, sample):
    """A sample's arguments in the order of the public function: the same memory, without history."""
    kwargs = {k: v for k, v in sample.kwargs.items() if k not in _INVISIBLE}
    return mapped(lambda v: v.detach() if isinstance(v, torch.Tensor) else v,
                  (_swapped(operation, (sample.input, *sample.args)), kwargs))


def _swapped(operation, args):
    """From op_db's order of arguments to the public function's, and back."""
    return (args[1], args[0], *args[2:]) if operation.swapped else args


def _differentiable(torch, operation, args, kwargs):
    """The tensors of floats that PyTorch has gradients for."""
    free = [v for name, v in [*enumerate(args), *kwargs.items()] if name not in operation.constants]
    return [t for t in found(torch.Tensor, free) if t.is_floating_point()]


def _copied(tensor):
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _case(torch, operation, args, kwargs):
    """A Case without answers: the call in arrays and plain values."""
    def converted(value):
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_complex():
                raise _Inexpressible("complex numbers" if value.is_complex() else "sparse tensors")
            if value.ndim > _MOST_DIMENSIONS:
                raise _Inexpressible(f"tensors of over {_MOST_DIMENSIONS} dimensions")
            return Leaf(value.detach().numpy(), value.requires_grad)
        if isinstance(value, torch.dtype):
            return str(value).removeprefix("torch.")
        if value is None or value is Ellipsis or isinstance(value, (bool, int, float, str, slice)):
            return value
        raise _Inexpressible("complex numbers" if isinstance(value, complex) else f"a {type(value).__name__}")
    return Case(operation.op, *mapped(converted, (tuple(args), kwargs)))
