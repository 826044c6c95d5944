"""Values where code goes wrong: 1e30, 1e-30, infinities beside numbers, infinite slopes; and every average pool."""
import numpy as np
import pytest

import tinycnn as tc
from tinycnn.methods import FUNCTIONS


# ---------------------------------------------------------------------------------------- finite where it must be

def logits(f):
    return lambda x: f(x, 1)


FINITE = {                                           # values and gradients at +-1e30 and +-1e-30, in float32
    **{name: FUNCTIONS[name] for name in (
        "sigmoid", "tanh", "gelu", "silu", "mish", "softplus", "logsigmoid", "softsign", "hardswish", "hardsigmoid",
        "elu", "selu", "celu", "relu6", "tanhshrink", "erf")},
    "softmax": logits(FUNCTIONS["softmax"]), "log_softmax": logits(FUNCTIONS["log_softmax"]),
    "logsumexp": logits(FUNCTIONS["logsumexp"]),
    "cross_entropy": lambda x: FUNCTIONS["cross_entropy"](x, np.array([0, 1]), reduction="none"),
    "binary_cross_entropy_with_logits": lambda x: FUNCTIONS["binary_cross_entropy_with_logits"](
        x, np.ones(x.shape, np.float32), reduction="none"),
    "layer_norm": lambda x: FUNCTIONS["layer_norm"](x, (4,)),
    "batch_norm": lambda x: FUNCTIONS["batch_norm"](x, None, None, training=True),
    "group_norm": lambda x: FUNCTIONS["group_norm"](x, 2), "std": lambda x: FUNCTIONS["std"](x, 1),
    "soft_margin_loss": lambda x: FUNCTIONS["soft_margin_loss"](x, np.ones(x.shape, np.float32)),
    "reciprocal of 1 + x": lambda x: 1 / (1 + tc.abs(x)), "quotient": lambda x: x / (1 + tc.abs(x)),
}


@pytest.mark.parametrize("name", FINITE)
@pytest.mark.parametrize("size", [1e30, 1e-30])
def test_finite_at_large_and_small_numbers(name, size):
    x = tc.Tensor(np.array([[1, -1, 0.5, 0], [-0.3, 0.7, 1, -1]], np.float32) * np.float32(size), requires_grad=True)
    y = FINITE[name](x)
    y.backward(np.ones(y.shape, np.float32))
    assert y.dtype == np.float32 and np.isfinite(y.data).all() and np.isfinite(x.grad.data).all()


@pytest.mark.parametrize("f, expected", [pytest.param(*case, id=name) for name, case in {
    "a slope that is infinite does not touch what is positive": (
        lambda x: FUNCTIONS["prelu"](x, tc.Tensor(np.float32([np.inf]))), [[2, -np.inf], [1, np.inf]]),
    "hardswish is linear far out": (
        lambda x: FUNCTIONS["hardswish"](x * np.float32(np.inf)), [[np.inf, np.nan], [None, None]]),
    "a quotient's divisor may be large": (lambda x: 1e30 / (x * 1e30), [[0.5, -1], [-0.25, -1]]),
    "a window of zeros has no gradient": (
        lambda x: FUNCTIONS["lp_pool1d"](x.reshape((1, 1, 2)) * 0, 2.0, 2), [[0], [0, 0]]),
    "an infinity leaves the others no part in a norm": (
        lambda x: FUNCTIONS["norm"](x * tc.tensor([1.0, np.inf]), 3), [[np.inf], [0, None]]),
    "an infinity does not touch the products before it": (
        lambda x: FUNCTIONS["cumprod"](x * tc.tensor([1.0, np.inf]), 0), [[2, -np.inf], [-np.inf, np.inf]]),
    "a zero has none in a norm below 1": (lambda x: FUNCTIONS["norm"](x * tc.tensor([1.0, 0.0]), 0.5), [[2], [1, 0]]),
}.items()])
def test_what_is_infinite_stays_in_its_place(f, expected):
    values, slopes = expected
    x = tc.tensor([2.0, -1.0], requires_grad=True)
    y = f(x)
    y.backward(np.ones(y.shape, np.float32))
    np.testing.assert_allclose(y.data.reshape(-1), values)
    for found, slope in zip(x.grad.data, slopes):
        assert slope is None or found == pytest.approx(slope)


