"""Which sources are mutated, and a sample of their mutants that is the same for everybody."""
from __future__ import annotations

from collections import Counter
from fnmatch import fnmatch
from functools import cache
from hashlib import sha256
from pathlib import Path

from .rules import Mutant, mutants, parses

ROOT = Path(__file__).parents[2]
# group: patterns of its files, and how many mutants are drawn
GROUPS = {
    "reference": (("kernels/reference/*.py",), 80),
    "cpu": (("kernels/cpu/*.py",), 80),
    "cuda": (("kernels/cuda/*.cu", "kernels/cuda/*.cuh"), 62),
    "ops": (("tinycnn/ops/*.py",), 80),
}
# Not computation (what is kept on disk, how threads are entered, what is freed, what is exported), or not to be run
# without a GPU (tc.cuh is PTX alone).
LEFT_OUT = {"kernels/cpu/cache.py", "kernels/cpu/launch.py", "kernels/cpu/threads.py", "kernels/cpu/memory.py",
            "kernels/cuda/tc.cuh"}
MOST_OF_A_LINE = 2


def files(group: str) -> list[str]:
    """The sources of a group, as paths from the root."""
    found = [p.relative_to(ROOT).as_posix() for pattern in GROUPS[group][0] for p in ROOT.glob(pattern)]
    return sorted(f for f in found if f not in LEFT_OUT and not f.endswith("__init__.py"))


@cache
def text_of(file: str) -> str:
    """A source as it is."""
    return (ROOT / file).read_text(encoding="utf-8")


def sample(group: str, count: int | None = None, seed: int = 0, pattern: str = "*") -> list[Mutant]:
    """`count` mutants of a group (None: as many as the table says), of each file in proportion to all it has.

    Those with the least hashes of seed, file, line and change are taken, two of a line at most: so an edit elsewhere
    does not change the sample.
    """
    every = {file: mutants(file, text_of(file)) for file in files(group)}
    total, count = sum(map(len, every.values())), GROUPS[group][1] if count is None else count
    return [m for file, found in every.items() if fnmatch(file, pattern)
            for m in _drawn(found, -(-count * len(found) // total), seed)]


def _drawn(found, count, seed):
    taken, of_line = [], Counter()
    for mutant in sorted(found, key=lambda m: sha256(f"{seed} {m.key}".encode()).digest()):
        if len(taken) == count:
            break
        if of_line[mutant.line] < MOST_OF_A_LINE and parses(mutant, text_of(mutant.file)):
            of_line[mutant.line] += 1
            taken.append(mutant)
    return sorted(taken, key=lambda m: m.start)
