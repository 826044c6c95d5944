"""Stage "ops": how fast each kernel is, in a graph of several calls on inputs that the L2 cache does not hold."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinycnn import backend, dtypes

from .ceilings import precision
from .device import Device
from .ops_table import Op, table
from .work import Work


def run(work: Work) -> None:
    """The stage."""
    device, ops = Device(work.settings.device, work.settings.tiny), list(table(work.settings.tiny))
    seconds = work.share(len(ops))
    work.each([(op.item, partial(measure, device, op, seconds)) for op in ops], device.runtime.synchronize)


def measure(device: Device, op: Op, seconds: float) -> dict:
    """Milliseconds of one call."""
    with precision("highest" if op.mode == "bfloat16" else op.mode):
        calls = [call(device, op, seed) for seed in range(device.sets(op.bytes))]
        replay, how = device.repeated(calls)
        found = device.time(replay, seconds, len(calls))
    del replay, calls
    device.empty()
    return {**found, "how": how, **described(op)}


def described(op: Op) -> dict:
    """What a row says of the op."""
    return {"label": op.label, "mode": op.mode, "last": op.last, "flops": op.flops, "bytes": op.bytes}


def call(device: Device, op: Op, seed: int = 0) -> Callable[[], Any]:
    """A call of the kernel on arrays of its own."""
    dtype = dtypes.floating("bfloat16") if op.mode == "bfloat16" else np.float32
    make = partial(device.random, dtype=dtype, last=op.last, seed=seed)
    if op.kernel.startswith("conv2d"):
        return _convolution(op, make)
    if op.kernel.endswith("_update"):
        return _update(op, make)
    return (_on_map if len(op.shape) == 3 else _on_rows)(op, make, device)


def _convolution(op, make):
    N, C, H, O, K, S, P, G = op.shape
    win = backend.window((H, H), K, S, P)
    x, w, g = make((N, C, H, H)), make((O, C // G, K, K), last=False), make((N, O, win.OH, win.OW))
    kernel = getattr(backend.kernels(x), op.kernel)
    arguments = {"conv2d": (x, w, None), "conv2d_input": (g, w), "conv2d_weight": (x, g)}[op.kernel]
    return partial(kernel, *arguments, win, G)


def _on_map(op, make, device):
    N, C, H = op.shape
    x = make(op.shape + op.shape[-1:])                                 # (N, C, H, H)
    kernels = backend.kernels(x)
    kernel, win = getattr(kernels, op.kernel), backend.window((H, H), 3, 2, 1)
    w, b, mean = (device.random((C,), seed=seed) for seed in range(3))
    small = (N, C, win.OH, win.OW)
    if op.kernel == "max_pool2d_backward":
        _, where = kernels.max_pool2d(x, win)
        return partial(kernel, make(small), where, (H, H), win)
    arguments = {
        "batch_norm": lambda: (x, w, b, 1e-5),
        "batch_norm_eval": lambda: (x, mean, abs(w), w, b, 1e-5),
        "batch_norm_relu": lambda: (x, w, b, 1e-5, make(x.shape)),
        "batch_norm_relu_backward": lambda: (make(x.shape), make(x.shape), x, mean, abs(w), w, 1e-5, True),
        "relu": lambda: (x,), "relu_backward": lambda: (make(x.shape), x),
        "max_pool2d": lambda: (x, win), "avg_pool2d": lambda: (x, win, True, None, (1, 1)),
        "adaptive_avg_pool2d": lambda: (x, (1, 1)),
        "group_norm": lambda: (x, 4, w, b, 1e-5), "dropout": lambda: (x, 0.5, 1),
    }
    return partial(kernel, *arguments[op.kernel]())


def _on_rows(op, make, device):
    M, D = op.shape
    x, w = make((M, D)), device.random((D,))
    kernels, target = backend.kernels(x), device.put(np.arange(M) % D)
    arguments = {
        "layer_norm": lambda: (x, w, w, 1e-5), "softmax": lambda: (x,),
        "cross_entropy": lambda: (x, target, None, -100, 0.0),
        "cross_entropy_backward": lambda: (make((M,)), kernels.log_softmax(x), target, None, -100, 0.0),
    }
    return partial(getattr(kernels, op.kernel), *arguments[op.kernel]())


def _update(op, make):
    arrays, size = op.shape
    p, g, m, v = ([make((size,)) for _ in range(arrays)] for _ in range(4))
    kernel = getattr(backend.kernels(p[0]), op.kernel)
    if op.kernel == "sgd_update":
        return partial(kernel, p, g, m, (1e-9, 0.9, 0.0, 0.0), False, False, False)
    return partial(kernel, p, g, m, [abs(a) for a in v], None, (1e-9, 0.9, 0.999, 1e-8, 0.0, 1), False, False)