@pytest.mark.parametrize("name, size, factor", [("std", 1e30, 1e30), ("std", 1e-30, 1e-30), ("layer_norm", 1e30, 1),
                                                ("group_norm", 1e30, 1)])
def test_results_are_right_where_squares_leave_the_range(name, size, factor):
    f = {"std": lambda x: FUNCTIONS["std"](x, 1), "layer_norm": lambda x: FUNCTIONS["layer_norm"](x, (6,), eps=0.0),
         "group_norm": lambda x: FUNCTIONS["group_norm"](x, 2, eps=0.0)}[name]
    x = np.random.default_rng(0).standard_normal((4, 6))
    expected = f(tc.Tensor(x)).data * factor
    np.testing.assert_allclose(f(tc.Tensor((x * size).astype(np.float32))).data, expected, rtol=1e-5,
                               atol=1e-6 * factor)


@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.parametrize("number", [0.1, 1e30])
def test_equals_have_no_variance_and_no_gradient(name, number):
    x = tc.Tensor(np.full((2, 3), number, np.float32), requires_grad=True)
    y = FUNCTIONS[name](x, 1)
    y.sum().backward()
    assert not y.data.any() and not x.grad.data.any()


@pytest.mark.parametrize("weight", [0.0, 1.0, "tensor"])
def test_lerp_is_exact_at_both_ends(weight):
    start, end = tc.tensor([1e30, 1.0]), tc.tensor([1.0, 1e30])
    y = FUNCTIONS["lerp"](start, end, tc.tensor([1.0, 0.0]) if weight == "tensor" else weight)
    np.testing.assert_array_equal(y.data, {0.0: start.data, 1.0: end.data}.get(weight, np.ones(2, np.float32)))


# ---------------------------------------------------------------------------------------- average pooling, all of it

def plain_mean(x, k, s, p, ceil_mode, count_include_pad, divisor):
    """(y, how much each pixel counts in all of y), by loops over windows, as PyTorch's documentation says it."""
    H, W = x.shape
    (OH, OW) = (((n + 2 * p - k + (s - 1) * ceil_mode) // s) + 1 for n in (H, W))
    OH, OW = (o - (ceil_mode and (o - 1) * s >= n + p) for o, n in zip((OH, OW), (H, W)))
    y, counts = np.zeros((OH, OW)), np.zeros((H, W))
    for i in range(OH):
        for j in range(OW):
            top, left = i * s - p, j * s - p
            bottom, right = min(top + k, H + p), min(left + k, W + p)
            inside = slice(max(top, 0), min(bottom, H)), slice(max(left, 0), min(right, W))
            size = (bottom - top) * (right - left) if count_include_pad else x[inside].size
            y[i, j] = x[inside].sum() / (divisor or size)
            counts[inside] += 1 / (divisor or size)
    return y, counts


@pytest.mark.parametrize("k, s, p", [(k, s, p) for k in (1, 2, 3, 4) for s in (1, 2, 3) for p in range(k // 2 + 1)])
def test_average_pooling_grid(k, s, p):
    x = np.random.default_rng(0).standard_normal((5, 7))
    for ceil_mode in (False, True):
        for include in (False, True):
            for divisor in (None, 3):
                leaf = tc.Tensor(x[None, None], requires_grad=True)
                y = FUNCTIONS["avg_pool2d"](leaf, k, s, p, ceil_mode, include, divisor)
                y.sum().backward()
                expected, counts = plain_mean(x, k, s, p, ceil_mode, include, divisor)
                np.testing.assert_allclose(y.data[0, 0], expected, rtol=1e-12, atol=1e-14)
                np.testing.assert_allclose(leaf.grad.data[0, 0], counts, rtol=1e-12)
