"""Cases put to tinycnn: is each answer PyTorch's?"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from ..autograd import Tensor, grad
from ..backend import to_device, to_numpy
from .cases import Case, Leaf, LeftOut, found, mapped, written
from .registry import Operation

# What a value may be off: relative to PyTorch's, or to 1 if that is smaller.  float64 has room for another order of
# summation; float32 too, over the hundreds of terms that samples have.
BOUNDS = {"float64": 1e-11, "float32": 1e-4}
REFUSALS = (ValueError, TypeError, IndexError, RuntimeError)


@dataclass
class Score:
    """How one operation does.

    samples, passed     valid calls, and those with all results right: values, shapes, dtypes, gradients, changes
    refusals, refused   calls that PyTorch refuses, and those refused here: by one of REFUSALS
    left_out            reason -> samples of op_db that were not asked
    worst               the largest error of a float64 or float32 value among the samples, as BOUNDS has it
    failures            (call, what is wrong with it) of every other call
    missing             tinycnn has no such operation; every call counts as failed
    """
    op: str
    samples: int = 0
    passed: int = 0
    refusals: int = 0
    refused: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    worst: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)
    missing: bool = False
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the operation is here and right in every case, of which there must be some."""
        return not self.missing and not self.failures and self.samples > 0


class _Wrong(Exception):
    """What differs from PyTorch's answer."""


def score(operation: Operation, cases: Iterable[Case | LeftOut], device: str = "cpu") -> Score:
    """Put all cases of an operation to tinycnn on a device."""
    start, result, function = perf_counter(), Score(operation.op), operation.find()
    result.missing = function is None
    for case in cases:
        if isinstance(case, LeftOut):
            result.left_out[case.reason] += 1
            continue
        wrong = "tinycnn has no such operation"
        if function:
            wrong, error = _judged(function, case, device, operation)
            result.worst = max(result.worst, error)
        if case.refused:
            result.refusals, result.refused = result.refusals + 1, result.refused + (not wrong)
        else:
            result.samples, result.passed = result.samples + 1, result.passed + (not wrong)
        if wrong:
            result.failures.append((written(case), wrong))
    result.seconds = perf_counter() - start
    return result


def _judged(function, case, device, operation):
    """(what is wrong with the answer to a case, "" if nothing is; its largest error)."""
    args, kwargs = mapped(lambda v: _tensor(v, device) if isinstance(v, Leaf) else v, (case.args, case.kwargs))
    try:
        answer = function(*args, **kwargs)
        outputs = found(Tensor, [answer]) or [Tensor(answer)]            # of a Python value, as of allclose()
    except Exception as error:
        refused = case.refused and isinstance(error, REFUSALS)
        return "" if refused else f"{type(error).__name__}: {error}", 0.0
    if case.refused:
        return "accepted, PyTorch refuses it", 0.0
    try:
        return "", max(_error(*pair, operation) for pair in _pairs(case, outputs, found(Tensor, [args, kwargs])))
    except _Wrong as wrong:
        return str(wrong), 0.0
    except Exception as error:                       # of the backward pass
        return f"gradient: {type(error).__name__}: {error}", 0.0


def _tensor(leaf, device):
    """A tensor on the device, the engine's to change: a copy of the memory, gaps and overlaps included."""
    low, high = np.lib.array_utils.byte_bounds(leaf.array)
    start = leaf.array.__array_interface__["data"][0] - low
    twin = np.ndarray(leaf.array.shape, leaf.array.dtype, bytearray(high - low), start, leaf.array.strides)
    twin[...] = leaf.array
    return Tensor(to_device(twin, device), requires_grad=leaf.requires_grad)


def _pairs(case, outputs, leafs):
    """(name, array of tinycnn's, array of PyTorch's) of all that must be equal.  Raises _Wrong if some is not there."""
    if len(outputs) != len(case.outputs):
        raise _Wrong(f"{len(outputs)} outputs, expected {len(case.outputs)}")
    for i, (ours, theirs) in enumerate(zip(outputs, case.outputs)):
        yield f"output {i}", ours.data, theirs
        if ours.requires_grad != (case.cotangents[i] is not None):
            raise _Wrong(f"output {i}: requires_grad is {ours.requires_grad}, not PyTorch's")
    for i, (leaf, given) in enumerate(zip(leafs, found(Leaf, [case.args, case.kwargs]))):
        yield f"argument {i} after the call", leaf.data, case.changed.get(i, given.array)
    weighted = [(y, Tensor(to_device(w, y.device))) for y, w in zip(outputs, case.cotangents) if w is not None]
    if weighted:
        inputs = [t for t in leafs if t.requires_grad]
        gradients = grad([y for y, _ in weighted], inputs, [w for _, w in weighted], allow_unused=True)
        for i, (ours, theirs, leaf) in enumerate(zip(gradients, case.gradients, inputs)):
            zeros = np.zeros(leaf.shape, leaf.dtype)                             # None says the same
            yield f"gradient {i}", zeros if ours is None else ours.data, zeros if theirs is None else theirs


def _error(name, ours, theirs, operation):
    """The largest error.  Raises _Wrong unless shape and dtype are the same and the error is within BOUNDS."""
    for what, mine, expected in (("shape", ours.shape, theirs.shape), ("dtype", str(ours.dtype), str(theirs.dtype))):
        if mine != expected:
            raise _Wrong(f"{name}: {what} {mine}, expected {expected}")
    if operation.random:
        return 0.0
    values = to_numpy(ours)
    bound = max(BOUNDS.get(str(theirs.dtype), 0.0), operation.rounding)
    with np.errstate(all="ignore"):
        same = (values == theirs) | ((values != values) & (theirs != theirs))
        off = np.where(same, 0.0, abs(values - theirs) / np.maximum(abs(theirs), 1) if bound else np.inf)
    off = np.where(np.isnan(off), np.inf, off)       # NaN on one side only
    if off.size and off.max() > bound:
        at = np.unravel_index(off.argmax(), off.shape)
        raise _Wrong(f"{name}: {values[at]} at {list(map(int, at))}, expected {theirs[at]}")
    return float(off.max(initial=0.0))
