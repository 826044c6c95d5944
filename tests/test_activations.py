"""Activations where they are hard: zeros, nan, inf, large and tiny numbers; dropout's masks; mistakes."""
import numpy as np
import pytest

import tinycnn as tc
from tinycnn.methods import FUNCTIONS
from tinycnn.nn import functional as F

SMOOTH = ["gelu", "silu", "mish", "softplus", "logsigmoid", "softsign", "tanhshrink", "sigmoid", "tanh", "elu", "selu",
          "celu", "hardswish", "hardsigmoid", "relu", "relu6", "leaky_relu", "hardtanh", "softshrink", "hardshrink"]
LIMITS = {"sigmoid": (0, 1), "logsigmoid": (-np.inf, 0), "tanh": (-1, 1), "elu": (-1, np.inf), "relu": (0, np.inf),
          "hardtanh": (-1, 1), "softplus": (0, np.inf), "hardsigmoid": (0, 1), "relu6": (0, 6)}


def gradient(f, x):
    x = tc.Tensor(x, requires_grad=True)
    y = f(x)
    y.sum().backward()
    return x.grad.data


def test_kinks_are_torchs():
    zero = np.zeros(1)
    assert gradient(F.relu, zero) == 0 and gradient(F.leaky_relu, zero) == 0.01
    assert gradient(F.relu6, np.array([6.0])) == 0 and gradient(F.hardtanh, np.array([-1.0])) == 0
    assert gradient(F.elu, zero) == 1


def test_gradients_at_nan_and_infinity_are_torchs():
    """At nan most hand the gradient on, as where they are linear; at infinity exponentials have one too."""
    nan, infinity = np.full(1, np.nan), np.array([-np.inf, np.inf])
    assert all(gradient(f, nan) == 1 for f in (F.relu, F.relu6, F.hardtanh, F.softshrink, F.hardshrink, F.elu, F.celu))
    assert gradient(F.hardsigmoid, nan) == 0
    for f in (tc.maximum, tc.minimum):
        assert gradient(lambda x, f=f: f(x, tc.ones(1)), nan) == gradient(lambda x, f=f: f(tc.tensor([np.nan]), x), 1.0)
    for f, slope in ((F.elu, 1), (F.celu, 1), (F.selu, 1.0507009873554805)):
        np.testing.assert_array_equal(gradient(f, infinity), [0, slope])
        x = tc.Tensor(infinity, requires_grad=True)
        g, = tc.grad(f(x).sum(), x, create_graph=True)
        np.testing.assert_array_equal(tc.grad(g.sum(), x)[0].data, [0, 0])


@pytest.mark.parametrize("name", SMOOTH)
def test_nan_passes(name):
    assert np.isnan(FUNCTIONS[name](np.array([np.nan])).data).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SMOOTH)
