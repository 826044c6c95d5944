"""Normalisation kernels: the reference against PyTorch, Numba against the reference, bit for bit on any threads."""
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import (LAYOUTS, assert_close, assert_same_bits_on_any_threads, dtypes, examples, layouts,
                           normal)

reference, cpu = (import_module("tinycnn.kernels." + name) for name in ("reference", "cpu"))
both = pytest.mark.parametrize("kernels", [reference, cpu])
EPS = 1e-5
SHAPES = [(5, 6), (4, 6, 7), (3, 6, 4, 5), (2, 6, 3, 2, 4)]
shapes = st.lists(st.integers(1, 6), max_size=3).flatmap(
    lambda rest: st.tuples(st.integers(1, 5), st.integers(1, 20)).map(lambda NC: (*NC, *rest)))


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def batch_norm(kernels, x, g, weight, bias):
    y, mean, var = kernels.batch_norm(x, weight, bias, EPS)
    return y, mean, var, *kernels.batch_norm_backward(g, x, mean, var, weight, EPS)


def batch_norm_eval(kernels, x, g, weight, bias):
    mean, var = normal(x.shape[1], x.dtype, 4), np.exp(normal(x.shape[1], x.dtype, 5))
    return (kernels.batch_norm_eval(x, mean, var, weight, bias, EPS),
            *kernels.batch_norm_eval_backward(g, x, mean, var, weight, EPS))


def batch_norm_relu(kernels, x, g, weight, bias, residual):
    """By the batch's statistics and by given ones; the gradients for the reference's y, whose signs are the mask."""
    some, (mean, var) = residual is not None, (normal(x.shape[1], x.dtype, 4), np.exp(normal(x.shape[1], x.dtype, 5)))
    fitted = kernels.batch_norm_relu(x, weight, bias, EPS, residual)
    y, *statistics = reference.batch_norm_relu(x, weight, bias, EPS, residual)
    return (*fitted, *kernels.batch_norm_relu_backward(g, y, x, *statistics, weight, EPS, some),
            kernels.batch_norm_relu_eval(x, mean, var, weight, bias, EPS, residual),
            *kernels.batch_norm_relu_eval_backward(g, y, x, mean, var, weight, EPS, some))


def group_norm(kernels, x, g, weight, bias, groups):
    y, mean, rstd = kernels.group_norm(x, groups, weight, bias, EPS)
    return y, mean, rstd, *kernels.group_norm_backward(g, x, mean, rstd, groups, weight)


def layer_norm(kernels, x, g, weight, bias):
    y, mean, rstd = kernels.layer_norm(x, weight, bias, EPS)
    return y, mean, rstd, *kernels.layer_norm_backward(g, x, mean, rstd, weight)


def response_norm(kernels, x, g, *options):
    return (kernels.local_response_norm(x, *options), kernels.local_response_norm_backward(g, x, *options))


def problem(shape, dtype="float64", affine=True, width=None):
    """x, g and, if `affine`, weight and bias."""
    parameters = [normal(width or shape[1], dtype, seed) if affine else None for seed in (2, 3)]
    return (2 * normal(shape, dtype) + 1, normal(shape, dtype, 1), *parameters)


def torch_norm(torch, function, x, g, *parameters):
    """Output and gradients of x and of each parameter, by PyTorch."""
    leaves = [torch.tensor(a, requires_grad=True) if a is not None else None for a in (x, *parameters)]
    y = function(*leaves)
    y.backward(torch.tensor(g))
    return (y.detach().numpy(), *[leaf.grad.numpy() for leaf in leaves if leaf is not None])


def without_statistics(results, affine):
    y, gx, gweight, gbias = results[0], *results[-3:]
    return (y, gx, gweight, gbias) if affine else (y, gx)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_is_torchs(torch, shape, affine):
    x, g, weight, bias = problem(shape, affine=affine)

    def training(x, w, b):
        return torch.nn.functional.batch_norm(x, None, None, w, b, True, eps=EPS)
    results = batch_norm(reference, x, g, weight, bias)
    assert_close(without_statistics(results, affine), torch_norm(torch, training, x, g, weight, bias))
    axes = (0, *range(2, x.ndim))
    assert_close(results[1:3], (x.mean(axes), x.var(axes)))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_eval_is_torchs(torch, shape, affine):
    x, g, weight, bias = problem(shape, affine=affine)
    mean, var = (torch.tensor(a) for a in (normal(6, x.dtype, 4), np.exp(normal(6, x.dtype, 5))))

    def evaluation(x, w, b):
        return torch.nn.functional.batch_norm(x, mean, var, w, b, False, eps=EPS)
    results = batch_norm_eval(reference, x, g, weight, bias)
    assert_close(without_statistics(results, affine), torch_norm(torch, evaluation, x, g, weight, bias))


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_group_norm_is_torchs(torch, shape, affine, groups):
    x, g, weight, bias = problem(shape, affine=affine)
    results = group_norm(reference, x, g, weight, bias, groups)

    def norm(x, w, b):
        return torch.nn.functional.group_norm(x, groups, w, b, EPS)
    assert_close(without_statistics(results, affine), torch_norm(torch, norm, x, g, weight, bias), least=EPS**-0.5)
    _, mean, rstd = torch.native_group_norm(torch.tensor(x), None, None, *shape[:2], x[0, 0].size, groups, EPS)
    assert_close(results[1:3], (mean.numpy(), rstd.numpy()))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (3, 40)], ids=str)
