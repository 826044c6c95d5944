"""Pooling: padding, ties, nan, overlapping windows, mistakes; the rest is in the rows of cases/pool.py."""
import numpy as np
import pytest

import tinycnn as tc
from tinycnn.nn import functional as F


def test_padding_is_minus_infinity_not_zero():
    x = -np.ones((1, 1, 4, 4))
    assert (F.max_pool2d(x, 3, 2, 1).data == -1).all()
    assert (F.max_pool2d(np.full((1, 1, 2, 2), -np.inf), 2, padding=1).data == -np.inf).all()


def test_the_first_of_equals_gets_the_gradient():
    x = tc.Tensor(np.zeros((1, 1, 4, 4)), requires_grad=True)
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    y.sum().backward()
    np.testing.assert_array_equal(indices.data, [[[[0, 2], [8, 10]]]])
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(x.grad.data[0, 0, ::2, ::2], np.ones((2, 2)))
    assert x.grad.data.sum() == 4


def test_overlapping_windows_add_up():
    x = tc.Tensor(np.array([[[1.0, 9, 2, 3]]]), requires_grad=True)
    F.max_pool1d(x, 2, 1).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [[[0, 2, 0, 1]]])


def test_nan_wins():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    x[0, 0, 0, 0] = np.nan
    for y in (F.max_pool2d(x, 2), F.adaptive_max_pool2d(x, 2)):
        assert np.isnan(y.data[0, 0, 0, 0]) and np.isfinite(y.data.reshape(-1)[1:]).all()


def test_average_counts_padding_or_not():
    x = np.ones((1, 1, 3, 3))
    np.testing.assert_allclose(F.avg_pool2d(x, 2, 2, 1).data[0, 0], [[1 / 4, 1 / 2], [1 / 2, 1]])
    assert (F.avg_pool2d(x, 2, 2, 1, count_include_pad=False).data == 1).all()
    assert (F.avg_pool2d(x, 2, 2, ceil_mode=True).data == 1).all()       # what lies beyond the edge never counts


def test_non_square_average_backward():
    x = tc.Tensor(np.zeros((1, 1, 4, 6)), requires_grad=True)
    F.avg_pool2d(x, (2, 3)).sum().backward()
    np.testing.assert_allclose(x.grad.data, np.full((1, 1, 4, 6), 1 / 6))


def test_adaptive_bins_that_overlap():
    x = np.arange(5.0).reshape(1, 5)
    np.testing.assert_array_equal(F.adaptive_avg_pool1d(x, 3).data, [[0.5, 2, 3.5]])
    np.testing.assert_array_equal(F.adaptive_max_pool1d(x, 3).data, [[1, 3, 4]])


def test_unpooling_undoes_pooling():
    x = np.random.default_rng(0).permutation(35).reshape(1, 1, 5, 7) + 1.0
    y, indices = F.max_pool2d(x, 3, 2, return_indices=True)              # windows overlap: maxima may coincide
    back = F.max_unpool2d(y, indices, 3, 2)
    found = back.data != 0
    np.testing.assert_array_equal(back.data[found], x[found])
    assert found.sum() == len(np.unique(indices.data))


def test_an_empty_batch_stays_empty():
    x = tc.Tensor(np.zeros((0, 2, 4, 4)), requires_grad=True)
    for f in (lambda: F.max_pool2d(x, 2), lambda: F.avg_pool2d(x, 2), lambda: F.adaptive_avg_pool2d(x, 2)):
        y = f()
        assert y.shape == (0, 2, 2, 2)
        y.sum().backward()
        assert x.grad.shape == x.shape


X = np.zeros((2, 3, 4, 4))
MISTAKES = [
    (ValueError, r"more than half of kernel_size 2", lambda: F.max_pool2d(X, 2, padding=2)),
    (ValueError, "kernel 5x5.*does not fit in input 4x4", lambda: F.avg_pool2d(X, 5)),
    (ValueError, r"max_pool2d: expected input \(N, C, H, W\).*\(2, 3\)", lambda: F.max_pool2d(X[..., 0, 0], 2)),
    (ValueError, "stride must be at least 1", lambda: F.max_pool2d(X, 2, 0)),
    (TypeError, "kernel_size must be an int or a pair", lambda: F.max_pool2d(X, (2, 2, 2))),
    (TypeError, "floating point, got int64", lambda: F.avg_pool2d(X.astype(int), 2)),
    (ValueError, "divisor_override must not be 0", lambda: F.avg_pool2d(X, 2, divisor_override=0)),
    (ValueError, "output_size", lambda: F.adaptive_avg_pool2d(X, -1)),
    (ValueError, "empty dimension", lambda: F.adaptive_avg_pool2d(X[:, :, :0], 1)),
    (ValueError, "pass the size of the image", lambda: F.max_unpool2d(X, X.astype(int) + 64, 2)),
    (ValueError, "pass the size of the image", lambda: F.max_unpool2d(X, X.astype(int) - np.eye(4, dtype=int), 2)),
    (ValueError, "within a stride", lambda: F.max_unpool2d(X, X.astype(int), 2, output_size=(20, 8))),
]


@pytest.mark.parametrize("kind, message, call", MISTAKES, ids=[m for _, m, _ in MISTAKES])
def test_mistakes_are_explained(kind, message, call):
    with pytest.raises(kind, match=message):
        call()
