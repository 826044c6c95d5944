"""Normalisation: running statistics, evaluation mode, large means, mistakes; the rest is in cases/norm.py."""
import numpy as np
import pytest

import tinycnn as tc
from tinycnn.nn import functional as F

RNG = np.random.default_rng(5)
X = RNG.standard_normal((4, 3, 2, 5)) * 2 + 1


def statistics():
    return tc.Tensor(np.zeros(3)), tc.Tensor(np.ones(3))


def test_running_variance_is_unbiased():
    mean, var = statistics()
    F.batch_norm(X, mean, var, training=True, momentum=0.3)
    np.testing.assert_allclose(mean.data, 0.3 * X.mean((0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(var.data, 0.7 + 0.3 * X.var((0, 2, 3), ddof=1), rtol=1e-13)


def test_instance_norm_moves_towards_the_mean_of_each_images_statistics():
    mean, var = statistics()
    F.instance_norm(X, mean, var, momentum=0.3)
    np.testing.assert_allclose(mean.data, 0.3 * X.mean((2, 3)).mean(0), rtol=1e-13)
    np.testing.assert_allclose(var.data, 0.7 + 0.3 * X.var((2, 3), ddof=1).mean(0), rtol=1e-13)


def test_running_statistics_are_written_in_place_and_counted():
    mean, var = statistics()
    array, before = mean.data, (mean._version, var._version)
    F.batch_norm(X, mean, var, training=True)
    assert mean.data is array and (mean._version, var._version) == (before[0] + 1, before[1] + 1)
    F.batch_norm(X, mean, var)
    assert mean._version == before[0] + 1


def test_statistics_changed_before_backward_are_noticed():
    mean, var = statistics()
    x = tc.Tensor(X, requires_grad=True)
    y = F.batch_norm(x, mean, var)
    F.batch_norm(X, mean, var, training=True)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


def test_two_training_passes_can_both_go_back():
    mean, var = statistics()
    x = tc.Tensor(X, requires_grad=True)
    (F.batch_norm(x, mean, var, training=True) * F.batch_norm(x * 2, mean, var, training=True)).sum().backward()
    assert np.isfinite(x.grad.data).all()


def test_a_failed_call_leaves_the_statistics_alone():
    mean, var = statistics()
    with pytest.raises(ValueError):
        F.batch_norm(X[:1, :, :1, :1], mean, var, training=True)
    with pytest.raises(TypeError):
        F.batch_norm(X, mean, var, training=True, momentum=None)
    assert (mean.data == 0).all() and (var.data == 1).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("some", [True, False])
def test_batch_norm_relu_is_the_three_in_order(some, training):
    """Values, running statistics and all gradients, to the last bit."""
    outcomes = []
    for fused in (True, False):
        mean, var = statistics()
        arrays = X, np.array([1.0, -2, 3]), np.ones(3), X[::-1]
        x, w, b, r = leaves = [tc.Tensor(a, requires_grad=True) for a in arrays]
        if fused:
            y = F.batch_norm_relu(x, mean, var, w, b, training, 0.3, 1e-3, r if some else None)
        else:
            y = F.batch_norm(x, mean, var, w, b, training, 0.3, 1e-3)
            y = F.relu(y + r if some else y)
        (y * y).sum().backward()
        assert (r.grad is not None) == some
        outcomes.append([y.data, mean.data, var.data, *(t.grad.data for t in leaves if t.grad is not None)])
    for a, b in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(a, b)


def test_batch_norm_relu_notices_that_its_output_was_changed():
    x = tc.Tensor(X, requires_grad=True)
    y = F.batch_norm_relu(x, None, None, training=True)
    with tc.no_grad():
        y.add_(1)
    with pytest.raises(RuntimeError, match="the output of batch_norm_relu.*changed in place"):
        y.sum().backward()


def test_gradient_in_evaluation_mode():
    mean, var = tc.Tensor(np.array([1.0, 2, 3])), tc.Tensor(np.array([4.0, 5, 6]))
    x, w, b = (tc.Tensor(a, requires_grad=True) for a in (X, np.array([1.0, -2, 3]), np.zeros(3)))
    F.batch_norm(x, mean, var, w, b, eps=0.5).sum().backward()
    rstd = 1 / np.sqrt(var.data + 0.5)
    np.testing.assert_allclose(x.grad.data, np.broadcast_to((w.data * rstd).reshape(3, 1, 1), X.shape), rtol=1e-13)
    xhat = (X - mean.data.reshape(3, 1, 1)) * rstd.reshape(3, 1, 1)
    np.testing.assert_allclose(w.grad.data, xhat.sum((0, 2, 3)), rtol=1e-12)
    np.testing.assert_array_equal(b.grad.data, [40, 40, 40])


def test_float32_numbers_near_1000_keep_their_variance():
    x = (1000 + RNG.standard_normal((64, 2, 8, 8))).astype(np.float32)
    exact = F.batch_norm(x.astype(np.float64), None, None, training=True).data
    np.testing.assert_allclose(F.batch_norm(x, None, None, training=True).data, exact, atol=2e-4)


def test_constant_input_gives_the_bias():
    x = tc.Tensor(np.full((4, 3), 7.0), requires_grad=True)
    y = F.batch_norm(x, None, None, np.ones(3), np.array([1.0, 2, 3]), training=True)
    y.sum().backward()
    np.testing.assert_array_equal(y.data, np.tile([1.0, 2, 3], (4, 1)))
    np.testing.assert_allclose(x.grad.data, 0, atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_nan_stays_in_its_channel(training):
    x = X.copy()
    x[0, 1, 0, 0] = np.nan
    y = F.batch_norm(x, *statistics(), training=training).data
    assert np.isnan(y[:, 1]).any() and np.isfinite(y[:, [0, 2]]).all()


ONES = np.ones(3)
MISTAKES = [
    (ValueError, r"one value per channel.*drop_last", lambda: F.batch_norm(X[:1, :, 0, 0], None, None, training=True)),
    (ValueError, "needs running_mean and running_var", lambda: F.batch_norm(X, None, None)),
    (ValueError, "batch_norm_relu: without training=True it needs", lambda: F.batch_norm_relu(X, None, None)),
    (ValueError, r"batch_norm_relu: residual has shape \(3,\), input \(4, 3, 2, 5\)", lambda:
        F.batch_norm_relu(X, ONES, ONES, residual=ONES)),
    (ValueError, r"weight has shape \(4,\), input \(4, 3, 2, 5\) has 3", lambda:
        F.batch_norm(X, ONES, ONES, np.ones(4))),
    (ValueError, r"running_mean has shape \(2,\)", lambda: F.batch_norm(X, ONES[:2], ONES)),
    (TypeError, "input is float64, weight is float32", lambda: F.batch_norm(X, ONES, ONES, np.ones(3, np.float32))),
    (TypeError, "floating point, got int64", lambda: F.batch_norm(X.astype(int), ONES, ONES)),
    (ValueError, "num_groups=2 does not divide the 3 channels", lambda: F.group_norm(X, 2)),
    (ValueError, r"normalized_shape \(4,\).*\(4, 3, 2, 5\).*use normalized_shape=\(5,\)", lambda:
        F.layer_norm(X, (4,))),
    (ValueError, "bias has shape", lambda: F.layer_norm(X, (5,), np.ones(5), np.ones(1))),
    (ValueError, "more than 1 pixel", lambda: F.instance_norm(X[:, :, :1, :1])),
    (ValueError, "size >= 1", lambda: F.local_response_norm(X, 0)),
]


@pytest.mark.parametrize("kind, message, call", MISTAKES, ids=[m for _, m, _ in MISTAKES])
def test_mistakes_are_explained(kind, message, call):
    with pytest.raises(kind, match=message):
        call()
