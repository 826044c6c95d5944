"""Derivatives that need no backward: complex steps, differences in the presence of rounding, and of large inputs."""
from importlib import import_module

import numpy as np
import pytest

import tinycnn as tc
from tinycnn.cases import all_cases
from tinycnn.cases.table import bound
from tinycnn.dtypes import is_floating
from tinycnn.gradcheck import GradcheckError, gradcheck, with_backward, worst_error

reference = import_module("tinycnn.kernels.reference")
window = import_module("tinycnn.kernels.geometry").window
tanh = with_backward(np.tanh, lambda g, x: g * (1 - np.tanh(x) ** 2))
relu = with_backward(lambda x: np.maximum(x, 0), lambda g, x: g * (x > 0))


# ---------------------------------------------------------------------------------------- complex steps

def test_a_complex_step_is_exact(rng):
    x = rng.standard_normal((3, 4))
    assert gradcheck(tanh, x, report=True)[4:] == ("complex", True)
    assert worst_error(tanh, x, method="complex") < 1e-15 < 1e-13 < worst_error(tanh, x) < 1e-10
    wrong = with_backward(np.tanh, lambda g, x: g * (1 - np.tanh(x) ** 2) * (1 + 1e-12))
    assert gradcheck(wrong, x, method="difference")
    with pytest.raises(GradcheckError, match="a complex step says .*off by 9.84e-13, allowed 1.08e-13"):
        gradcheck(wrong, x, atol=1e-14, rtol=1e-13)


@pytest.mark.parametrize("forward, backward, reason", [
    (np.abs, lambda g, x: g * np.sign(x), "not analytic around there, as abs, conj"),
    (lambda x: np.conj(x) * x, lambda g, x: 2 * g * x, "not analytic"),
    (lambda x: np.linalg.norm(x), lambda g, x: g * x / np.linalg.norm(x), "not analytic"),
    (lambda x: np.floor(x) * x, lambda g, x: g * np.floor(x), r"does not run on complex arrays \(TypeError: ufunc"),
    (lambda x: np.array([float(v) ** 2 for v in x]), lambda g, x: 2 * g * x, "does not run on complex arrays"),
    (lambda x: x.astype(np.float64), lambda g, x: g, r"does not run on complex arrays \(ComplexWarning"),
    (lambda x: np.maximum(x, 0.5), lambda g, x: g * (x > 0.5), "or it has a kink"),
])
def test_where_a_complex_step_is_not_possible(forward, backward, reason):
    x = np.array([0.5, 1.5, -0.3])
    found = gradcheck(with_backward(forward, backward), x, report=True)
    assert found and found.method == "difference"
    with pytest.raises(ValueError, match=f"no derivative by a complex step: .*{reason}.*use method='difference'"):
        gradcheck(with_backward(forward, backward), x, method="complex")


def test_methods_are_known(rng):
    with pytest.raises(ValueError, match="method='exact': expected one of auto, difference, complex"):
        gradcheck(tanh, rng.standard_normal(3), method="exact")


def test_tensors_take_complex_steps_on_request(rng):
    x = tc.Tensor(rng.standard_normal((2, 3)), requires_grad=True)
    assert gradcheck(tc.tanh, x, report=True).method == "difference"
    found = gradcheck(tc.tanh, x, report=True, method="complex")
    assert found.method == "complex" and found.error < 1e-15
    assert tc.gradgradcheck(tc.tanh, x, atol=1e-13, rtol=1e-13, method="complex")
    assert not is_floating(np.dtype(complex))        # only while it is needed
    with pytest.raises(ValueError, match="does not run on complex arrays"):
        gradcheck(tc.erf, x, method="complex")
    with pytest.raises(TypeError, match="complex128"):
        tc.Tensor(x.data + 0j)