def test_large_and_tiny_numbers(name, dtype):
    """Values and derivatives stay finite, without a warning, and tiny inputs keep their slope."""
    f = FUNCTIONS[name]
    x = np.array([-1e4, -200, -90, -20, -1e-40, 0, 1e-40, 20, 90, 200, 1e4], dtype)
    y, slope = f(x).data, gradient(f, x)
    assert y.dtype == slope.dtype == dtype
    assert np.isfinite(y).all() and np.isfinite(slope).all()
    exact = f(x.astype(np.float64)).data
    np.testing.assert_allclose(y, exact, rtol=2e-6 if dtype == np.float32 else 1e-14, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("name", LIMITS)
def test_infinity(name):
    np.testing.assert_array_equal(FUNCTIONS[name](np.array([-np.inf, np.inf])).data, LIMITS[name])


@pytest.mark.parametrize("f", [F.softmax, F.log_softmax])
def test_softmax_of_large_numbers(f):
    x = np.array([[1e30, -1e30, 0], [1000, 1000, -1000], [-3e38, -3e38, -3e38]], np.float32)
    y = f(x, 1).data
    expected = np.array([[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3])
    np.testing.assert_allclose(np.exp(y) if f is F.log_softmax else y, expected, rtol=1e-6)
    assert np.isfinite(gradient(lambda t: f(t, 1)[:, 0], x)).all()


def test_an_infinite_gradient_does_not_leak_through_a_dead_relu():
    x = tc.Tensor(np.array([-1.0, 2.0]), requires_grad=True)
    F.relu(x).backward(np.array([np.inf, np.inf]))
    np.testing.assert_array_equal(x.grad.data, [0, np.inf])


def test_inplace_returns_the_result_and_leaves_the_input():
    x = tc.Tensor(np.array([-1.0, 2.0]), requires_grad=True)
    y = F.relu(x, inplace=True)
    np.testing.assert_array_equal(y.data, [0, 2])
    np.testing.assert_array_equal(x.data, [-1, 2])


# ---------------------------------------------------------------------------------------- dropout

def test_dropout_keeps_the_mean_and_its_gradient_uses_the_same_mask():
    x = tc.Tensor(np.ones((100, 1000)), requires_grad=True)
    y = F.dropout(x, 0.3)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, y.data)                   # linear: the same factors
    assert set(np.unique(y.data)) == {0, 1 / 0.7}
    assert abs((y.data == 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 1e5)


def test_dropout_draws_anew_and_repeats_after_a_seed():
    x = np.ones(1000)
    tc.manual_seed(1)
    a, b = F.dropout(x).data, F.dropout(x).data
    tc.manual_seed(1)
    np.testing.assert_array_equal(F.dropout(x).data, a)
    assert (a != b).any()


@pytest.mark.parametrize("f, shape, lead", [(F.dropout1d, (50, 40, 3), 2), (F.dropout2d, (50, 40, 3, 2), 2),
                                            (F.dropout3d, (50, 40, 1, 3, 2), 2), (F.dropout1d, (400, 7), 1)])
def test_whole_channels_are_dropped(f, shape, lead):
    y = f(np.ones(shape), 0.4).data.reshape(*shape[:lead], -1)
    assert (y == y[..., :1]).all() and set(np.unique(y)) == {0, 1 / 0.6}


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).standard_normal((400, 500))
    y = F.alpha_dropout(x, 0.2, training=True).data
    assert abs(y.mean()) < 0.01 and abs(y.std() - 1) < 0.01
    channels = F.feature_alpha_dropout(x[:40, :, None] + np.zeros(3), 0.5, training=True).data
    assert ((channels == channels[..., :1]).all(-1)).all()


@pytest.mark.parametrize("f", [F.dropout, F.dropout2d, F.alpha_dropout])
def test_dropping_everything_nothing_or_outside_training(f):
    x = np.ones((2, 3, 4, 4))
    assert (f(x, 1.0, True).data == 0).all()
    assert (f(x, 0.0, True).data == 1).all() and (f(x, 0.5, False).data == 1).all()


def test_stochastic_depth_drops_images_or_all():
    rows = FUNCTIONS["stochastic_depth"](np.ones((500, 2, 3)), 0.4, "row").data
    assert (rows == rows[:, :1, :1]).all() and set(np.unique(rows)) == {0, 1 / 0.6}
    batches = [FUNCTIONS["stochastic_depth"](np.ones((3, 2)), 0.4, "batch").data for _ in range(50)]
    assert all((b == b[0, 0]).all() for b in batches) and {b[0, 0] for b in batches} == {0, 1 / 0.6}


def test_gumbel_softmax_samples_classes():
    logits = np.log(np.tile([0.1, 0.2, 0.7], (20000, 1)))
    hard = F.gumbel_softmax(logits, hard=True).data
    assert set(np.unique(hard.round(12))) == {0, 1}
    np.testing.assert_allclose(hard.mean(0), [0.1, 0.2, 0.7], atol=0.02)


def test_rrelu_slopes():
    x = -np.ones(1000)
    assert (F.rrelu(x).data == -(1 / 8 + 1 / 3) / 2).all()
    slopes = -F.rrelu(x, training=True).data
    assert slopes.min() >= 1 / 8 and slopes.max() <= 1 / 3 and slopes.std() > 0.05


X = np.zeros((2, 3))
MISTAKES = [
    (ValueError, "p must be a probability in 0..1, got 1.5", lambda: F.dropout(X, 1.5)),
    (ValueError, "p must be a probability", lambda: F.alpha_dropout(X, -0.1)),
    (ValueError, "3 or 4 dimensions", lambda: F.dropout2d(X)),
    (ValueError, "approximate must be", lambda: F.gelu(X, approximate="erf")),
    (ValueError, "min_val=2 is larger", lambda: F.hardtanh(X, 2, 1)),
    (ValueError, "lambd must be at least 0", lambda: F.softshrink(X, -1)),
    (ValueError, "alpha must not be 0", lambda: F.celu(X, 0)),
    (ValueError, r"weight \(2,\).*3 channels", lambda: F.prelu(X, np.ones(2))),
    (ValueError, "even size", lambda: F.glu(X)),
    (ValueError, "swap them", lambda: F.rrelu(X, 0.5, 0.1)),
    (ValueError, "tau must be positive", lambda: F.gumbel_softmax(X, 0)),
    (IndexError, "dim=2 is not a dimension", lambda: F.softmax(X, 2)),
    (TypeError, "floating point, got int64", lambda: F.softmax(X.astype(int), 1)),
]


@pytest.mark.parametrize("kind, message, call", MISTAKES, ids=[m for _, m, _ in MISTAKES])
def test_mistakes_are_explained(kind, message, call):
    with pytest.raises(kind, match=message):
        call()
