"""The verb conformance: how many of PyTorch's own samples come out right here."""
from __future__ import annotations

from argparse import Namespace
from collections import Counter
from typing import Any

import numpy as np

from . import FAILED, OK, Result
from .tables import shown, table

_NAMED = 3                                           # failing calls that are printed per operation; --json has all


def conformance(args: Namespace) -> Result:
    """Score the operations, one line each, name what fails, and add up."""
    from .. import backend
    scores = list(shown(_scores(args)))
    kernels = backend.kernels(backend.to_device(np.zeros(1), args.device)).__name__
    total = {"operations": len(scores), "right": sum(s.ok for s in scores),
             **{name: sum(getattr(s, name) for s in scores) for name in ("samples", "passed", "refusals", "refused")},
             "left_out": dict(sum((s.left_out for s in scores), Counter())),
             "device": args.device, "kernels": kernels, "dtype": None if args.load else args.dtype or "float64"}
    text = table(["operation", "samples", "refusals", "worst error", "seconds", ""], map(_line, scores), range(1, 5))
    return Result("\n".join([text, *_failures(scores), _verdict(total)]),
                  {**total, "rows": [_row(s) for s in scores]}, OK if total["right"] == len(scores) else FAILED)


def _scores(args):
    from ..conformance import dump, run, run_file
    if args.load:
        for option in ("dtype", "samples", "largest", "reference_inputs", "dump", "all"):
            if getattr(args, option):
                raise ValueError(f"conformance: --{option.replace('_', '-')} says what PyTorch is asked, --load asks "
                                 "what a file holds: give one of them")
        yield from run_file(args.load, args.ops, args.device)
        return
    kept: list = []
    yield from run(args.ops, args.device, args.dtype or "float64", args.reference_inputs, args.samples, args.largest,
                   kept if args.dump else None, args.all)
    if args.dump:
        dump(args.dump, kept)


def _line(s: Any) -> list[str]:
    return [s.op, f"{s.passed}/{s.samples}", f"{s.refused}/{s.refusals}" if s.refusals else "-", f"{s.worst:.0e}",
            f"{s.seconds:.2f}", "ok" if s.ok else "MISSING" if s.missing else "WRONG"]


def _row(s: Any) -> dict[str, Any]:
    return {**vars(s), "left_out": dict(s.left_out), "seconds": round(s.seconds, 3), "ok": s.ok,
            "failures": [{"call": call, "wrong": wrong} for call, wrong in s.failures]}


def _failures(scores):
    for s in scores:
        for call, wrong in s.failures[:_NAMED]:
            yield f"{call}\n    {wrong}"
        if len(s.failures) > _NAMED:
            yield f"{s.op}: {len(s.failures) - _NAMED} more (--json has all)"


def _verdict(total):
    out = ", ".join(f"{reason}: {n}" for reason, n in total["left_out"].items())
    how = ", ".join(filter(None, [total["kernels"], total["dtype"]]))
    return (f"{total['right']} of {total['operations']} operations right on {total['device']} ({how}): "
            f"{total['passed']} of {total['samples']} samples, {total['refused']} of "
            f"{total['refusals']} invalid calls refused" + (f"\nnot asked: {out}" if out else ""))
