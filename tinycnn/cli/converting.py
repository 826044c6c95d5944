"""The verb convert: weights from one kind of file into another."""
from __future__ import annotations

from argparse import Namespace

from ..io import load_weights, save_weights
from ..models import create_model
from ..nn import init
from . import Result


def convert(args: Namespace) -> Result:
    """Read weights, check them if a model is given, and write them."""
    weights = load_weights(args.source)
    if args.model:
        with init.skip_init():
            create_model(args.model).load_state_dict(weights)
    save_weights(weights, args.target)
    numbers = sum(array.size for array in weights.values())
    return Result(f"{args.target}: {len(weights):,} arrays, {numbers:,} numbers",
                  {"source": args.source, "target": args.target, "arrays": len(weights), "numbers": numbers})
