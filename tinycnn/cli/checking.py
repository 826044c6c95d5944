"""The verbs gradcheck and doctor: is the engine right, and what is it running on?"""
from __future__ import annotations

import os
import platform
from argparse import Namespace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter
from typing import Any, Iterator

import numpy as np

from . import FAILED, OK, Result
from .tables import shown, table

PACKAGES = ("numpy", "numba", "llvmlite", "pillow", "matplotlib", "tqdm", "cupy-cuda12x", "cupy-cuda13x", "torch")
MODEL_BOUND = 1e-6                                   # relative error of a whole model's directional derivatives
KINK_FREE_STEP = 1e-8                                # so small that no ReLU or max-pool among millions changes its mind


# ---------------------------------------------------------------------------------------- gradcheck

def gradcheck(args: Namespace) -> Result:
    """Check ops by name or pattern, or else a model by name."""
    from ..cases.table import check, differentiable_ops
    from ..models import list_models
    where = ""
    if differentiable_ops(args.pattern):
        rows = [{"op": r.op, "rows": r.rows, "first": r.first, "second": r.second, "seconds": round(r.seconds, 3),
                 "ok": r.ok} for r in shown(check(args.pattern, args.device))]
    elif args.pattern in list_models():
        rows = list(model_rows(args.pattern, args.device))
        if not all(r["ok"] for r in rows):
            where = "\n" + (first_wrong_layer(args.pattern, args.device) or "each layer alone is right")
    else:
        raise ValueError(f"gradcheck: no op and no model is called {args.pattern!r}; `tinycnn gradcheck` checks every "
                         "op, `tinycnn models` lists the models")
    wrong = [r["op"] for r in rows if not r["ok"]]
    verdict = f"{len(rows)} checked, {len(wrong)} wrong" + (": " + ", ".join(wrong) if wrong else "")
    cells = [[r["op"], r["rows"], _error(r["first"]), _error(r["second"]), f"{r['seconds']:.2f}",
              "ok" if r["ok"] else "WRONG"] for r in rows]
    text = table(["op", "rows", "first order", "second order", "seconds", ""], cells, right=range(1, 5))
    facts = {"checked": len(rows), "wrong": wrong, "rows": rows}
    return Result(f"{text}\n{verdict}{where}", facts, FAILED if wrong else OK)


def first_wrong_layer(name: str, device: str = "cpu") -> str:
    """What gradcheck_model says of a model."""
    from .. import random
    from ..backend import to_device
    from ..gradcheck import gradcheck_model
    from ..models import create_model, model_info
    random.manual_seed(0)
    images = np.random.default_rng(0).standard_normal((2, *model_info(name).input_shape[1:]))
    model = create_model(name, dtype="float64", device=device)
    return gradcheck_model(model, to_device(images, device), raise_exception=False).message


