"""What a mutation run found, in numbers and names."""
from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from .judge import Verdict
from .rules import Mutant

# Mutant.key -> why nothing that anyone can observe changes.
EQUIVALENT: dict[str, str] = json.loads(Path(__file__).with_name("equivalents.json").read_text(encoding="utf-8"))
DEAD = ("killed", "hung", "crashed")


def summary(drawn: dict[str, list[Mutant]], verdicts: dict[str, Verdict], seed: int) -> dict:
    """Counts of each group and of all, survivors by name, equivalents with reasons; seconds of all processes."""
    groups = {group: _counted(found, verdicts) for group, found in drawn.items()}
    total = {name: sum(group[name] for group in groups.values()) for name in next(iter(groups.values()))}
    every = [m for found in drawn.values() for m in found]
    return {
        "command": "python -m benchmarks.mutants", "seed": seed, "groups": groups, "all": total,
        "killed_of_those_that_can_be": _share(total),
        "seconds": round(sum(verdicts[m.key].seconds for m in every if m.key in verdicts)),
        "survivors": [m.name for m in every if _outcome(m, verdicts) in ("survived", "broken")],
        "equivalent": {m.name: EQUIVALENT[m.key] for m in every if m.key in EQUIVALENT},
    }


def _outcome(mutant, verdicts):
    if mutant.key in EQUIVALENT:
        return "equivalent"
    return verdicts[mutant.key].outcome if mutant.key in verdicts else "not judged"


def _counted(found, verdicts):
    counts = Counter(_outcome(m, verdicts) for m in found)
    names = (*DEAD, "survived", "equivalent", "invalid", "broken", "not judged")
    judged = len(found) - counts["invalid"] - counts["not judged"]
    return {"mutants": judged, **{name.replace(" ", "_"): counts[name] for name in names}}


def _share(counts):
    dead = sum(counts[name] for name in DEAD)
    return round(dead / max(1, dead + counts["survived"] + counts["broken"]), 4)


def printed(result: dict) -> str:
    """The summary as a table, and the survivors."""
    columns = ("mutants", *DEAD, "equivalent", "survived")
    lines = [f"{'':10}" + "".join(f"{name:>12}" for name in columns)]
    for name, counts in (*result["groups"].items(), ("all", result["all"])):
        lines.append(f"{name:10}" + "".join(f"{counts[column]:12}" for column in columns))
    lines.append(f"{100 * result['killed_of_those_that_can_be']:.1f} % of those that change anything are killed")
    return "\n".join([*lines, *(f"survived: {name}" for name in result["survivors"])])
