"""Write README's table of training steps and inference from the results of benchmarks.train_step.

    python -m benchmarks.train_step --json benchmarks/results/train_step.json
    python -m benchmarks.report

The table stands between <!-- steps --> and <!-- /steps --> and is written anew; a test compares the two.
"""
from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from .timing import geometric_mean, unsteady
from .train_step import MODES, ratio

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "train_step.json"
PLACE = re.compile(r"(?<=<!-- steps -->\n).*?(?=<!-- /steps -->)", re.S)


def table(results: dict) -> str:
    """Markdown: a row for each net, and what was measured where; "?" behind medians of unsteady times."""
    rows = results["rows"]
    names = list(dict.fromkeys(row["contender"] for row in rows))
    nets = list(dict.fromkeys(row["net"] for row in rows))
    compared = len(names) > 1
    head = ["net", *(f"{mode} {name}" for mode in MODES for name in [*names, *["ratio"] * compared]),
            *(f"peak {name}" for name in names)]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    ratios: dict[str, list[float]] = {mode: [] for mode in MODES}
    for net in nets:
        cells = [net]
        for mode in MODES:
            mine = [row for row in rows if (row["net"], row["mode"]) == (net, mode)]
            cells += [f"{row['median']:.1f}{'?' * unsteady(row)}" for row in mine]
            if compared:
                ratios[mode].append(ratio(mine))
                cells.append(f"**{ratios[mode][-1]:.2f}**")
        cells += [f"{row['peak']:.0f}" for row in rows if row["net"] == net and "peak" in row]
        lines.append(f"| {' | '.join(cells)} |")
    about = [f"Milliseconds (medians) and MiB of a training step, float32, {results['threads']} threads.",
             f"{results['machine'].split(', waiting')[0]}; " + ", ".join(
                 f"{package} {version}" for package, version in results["versions"].items()
                 if package not in ("python", "system", "llvmlite")) + "."]
    if compared:
        about.append("The ratio is to PyTorch's better memory layout; geometric mean " + ", ".join(
            f"{geometric_mean(values):.2f} in {mode}" for mode, values in ratios.items()) + ".")
    return "\n".join([*lines, "", *about]) + "\n"


def main(argv: list[str] | None = None) -> None:
    """Write the table into README."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path, default=RESULTS, help="results of benchmarks.train_step")
    options.add_argument("--readme", type=Path, default=ROOT / "README.md")
    args = options.parse_args(argv)
    text = args.readme.read_text(encoding="utf-8")
    if not PLACE.search(text):
        options.error(f"{args.readme} has no place for the table: expected lines <!-- steps --> and <!-- /steps -->")
    if not args.json.exists():
        options.error(f"{args.json} is missing: python -m benchmarks.train_step --json {args.json} measures it")
    written = table(json.loads(args.json.read_text(encoding="utf-8")))
    args.readme.write_text(PLACE.sub(lambda _: written, text), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
