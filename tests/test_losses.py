"""Losses: what the rows of cases/loss.py cannot say.  Extreme logits, weights, labels to ignore, mistakes."""
import numpy as np
import pytest

import tinycnn as tc
from tinycnn.nn import functional as F

X = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0], [2.0, 2.0, 2.0], [-1.0, 0.0, 1.0]])
LABELS = np.array([0, 2, 1, 0])
WEIGHT = np.array([1.0, 2.0, 0.5])


def by_hand(x, labels):
    e = np.exp(x - x.max(1, keepdims=True))
    return -np.log((e / e.sum(1, keepdims=True))[np.arange(len(labels)), labels])


def test_cross_entropy_by_hand_and_mean_over_weights():
    losses = by_hand(X, LABELS)
    np.testing.assert_allclose(F.cross_entropy(X, LABELS).item(), losses.mean(), rtol=1e-14)
    w = WEIGHT[LABELS]
    np.testing.assert_allclose(F.cross_entropy(X, LABELS, WEIGHT).item(), (w * losses).sum() / w.sum(), rtol=1e-14)
    kept = LABELS != 0
    ignoring = F.cross_entropy(X, LABELS, WEIGHT, ignore_index=0).item()
    np.testing.assert_allclose(ignoring, (w * losses)[kept].sum() / w[kept].sum(), rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_extreme_logits(dtype):
    x = tc.Tensor(np.array([[1e4, -1e4, 0], [-1e30, 1e30, 0], [3e38, 3e38, -3e38]], dtype), requires_grad=True)
    losses = F.cross_entropy(x, np.array([1, 1, 0]), reduction="none")
    np.testing.assert_allclose(losses.data, np.array([2e4, 0, np.log(2)], dtype), rtol=1e-6)
    losses.sum().backward()
    np.testing.assert_allclose(x.grad.data, [[1, -1, 0], [0, 0, 0], [-0.5, 0.5, 0]], atol=1e-7)


def test_minus_infinity_masks_a_class():
    x = tc.Tensor(np.array([[0.0, -np.inf, 0.0]]), requires_grad=True)
    loss = F.cross_entropy(x, np.array([2]))
    np.testing.assert_allclose(loss.item(), np.log(2))
    loss.backward()
    np.testing.assert_allclose(x.grad.data, [[0.5, 0, -0.5]])


def test_ignored_rows_have_no_gradient_even_if_nan():
    x = tc.Tensor(np.array([[np.nan, 1.0], [1.0, 2.0]]), requires_grad=True)
    F.nll_loss(x, np.array([-100, 1])).backward()
    np.testing.assert_array_equal(x.grad.data, [[0, 0], [0, -1]])


def test_everything_ignored_is_nan():
    assert np.isnan(F.cross_entropy(X, np.full(4, -100)).item())
    assert F.cross_entropy(X, np.full(4, -100), reduction="sum").item() == 0


def test_empty_batch_sums_to_zero():
    x = tc.Tensor(np.zeros((0, 3)), requires_grad=True)
    loss = F.cross_entropy(x, np.zeros(0, int), reduction="sum")
    loss.backward()
    assert loss.item() == 0 and x.grad.shape == (0, 3)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_labels_of_any_integer_type(dtype):
    assert F.cross_entropy(X, LABELS.astype(dtype)).item() == F.cross_entropy(X, LABELS).item()
    assert F.nll_loss(X, tc.Tensor(LABELS.astype(dtype))).item() == F.nll_loss(X, LABELS).item()


def test_class_weights_and_pos_weight_against_torch():
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    target = np.array([[0.0, 1, 0.3], [1, 0, 0.5], [0, 0, 1], [1, 1, 0]])
    probable = np.exp(X) / np.exp(X).sum(1, keepdims=True)
    for name, x, args, options in (
            ("cross_entropy", X, (LABELS, WEIGHT), {"label_smoothing": 0.3, "ignore_index": 2}),
            ("cross_entropy", X, (probable, WEIGHT), {"label_smoothing": 0.1}),
            ("nll_loss", X, (LABELS, WEIGHT), {"ignore_index": 1}),
            ("binary_cross_entropy", probable, (target, WEIGHT), {}),
            ("binary_cross_entropy_with_logits", X, (target, WEIGHT), {"pos_weight": WEIGHT[::-1].copy()}),
            ("mse_loss", X, (target,), {"weight": probable}),
            ("l1_loss", X, (target,), {"weight": probable}),
            ("huber_loss", X, (target,), {"weight": probable})):
        for reduction in ("none", "mean", "sum"):
            mine = tc.Tensor(x.copy(), requires_grad=True)
            theirs = torch.tensor(x, requires_grad=True)
            y = getattr(F, name)(mine, *args, reduction=reduction, **options)
            z = getattr(torch.nn.functional, name)(
                theirs, *map(torch.tensor, args), reduction=reduction,
                **{k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()})
            np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-12, err_msg=name)
            y.sum().backward()
            z.sum().backward()
            np.testing.assert_allclose(mine.grad.data, theirs.grad.numpy(), rtol=1e-12, atol=1e-15, err_msg=name)


def test_binary_cross_entropy_at_and_beyond_the_ends():
    x = tc.Tensor(np.array([0.0, 1.0, 0.0]), requires_grad=True)
    losses = F.binary_cross_entropy(x, np.array([1.0, 0.0, 0.0]), reduction="none")
    np.testing.assert_array_equal(losses.data, [100, 100, 0])
    losses.sum().backward()
    assert np.isfinite(x.grad.data).all()
    logits = tc.Tensor(np.array([1e4, -1e4, 1e4], np.float32), requires_grad=True)
    losses = F.binary_cross_entropy_with_logits(logits, np.array([0, 1, 1], np.float32), reduction="none")
    np.testing.assert_array_equal(losses.data, [1e4, 1e4, 0])
    losses.sum().backward()
    np.testing.assert_array_equal(logits.grad.data, [1, -1, 0])


