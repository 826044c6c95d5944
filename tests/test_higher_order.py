"""Derivatives of first, second and third order of what a CNN is made of, and that fused kernels equal compositions."""
import numpy as np
import pytest

import tinycnn as tc
from tinycnn.cases.orders import orders
from tinycnn.gradcheck import gradient_function, worst_error
from tinycnn.nn import functional as F

LABELS, WEIGHT = np.array([2, 0, 3]), np.array([1.0, 2.0, 0.5, 1.5])
MEAN, VAR = np.array([0.3, -0.2]), np.array([0.7, 1.9])


def apart(rng, shape):
    """Values at least 0.1 apart and away from 0: steps of the differences cross no kink."""
    n = int(np.prod(shape))
    return (rng.permutation(n).reshape(shape) - n // 2 + 0.5) / 10


FUNCTIONS = {   # name: (function of the tensors, their shapes)
    "batch_norm train": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=0.1),
                         (3, 2, 2), (2,), (2,)),
    "batch_norm train, plain": (lambda x: F.batch_norm(x, None, None, training=True), (4, 2)),
    "batch_norm train, bias only": (lambda x, b: F.batch_norm(x, None, None, None, b, True), (4, 2), (2,)),
    "batch_norm eval": (lambda x, w, b: F.batch_norm(x, MEAN, VAR, w, b), (3, 2, 2), (2,), (2,)),
    "batch_norm eval, plain": (lambda x: F.batch_norm(x, MEAN, VAR), (2, 2, 2)),
    "batch_norm_relu train": (lambda x, w, b, r: F.batch_norm_relu(x, None, None, w, b, True, 0.1, 0.1, r),
                              (3, 2, 2), (2,), (2,), (3, 2, 2)),
    "batch_norm_relu eval": (lambda x, w, b, r: F.batch_norm_relu(x, MEAN, VAR, w, b, residual=r),
                             (3, 2, 2), (2,), (2,), (3, 2, 2)),
    "batch_norm_relu eval, plain": (lambda x: F.batch_norm_relu(x, MEAN, VAR), (2, 2, 2)),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (3, 2), w, b), (2, 3, 2), (3, 2), (3, 2)),
    "layer_norm, bias only": (lambda x, b: F.layer_norm(x, (4,), None, b, eps=0.1), (2, 4), (4,)),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), (2, 4, 2), (4,), (4,)),
    "instance_norm": (lambda x, w, b: F.instance_norm(x, None, None, w, b), (2, 2, 3), (2,), (2,)),
    "instance_norm eval": (lambda x, w: F.instance_norm(x, MEAN, VAR, w, None, False), (2, 2, 3), (2,)),
    "rms_norm": (lambda x, w: F.rms_norm(x, (4,), w), (3, 4), (4,)),
    "local_response_norm": (lambda x: F.local_response_norm(x, 3, 0.5, 0.7, 1.2), (1, 4, 3)),
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 0), groups=2), (1, 2, 3, 3), (2, 1, 2, 2), (2,)),
    "conv_transpose2d": (lambda x, w: F.conv_transpose2d(x, w, stride=2), (1, 2, 2, 2), (2, 1, 2, 2)),
    "linear": (F.linear, (2, 3), (2, 3), (2,)),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2, 1), (1, 2, 3, 3)),
    "avg_pool2d": (lambda x: F.avg_pool2d(x * x * x, 2, 1, 1), (1, 2, 3, 2)),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x * x, (2, 1)), (1, 2, 3, 2)),
    "cross_entropy": (lambda x: F.cross_entropy(x, LABELS, WEIGHT, label_smoothing=0.2), (3, 4)),
    "cross_entropy, ignoring": (lambda x: F.cross_entropy(x, LABELS, ignore_index=0, reduction="none"), (3, 4)),
    "softmax": (lambda x: F.softmax(x, 1), (2, 3, 2)),
    "log_softmax": (lambda x: F.log_softmax(x, -1), (2, 3)),
    "gelu": (lambda x: F.gelu(x), (2, 3)),
    "elu": (lambda x: F.elu(x, 0.7), (2, 4)),
    "silu": (F.silu, (2, 3)),
}
each = pytest.mark.parametrize("name", FUNCTIONS)


def make(name):
    func, *shapes = FUNCTIONS[name]
    rng = np.random.default_rng(3)
    return func, [tc.Tensor(apart(rng, shape), requires_grad=True) for shape in shapes]


@each
def test_three_orders(name):
    func, inputs = make(name)
    assert worst_error(func, inputs) <= 1e-8
    first, seeds = gradient_function(func, inputs)
    inputs = [*inputs, *seeds]
    assert worst_error(first, inputs) <= 1e-7
    second, seeds = gradient_function(first, inputs)
    assert worst_error(second, [*inputs, *seeds]) <= 1e-7


@each
def test_fused_gradients_equal_the_composition(name):
    func, inputs = make(name)
    y = func(*inputs)
    seed = np.random.default_rng(1).standard_normal(y.shape)
    fused = tc.grad(y, inputs, seed, retain_graph=True)
    composed = tc.grad(y, inputs, seed, create_graph=True)
    for a, b in zip(fused, composed):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-12)


FIVE = {        # of the sizes of a small net's layers
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), (8, 3, 5, 5), (3,), (3,)),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (4, 6), w, b), (5, 4, 6), (4, 6), (4, 6)),
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, 2, 1), (2, 3, 9, 9), (8, 3, 3, 3), (8,)),
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, 2, 1), (2, 3, 8, 8)),
    "cross_entropy": (lambda x: F.cross_entropy(x, np.arange(16) % 10, reduction="sum"), (16, 10)),
}


@pytest.mark.parametrize("name", FIVE)
def test_third_and_fourth_order_are_right_to_1e_6(name):
    """Of the derivative itself, however small it is."""
    func, *shapes = FIVE[name]
    rng = np.random.default_rng(5)
    inputs = [tc.Tensor(0.2 * apart(rng, s) if name == "max_pool2d" else rng.standard_normal(s)) for s in shapes]
    for order in orders(func, inputs):
        assert order.order < 3 or abs(order.analytic - order.numeric) <= 1e-6 * abs(order.numeric)
        assert abs(order.numeric) > 1e-3