def test_layer_norm_is_torchs(torch, shape, affine):
    x, g, weight, bias = problem(shape, affine=affine)
    results = layer_norm(reference, x, g, weight, bias)

    def norm(x, w, b):
        return torch.nn.functional.layer_norm(x, shape[1:], w, b, EPS)
    assert_close(without_statistics(results, affine), torch_norm(torch, norm, x, g, weight, bias), least=EPS**-0.5)
    _, mean, rstd = torch.native_layer_norm(torch.tensor(x), shape[1:], None, None, EPS)
    assert_close(results[1:3], (mean[:, 0].numpy(), rstd[:, 0].numpy()))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 15])
@pytest.mark.parametrize("shape", SHAPES[1:3], ids=str)
def test_local_response_norm_is_torchs(torch, shape, size):
    x, g, *_ = problem(shape)
    options = size, 0.7, 0.75, 1.5
    expected = torch_norm(torch, lambda x: torch.nn.functional.local_response_norm(x, *options), x, g)
    assert_close(response_norm(reference, x, g, *options), expected)


# ------------------------------------------------------------------------------ numbers that are hard to normalise

@both
def test_large_means_keep_their_digits(kernels):
    """float32 integers 10000000 .. 10000255 are exact, and so must be the statistics and what follows."""
    x = (10_000_000 + np.random.default_rng(0).permutation(256)).astype("f").reshape(8, 2, 4, 4)
    x = np.concatenate([x, x + 512], 1)
    y, mean, var = kernels.batch_norm(x, None, None, 0.0)
    expected = reference.batch_norm(x.astype("d") - 10_000_000, None, None, 0.0)
    np.testing.assert_allclose(y, expected[0], atol=1e-6)
    np.testing.assert_allclose(var, expected[2], rtol=1e-6)
    rows = kernels.layer_norm(x.reshape(8, -1), None, None, 0.0)[0]
    np.testing.assert_allclose(rows, reference.layer_norm(x.reshape(8, -1).astype("d"), None, None, 0.0)[0], atol=1e-6)
    groups = kernels.group_norm(x, 2, None, None, 0.0)[0]
    np.testing.assert_allclose(groups, reference.group_norm(x.astype("d"), 2, None, None, 0.0)[0], atol=1e-6)


@both
def test_one_outlier_does_not_hide_the_others(kernels):
    x = normal((600, 2), "float64")
    x[0] = 1e9
    np.testing.assert_allclose(kernels.batch_norm(x, None, None, 0.0)[2], x.var(0), rtol=1e-10)


@both
@pytest.mark.parametrize("value", [0.0, 1 / 3, -12345.678])
def test_constant_channels_become_the_bias(kernels, value):
    x, weight, bias = np.full((4, 6, 5, 5), value, "f"), normal(6, "f"), normal(6, "f", 1)
    y, mean, var = kernels.batch_norm(x, weight, bias, EPS)
    np.testing.assert_allclose(y, np.broadcast_to(bias[:, None, None], y.shape), atol=1e-6)
    np.testing.assert_allclose(mean, x[0, :, 0, 0], rtol=1e-7)
    assert (var < 1e-12 * max(1, value * value)).all()
    assert np.isfinite(kernels.batch_norm_backward(x, x, mean, var, weight, EPS)[0]).all()


@both
def test_a_nan_stays_in_its_channel(kernels):
    x = normal((4, 3, 5, 5), "f")
    x[1, 1, 2, 2] = np.nan
    y, mean, var = kernels.batch_norm(x, None, None, EPS)
    assert np.isnan([mean[1], var[1]]).all() and np.isnan(y[:, 1]).all() and np.isfinite(y[:, ::2]).all()


@both
@pytest.mark.parametrize("shape", [(0, 6), (0, 6, 4, 4), (2, 6, 0)])
def test_nothing_to_normalise(kernels, shape):
    for results in (batch_norm(kernels, *problem(shape, "f")), batch_norm_eval(kernels, *problem(shape, "f")),
                    group_norm(kernels, *problem(shape, "f"), 3)):
        assert results[0].shape == results[-3].shape == shape
        assert not any(a.any() for a in results[-2:])
    assert not batch_norm(kernels, *problem(shape, "f"))[1].any()
    assert response_norm(kernels, *problem(shape, "f")[:2], 3, 1.0, 0.5, 1.0)[1].shape == shape


@both
def test_no_rows(kernels):
    results = layer_norm(kernels, *problem((0, 6), "f"))
    assert [a.shape for a in results] == [(0, 6), (0,), (0,), (0, 6), (6,), (6,)]


# ------------------------------------------------------------------------------ Numba against the reference

