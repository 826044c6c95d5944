"""The gradient check of every row, as a table: what `tinycnn gradcheck` prints."""
from __future__ import annotations

from fnmatch import fnmatch
from time import perf_counter
from typing import Any, Iterator, NamedTuple

from ..autograd import OPS, Tensor, grad
from ..backend import to_device
from ..gradcheck import gradient_function, worst_error
from ..methods import FUNCTIONS
from . import Case, all_cases, build

FIRST, SECOND = 1e-8, 1e-7            # what an error may be at most: relative to the largest derivative, at least to 1


class Result(NamedTuple):
    """The worst errors of one op's rows; second is None where no row asks for it."""
    op: str
    rows: int
    first: float
    second: float | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether both errors are within bounds."""
        return self.first <= FIRST and (self.second is None or self.second <= SECOND)


def differentiable_ops(pattern: str = "*") -> list[str]:
    """The names, matching `pattern`, of the functions whose rows have gradients."""
    return sorted({row.op for row in all_cases() if row.grads and fnmatch(row.op, pattern)})


def check(pattern: str = "*", device: str = "cpu") -> Iterator[Result]:
    """Check the rows of every op that matches on a device, one Result per op, as they are finished."""
    rows = [row for row in all_cases() if row.grads and fnmatch(row.op, pattern)]
    for name in sorted({row.op for row in rows}):
        start = perf_counter()
        mine = [row for row in rows if row.op == name]
        errors = [errors_of(row, device) for row in mine]
        second = [e for _, e in errors if e is not None]
        yield Result(name, len(mine), max(e for e, _ in errors), max(second) if second else None,
                     perf_counter() - start)


def errors_of(row: Case, device: str = "cpu") -> tuple[float, float | None]:
    """The worst error of the first derivative of a row and, if it asks for it, of the second."""
    func, tensors = bound(row, device=device)
    first = worst_error(func, tensors)
    if row.grads < 2:
        return first, None
    gradients, seeds = gradient_function(func, tensors)
    return first, worst_error(gradients, [*tensors, *seeds])


def bound(row: Case, seed: int = 0, dtype: Any = "float64", device: str = "cpu") -> tuple[Any, list[Tensor]]:
    """The row as a function of its differentiable tensors alone, and those tensors, on a device."""
    inputs, tensors = build(row, seed, dtype), []

    def place(v):
        if hasattr(v, "dtype") and v.dtype.kind == "f":
            tensors.append(Tensor(to_device(v, device), requires_grad=True))
            return len(tensors) - 1
        return to_device(v, device) if hasattr(v, "dtype") and v.ndim else v
    kinds = ["list" if isinstance(v, list) else "tensor" if hasattr(v, "dtype") and v.dtype.kind == "f" else "plain"
             for v in inputs]
    slots = [(kind, [place(one) for one in v] if kind == "list" else place(v)) for kind, v in zip(kinds, inputs)]

    def func(*points):
        args = [[points[i] for i in v] if kind == "list" else points[v] if kind == "tensor" else v for kind, v in slots]
        return FUNCTIONS[row.op](*args, **row.options)
    return func, tensors


def uncovered() -> set[str]:
    """Ops that no row has as its own, and none has in its graph or in that of its gradient: there must be none."""
    rows = all_cases()
    seen = {row.op for row in rows}
    for row in rows:
        if row.grads:
            func, tensors = bound(row)
            outputs = func(*tensors)
            outputs = [y for y in (outputs if isinstance(outputs, (tuple, list)) else (outputs,))
                       if isinstance(y, Tensor) and y.requires_grad]
            ones = [Tensor(y.data * 0 + 1, requires_grad=True) for y in outputs]
            gradients = grad(outputs, tensors, ones, create_graph=True, allow_unused=True) if outputs else ()
            seen |= _names([*outputs, *(g for g in gradients if g is not None)])
    return set(OPS) - seen


def _names(tensors: list[Tensor]) -> set[str]:
    """The ops in the graph behind the tensors."""
    stack, visited, names = list(tensors), set(), set()
    while stack:
        t = stack.pop()
        if t is not None and id(t) not in visited:
            visited.add(id(t))
            if t._node is not None:
                names.add(t._node.name)
                stack += t._node.parents
    return names
