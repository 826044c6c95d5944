"""Is tinycnn right where PyTorch is?  The samples of PyTorch's own tests, put to both.

    registry.py   which 139 operations, and what they are called here
    judge.py      op_db's samples, answered by PyTorch        (needs the extra "conformance")
    cases.py      a sample and its answer, in arrays
    archive.py    cases in a file
    score.py      the same questions put to tinycnn, the answers compared

    for result in tinycnn.conformance.run("conv*"):
        print(result.op, result.passed, "of", result.samples)
"""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .archive import dump, load
from .cases import Case
from .judge import cases, pytorch
from .registry import BEYOND, OPERATIONS, matching
from .score import Score, score

__all__ = ["BEYOND", "OPERATIONS", "Case", "Score", "cases", "dump", "load", "matching", "run", "run_file", "score"]


def run(pattern: str = "*", device: str = "cpu", dtype: str = "float64", reference_inputs: bool = False,
        samples: int | None = None, largest: int | None = None, keep: list[Case] | None = None,
        beyond: bool = False) -> Iterator[Score]:
    """Score the operations that match a pattern, one Score per operation as each is finished.

    pattern            as in file names, several joined by commas: "conv*,linear"
    device             "cpu", "cuda" or "cuda-emu"
    dtype              "float64" or "float32"
    reference_inputs   op_db's larger set of samples, where it has one
    samples            at most so many per operation, evenly spread; None: all
    largest            only samples with at most so many numbers; of each operation at least the smallest
    keep               a list to which all cases are added, for dump()
    beyond             also operations beyond the 139

    Raises ImportError without PyTorch, ValueError for a pattern that matches nothing.
    """
    pytorch()
    for operation in matching(pattern, beyond):
        asked = cases(operation, dtype, reference_inputs, samples, largest)
        yield score(operation, asked if keep is None else _kept(asked, keep), device)


def run_file(path: str | Path, pattern: str = "*", device: str = "cpu") -> Iterator[Score]:
    """Score the operations that a file of cases has and a pattern matches, without PyTorch.

    Raises as load(), and ValueError if there is none.
    """
    by_op: dict[str, list[Case]] = {}
    for case in load(path):
        by_op.setdefault(case.op, []).append(case)
    operations = [operation for operation in matching(pattern, beyond=True) if operation.op in by_op]
    if not operations:
        raise ValueError(f"conformance: {path} has no case of {pattern!r}")
    for operation in operations:
        yield score(operation, by_op[operation.op], device)


def _kept(asked, keep):
    for case in asked:
        if isinstance(case, Case):
            keep.append(case)
        yield case
