"""Convolution and linear layers: against seven loops, and mistakes; gradients are in the rows of cases/conv.py."""
import numpy as np
import pytest

import tinycnn as tc
from tinycnn.nn import functional as F

RNG = np.random.default_rng(2)


def by_hand(x, w, stride, padding, dilation, groups):
    """The definition, for (N, C, H, W) and (O, C/G, KH, KW), with pairs for the rest."""
    (SH, SW), (PH, PW), (DH, DW) = stride, padding, dilation
    x = np.pad(x, ((0, 0), (0, 0), (PH, PH), (PW, PW)))
    (N, _, H, W), (O, Cg, KH, KW) = x.shape, w.shape
    OH, OW = (H - DH * (KH - 1) - 1) // SH + 1, (W - DW * (KW - 1) - 1) // SW + 1
    y = np.zeros((N, O, OH, OW))
    for o in range(O):
        first = o // (O // groups) * Cg
        for i in range(OH):
            for j in range(OW):
                patch = x[:, first:first + Cg, i * SH:i * SH + DH * KH:DH, j * SW:j * SW + DW * KW:DW]
                y[:, o, i, j] = (patch[:, :, :KH, :KW] * w[o]).sum((1, 2, 3))
    return y


@pytest.mark.parametrize("stride, padding, dilation, groups", [
    ((1, 1), (0, 0), (1, 1), 1), ((2, 1), (1, 0), (1, 1), 1), ((1, 3), (2, 1), (2, 1), 2), ((2, 2), (0, 3), (1, 2), 4)])
def test_against_the_definition(stride, padding, dilation, groups):
    x, w = RNG.standard_normal((2, 4, 7, 8)), RNG.standard_normal((8, 4 // groups, 3, 2))
    y = F.conv2d(x, w, None, stride, padding, dilation, groups)
    np.testing.assert_allclose(y.data, by_hand(x, w, stride, padding, dilation, groups), rtol=1e-12, atol=1e-13)


def test_transposed_convolution_is_the_adjoint():
    """<conv(x), y> = <x, conv_transpose(y)>"""
    x, w = RNG.standard_normal((2, 4, 7, 5)), RNG.standard_normal((6, 2, 3, 2))
    options = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}
    forward = F.conv2d(x, w, **options)
    y = RNG.standard_normal(forward.shape)
    back = F.conv_transpose2d(y, w, **options)
    assert back.shape == x.shape
    np.testing.assert_allclose((forward.data * y).sum(), (x * back.data).sum(), rtol=1e-12)


def test_padding_outside_is_never_read():
    """Rows that no window reaches get no gradient, and infinities in them do not matter."""
    x = RNG.standard_normal((1, 1, 5, 5))
    x[..., 4] = np.inf
    x = tc.Tensor(x, requires_grad=True)
    y = F.conv2d(x, np.ones((1, 1, 2, 2)), stride=2)
    y.sum().backward()
    assert np.isfinite(y.data).all() and (x.grad.data[..., 4] == 0).all() and (x.grad.data[..., :4, :4] == 1).all()


def test_float32_stays():
    y = F.conv2d(np.ones((1, 2, 3, 3), np.float32), np.ones((1, 2, 2, 2), np.float32), np.ones(1, np.float32))
    assert y.dtype == np.float32 and (y.data == 9).all()


def test_embedding_without_padding_gradient_and_by_frequency():
    rows = np.array([0, 2, 2, 1])
    weight = tc.Tensor(np.zeros((3, 2)), requires_grad=True)
    F.embedding(rows, weight, padding_idx=-2).sum().backward()
    np.testing.assert_array_equal(weight.grad.data, [[1, 1], [0, 0], [2, 2]])
    weight.grad = None
    F.embedding(rows, weight, scale_grad_by_freq=True).sum().backward()
    np.testing.assert_array_equal(weight.grad.data, np.ones((3, 2)))


def test_embedding_scales_long_rows_down_in_place():
    weight = tc.Tensor(np.array([[3.0, 4.0], [0.3, 0.4], [6.0, 8.0]]))
    y = F.embedding(np.array([0, 1]), weight, max_norm=1.0)
    np.testing.assert_allclose(y.data, [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
    np.testing.assert_array_equal(weight.data[2], [6, 8])                # not used, not scaled
    assert weight._version == 1


X, W = np.zeros((2, 3, 8, 8)), np.zeros((4, 3, 3, 3))
IMAGES = np.zeros((2, 16, 3, 3))
MISTAKES = [
    (ValueError, r"input \(2, 3, 8, 8\) has 3 channels, but weight \(4, 1, 3, 3\).*takes 1 \* 1 = 1", lambda:
        F.conv2d(X, W[:, :1])),
    (ValueError, "groups=3 does not divide the 4 output channels", lambda: F.conv2d(X, W[:, :1], groups=3)),
    (ValueError, "groups must be at least 1", lambda: F.conv2d(X, W, groups=0)),
    (ValueError, "conv2d: kernel 9x9.*does not fit in input 8x8", lambda: F.conv2d(X, np.zeros((4, 3, 9, 9)))),
    (ValueError, r"bias has shape \(3,\).*must be \(4,\)", lambda: F.conv2d(X, W, np.zeros(3))),
    (TypeError, "input is float64, weight is float32", lambda: F.conv2d(X, W.astype(np.float32))),
    (TypeError, "floating point, got uint8", lambda: F.conv2d(X.astype(np.uint8), W)),
    (ValueError, r"expected input \(N, C, H, W\)", lambda: F.conv2d(X[0, 0], W)),
    (ValueError, "weight must have 4 dimensions", lambda: F.conv2d(X, W[0])),
    (ValueError, "same.*needs stride 1", lambda: F.conv2d(X, W, padding="same", stride=2)),
    (TypeError, "padding must be an int", lambda: F.conv2d(X, W, padding="full")),
    (TypeError, "stride must be an int or a pair", lambda: F.conv2d(X, W, stride=1.5)),
    (ValueError, "output_padding 2 must be smaller", lambda:
        F.conv_transpose2d(X, W.transpose(1, 0, 2, 3), stride=2, output_padding=2)),
    (ValueError, "takes 4, which groups=1", lambda: F.conv_transpose2d(X, W)),
    (ValueError, "use less padding", lambda: F.conv_transpose2d(X, W.transpose(1, 0, 2, 3), padding=9)),
    (ValueError, r"has 10 features.*takes 4: use Linear\(10, 5\)", lambda:
        F.linear(np.zeros((2, 10)), np.zeros((5, 4)))),
    (ValueError, r"Flatten\(\) gives 16\*3\*3 = 144 features", lambda: F.linear(IMAGES, np.zeros((5, 144)))),
    (ValueError, "bias must be", lambda: F.linear(np.zeros((2, 4)), np.zeros((5, 4)), np.zeros(4))),
    (ValueError, "equal leading dimensions", lambda:
        F.bilinear(np.zeros((2, 3)), np.zeros((3, 4)), np.zeros((5, 3, 4)))),
    (IndexError, r"indices 0\.\.7 for a weight of 3 rows", lambda: F.embedding(np.array([0, 7]), np.zeros((3, 2)))),
    (TypeError, "indices must be integers", lambda: F.embedding(np.zeros(2), np.zeros((3, 2)))),
    (ValueError, "sparse", lambda: F.embedding(np.array([0]), np.zeros((3, 2)), sparse=True)),
]


@pytest.mark.parametrize("kind, message, call", MISTAKES, ids=[m for _, m, _ in MISTAKES])
def test_mistakes_are_explained(kind, message, call):
    with pytest.raises(kind, match=message):
        call()
