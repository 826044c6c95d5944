"""First values: torch's distributions (two-sample Kolmogorov-Smirnov against torch's draws), seeds, fans, mistakes."""
import math

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn
from tinycnn.nn import init

DRAWS = [
    ("uniform_", {"a": -2.0, "b": 3.0}), ("normal_", {"mean": 1.0, "std": 0.5}),
    ("trunc_normal_", {}), ("trunc_normal_", {"mean": 1.0, "std": 2.0, "a": -0.5, "b": 1.5}),
    ("xavier_uniform_", {}), ("xavier_uniform_", {"gain": 3.0}), ("xavier_normal_", {"gain": 0.5}),
    ("kaiming_uniform_", {}), ("kaiming_uniform_", {"a": math.sqrt(5)}),
    ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_normal_", {}), ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_normal_", {"a": 0.3, "nonlinearity": "leaky_relu"}), ("kaiming_normal_", {"nonlinearity": "tanh"}),
]


def same_distribution(a, b):
    """Two-sample Kolmogorov-Smirnov, level 1e-4: sup |F_a - F_b| < 2.2 sqrt(1/n + 1/m)."""
    a, b = np.sort(np.ravel(a)), np.sort(np.ravel(b))
    every = np.concatenate([a, b])
    gap = np.abs(np.searchsorted(a, every, "right") / a.size - np.searchsorted(b, every, "right") / b.size).max()
    return gap < 2.2 * math.sqrt(1 / a.size + 1 / b.size)


def test_the_test_of_distributions_can_fail(rng):
    a = rng.standard_normal(20_000)
    assert same_distribution(a, rng.standard_normal(20_000))
    assert not same_distribution(a, 1.1 * rng.standard_normal(20_000))
    assert not same_distribution(a, 0.1 + rng.standard_normal(20_000))


@pytest.mark.parametrize("name,options", DRAWS, ids=[f"{name}{i}" for i, (name, _) in enumerate(DRAWS)])
def test_distributions_are_torchs(name, options):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = getattr(torch.nn.init, name)(torch.empty(60, 25, 3, 4), **options)
    mine = tc.zeros(60, 25, 3, 4)
    assert getattr(init, name)(mine, **options) is mine
    assert same_distribution(mine.numpy(), theirs.numpy()) and mine.dtype == np.float32


LAYERS = [
    lambda n: n.Linear(300, 80), lambda n: n.Conv2d(12, 90, (3, 5)), lambda n: n.Conv2d(40, 90, 3, groups=2),
    lambda n: n.Conv1d(30, 90, 7), lambda n: n.ConvTranspose2d(40, 30, 3),
    lambda n: n.ConvTranspose1d(40, 30, 9, groups=5), lambda n: n.Bilinear(30, 20, 40), lambda n: n.Embedding(200, 60),
]


@pytest.mark.parametrize("make", LAYERS, ids=["Linear", "Conv2d", "grouped", "Conv1d", "ConvTranspose2d",
                                              "ConvTranspose1d", "Bilinear", "Embedding"])
def test_new_layers_are_drawn_as_torchs(make):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    mine, theirs = [[make(n) for _ in range(20)] for n in (nn, torch.nn)]
    for name, _ in mine[0].named_parameters():
        a, b = (np.stack([getattr(m, name).detach().numpy() for m in layers]) for layers in (mine, theirs))
        assert same_distribution(a, b), name
        assert abs(np.abs(a).max() / np.abs(b).max() - 1) < 0.15, name                   # the bounds themselves


def test_a_seed_repeats_all_draws_in_both_precisions():
    def values(dtype):
        tc.manual_seed(5)
        model = nn.Sequential(nn.Conv2d(3, 4, 3, dtype=dtype), nn.Linear(4, 2, dtype=dtype))
        init.trunc_normal_(model[0].weight)
        init.orthogonal_(model[1].weight)
        return [p.numpy() for p in model.parameters()]
    for a, b, c in zip(values(np.float32), values(np.float32), values(np.float64)):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-6)
        assert c.dtype == np.float64
    assert not np.array_equal(nn.Linear(4, 2).weight.numpy(), nn.Linear(4, 2).weight.numpy())