def _error(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def model_rows(name: str, device: str = "cpu") -> Iterator[dict[str, Any]]:
    """The input and every parameter of a model: directional derivatives of its logits against differences."""
    from .. import random
    from ..backend import to_device
    from ..gradcheck import ModelFunction, projections
    from ..models import create_model, model_info
    random.manual_seed(0)
    model = create_model(name, dtype="float64", device=device)
    images = np.random.default_rng(0).standard_normal((2, *model_info(name).input_shape[1:]))
    for path in ["input", *dict(model.named_parameters())]:
        start = perf_counter()
        logits = ModelFunction(model, to_device(images, device), [path])
        error = max(j.error for j in projections(logits, logits.point(), KINK_FREE_STEP, directions=1))
        yield {"op": path, "rows": 1, "first": error, "second": None,
               "seconds": round(perf_counter() - start, 3), "ok": error <= MODEL_BOUND}


# ---------------------------------------------------------------------------------------- doctor

def doctor(args: Namespace) -> Result:
    """What a bug report needs: the machine, the versions, the threads, and whether a training step comes out right."""
    facts = {"tinycnn": _version(), "python": platform.python_version(), "platform": platform.platform(),
             "packages": {name: v for name in PACKAGES if (v := _installed(name))},
             "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
             **_numpy_facts(), "cuda": _cuda(),
             "environment": {k: v for k, v in os.environ.items() if k.startswith(("TINYCNN_", "NUMBA_", "OMP_"))}}
    facts["self_test"] = [{"check": name, "ok": ok, "detail": detail} for name, ok, detail in _self_test()]
    facts.update(_numba_facts())
    healthy = all(t["ok"] for t in facts["self_test"])
    plain = [[name.replace("_", " "), _plain(v)] for name, v in facts.items() if name != "self_test"]
    tests = [["self-test", f"{'ok   ' if t['ok'] else 'WRONG'} {t['check']}: {t['detail']}"]
             for t in facts["self_test"]]
    return Result(table(None, plain + tests), {**facts, "ok": healthy}, OK if healthy else FAILED)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none set"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _version() -> str:
    from .. import __version__
    return __version__


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _numpy_facts() -> dict[str, Any]:
    config: dict = np.show_config(mode="dicts")      # type: ignore[assignment]
    blas = config.get("Build Dependencies", {}).get("blas", {})
    simd = config.get("SIMD Extensions", {})
    return {"blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
            "simd": [*simd.get("baseline", []), *simd.get("found", [])]}


def _numba_facts() -> dict[str, Any]:
    """How Numba runs and where it keeps machine code; called after kernels have run."""
    import numba
    try:
        layer = numba.threading_layer()
    except ValueError:                               # no parallel kernel has run: TINYCNN_KERNELS=reference
        layer = "not in use"
    known = vars(import_module("tinycnn.kernels.cpu.pool")).values()
    folder = next(f.kernel.stats.cache_path for f in known if hasattr(f, "kernel"))
    usable = folder and (os.access(folder, os.W_OK) or not os.path.exists(folder))
    tuned = import_module("tinycnn.kernels.cpu.tuned")
    return {"numba_threads": numba.config.NUMBA_NUM_THREADS, "threading_layer": layer, "tuned": tuned.state(),
            "cache": folder if usable else f"{folder or 'none'} (not writable: all is compiled again in each process)"}


def _cuda() -> str:
    from ..backend import module_of
    try:
        properties = module_of("cuda").cuda.runtime.getDeviceProperties(0)
    except Exception as error:                       # CuPy has many ways of finding no usable device
        return f"not usable: {error}"
    return properties["name"].decode()


def _self_test() -> Iterator[tuple[str, bool, str]]:
    """(name, passed, detail) of a few checks that take seconds: an error in one is reported, not raised."""
    for name, check in (("kernels agree with the reference", _kernels_agree), ("gradients", _gradients_right),
                        ("a training step", _step_repeats)):
        start = perf_counter()
        try:
            ok, detail = check()
        except Exception as error:
            ok, detail = False, f"{type(error).__name__}: {error}"
        yield name, ok, f"{detail} ({perf_counter() - start:.1f} s)"


def _kernels_agree() -> tuple[bool, str]:
    from ..backend import kernels, window
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 9, 8), np.float32), rng.standard_normal((4, 3, 3, 3), np.float32)
    win = window((9, 8), 3, padding=1)
    reference = import_module("tinycnn.kernels.reference")
    off = float(abs(kernels(x).conv2d(x, w, None, win, 1) - reference.conv2d(x, w, None, win, 1)).max())
    return off < 1e-4, f"{kernels(x).__name__}.conv2d differs by {off:.1e}"


def _gradients_right() -> tuple[bool, str]:
    from ..cases.table import check
    worst = max(check("matmul"), key=lambda r: r.first)
    return worst.ok, f"matmul: worst error {worst.first:.1e}"


def _step_repeats() -> tuple[bool, str]:
    """Two trainings from the same seed must give the same bits and a lower loss."""
    from .. import random
    from ..models import create_model
    from ..train import Config, Silent, fit
    rng = np.random.default_rng(0)
    samples = [(rng.standard_normal((1, 8, 8), np.float32) + i % 2, i % 2) for i in range(16)]
    losses = []
    for _ in range(2):
        random.manual_seed(0)
        model = create_model("digits_net", num_classes=2)
        losses.append(fit(model, samples, config=Config(epochs=2, batch_size=8), show=Silent()).column("train_loss"))
    return losses[0] == losses[1] and losses[0][1] < losses[0][0], f"loss {losses[0][0]:.4f} -> {losses[0][1]:.4f}"