def largest_factor(rstd):
    """gx is a difference of numbers of this size: with 1 or 2 values for a mean nothing is left but their rounding."""
    return rstd.max()


@examples
@given(shapes, dtypes, layouts, layouts, st.booleans())
def test_batch_norms_equal_the_reference(shape, dtype, layout, layout_g, affine):
    x, g, *parameters = problem(shape, dtype, affine)
    there = layout(x), layout_g(g), *parameters
    expected = batch_norm(reference, x, g, *parameters)
    assert_close(batch_norm(cpu, *there), expected, least=largest_factor((expected[2] + EPS) ** -0.5))
    assert_close(batch_norm_eval(cpu, *there), batch_norm_eval(reference, x, g, *parameters))


@examples
@given(shapes, dtypes, layouts, layouts, layouts, st.booleans())
def test_batch_norm_relu_equals_the_reference(shape, dtype, layout, layout_g, layout_r, some):
    x, g, weight, bias = problem(shape, dtype)
    residual = normal(shape, dtype, 6) if some else None
    expected = batch_norm_relu(reference, x, g, weight, bias, residual)
    found = batch_norm_relu(cpu, layout(x), layout_g(g), weight, bias, layout_r(residual) if some else None)
    assert_close(found, expected, least=largest_factor((expected[2] + EPS) ** -0.5))
    assert (found[0] >= 0).all() and found[0].shape == shape


@pytest.mark.parametrize("shape", [(3, 1300, 7, 5), (40, 8, 41, 37), (9, 70, 33, 1), (130, 1, 1, 131)], ids=str)
def test_batch_norms_of_many_blocks(shape):
    """Several bands of columns, chunks of lines and tasks, none of them full."""
    x, g, weight, bias = problem(shape, "f")
    x += 30
    assert_close(batch_norm(cpu, x, g, weight, bias), batch_norm(reference, x, g, weight, bias))
    for residual in (None, normal(shape, "f", 6)):
        assert_close(batch_norm_relu(cpu, x, g, weight, bias, residual),
                     batch_norm_relu(reference, x, g, weight, bias, residual))


@pytest.mark.parametrize("shape", [(2, 3000), (700, 96), (3, 1)], ids=str)
def test_layer_norm_of_long_rows_and_many(shape):
    x, g, weight, bias = problem(shape, "f")
    x += 30
    expected = layer_norm(reference, x, g, weight, bias)
    assert_close(layer_norm(cpu, x, g, weight, bias), expected, least=largest_factor(expected[2]))


@both
def test_batch_norm_relu_leaves_its_arguments_alone(kernels):
    x, g, weight, bias = problem((2, 3, 4, 5), "f")
    residual = normal(x.shape, "f", 6)
    given = [a.copy() for a in (x, g, weight, bias, residual)]
    batch_norm_relu(kernels, x, g, weight, bias, residual)
    for a, b in zip((x, g, weight, bias, residual), given):
        np.testing.assert_array_equal(a, b)


@examples
@given(shapes, dtypes, layouts, layouts, st.booleans(), st.sampled_from([1, 2, 3]))
def test_group_norm_equals_the_reference(shape, dtype, layout, layout_g, affine, groups):
    x, g, *parameters = problem((shape[0], shape[1] * groups, *shape[2:]), dtype, affine)
    expected = group_norm(reference, x, g, *parameters, groups)
    assert_close(group_norm(cpu, layout(x), layout_g(g), *parameters, groups), expected,
                 least=largest_factor(expected[2]))


@examples
@given(st.integers(1, 90), st.integers(1, 40), dtypes, layouts, layouts, st.booleans())
def test_layer_norm_equals_the_reference(M, D, dtype, layout, layout_g, affine):
    x, g, *parameters = problem((M, D), dtype, affine)
    expected = layer_norm(reference, x, g, *parameters)
    assert_close(layer_norm(cpu, layout(x), layout_g(g), *parameters), expected, least=largest_factor(expected[2]))


@examples
@given(shapes, dtypes, layouts, layouts, st.integers(1, 7))
def test_local_response_norm_equals_the_reference(shape, dtype, layout, layout_g, size):
    x, g, *_ = problem(shape, dtype)
    options = size, 0.7, 0.75, 1.5
    assert_close(response_norm(cpu, layout(x), layout_g(g), *options), response_norm(reference, x, g, *options))


def test_same_bits_on_any_number_of_threads():
    x, g, weight, bias = problem((5, 24, 33, 31), "f")
    x, g = map(LAYOUTS["channels last"], (x, g))
    rows = problem((300, 130), "f")

    def results():
        return (*batch_norm(cpu, x, g, weight, bias), *batch_norm_eval(cpu, x, g, weight, bias),
                *batch_norm_relu(cpu, x, g, weight, bias, g),
                *group_norm(cpu, x, g, weight, bias, 4), *layer_norm(cpu, *rows[:2], None, None),
                *response_norm(cpu, x, g, 5, 1.0, 0.75, 2.0))
    assert_same_bits_on_any_threads(results)
