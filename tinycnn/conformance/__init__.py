"""Is tinycnn right where PyTorch is?  The samples of PyTorch's own tests, put to both.

    judge.py      op_db's samples, answered by PyTorch        (needs the extra "conformance")
    cases.py      a sample and its answer, in arrays
    registry.py   which 139 operations, and what they are called here
    score.py      the same question put to tinycnn, the answers compared

    for result in tinycnn.conformance.run("conv*"):
        print(result.op, result.passed, "of", result.samples)
"""
from __future__ import annotations

from collections.abc import Iterator

from .judge import cases, load
from .registry import OPERATIONS, matching
from .score import Score, score

__all__ = ["OPERATIONS", "Score", "cases", "matching", "run", "score"]


def run(pattern: str = "*", device: str = "cpu", dtype: str = "float64", reference_inputs: bool = False,
        samples: int | None = None) -> Iterator[Score]:
    """Score the operations that match a pattern, one Score per operation as each is finished.

    pattern            as in file names, several joined by commas: "conv*,linear"
    device             "cpu", "cuda" or "cuda-emu"
    dtype              "float64" or "float32"
    reference_inputs   op_db's larger set of samples, where it has one
    samples            at most so many per operation, evenly spread; None: all

    Raises ImportError without PyTorch, ValueError for a pattern that matches nothing.
    """
    load()
    for operation in matching(pattern):
        yield score(operation, cases(operation, dtype, reference_inputs, samples), device)
