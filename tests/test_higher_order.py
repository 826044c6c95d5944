"""Derivatives of first, second and third order of what a CNN is made of, and that fused kernels equal compositions."""
import numpy as np
import pytest
from cnn_functions import FUNCTIONS

import tinycnn as tc
from tinycnn.cases.orders import orders
from tinycnn.gradcheck import gradient_function, worst_error
from tinycnn.nn import functional as F


def apart(rng, shape):
    """Values at least 0.1 apart and away from 0: steps of the differences cross no kink."""
    n = int(np.prod(shape))
    return (rng.permutation(n).reshape(shape) - n // 2 + 0.5) / 10


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