@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_every_op_that_runs_on_complex_numbers_is_exact(fast):
    """The kernels' gradients against derivatives of the plain kernels: of four rows in five, to a few roundings."""
    errors, rows = {}, [row for row in all_cases() if row.grads]
    for row in rows:
        try:
            errors[row.id] = gradcheck(*bound(row), method="complex", fast_mode=fast, report=True).error
        except ValueError as error:
            assert "no derivative by a complex step" in str(error)
    assert len(errors) >= 0.8 * len(rows)
    assert not {name: e for name, e in errors.items() if not e < (1e-13 if fast else 1e-14)}


def test_reference_kernels_alone(rng):
    """A plain pair of kernels, no engine around them."""
    x, weight = rng.standard_normal((2, 4, 5, 6)), rng.standard_normal((6, 2, 3, 2))
    win = window((5, 6), (3, 2), (2, 1), (1, 0), (1, 2))

    def backward(g, x, weight):
        return reference.conv2d_input(g, weight, win, 2), reference.conv2d_weight(x, g, win, 2)
    found = gradcheck(with_backward(lambda x, weight: reference.conv2d(x, weight, None, win, 2), backward), [x, weight],
                      report=True)
    assert found.method == "complex" and found.error < 1e-14


# ---------------------------------------------------------------------------------------- rounding

def test_rounding_is_no_error(rng):
    x = rng.standard_normal(4)
    for size in (1e3, 1e6, 1e8):
        pair = with_backward(lambda x: np.sin(x) + size, lambda g, x: g * np.cos(x))     # noqa: B023
        assert gradcheck(pair, x, method="difference")
    with pytest.raises(GradcheckError, match="outputs are so large that this is within the rounding"):
        gradcheck(with_backward(lambda x: np.sin(x) + 1e14, lambda g, x: g * np.cos(x)), x, method="difference")


# ---------------------------------------------------------------------------------------- large inputs

def deep(weights):
    """The sum of a plain network of ReLUs, and its gradient."""
    def layers(x):
        for w in weights:
            yield x
            x = np.maximum(x @ w, 0)
        yield x

    def backward(g, x):
        *before, after = layers(x)
        d = g * (after > 0)
        for x, w in zip(before[::-1], weights[::-1]):
            d = d @ w.T * ((x > 0) if x is not before[0] else 1)
        return d
    return with_backward(lambda x: list(layers(x))[-1].sum(), backward)


def test_small_inputs_are_checked_whole_and_large_ones_along_directions(rng):
    for size, full in ((500, True), (501, False)):   # and as many outputs
        assert gradcheck(tanh, rng.standard_normal(size), report=True).full is full
    assert gradcheck(tanh, rng.standard_normal(600), report=True, fast_mode=False).full
    assert not gradcheck(tanh, rng.standard_normal(3), report=True, fast_mode=True).full


@pytest.mark.parametrize("change", [lambda x: x, lambda x: np.maximum(x, 0), np.round], ids=["all", "zeros", "ties"])
def test_no_false_alarm_in_large_inputs(change, rng):
    x = change(rng.standard_normal((100, 200)))      # among 20,000 elements some are within a step of a kink
    assert gradcheck(relu, x)
    assert gradcheck(deep([rng.standard_normal((200, 50)), rng.standard_normal((50, 50))]), x)


@pytest.mark.parametrize("func, slope", [(np.sin, np.cos), (lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0))])
def test_one_element_among_many_is_named(func, slope, rng):
    x, off = rng.standard_normal((100, 200)), np.ones((100, 200))
    x[17, 33], off[17, 33] = 0.4, 1.001
    for method in ("auto", "difference"):
        with pytest.raises(GradcheckError, match=r"output 0\[17, 33\] / d input 0\[17, 33\]: .*1 of .* looked at"):
            gradcheck(with_backward(func, lambda g, x: g * slope(x) * off), x, method=method)


def test_a_wrong_factor_in_a_deep_net_is_told(rng):
    net = deep([rng.standard_normal((200, 50)), rng.standard_normal((50, 50))])
    wrong = with_backward(net.forward, lambda g, x: 1.01 * net.backward(g, x))
    with pytest.raises(GradcheckError, match="it is 1.01 times what it should be"):
        gradcheck(wrong, rng.standard_normal((100, 200)))
