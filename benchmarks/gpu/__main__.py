"""Everything that is measured on a GPU, in one command that ends in time.

    python -m benchmarks.gpu --budget 540 --out DIR            every stage; each row goes to DIR/rows.jsonl at once
    python -m benchmarks.gpu --stages ops steps --out DIR ...  some of them anew, beside the rows that are there
    python -m benchmarks.gpu --report DIR                      the table again, and the rows to benchmarks/results
    python -m benchmarks.gpu --device cuda-emu --tiny ...      the same without a GPU, on shapes the emulator can do
    python -m benchmarks.gpu --write-golden                    what the emulator computes, for GPUs to be compared with

Stages: machine (versions, ceilings), compile, correctness (each kernel against float64), ops (each kernel's time),
steps (training), the same of both by PyTorch if it is there, sanitizer.  A stage that fails or hangs costs its own
time.  The exit code is 1 if a kernel is wrong.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import report
from .stages import STAGES, Settings, read_rows, run_all


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    names = [stage.name.replace(" ", "-") for stage in STAGES]
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=540, help="seconds in all (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--device", choices=("cuda", "cuda-emu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes, nothing repeated")
    parser.add_argument("--seed", type=int, default=1, help="of the inputs kernels are compared on")
    parser.add_argument("--stages", nargs="+", choices=names, default=names, help="default: all")
    parser.add_argument("--report", type=Path, metavar="DIR", help="print the table of a run and keep its rows")
    parser.add_argument("--write-golden", action="store_true")
    args = parser.parse_args(arguments)
    if args.write_golden:
        from . import golden
        print(f"{golden.FILE.name}: {golden.write():,} bytes")
        return 0
    if args.report:
        if not read_rows(args.report):
            parser.error(f"--report: there are no rows in {args.report}")
        print("\n".join(report.table(read_rows(args.report))))
        print(f"rows: {report.keep(read_rows(args.report))}")
        return 0
    if args.out is None:
        parser.error("--out is missing: the folder where the results go")
    chosen = [stage for stage, name in zip(STAGES, names) if name in args.stages]
    run_all(chosen, Settings(args.out, args.device, args.tiny, args.seed), args.budget)
    rows = read_rows(args.out)
    print("\n".join(report.table(rows)), flush=True)
    return 1 if report.failed(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
