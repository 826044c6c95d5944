"""tinycnn's kernels on random arrays, as benchmarks.kernels times them.

Each method takes the arguments of a row of kernel_table and returns the call to time; kernel_calls_torch has the same
methods for PyTorch.
"""
from __future__ import annotations

from importlib import import_module
from typing import Any, Callable

import numpy as np

import tinycnn  # noqa: F401  (makes tinycnn.kernels importable from a checkout)
from tinycnn.backend import window

from .kernel_table import parameter_shapes

Call = Callable[[], Any]


class TinyCNN:
    """tinycnn's kernels; maps are channels-last in memory."""

    def __init__(self) -> None:
        self._k = import_module("tinycnn.kernels.cpu")
        self._peak = import_module("tinycnn.kernels.ladder.peak")

    def product_rate(self, seconds: float) -> float:
        """FLOPs per second of a large matrix product, by tinycnn or NumPy."""
        return self._peak.product_rate(np.float32, seconds)

    def copy_rate(self, count: int, seconds: float) -> float:
        """Bytes read and written per second by a copy of `count` numbers."""
        return self._peak.copy_rate(count, np.float32, seconds)

    def _conv(self, N, C, H, O, K, S, P, G):
        win = window((H, H), K, S, P)
        return win, _array(N, C, H, H), np.ascontiguousarray(_array(O, C // G, K, K)), _array(N, O, win.OH, win.OW), G

    def conv2d(self, *args: int) -> Call:
        win, x, w, _, G = self._conv(*args)
        return lambda: self._k.conv2d(x, w, None, win, G)

    def conv2d_input(self, *args: int) -> Call:
        win, _, w, g, G = self._conv(*args)
        return lambda: self._k.conv2d_input(g, w, win, G)

    def conv2d_weight(self, *args: int) -> Call:
        win, x, _, g, G = self._conv(*args)
        return lambda: self._k.conv2d_weight(x, g, win, G)

    def linear(self, M: int, K: int, N: int) -> Call:
        x, w = _array(M, K), _array(N, K)
        return lambda: self._k.matmul(x, w.T)

    def linear_input(self, M: int, K: int, N: int) -> Call:
        g, w = _array(M, N), _array(N, K)
        return lambda: self._k.matmul(g, w)

    def linear_weight(self, M: int, K: int, N: int) -> Call:
        x, g = _array(M, K), _array(M, N)
        return lambda: self._k.matmul(g.T, x)

    def max_pool2d(self, shape: list[int], K: int, S: int, P: int) -> Call:
        x, win = _array(*shape), window(shape[2:], K, S, P)
        return lambda: self._k.max_pool2d(x, win)

    def max_pool2d_backward(self, shape: list[int], K: int, S: int, P: int) -> Call:
        win = window(shape[2:], K, S, P)
        y, indices = self._k.max_pool2d(_array(*shape), win)
        return lambda: self._k.max_pool2d_backward(y, indices, tuple(shape[2:]), win)

    def avg_pool2d(self, shape: list[int]) -> Call:
        x, win = _array(*shape), window(shape[2:], 2, 2, 0)
        return lambda: self._k.avg_pool2d(x, win, True, None, (0, 0))

    def avg_pool2d_backward(self, shape: list[int]) -> Call:
        win = window(shape[2:], 2, 2, 0)
        g = _array(*shape[:2], win.OH, win.OW)
        return lambda: self._k.avg_pool2d_backward(g, win, True, None, (0, 0))

    def adaptive_avg_pool2d(self, shape: list[int]) -> Call:
        x = _array(*shape)
        return lambda: self._k.adaptive_avg_pool2d(x, (1, 1))

    def adaptive_avg_pool2d_backward(self, shape: list[int]) -> Call:
        g = _array(*shape[:2], 1, 1)
        return lambda: self._k.adaptive_avg_pool2d_backward(g, tuple(shape[2:]))

    def _norm(self, shape):
        return _array(*shape), _array(shape[1]), _array(shape[1])

    def batch_norm(self, shape: list[int]) -> Call:
        x, w, b = self._norm(shape)
        return lambda: self._k.batch_norm(x, w, b, 1e-5)

    def batch_norm_relu(self, shape: list[int]) -> Call:
        x, w, b = self._norm(shape)
        return lambda: self._k.batch_norm_relu(x, w, b, 1e-5, None)

    def batch_norm_add_relu(self, shape: list[int]) -> Call:
        (x, w, b), residual = self._norm(shape), _array(*shape)
        return lambda: self._k.batch_norm_relu(x, w, b, 1e-5, residual)

    def batch_norm_eval(self, shape: list[int]) -> Call:
        x, w, b = self._norm(shape)
        return lambda: self._k.batch_norm_eval(x, w, np.abs(b), w, b, 1e-5)

    def batch_norm_backward(self, shape: list[int]) -> Call:
        x, w, b = self._norm(shape)
        g, mean, var = self._k.batch_norm(x, w, b, 1e-5)
        return lambda: self._k.batch_norm_backward(g, x, mean, var, w, 1e-5)

    def batch_norm_relu_backward(self, shape: list[int]) -> Call:
        x, w, b = self._norm(shape)
        y, mean, var = self._k.batch_norm_relu(x, w, b, 1e-5, None)
        g = _array(*shape)
        return lambda: self._k.batch_norm_relu_backward(g, y, x, mean, var, w, 1e-5, False)

    def batch_norm_add_relu_backward(self, shape: list[int]) -> Call:
        x, w, b = self._norm(shape)
        y, mean, var = self._k.batch_norm_relu(x, w, b, 1e-5, _array(*shape))
        g = _array(*shape)
        return lambda: self._k.batch_norm_relu_backward(g, y, x, mean, var, w, 1e-5, True)

    def layer_norm(self, M: int, D: int) -> Call:
        x, w, b = _array(M, D), _array(D), _array(D)
        return lambda: self._k.layer_norm(x, w, b, 1e-5)

    def layer_norm_backward(self, M: int, D: int) -> Call:
        x, w, b = _array(M, D), _array(D), _array(D)
        g, mean, rstd = self._k.layer_norm(x, w, b, 1e-5)
        return lambda: self._k.layer_norm_backward(g, x, mean, rstd, w)

    def group_norm(self, shape: list[int]) -> Call:
        x, w, b = self._norm(shape)
        return lambda: self._k.group_norm(x, 32, w, b, 1e-5)

    def group_norm_backward(self, shape: list[int]) -> Call:
        x, w, b = self._norm(shape)
        g, mean, rstd = self._k.group_norm(x, 32, w, b, 1e-5)
        return lambda: self._k.group_norm_backward(g, x, mean, rstd, 32, w)

    def relu(self, shape: list[int]) -> Call:
        x = _array(*shape)
        return lambda: self._k.relu(x)

    def relu_backward(self, shape: list[int]) -> Call:
        g, y = _array(*shape), self._k.relu(_array(*shape))
        return lambda: self._k.relu_backward(g, y)

    def gelu(self, shape: list[int]) -> Call:
        return self._gate(shape, "gelu")

    def gelu_backward(self, shape: list[int]) -> Call:
        return self._gate_backward(shape, "gelu")

    def sigmoid(self, shape: list[int]) -> Call:
        return self._gate(shape, "sigmoid")

    def sigmoid_backward(self, shape: list[int]) -> Call:
        return self._gate_backward(shape, "sigmoid")

    def tanh(self, shape: list[int]) -> Call:
        return self._gate(shape, "tanh")

    def tanh_backward(self, shape: list[int]) -> Call:
        return self._gate_backward(shape, "tanh")

    def _gate(self, shape, kind):
        x = _array(*shape)
        return lambda: self._k.gate(x, kind)

    def _gate_backward(self, shape, kind):
        g, saved = _array(*shape), _array(*shape)
        return lambda: self._k.gate_backward(g, saved, kind)

    def dropout(self, shape: list[int]) -> Call:
        x = _array(*shape)
        return lambda: self._k.dropout(x, 0.5, 1)

    def softmax(self, M: int, C: int) -> Call:
        x = _array(M, C)
        return lambda: self._k.softmax(x)

    def log_softmax(self, M: int, C: int) -> Call:
        x = _array(M, C)
        return lambda: self._k.log_softmax(x)

    def cross_entropy(self, M: int, C: int) -> Call:
        x, labels = _array(M, C), np.arange(M) % C
        return lambda: self._k.cross_entropy(x, labels, None, -100, 0.0)

    def cross_entropy_backward(self, M: int, C: int) -> Call:
        labels, g = np.arange(M) % C, _array(M)
        logp = self._k.log_softmax(_array(M, C))
        return lambda: self._k.cross_entropy_backward(g, logp, labels, None, -100, 0.0)

    def sgd_update(self) -> Call:
        params, grads, bufs = _parameters(), _parameters(), _parameters()
        return lambda: self._k.sgd_update(params, grads, bufs, (1e-9, 0.9, 0.0, 0.0), False, False, False)

    def adam_update(self) -> Call:
        params, grads, m, v = _parameters(), _parameters(), _parameters(), list(map(np.abs, _parameters()))
        return lambda: self._k.adam_update(params, grads, m, v, None, (1e-9, 0.9, 0.999, 1e-8, 0.0, 1), False, False)


def _array(*shape):
    """Random float32, channels-last in memory where it has four dimensions."""
    a = np.random.default_rng(0).standard_normal(shape, np.float32)
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if len(shape) == 4 else a


def _parameters():
    return [np.ascontiguousarray(_array(*shape)) for shape in parameter_shapes()]
