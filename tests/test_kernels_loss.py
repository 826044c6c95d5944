"""Softmax, cross-entropy and dropout kernels: against PyTorch, Numba against the reference, on any threads."""
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import assert_close, assert_same_bits_on_any_threads, dtypes, examples, layouts, normal

reference, cpu = (import_module("tinycnn.kernels." + name) for name in ("reference", "cpu"))
both = pytest.mark.parametrize("kernels", [reference, cpu])
INF, NAN = float("inf"), float("nan")
HARD = np.array([[0, 0, 0, 0], [-INF, 1, 2, -INF], [-INF] * 4, [1, NAN, 2, 3], [INF, 0, 1, 2], [1e30, -1e30, 5, 1e30],
                 [-1e4, 0, 1e4, 3], [88, 89, 90, 710], [-745, -700, -100, 0]])
SMOOTHINGS = [0.0, 0.1, 1.0]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def quiet(kernel, *arguments):
    """What ops do: inf and nan are values, not events."""
    with np.errstate(all="ignore"):
        return kernel(*arguments)


@both
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmaxes_are_torchs(torch, kernels, name):
    for x in normal((5, 7), "float64"), HARD, np.empty((0, 4)), np.empty((3, 0)):
        t = torch.tensor(x, requires_grad=True)
        expected = getattr(torch, name)(t, 1)
        g = normal(x.shape, x.dtype)
        expected.backward(torch.tensor(g))
        y = quiet(getattr(kernels, name), x)
        gx = quiet(getattr(kernels, name + "_backward"), g, y)
        assert_close((y, gx), (expected.detach().numpy(), t.grad.numpy()))


@both
@pytest.mark.parametrize("label_smoothing", SMOOTHINGS)
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_torchs(torch, kernels, weighted, label_smoothing):
    x, target = normal((6, 4), "float64"), np.array([0, 3, -7, 2, 2, -7])
    weight = np.array([0.5, 2, 0, 1.5]) if weighted else None
    compare_cross_entropy(torch, kernels, x, target, weight, -7, label_smoothing)
    compare_cross_entropy(torch, kernels, x, np.abs(target) % 4, weight, 2, label_smoothing)


@both
@pytest.mark.parametrize("label_smoothing", SMOOTHINGS)
def test_cross_entropy_of_hard_logits_is_torchs(torch, kernels, label_smoothing):
    for shift in range(4):
        target = (np.arange(len(HARD)) + shift) % 4
        compare_cross_entropy(torch, kernels, HARD, target, None, -100, label_smoothing)


def compare_cross_entropy(torch, kernels, x, target, weight, ignore_index, label_smoothing):
    t, g = torch.tensor(x, requires_grad=True), normal(len(x), x.dtype, 3)
    expected = torch.nn.functional.cross_entropy(
        t, torch.tensor(target), None if weight is None else torch.tensor(weight), reduction="none",
        ignore_index=ignore_index, label_smoothing=label_smoothing)
    expected.backward(torch.tensor(g))
    options = weight, ignore_index, label_smoothing
    losses, logp = quiet(kernels.cross_entropy, x, target, *options)
    gx = quiet(kernels.cross_entropy_backward, g, logp, target, *options)
    assert_close((losses, gx), (expected.detach().numpy(), t.grad.numpy()))


@both
def test_ignored_rows_cost_nothing_whatever_they_hold(kernels):
    """Here PyTorch's gradient is NaN: 0 * NaN."""
    x, target = HARD[2:4].copy(), np.array([-100, -100])
    losses, logp = quiet(kernels.cross_entropy, x, target, None, -100, 0.1)
    assert not losses.any()
    assert not quiet(kernels.cross_entropy_backward, np.ones(2), logp, target, None, -100, 0.1).any()


@examples
@given(st.integers(0, 70), st.integers(1, 40), dtypes, layouts, layouts)
def test_softmaxes_equal_the_reference(M, C, dtype, layout, layout_g):
    x, g = 5 * normal((M, C), dtype), normal((M, C), dtype, 1)
    for name in "softmax", "log_softmax":
        y = getattr(reference, name)(x)
        assert_close(getattr(cpu, name)(layout(x)), y)
        backward = name + "_backward"
        assert_close(getattr(cpu, backward)(layout_g(g), layout(y)), getattr(reference, backward)(g, y))


