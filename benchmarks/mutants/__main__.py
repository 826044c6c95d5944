"""Run, or go on with, a mutation run; print and keep what it found."""
from __future__ import annotations

import argparse
import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Sequence

from .judge import Verdict, judge_all, load
from .plant import plant
from .report import EQUIVALENT, printed, summary
from .sample import GROUPS, ROOT, sample
from .tests import tests_of


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: python -m benchmarks.mutants.  -> 0, or 1 if a mutant survived that is not argued."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("--group", choices=GROUPS, action="append", help="some groups of sources only")
    parser.add_argument("--file", default="*", metavar="PATTERN", help="some sources only: 'kernels/cpu/pool.py'")
    parser.add_argument("--count", type=int, help="mutants of each group (the table in sample.py)")
    parser.add_argument("--seed", type=int, default=0, help="another sample")
    parser.add_argument("--jobs", type=int, default=2, help="at a time")
    parser.add_argument("--kept", type=Path, default=ROOT / "mutants.jsonl", metavar="FILE",
                        help="where verdicts are kept as they come, and found again")
    parser.add_argument("--tests", type=int, metavar="N", help="only the first N test files of each source, for a "
                        "quick look; what survives it is judged anew with --again survived")
    parser.add_argument("--again", default="", metavar="OUTCOME", help="judge anew what 'survived', 'hung' ...")
    parser.add_argument("--list", action="store_true", help="only print the mutants")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary")
    options = parser.parse_args(argv)
    groups = options.group or list(GROUPS)
    drawn = {group: [m for m in sample(group, options.count, options.seed) if fnmatch(m.file, options.file)]
             for group in groups}
    if options.list:
        print("\n".join(f"{m.name}    {m.source}" for found in drawn.values() for m in found))
        return 0
    verdicts = _judged(drawn, options)
    result = summary(drawn, verdicts, options.seed)
    print(printed(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(bool(result["survivors"]))


def _judged(drawn, options):
    """key -> Verdict of all that were drawn, from the file of kept ones or judged now."""
    kept = _read(options.kept)
    wanted = [m for found in drawn.values() for m in found if m.key not in EQUIVALENT and (
        m.key not in kept or kept[m.key].outcome == options.again)]
    if wanted:
        load()
    judged = judge_all(wanted, lambda file: tests_of(file)[:options.tests], plant, options.jobs)
    with options.kept.open("a", encoding="utf-8") as file:
        for i, (mutant, verdict) in enumerate(judged, 1):
            kept[mutant.key] = verdict
            print(json.dumps([mutant.key, *verdict]), file=file, flush=True)
            print(f"{i}/{len(wanted)} {verdict.outcome:8} {verdict.seconds:6} s  {mutant.name}  {verdict.killer}",
                  flush=True)
    return kept


def _read(path):
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {key: Verdict(*rest) for key, *rest in map(json.loads, lines)}


if __name__ == "__main__":
    raise SystemExit(main())