@pytest.mark.parametrize("shape", [(6, 10), (10, 6), (5, 5), (8, 3, 2, 2), (30, 3, 2, 2)])
def test_orthogonal(shape):
    w = init.orthogonal_(tc.zeros(shape, dtype=np.float64), gain=2.0).numpy().reshape(shape[0], -1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_is_uniform_over_rotations():
    """Without the signs of R a QR decomposition's first entries are all of one sign."""
    entries = [init.orthogonal_(tc.zeros(2, 2)).numpy()[0, 0] for _ in range(300)]
    assert 0.4 < np.mean(np.array(entries) > 0) < 0.6


@pytest.mark.parametrize("shape,groups", [((4, 4, 3), 1), ((4, 2, 3, 3), 2), ((3, 5, 3, 5), 1), ((5, 3, 2, 2), 1),
                                          ((4, 2, 1, 3, 3), 1)])
def test_fixed_values_are_torchs(shape, groups):
    torch = pytest.importorskip("torch")
    for name, options in (("dirac_", {"groups": groups}), ("ones_", {}), ("zeros_", {}), ("constant_", {"val": 0.3})):
        mine, theirs = getattr(init, name)(tc.zeros(shape) + 9, **options), torch.full(shape, 9.0)
        np.testing.assert_array_equal(mine.numpy(), getattr(torch.nn.init, name)(theirs, **options).numpy())
    np.testing.assert_array_equal(init.eye_(tc.ones(3, 5)).numpy(), np.eye(3, 5))


def test_dirac_passes_channels_on():
    x = tc.randn(2, 4, 5, 5)
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False, groups=2)
    init.dirac_(conv.weight, groups=2)
    np.testing.assert_array_equal(conv(x).detach().numpy(), x.numpy())


def test_sparse():
    w = init.sparse_(tc.zeros(50, 40), sparsity=0.25, std=2.0).numpy()
    assert ((w == 0).sum(0) == 13).all() and 1.8 < w[w != 0].std() < 2.2                 # ceil(0.25 * 50) = 13


def test_gains_are_torchs():
    torch = pytest.importorskip("torch")
    for name, param in (("linear", None), ("conv2d", None), ("conv_transpose1d", None), ("sigmoid", None),
                        ("tanh", None), ("relu", None), ("selu", None), ("leaky_relu", None), ("leaky_relu", 0.3)):
        assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


def test_inits_leave_no_graph_and_are_noticed():
    layer = nn.Linear(2, 2)
    y = layer(tc.ones(1, 2, requires_grad=True)).sum()
    init.xavier_normal_(layer.weight)
    assert layer.weight.is_leaf and layer.weight.requires_grad
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize("use,words", [
    (lambda: init.xavier_uniform_(tc.zeros(3)), "fan_in and fan_out need at least two dimensions, got shape (3,)"),
    (lambda: init.kaiming_normal_(tc.zeros(3, 3), mode="fan"), "mode must be 'fan_in' or 'fan_out', got 'fan'"),
    (lambda: init.kaiming_normal_(tc.zeros(3, 3), nonlinearity="swish"), "'swish' is none of linear"),
    (lambda: init.eye_(tc.zeros(3)), "eye_: expected a matrix"), (lambda: init.sparse_(tc.zeros(3), 0.1), "sparse_"),
    (lambda: init.dirac_(tc.zeros(3, 3)), "dirac_"), (lambda: init.dirac_(tc.zeros(3, 3, 3), groups=2), "2 groups"),
    (lambda: init.orthogonal_(tc.zeros(3)), "orthogonal_: expected at least two dimensions"),
    (lambda: init.trunc_normal_(tc.zeros(3), a=2.0, b=1.0), "trunc_normal_: a=2.0 must be below b=1.0"),
    (lambda: init.trunc_normal_(tc.zeros(3), mean=50.0), "trunc_normal_: nearly nothing of the distribution"),
    (lambda: init.uniform_(tc.zeros(3), 2.0, 1.0), "uniform_: a=2.0 must not be above b=1.0"),
    (lambda: init.normal_(tc.zeros(3), std=-1.0), "normal_: std must be at least 0, got -1.0"),
])
def test_mistakes(use, words):
    with pytest.raises(ValueError) as caught:
        use()
    assert words in str(caught.value)
