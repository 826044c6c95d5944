"""PyTorch's operators beneath its layers, in the methods of kernel_calls; without autograd."""
from __future__ import annotations

import os
from typing import Any, Callable

from .kernel_table import parameter_shapes
from .timing import sample

Call = Callable[[], Any]
SIDE = 1024


class Torch:
    """In one of PyTorch's memory layouts."""

    def __init__(self, channels_last: bool):
        import torch
        torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
        torch.set_grad_enabled(False)
        torch.manual_seed(0)
        self._torch, self._aten = torch, torch.ops.aten
        self._layout = torch.channels_last if channels_last else torch.contiguous_format

    def _array(self, *shape):
        return self._torch.randn(shape).to(memory_format=self._layout) if len(shape) == 4 else self._torch.randn(shape)

    def product_rate(self, seconds: float) -> float:
        """FLOPs per second of a large matrix product."""
        a, b = self._array(SIDE, SIDE), self._array(SIDE, SIDE)
        return 2e3 * SIDE ** 3 / min(sample(lambda: a @ b, seconds))

    def copy_rate(self, count: int, seconds: float) -> float:
        """Bytes read and written per second by a copy of `count` numbers."""
        x, y = self._array(count), self._array(count)
        return 8e3 * count / min(sample(lambda: y.copy_(x), seconds))

    def _conv(self, N, C, H, O, K, S, P, G):
        x, w = self._array(N, C, H, H), self._array(O, C // G, K, K)
        out = (H + 2 * P - K) // S + 1
        return x, w, self._array(N, O, out, out), ([S, S], [P, P], [1, 1])

    def _conv_backward(self, args, mask):
        x, w, g, (stride, padding, dilation) = self._conv(*args)
        return lambda: self._aten.convolution_backward(g, x, w, None, stride, padding, dilation, False, [0, 0],
                                                       args[-1], mask)

    def conv2d(self, *args: int) -> Call:
        x, w, _, window = self._conv(*args)
        return lambda: self._aten.conv2d(x, w, None, *window, args[-1])

    def conv2d_input(self, *args: int) -> Call:
        return self._conv_backward(args, [True, False, False])

    def conv2d_weight(self, *args: int) -> Call:
        return self._conv_backward(args, [False, True, False])

    def linear(self, M: int, K: int, N: int) -> Call:
        x, w = self._array(M, K), self._array(N, K)
        return lambda: x @ w.T

    def linear_input(self, M: int, K: int, N: int) -> Call:
        g, w = self._array(M, N), self._array(N, K)
        return lambda: g @ w

    def linear_weight(self, M: int, K: int, N: int) -> Call:
        x, g = self._array(M, K), self._array(M, N)
        return lambda: g.T @ x

    def max_pool2d(self, shape: list[int], K: int, S: int, P: int) -> Call:
        x = self._array(*shape)
        return lambda: self._aten.max_pool2d_with_indices(x, [K, K], [S, S], [P, P])

    def max_pool2d_backward(self, shape: list[int], K: int, S: int, P: int) -> Call:
        x = self._array(*shape)
        y, indices = self._aten.max_pool2d_with_indices(x, [K, K], [S, S], [P, P])
        return lambda: self._aten.max_pool2d_with_indices_backward(y, x, [K, K], [S, S], [P, P], [1, 1], False, indices)

    def avg_pool2d(self, shape: list[int]) -> Call:
        x = self._array(*shape)
        return lambda: self._aten.avg_pool2d(x, [2, 2], [2, 2])

    def avg_pool2d_backward(self, shape: list[int]) -> Call:
        x = self._array(*shape)
        g = self._aten.avg_pool2d(x, [2, 2], [2, 2])
        return lambda: self._aten.avg_pool2d_backward(g, x, [2, 2], [2, 2], [0, 0], False, True, None)

    def adaptive_avg_pool2d(self, shape: list[int]) -> Call:
        x = self._array(*shape)
        return lambda: self._aten.adaptive_avg_pool2d(x, [1, 1])

    def adaptive_avg_pool2d_backward(self, shape: list[int]) -> Call:
        x, g = self._array(*shape), self._array(*shape[:2], 1, 1)
        size = shape[2] * shape[3]
        return lambda: (g / size).expand_as(x).contiguous(memory_format=self._layout)    # as its mean's gradient

    def _norm(self, shape):
        C = shape[1]
        return self._array(*shape), self._array(C), self._array(C), self._torch.zeros(C), self._torch.ones(C)

    def batch_norm(self, shape: list[int]) -> Call:
        args = self._norm(shape)
        return lambda: self._aten.native_batch_norm(*args, True, 0.1, 1e-5)

    def batch_norm_relu(self, shape: list[int]) -> Call:
        args = self._norm(shape)
        return lambda: self._torch.relu_(self._aten.native_batch_norm(*args, True, 0.1, 1e-5)[0])

    def batch_norm_add_relu(self, shape: list[int]) -> Call:
        args, residual = self._norm(shape), self._array(*shape)
        return lambda: self._torch.relu_(self._aten.native_batch_norm(*args, True, 0.1, 1e-5)[0].add_(residual))

    def batch_norm_eval(self, shape: list[int]) -> Call:
        args = self._norm(shape)
        return lambda: self._aten.native_batch_norm(*args, False, 0.1, 1e-5)

    def batch_norm_backward(self, shape: list[int]) -> Call:
        backward = self._norm_backward(shape)
        g = self._array(*shape)
        return lambda: backward(g)

    def batch_norm_relu_backward(self, shape: list[int]) -> Call:
        backward = self._norm_backward(shape)
        g, y = self._array(*shape), self._array(*shape)
        return lambda: backward(self._aten.threshold_backward(g, y, 0))

    batch_norm_add_relu_backward = batch_norm_relu_backward            # the residual's gradient is the masked one

    def _norm_backward(self, shape):
        x, w, b, mean, var = self._norm(shape)
        _, now, invstd = self._aten.native_batch_norm(x, w, b, mean, var, True, 0.1, 1e-5)
        return lambda g: self._aten.native_batch_norm_backward(g, x, w, mean, var, now, invstd, True, 1e-5,
                                                               [True, True, True])

    def layer_norm(self, M: int, D: int) -> Call:
        x, w, b = self._array(M, D), self._array(D), self._array(D)
        return lambda: self._aten.native_layer_norm(x, [D], w, b, 1e-5)

    def layer_norm_backward(self, M: int, D: int) -> Call:
        x, w, b = self._array(M, D), self._array(D), self._array(D)
        g, mean, rstd = self._aten.native_layer_norm(x, [D], w, b, 1e-5)
        return lambda: self._aten.native_layer_norm_backward(g, x, [D], mean, rstd, w, b, [True, True, True])

    def group_norm(self, shape: list[int]) -> Call:
        (N, C, H, W), (x, w, b, *_) = shape, self._norm(shape)
        return lambda: self._aten.native_group_norm(x, w, b, N, C, H * W, 32, 1e-5)

    def group_norm_backward(self, shape: list[int]) -> Call:
        (N, C, H, W), (x, w, b, *_) = shape, self._norm(shape)
        g, mean, rstd = self._aten.native_group_norm(x, w, b, N, C, H * W, 32, 1e-5)
        return lambda: self._aten.native_group_norm_backward(g, x, mean, rstd, w, N, C, H * W, 32, [True, True, True])

    def _of(self, operator, shape):
        x = self._array(*shape)
        return lambda: operator(x)

    def _with_gradient(self, operator, shape, *options):
        g, saved = self._array(*shape), self._array(*shape)
        return lambda: operator(g, saved, *options)

    def relu(self, shape: list[int]) -> Call:
        return self._of(self._aten.relu, shape)

    def relu_backward(self, shape: list[int]) -> Call:
        return self._with_gradient(self._aten.threshold_backward, shape, 0)

    def gelu(self, shape: list[int]) -> Call:
        return self._of(self._aten.gelu, shape)

    def gelu_backward(self, shape: list[int]) -> Call:
        return self._with_gradient(self._aten.gelu_backward, shape)

    def sigmoid(self, shape: list[int]) -> Call:
        return self._of(self._aten.sigmoid, shape)

    def sigmoid_backward(self, shape: list[int]) -> Call:
        return self._with_gradient(self._aten.sigmoid_backward, shape)

    def tanh(self, shape: list[int]) -> Call:
        return self._of(self._aten.tanh, shape)

    def tanh_backward(self, shape: list[int]) -> Call:
        return self._with_gradient(self._aten.tanh_backward, shape)

    def dropout(self, shape: list[int]) -> Call:
        x = self._array(*shape)
        return lambda: self._aten.native_dropout(x, 0.5, True)

    def softmax(self, M: int, C: int) -> Call:
        x = self._array(M, C)
        return lambda: self._aten._softmax(x, 1, False)

    def log_softmax(self, M: int, C: int) -> Call:
        x = self._array(M, C)
        return lambda: self._aten._log_softmax(x, 1, False)

    def cross_entropy(self, M: int, C: int) -> Call:
        x, labels = self._array(M, C), self._torch.arange(M) % C
        return lambda: self._torch.nn.functional.cross_entropy(x, labels, reduction="none")

    def cross_entropy_backward(self, M: int, C: int) -> Call:
        torch, aten, labels, g = self._torch, self._aten, self._torch.arange(M) % C, self._array(M)
        logp = aten._log_softmax(self._array(M, C), 1, False)
        total = torch.tensor(0.0)
        return lambda: aten._log_softmax_backward_data(
            aten.nll_loss_backward(g, logp, labels, None, 0, -100, total), logp, 1, torch.float32)

    def _optimizer(self, optimizer):
        params = [self._torch.randn(shape) for shape in parameter_shapes()]
        for p in params:
            p.grad = self._torch.randn(p.shape)
        return optimizer(params).step

    def sgd_update(self) -> Call:
        return self._optimizer(lambda params: self._torch.optim.SGD(params, lr=1e-9, momentum=0.9))

    def adam_update(self) -> Call:
        return self._optimizer(lambda params: self._torch.optim.Adam(params, lr=1e-9))
