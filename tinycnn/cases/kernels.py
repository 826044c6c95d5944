"""The arguments every kernel is called with where kernels are compared: odd shapes, options, special values.

Used by the tests of the CUDA kernels on the emulator, and by `python -m benchmarks.gpu` on a GPU.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from ..backend import Window, window
from ..dtypes import floating

half, reference = (import_module(f"tinycnn.kernels.{name}") for name in ("half", "reference"))


def _normal(shape, dtype, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def window_cases() -> Iterator[tuple[int, int, int, Window]]:
    """(channels, out-channels, groups, window): strides that do not divide, dilation, one-sided and no padding."""
    yield 3, 4, 1, window((7, 6), (3, 2), (2, 1), (1, 0), (1, 2))
    yield 4, 6, 2, window((5, 8), 3, 1, 1, 1)
    yield 3, 3, 3, window((6, 5), (2, 3), 2, (0, 1), (2, 1))
    yield 2, 4, 2, window((4, 4), 1, 3, 0, 1)
    yield 1, 2, 1, window((3, 3), 3, 1, 2, 1)
    yield 3, 5, 1, window((4, 5), 1, 2, 0, 1)
    yield 2, 8, 2, window((4, 5), 2, 1, 1, 1)
    yield 3, 66, 1, window((9, 8), (3, 2), 1, 1, 1)


def rows(dtype: Any, fresh: int = 0) -> dict[str, list[tuple]]:
    """Name of a kernel -> the arguments of each call, random numbers of `dtype`; other ones for every `fresh`."""
    def x(*shape, seed=0):
        return _normal(shape, dtype, seed + 1000 * fresh)
    calls = {name: [] for name in reference.__all__}
    for C, O, G, win in window_cases():
        image, weight, g = x(2, C, win.H, win.W), x(O, C // G, win.KH, win.KW, seed=1), x(2, O, win.OH, win.OW, seed=2)
        calls["im2col"].append((image, win))
        calls["col2im"].append((x(2, C * win.KH * win.KW, win.OH * win.OW), win))
        calls["conv2d"] += [(image, weight, x(O, seed=3), win, G), (image, weight, None, win, G),
                            (image, weight, x(O, seed=3), win, G, True)]
        calls["conv2d_input"].append((g, weight, win, G))
        calls["conv2d_weight"].append((image, g, win, G))
        calls["max_pool2d"].append((image.round(), win))
        for include in (True, False):
            for divisor in (None, 3):
                plain = win._replace(DH=1, DW=1)
                plain = window((win.H, win.W), (win.KH, win.KW), (win.SH, win.SW), (min(win.PH, win.KH // 2),
                               min(win.PW, win.KW // 2)), ceil_mode=include)
                options = plain, include, divisor, (plain.PH, plain.PW)
                calls["avg_pool2d"].append((image, *options))
                calls["avg_pool2d_backward"].append((x(2, C, plain.OH, plain.OW), *options))
        y, where = reference.max_pool2d(image, win)
        calls["max_pool2d_backward"] += [(y, where, (win.H, win.W), win), (y, where, (win.H, win.W))]
        calls["max_pool2d_gather"] += [(image, where), (image, np.where(where % 2, where, -1))]
        special = image.copy()
        special[0], special[1, :, ::2] = -np.inf, np.nan
        calls["max_pool2d"].append((special, win))
        many = x(1, 36, win.H, win.W).round()        # channels: more than two vectors of any width
        y, where = reference.max_pool2d(many, win)
        calls["max_pool2d"].append((many, win))
        calls["max_pool2d_backward"].append((y, where, (win.H, win.W), win))
    for size, out in (((7, 5), (3, 2)), ((2, 3), (4, 7)), ((6, 6), (1, 6)), ((5, 7), (1, 1))):
        calls["adaptive_avg_pool2d"].append((x(2, 3, *size), out))
        calls["adaptive_avg_pool2d_backward"].append((x(2, 3, *out), size))
        calls["adaptive_max_pool2d"].append((x(2, 3, *size).round(), out))
    for shape, groups in (((3, 4, 5, 3), 2), ((2, 6), 3), ((2, 4, 300), 1)):
        image, g, w, b = x(*shape), x(*shape, seed=1), x(shape[1], seed=2), x(shape[1], seed=3)
        for weight, bias in ((w, b), (None, None)):
            y, mean, var = reference.batch_norm(image, weight, bias, 1e-5)
            calls["batch_norm"].append((image, weight, bias, 1e-5))
            calls["batch_norm_eval"].append((image, mean, var, weight, bias, 1e-5))
            for name in ("batch_norm_backward", "batch_norm_eval_backward"):
                calls[name].append((g, image, mean, var, weight, 1e-5))
            for residual in (x(*shape, seed=4), None):
                calls["batch_norm_relu"].append((image, weight, bias, 1e-5, residual))
                calls["batch_norm_relu_eval"].append((image, mean, var, weight, bias, 1e-5, residual))
                for name in ("batch_norm_relu_backward", "batch_norm_relu_eval_backward"):
                    shown = np.maximum(x(*shape, seed=5), 0)             # as what a ReLU gave, half of it zeros
                    calls[name].append((g, shown, image, mean, var, weight, 1e-5, residual is not None))
            y, mean, rstd = reference.group_norm(image, groups, weight, bias, 1e-5)
            calls["group_norm"].append((image, groups, weight, bias, 1e-5))
            calls["group_norm_backward"].append((g, image, mean, rstd, groups, weight))
        for size in (1, 2, 5):
            calls["local_response_norm"].append((image, size, 1e-2, 0.75, 2.0))
            calls["local_response_norm_backward"].append((g, image, size, 1e-2, 0.75, 2.0))
    for M, C in ((3, 5), (1, 1500), (9, 300), (4, 1)):
        a, g, w, b = x(M, C), x(M, C, seed=1), x(C, seed=2), x(C, seed=3)
        target = np.arange(M) % C
        target[-1] = -100
        for weight, bias in ((w, b), (None, None)):
            y, mean, rstd = reference.layer_norm(a, weight, bias, 1e-5)
            calls["layer_norm"].append((a, weight, bias, 1e-5))
            calls["layer_norm_backward"].append((g, a, mean, rstd, weight))
        for name in ("softmax", "log_softmax"):
            calls[name] += [(a,), (a * 1000,), (np.where(a > 0.8, dtype(-np.inf), a),)]
            calls[name + "_backward"].append((g, getattr(reference, name)(a)))
        for weight in (abs(w), None):
            for smoothing in (0.0, 0.1):
                calls["cross_entropy"].append((a, target, weight, -100, smoothing))
                calls["cross_entropy_backward"].append((x(M, seed=4), reference.log_softmax(a), target, weight, -100,
                                                        smoothing))
    special = np.array([[-1.0, 0.0, -0.0, np.nan, np.inf, -np.inf, 2.5]], dtype)
    calls["relu"] += [(special,), (x(3, 400),), (x(2, 3, 4, 5),)]
    calls["add_relu"] += [(special, special[:, ::-1].copy()), (x(2, 3, 4, 5), x(2, 3, 4, 5, seed=1))]
    calls["relu_backward"] += [(special, special[:, ::-1].copy()), (x(2, 3, 4, 5), x(2, 3, 4, 5, seed=1))]
    calls["erf"] += [(special,), (x(7, 9),), (x(2, 3, 4, 5),)]
    for kind in ("sigmoid", "tanh", "silu", "gelu", "gelu_tanh"):
        wide = x(2, 3, 4, 5) * dtype(4)
        bounded = kind in ("sigmoid", "tanh")        # the others multiply infinities by zeros
        saved = np.tanh(wide) if bounded else wide
        calls["gate"] += [(wide, kind), (special if bounded else special[:, :4], kind)]
        calls["gate_backward"].append((x(2, 3, 4, 5, seed=1), saved, kind))
    calls["dropout"] += [(x(5, 70), p, 12345) for p in (0.0, 0.3, 1.0)]
    calls["matmul"].append((x(2, 3, 4), x(4, 5)))
    calls["channel_sums"] += [(x(3, 5),), (x(2, 6, 7, 5),), (x(3, 40, 9, 8),)]
    for M, D, size in ((9, 4, 7), (2100, 1, 20), (130, 3, 2), (32, 2, 1)):
        calls["scatter_add"].append((x(M, D), np.random.default_rng(fresh).integers(0, size, M), size))
    _add_updates(calls, dtype, 1000 * fresh)
    return calls


def _add_updates(calls, dtype, first):
    """Several arrays at once: an empty one, one of more than a chunk, and one that lies in no order."""
    mean, var, *now = (_normal((70,), dtype, first + seed) for seed in range(4))
    calls["running_update"] += [([m, v], now, 0.3, 70 / 69) for m, v in ((mean, var), (None, var), (mean, None))]
    shapes = (3, 4), (0, 2), (5,), (2, 3, 700)
    p, g, s = ([_normal(shape, dtype, first + seed) for shape in shapes] for seed in range(3))
    s, small = [abs(a) for a in s], [a * dtype(0.1) for a in p]
    for numbers, options in (((0.1, 0.0, 0.0, 0.0), (False, False, True)), ((0.1, 0.9, 0.1, 0.01), (True, True, False)),
                             ((0.1, 0.9, 0.0, 0.0), (False, False, True))):
        calls["sgd_update"].append((p, g, s if numbers[1] else None, numbers, *options))
    for vmax, decoupled in ((None, False), ([a * dtype(0.9) for a in s], True)):
        calls["adam_update"].append((p, g, small, s, vmax, (0.1, 0.9, 0.99, 1e-8, 0.01, 3), decoupled, False))
    for momentum, kept in ((0.0, None), (0.9, small)):
        calls["rmsprop_update"].append((p, g, [a + 1 for a in s], kept, kept and [a.copy() for a in kept],
                                        (0.1, 0.9, 1e-8, 0.01, momentum), True))


def outcome(kernels: ModuleType, name: str, arguments: tuple, move: Callable[[Any], Any]) -> Any:
    """What a kernel makes of the arguments, each moved to its device: what it returns, or what it changed in place."""
    if name.endswith("_update"):
        moved = [[a if a is None else move(a.copy()) for a in v] if isinstance(v, list) else v for v in arguments]
        getattr(kernels, name)(*moved)
        return tuple(a for v in moved if isinstance(v, list) for a in v if a is not None)
    return getattr(kernels, name)(*[move(a.copy() if isinstance(a, np.ndarray) else a) for a in arguments])


def narrowed(arguments: tuple, dtype: str) -> tuple[list, list]:
    """Images, of two dimensions or more, and a convolution's bias in 16 bits; and the same values in float32."""
    least = 1 if len(arguments) > 4 and type(arguments[3]) is Window else 2
    narrow = [a.astype(floating(dtype)) if isinstance(a, np.ndarray) and a.dtype == np.float32 and a.ndim >= least
              else a for a in arguments]
    return narrow, [a.astype(np.float32) if half.is_half(a) else a for a in narrow]