def test_kl_div_takes_zero_probabilities():
    target = tc.Tensor(np.array([0.0, 1.0]), requires_grad=True)
    losses = F.kl_div(np.array([-3.0, -0.5]), target, reduction="none")
    np.testing.assert_array_equal(losses.data, [0, 0.5])
    losses.sum().backward()
    assert np.isfinite(target.grad.data).all()


MISTAKES = [
    (TypeError, "labels must be integers.*float64.*target.long", lambda: F.cross_entropy(X, LABELS * 1.0)),
    (IndexError, r"target\[2\] is 7.*3 classes.*0\.\.2", lambda: F.cross_entropy(X, np.array([0, 1, 7, 2]))),
    (IndexError, r"target\[1\] is -1", lambda: F.nll_loss(X, np.array([0, -1, 1, 2]))),
    (ValueError, r"target has shape \(3,\), input \(4, 3\) needs \(4,\)", lambda: F.cross_entropy(X, LABELS[:3])),
    (ValueError, r"squeeze\(1\)", lambda: F.cross_entropy(X, LABELS[:, None])),
    (ValueError, "weight has shape.*3 classes", lambda: F.cross_entropy(X, LABELS, np.ones(4))),
    (TypeError, "input is float64, weight is float32", lambda: F.cross_entropy(X, LABELS, np.ones(3, np.float32))),
    (ValueError, "label_smoothing", lambda: F.cross_entropy(X, LABELS, label_smoothing=1.5)),
    (ValueError, "reduction must be", lambda: F.cross_entropy(X, LABELS, reduction="average")),
    (TypeError, "floating point.*int64", lambda: F.cross_entropy(LABELS[:, None], LABELS)),
    (ValueError, "apply sigmoid", lambda: F.binary_cross_entropy(-X * X, X)),
    (ValueError, "apply sigmoid", lambda: F.binary_cross_entropy(X * X + 1, X)),
    (ValueError, "must have the shape", lambda: F.binary_cross_entropy_with_logits(X, X[0])),
    (ValueError, "do not broadcast", lambda: F.mse_loss(X, X[:3])),
    (ValueError, "delta", lambda: F.huber_loss(X, X, delta=0)),
    (ValueError, "beta", lambda: F.smooth_l1_loss(X, X, beta=-1)),
    (ValueError, "margin must be positive", lambda: F.triplet_margin_loss(X, X, X, 0)),
    (ValueError, r"expected inputs \(N, D\)", lambda: F.cosine_embedding_loss(X, X, X)),
    (ValueError, "p must be 1 or 2", lambda: F.multi_margin_loss(X, LABELS, p=3)),
    (ValueError, "negative elements", lambda: F.gaussian_nll_loss(X, X, -1.0)),
    (ValueError, "one size may be 1", lambda: F.gaussian_nll_loss(X, X, WEIGHT[:2])),
    (ValueError, "shape of the input", lambda: F.mse_loss(X, X, weight=X[0])),
]


@pytest.mark.parametrize("kind, message, call", MISTAKES, ids=[m for _, m, _ in MISTAKES])
def test_mistakes_are_explained(kind, message, call):
    with pytest.raises(kind, match=message):
        call()


def test_broadcasting_a_target_warns():
    with pytest.warns(UserWarning, match=r"\(4, 3\) and target \(3,\) differ in shape"):
        F.mse_loss(X, X[0])


def test_labels_changed_before_backward_are_noticed():
    labels = tc.Tensor(LABELS.copy())
    loss = F.cross_entropy(tc.Tensor(X, requires_grad=True), labels)
    labels.data[...] = 0
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


@pytest.mark.parametrize("loss, inputs, slopes", [
    (lambda x: F.hinge_embedding_loss(x, np.array([-1.0]), reduction="sum"), [1.0], [-1]),
    (lambda x: F.margin_ranking_loss(x, np.zeros(1), np.ones(1), reduction="sum"), [0.0], [-1]),
    (lambda x: F.cosine_embedding_loss(x, np.array([[0.0, 1.0]]), np.array([-1])), [[1.0, 0.0]], [[0, 1]]),
])
def test_at_the_margin_a_pair_still_counts(loss, inputs, slopes):
    """max(0, v) has there the slope of v, as PyTorch's clamp_min; relu has 0."""
    x = tc.Tensor(np.array(inputs), requires_grad=True)
    y = loss(x)
    y.backward()
    assert y.item() == 0
    np.testing.assert_allclose(x.grad.data, slopes, atol=1e-12)


def test_kl_div_has_a_slope_at_probability_zero():
    """That of -target * input, which is all that is left there; PyTorch's is nan."""
    target = tc.Tensor(np.array([0.0, 0.4]), requires_grad=True)
    F.kl_div(np.array([0.3, -0.5]), target, reduction="sum").backward()
    np.testing.assert_allclose(target.grad.data, [-0.3, np.log(0.4) + 1 + 0.5], rtol=1e-12)


def test_multi_margin_loss_has_the_shape_of_its_target():
    for x, target, shape in ((np.zeros(3), [0], (1,)), (np.zeros(3), 0, ()), (np.zeros((2, 3)), [0, 1], (2,))):
        assert F.multi_margin_loss(x, np.array(target), reduction="none").shape == shape
