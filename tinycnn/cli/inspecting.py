"""The verbs summary, graph, models and data: what there is, and what it is made of."""
from __future__ import annotations

from argparse import Namespace

from .. import autograd, zeros
from ..data import list_datasets
from ..models import create_model, list_models, model_info
from ..nn import init
from . import Result
from .tables import table


def summary(args: Namespace) -> Result:
    """Layers, shapes and costs of a model for one input shape."""
    from ..summary import minimum_input, summary as summarize
    shape = args.input or model_info(args.model).input_shape
    channels = shape[1] if len(shape) == 4 else None
    with init.skip_init():                           # only looked at: no weight is drawn, no image computed
        model = create_model(args.model, num_classes=args.classes, in_channels=channels)
    found, least = summarize(model, shape, dry=True), minimum_input(model)
    return Result(f"{found}\nsmallest image       {least}x{least}",
                  {"model": args.model, "input": list(shape), "minimum_input": least, **found.to_dict()})


def graph(args: Namespace) -> Result:
    """The graph of a model's ops for one input shape, as a file."""
    shape, out = args.input or model_info(args.model).input_shape, args.out or f"{args.model}.html"
    with init.skip_init():                           # only the shapes are looked at
        model = create_model(args.model, in_channels=shape[1]).train(args.training)
    with autograd.record_lines():
        drawn = autograd.graph(model(zeros(shape)))
    drawn.save(out, args.depth)
    return Result(f"{out}: {drawn.ops} ops, layers {drawn.depth} deep",
                  {"model": args.model, "input": list(shape), "file": out, "ops": drawn.ops, "depth": drawn.depth})


def models(args: Namespace) -> Result:
    """The models whose names match a pattern."""
    rows = [model_info(name) for name in list_models(args.pattern)]
    if not rows:
        raise ValueError(f"models: no name matches {args.pattern!r}; there are {', '.join(list_models())}")
    text = table(["name", "parameters", "MACs", "input", "year", "paper"],
                 [[m.name, f"{m.parameters:,}", f"{m.macs:,}", "x".join(map(str, m.input_shape[1:])), m.year, m.paper]
                  for m in rows], right=(1, 2))
    return Result(text, {"models": [{"name": m.name, "parameters": m.parameters, "macs": m.macs, "year": m.year,
                                     "paper": m.paper, "input_shape": list(m.input_shape)} for m in rows]})


def data(args: Namespace) -> Result:
    """The data sets by name."""
    known = list_datasets()
    return Result(table(["name", "what"], known.items()), {"datasets": known})