@examples
@given(st.integers(0, 70), st.integers(1, 40), dtypes, layouts, st.sampled_from(["int64", "int32", "int8", "uint8"]),
       st.booleans(), st.sampled_from(SMOOTHINGS))
def test_cross_entropy_equals_the_reference(M, C, dtype, layout, integers, weighted, label_smoothing):
    x, g = 5 * normal((M, C), dtype), normal(M, dtype, 1)
    target = np.random.default_rng(2).integers(0, C, M).astype(integers)
    options = np.abs(normal(C, dtype, 3)) if weighted else None, 1, label_smoothing
    losses, logp = reference.cross_entropy(x, target, *options)
    assert_close(cpu.cross_entropy(layout(x), layout(target), *options), (losses, logp))
    shares = np.abs(g).max(initial=0) * (options[0].max() if weighted else 1)     # gradients are their differences
    assert_close(cpu.cross_entropy_backward(layout(g), layout(logp), layout(target), *options),
                 reference.cross_entropy_backward(g, logp, target, *options), least=shares)


# ------------------------------------------------------------------------------ dropout

def test_dropout_is_the_published_generator():
    """The first outputs of splitmix64 with seed 1234567, as its author's C code prints them, by their top 24 bits."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    GOLDEN = 0x9E3779B97F4A7C15                                          # C adds it before the first output
    tops = [n >> 40 for n in published]
    for kernels in reference, cpu:
        for start in range(len(tops)):                                   # even and odd seeds
            for i, top in enumerate(tops[start:]):
                for p, kept in (top / 2**24, True), ((top + 1) / 2**24, False):
                    assert (kernels.dropout(np.ones(4), p, 1234567 + GOLDEN * (start + 1))[i] != 0) == kept


@both
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_dropout_keeps_the_right_share_and_the_mean(kernels, p):
    y = kernels.dropout(np.ones((100, 1000)), p, 42)
    kept = y != 0
    assert abs(kept.mean() - (1 - p)) < 5 * (p * (1 - p) / y.size) ** 0.5 + 1e-12
    np.testing.assert_allclose(y[kept], 1 / (1 - p), rtol=1e-15)
    for a, b in (kept[:, 1:], kept[:, :-1]), (kept[1:], kept[:-1]):      # neighbours are independent
        assert abs((a & b).mean() - (1 - p) ** 2) < 5 * ((1 - p) ** 2 / a.size) ** 0.5


@both
def test_dropout_of_everything_and_of_nothing(kernels):
    x = normal((3, 4), "f")
    assert not kernels.dropout(x, 1.0, 0).any()
    same = kernels.dropout(x, 0.0, 0)
    assert same is not x and (same == x).all()
    assert kernels.dropout(np.ones(()), 0.5, 1).shape == () and kernels.dropout(np.ones((0, 3)), 0.5, 1).shape == (0, 3)


@examples
@given(st.lists(st.integers(0, 6), max_size=4), dtypes, layouts, st.sampled_from([0.0, 0.25, 0.3, 1.0]),
       st.integers(-2**63, 2**64 - 1))
def test_dropout_equals_the_reference_bit_for_bit(shape, dtype, layout, p, seed):
    x = normal(shape, dtype)
    assert_close(cpu.dropout(layout(x) if x.ndim else x, p, seed), reference.dropout(x, p, seed), 0)


def test_same_bits_on_any_number_of_threads():
    x, target, weight = normal((900, 70), "f"), np.arange(900) % 70, np.linspace(0, 2, 70, dtype="f")
    assert_same_bits_on_any_threads(lambda: (
        cpu.softmax(x), cpu.softmax_backward(x, x), cpu.log_softmax(x), cpu.log_softmax_backward(x, x),
        *cpu.cross_entropy(x, target, weight, 3, 0.1),
        cpu.cross_entropy_backward(x[:, 0], x, target, weight, 3, 0.1), cpu.dropout(x, 0.4, 9)))
