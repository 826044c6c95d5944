"""Smooth activation functions: the reference against PyTorch, Numba against the reference and to the last digits."""
from importlib import import_module
from math import erfc, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import assert_close, assert_same_bits_on_any_threads, dtypes, examples, layouts, normal

reference, cpu = (import_module("tinycnn.kernels." + name) for name in ("reference", "cpu"))
KINDS = ["sigmoid", "tanh", "silu", "gelu", "gelu_tanh"]
BOUNDED = KINDS[:2]
shapes = st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_is_torchs(kind):
    torch = pytest.importorskip("torch")
    x, g = 4 * normal((7, 60), "float64"), normal((7, 60), "float64", 1)
    t, F = torch.tensor(x, requires_grad=True), torch.nn.functional
    y = F.gelu(t, approximate="tanh") if kind == "gelu_tanh" else getattr(F, kind)(t)
    y.backward(torch.tensor(g))
    found = reference.gate(x, kind)
    assert_close((found, reference.gate_backward(g, found if kind in BOUNDED else x, kind)),
                 (y.detach().numpy(), t.grad.numpy()))


@examples
@given(shapes, dtypes, layouts, layouts, st.sampled_from(KINDS))
def test_numba_equals_the_reference(shape, dtype, layout, layout_g, kind):
    x, g = 4 * normal(shape, dtype), normal(shape, dtype, 1)
    y = reference.gate(x, kind)
    assert_close(cpu.gate(layout(x), kind), y)
    saved = y if kind in BOUNDED else x
    assert_close(cpu.gate_backward(layout_g(g), layout(saved), kind), reference.gate_backward(g, saved, kind))


@pytest.mark.parametrize("kernels", [reference, cpu], ids=["reference", "cpu"])
@pytest.mark.parametrize("last", [False, True])
def test_add_relu_is_done_in_the_place_of_its_first_argument(kernels, last):
    x, residual = (normal((2, 3, 4, 5), "float32", i) for i in (0, 1))
    if last:
        x, residual = (np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) for a in (x, residual))
    expected, before = np.maximum(x + residual, 0), residual.copy()
    y = kernels.add_relu(x, residual)
    assert np.shares_memory(y, x) and not np.shares_memory(y, residual)
    for found, wanted in ((y, expected), (x, expected), (residual, before)):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name, more", [("relu", ()), ("erf", ()), ("gate", ("tanh",))])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_blocks_cover_all_elements(name, more, extra):
    """One block, and one element fewer and more than a block."""
    home = import_module("tinycnn.kernels.cpu." + {"relu": "activation", "erf": "math", "gate": "gates"}[name])
    x = normal((home.BLOCK + extra,), "float64")
    y = getattr(reference, name)(x, *more)
    assert_close(getattr(cpu, name)(x, *more), y)
    if name != "erf":
        g = normal(x.shape, "float64", 1)
        backward = (g, y, *more)
        assert_close(getattr(cpu, name + "_backward")(*backward), getattr(reference, name + "_backward")(*backward))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["sigmoid", "tanh"])
def test_every_digit_but_the_last(kind, dtype):
    """From where results are as small as numbers get (the smallest sigmoids lose digits as all such numbers do)."""
    x = np.concatenate([np.linspace(-800, 800, 100_001), np.linspace(-2, 2, 10_001), np.logspace(-40, 0, 999)])
    x = x.astype(dtype)
    expected = reference.gate(x.astype(np.longdouble), kind)
    found = cpu.gate(x, kind)
    assert (np.abs(found - expected) <= 4 * np.spacing(np.abs(expected).astype(dtype))).all()


def test_gelu_keeps_its_digits_far_below_zero():
    x = np.linspace(-9, 9, 9001).astype("f")
    expected = np.array([v * erfc(-v * sqrt(0.5)) / 2 for v in x.astype("d")])
    np.testing.assert_allclose(cpu.gate(x, "gelu"), expected, rtol=2e-5, atol=1e-37)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", BOUNDED)
def test_special_values(kind, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)
    np.testing.assert_array_equal(cpu.gate(x, kind), reference.gate(x, kind))
    for k in KINDS:
        assert np.isnan(cpu.gate(x[:1], k)).all() and np.isnan(cpu.gate_backward(x[:1], x[3:4], k)).all()


def test_same_bits_on_any_number_of_threads():
    x = normal((300, 333), "f")
    assert_same_bits_on_any_threads(lambda: tuple(a for kind in KINDS for a in (cpu.gate(x, kind),
                                                                                cpu.gate_backward(x, x, kind))))
