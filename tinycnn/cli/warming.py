"""The verb warmup: compile before the first training run, and not in it."""
from __future__ import annotations

from argparse import Namespace
from importlib import import_module
from time import perf_counter
from types import ModuleType
from typing import Any, Iterator

import numpy as np

from . import Result
from .tables import table

USUAL = "lenet", "alexnet_d2l", "googlenet_d2l", "resnet18_d2l", "regnetx32_d2l", "densenet_d2l"
IMAGES = 2                                           # kernels are compiled for types, not for sizes


def warmup(args: Namespace) -> Result:
    """A training step and a classification of each model: how long, and how many kernels were compiled."""
    from ..train.progress import progress
    rows, names, show = [], args.models or USUAL, progress()
    for i, name in enumerate(names):
        show.part(name, i, len(names))
        before, start = _counts(), perf_counter()
        _use(name, np.dtype(args.dtype))
        loaded, compiled = (now - then for now, then in zip(_counts(), before))
        rows.append({"model": name, "seconds": round(perf_counter() - start, 2), "compiled": compiled,
                     "loaded": loaded})
    show.part("", len(names), len(names))
    text = table(["model", "seconds", "compiled", "found on disk"], [list(r.values()) for r in rows], right=range(1, 4))
    return Result(text, {"models": rows, "compiled": sum(r["compiled"] for r in rows)})


def _use(name: str, dtype: np.dtype) -> None:
    import tinycnn as tc
    _, *size = tc.models.model_info(name).input_shape
    model = tc.models.create_model(name, dtype=dtype.type)
    optimizer = tc.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9)
    x = tc.Tensor(np.zeros((IMAGES, *size), dtype))
    out = model(x)
    tc.nn.functional.cross_entropy(out[0] if isinstance(out, tuple) else out, np.zeros(IMAGES, np.int64)).backward()
    optimizer.step()
    with tc.no_grad():
        model.eval()(x)


def _counts() -> tuple[int, int]:
    """Kernels that this process has found on disk, and those it has compiled."""
    found = [getattr(f, "kernel", f).stats for f in _kernels()]
    return sum(sum(s.cache_hits.values()) for s in found), sum(sum(s.cache_misses.values()) for s in found)


def _kernels() -> Iterator[Any]:
    cpu = import_module("tinycnn.kernels.cpu")
    for module in vars(cpu).copy().values():
        if isinstance(module, ModuleType) and module.__name__.startswith(cpu.__name__):
            for f in vars(module).values():
                if getattr(f, "__module__", None) == module.__name__ and hasattr(getattr(f, "kernel", f), "stats"):
                    yield f
