"""Convolution, matrix product: the reference against PyTorch, Numba against the reference, bit for bit on any threads.

Most comparisons use small whole numbers: products and sums of these are exact in any order, so that a kernel is either
right or wrong and no tolerance is needed.
"""
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import (
    LAYOUTS, arrays, assert_close, assert_same_bits_on_any_threads, dtypes, examples, geometries, layouts, normal,
    whole, window)

reference, cpu = (import_module("tinycnn.kernels." + name) for name in ("reference", "cpu"))
banded, conv = import_module("tinycnn.kernels.cpu.band").banded, import_module("tinycnn.kernels.cpu.conv")

ROOT = Path(__file__).parents[1]
GEOMETRIES = [    # N, C, O, G, size, kernel_size, stride, padding, dilation
    (2, 3, 4, 1, (7, 8), 3, 1, 1, 1), (2, 4, 6, 2, (9, 5), (3, 2), (2, 1), (0, 1), (1, 2)),
    (1, 6, 12, 6, (6, 7), (2, 3), (1, 2), (1, 0), 1), (3, 5, 2, 1, (4, 4), 1, 1, 0, 1),
    (2, 3, 5, 1, (5, 6), 1, 2, 0, 1), (1, 2, 3, 1, (6, 6), 2, 3, 0, 1), (2, 4, 4, 4, (8, 8), 5, 2, 4, 1),
    (2, 20, 70, 1, (6, 5), 3, 2, 1, 1), (1, 36, 66, 2, (5, 5), (1, 3), 1, (0, 1), 1),
    (2, 33, 33, 33, (6, 9), 3, 1, (2, 1), (2, 3)),
    (1, 16, 512, 1, (6, 6), 3, 2, 1, 1), (2, 512, 24, 1, (5, 4), 3, (2, 1), 1, 1),    # long sums, cut in parts
    (2, 48, 80, 1, (5, 5), 3, 2, 1, 1),              # gradients of weights in several blocks both ways
    (2, 3, 6, 1, (9, 12), 5, 1, 2, 1), (1, 3, 40, 1, (12, 16), 7, 2, 3, 1), (1, 2, 5, 1, (8, 12), (2, 3), (1, 2), 1, 2),
    (2, 8, 8, 4, (6, 7), 3, 1, 1, 1), (1, 8, 8, 2, (7, 5), 3, 2, 1, 1),               # several groups to a vector
    (1, 3, 30, 1, (9, 12), 2, 4, 0, 1), (2, 20, 3, 1, (6, 8), 3, 1, (0, 3), 1),       # bands of pixels
]


def three_passes(kernels, geometry, x, weight, bias, gy):
    win, groups = geometry[0], geometry[3]
    return (kernels.conv2d(x, weight, bias, win, groups), kernels.conv2d_input(gy, weight, win, groups),
            kernels.conv2d_weight(x, gy, win, groups))


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("kernels", [reference, cpu], ids=["reference", "cpu"])
@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
def test_the_three_passes_are_torchs(torch, options, kernels):
    N, C, O, G, size, kernel, stride, padding, dilation = options
    geometry = window(size, kernel, stride, padding, dilation), C // G, O // G, G, N
    x, weight, bias, gy = arrays(geometry, np.float64)
    t, w = (torch.tensor(a, requires_grad=True) for a in (x, weight))
    y = torch.nn.functional.conv2d(t, w, torch.tensor(bias), stride, padding, dilation, G)
    y.backward(torch.tensor(gy))
    expected = y.detach().numpy(), t.grad.numpy(), w.grad.numpy()
    for actual, e in zip(three_passes(kernels, geometry, x, weight, bias, gy), expected):
        np.testing.assert_array_equal(actual, e)


@pytest.mark.parametrize("kernels", [reference, cpu], ids=["reference", "cpu"])
@pytest.mark.parametrize("options", [o for o in GEOMETRIES if o[3] == 1], ids=str)
def test_im2col_and_col2im_are_torchs(torch, options, kernels):
    N, C, _, _, size, kernel, stride, padding, dilation = options
    win, x = window(size, kernel, stride, padding, dilation), whole((N, C, *size), np.float64)
    cols = torch.nn.functional.unfold(torch.tensor(x), kernel, dilation, padding, stride).numpy()
    np.testing.assert_array_equal(kernels.im2col(x, win), cols)
    cols = whole(cols.shape, np.float64, 1)          # of the patches' padding, too: that must be dropped
    folded = torch.nn.functional.fold(torch.tensor(cols), size, kernel, dilation, padding, stride).numpy()
    np.testing.assert_array_equal(kernels.col2im(cols, win), folded)


@pytest.mark.parametrize("outputs", [(3, 2), (3, 4), (5, 2), (2, 2), (4, 3)])
def test_a_1x1_kernel_whose_output_has_another_size_than_its_input(outputs):
    """As the gradient of a transposed convolution with output_padding has; what lies outside counts as 0."""
    win = window((3, 2), 1)._replace(OH=outputs[0], OW=outputs[1])
    given_ = arrays((win, 5, 6, 1, 2), np.float64)
    for actual, e in zip(three_passes(cpu, (win, 5, 6, 1, 2), *given_),
                         three_passes(reference, (win, 5, 6, 1, 2), *given_)):
        np.testing.assert_array_equal(actual, e)


@given(geometry=geometries(), dtype=dtypes, layout=layouts, with_bias=st.booleans())
@examples
def test_the_three_passes_equal_the_reference(geometry, dtype, layout, with_bias):
    x, weight, bias, gy = arrays(geometry, dtype)
    bias = bias if with_bias else None
    given_ = layout(x), layout(weight), None if bias is None else layout(bias), layout(gy)
    actual = three_passes(cpu, geometry, *given_)
    expected = three_passes(reference, geometry, x, weight, bias, gy)
    for a, e in zip(actual, expected):
        assert (a.dtype, a.shape) == (dtype, e.shape)
        np.testing.assert_array_equal(a, e)


@given(geometry=geometries(), dtype=dtypes, with_bias=st.booleans())
@examples
def test_with_a_relu_it_is_the_relu_of_the_convolution(geometry, dtype, with_bias):
    (x, weight, bias, _), (win, groups) = arrays(geometry, dtype, normal), (geometry[0], geometry[3])
    given_ = x, weight, bias if with_bias else None, win, groups
    for kernels in (reference, cpu):
        np.testing.assert_array_equal(kernels.conv2d(*given_, True), kernels.relu(kernels.conv2d(*given_)))


@pytest.mark.parametrize("how, shape", [("direct", (2, 20, 70, 3)), ("winograd4", (2, 32, 48, 3)),
                                        ("winograd2", (2, 32, 48, 3)), ("winograd2", (2, 32, 48, 5)),
                                        ("grouped", (2, 64, 64, 3))], ids=str)
def test_every_algorithm_ends_with_the_relu_and_hands_nan_on(how, shape):
    N, C, O, kernel = shape
    groups = 16 if how == "grouped" else 1
    geometry = window((9, 8), kernel, 1, kernel // 2), C // groups, O // groups, groups, N
    x, weight, bias, _ = arrays(geometry, np.float32, normal)
    x[0, :, 4, 4] = np.nan
    y = cpu.conv2d(x, weight, bias, geometry[0], groups, how=how)
    raised = cpu.conv2d(x, weight, bias, geometry[0], groups, True, how)
    assert np.isnan(y).any() and (y < 0).any()
    np.testing.assert_array_equal(raised, cpu.relu(y))


@given(geometry=geometries(), dtype=dtypes, layout=layouts)
@examples
def test_im2col_and_col2im_equal_the_reference(geometry, dtype, layout):
    win, x = geometry[0], arrays(geometry, dtype)[0]
    unfolded = reference.im2col(x, win)
    cols = whole(unfolded.shape, dtype, 1)           # of the patches' padding, too: that must be dropped
    pairs = (cpu.im2col(layout(x), win), unfolded), (cpu.col2im(layout(cols), win), reference.col2im(cols, win))
    for actual, expected in pairs:
        assert actual.dtype == dtype
        np.testing.assert_array_equal(actual, expected)


@given(geometry=geometries(), kernels=st.sampled_from([reference, cpu]))
@examples
def test_the_three_passes_are_adjoint(geometry, kernels):
    """<conv(x, w), g> = <x, conv_input(g, w)> = <w, conv_weight(x, g)>, without rounding."""
    x, weight, _, gy = arrays(geometry, np.float64)
    y, gx, gw = three_passes(kernels, geometry, x, weight, None, gy)
    assert (y * gy).sum() == (x * gx).sum() == (weight * gw).sum()


ROUNDING = [(8, 64, 64, 1, (14, 14), 3, 1, 1, 1), (4, 48, 80, 2, (11, 9), (5, 3), 2, (2, 1), 1),
            (4, 40, 40, 40, (12, 13), 7, 1, 3, 1), (2, 130, 260, 1, (9, 9), 1, 1, 0, 1),
            (64, 1, 6, 1, (20, 20), 5, 1, 2, 1)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", ROUNDING, ids=str)
def test_rounding_errors_are_those_of_a_sum(options, dtype):
    """Against the reference in float64 (float64: against itself): an error grows as the root of the number of terms,
    in units of the largest sum of absolute values."""
    N, C, O, G, size, kernel, stride, padding, dilation = options
    geometry = window(size, kernel, stride, padding, dilation), C // G, O // G, G, N
    given_ = arrays(geometry, dtype, normal)
    wide = [a.astype(np.float64) for a in given_]
    sizes = three_passes(reference, geometry, *map(abs, wide))
    terms = given_[1][0].size, given_[1].size // C, N * given_[3][0, 0].size
    actual, expected = three_passes(cpu, geometry, *given_), three_passes(reference, geometry, *wide)
    for a, e, size_, count in zip(actual, expected, sizes, terms):
        assert a.dtype == dtype
        error = abs(a - e).max() / size_.max()
        assert error <= (2 + count ** 0.5) * np.finfo(dtype).eps


TRANSFORMED = [    # N, C, O, K, size, padding: whole tiles, parts of tiles, less than a tile; panels of several widths
    (2, 32, 32, 3, (8, 8), 1), (1, 64, 80, 3, (7, 13), 1), (3, 48, 112, 3, (6, 5), 0), (2, 80, 48, 3, (3, 4), 2),
    (5, 128, 64, 3, (14, 14), 1), (2, 16, 32, 5, (12, 12), 2), (1, 64, 80, 5, (9, 13), 0), (3, 48, 16, 5, (7, 8), 3),
]


@pytest.mark.parametrize("options", [o for o in GEOMETRIES if o[3] == 1], ids=str)
def test_a_relu_is_applied_to_whole_sums(options):
    """Sums that are cut in parts are raised at the end."""
    N, C, O, G, *rest = options
    x, weight, bias, _ = arrays((window(*rest), C // G, O // G, G, N), np.float32)
    y = conv.conv2d(x, weight, bias, window(*rest), G, True, "direct")
    np.testing.assert_array_equal(y, np.maximum(reference.conv2d(x, weight, bias, window(*rest), G), 0))


@pytest.fixture(params=["high", "highest"])
def precision(request):
    """How exactly convolutions are computed, and how far from exact their results may be."""
    chosen = import_module("tinycnn.kernels.precision")
    before = chosen.get_float32_conv_precision()
    chosen.set_float32_conv_precision(request.param)
    yield {"high": 2e-5, "highest": 3e-6}[request.param]
    chosen.set_float32_conv_precision(before)


@pytest.mark.parametrize("options", TRANSFORMED, ids=str)
def test_winograds_errors_are_bounded(options, precision):
    N, C, O, K, size, padding = options
    geometry = window(size, K, 1, padding), C, O, 1, N
    given_ = arrays(geometry, np.float32, normal)
    expected = three_passes(reference, geometry, *(a.astype(np.float64) for a in given_))
    for actual, e in zip(three_passes(cpu, geometry, *given_), expected):
        assert actual.dtype == np.float32
        assert abs(actual - e).max() <= precision * abs(e).max()
    x, weight, bias, gy = given_
    one_by_one = np.concatenate([cpu.conv2d(x[n:n + 1], weight, bias, geometry[0], 1) for n in range(N)])
    np.testing.assert_array_equal(cpu.conv2d(x, weight, bias, geometry[0], 1), one_by_one)
    assert_same_bits_on_any_threads(lambda: three_passes(cpu, geometry, *given_))


@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
def test_nan_and_inf_reach_what_sees_them_and_nothing_else(options):
    N, C, O, G, size, kernel, stride, padding, dilation = options
    geometry = window(size, kernel, stride, padding, dilation), C // G, O // G, G, N
    x, weight, bias, gy = arrays(geometry, np.float32, normal)
    x.flat[[0, x.size // 2]] = np.nan, np.inf
    gy.flat[[-1, gy.size // 3]] = np.nan, -np.inf
    given_ = x, weight, bias, gy
    with np.errstate(invalid="ignore"):
        actual, expected = three_passes(cpu, geometry, *given_), three_passes(reference, geometry, *given_)
    for inwards, a, e in zip((False, True), actual, expected):
        band = banded(geometry[0], inwards, *((O, C) if inwards else (C, O)), x.dtype) if G == 1 else None
        if band is None:
            assert_close(a, e)
        else:                                        # pixels that are computed together share it (band.py)
            finite = np.isfinite(e).reshape(*e.shape[:3], -1, band.pixels)
            apart = np.broadcast_to(finite.all((1, 4), keepdims=True), finite.shape).reshape(e.shape)
            assert_close(a[apart], e[apart])
            assert not np.isfinite(a[~np.isfinite(e)]).any()
    assert_close(actual[2:], expected[2:])


@pytest.mark.parametrize("options", [*GEOMETRIES, *ROUNDING], ids=str)
def test_same_bits_on_any_threads(options):
    N, C, O, G, size, kernel, stride, padding, dilation = options
    geometry = window(size, kernel, stride, padding, dilation), C // G, O // G, G, N
    given_ = arrays(geometry, np.float32, normal)
    win, cols = geometry[0], reference.im2col(given_[0], geometry[0])
    a, b = normal((N * 131, C + 300), np.float32, 5), normal((C + 300, O), np.float32, 6)
    assert_same_bits_on_any_threads(lambda: (*three_passes(cpu, geometry, *given_), cpu.im2col(given_[0], win),
                                             cpu.col2im(cols, win), cpu.matmul(a, b), cpu.matmul(b.T, a.T)))


def test_what_a_kernel_returns_is_new_and_channels_last():
    win = window((4, 4), 1)
    for O, groups in ((3, 1), (3, 3)):
        x, weight = whole((2, 3, 4, 4), np.float32), whole((O, 3 // groups, 1, 1), np.float32)
        for result in (cpu.conv2d(x, weight, None, win, groups), cpu.conv2d_input(x, weight, win, groups)):
            assert result.transpose(0, 2, 3, 1).flags.c_contiguous and not np.shares_memory(result, x)


# ---------------------------------------------------------------------------------------- matmul

SHAPES = [((5, 7), (7, 3)), ((1, 1), (1, 1)), ((100, 130), (130, 70)), ((97, 2100), (2100, 65)), ((3, 4, 5), (5, 6)),
          ((4, 5), (3, 5, 6)), ((2, 1, 4, 5), (3, 5, 6)), ((0, 3), (3, 2)), ((4, 0), (0, 3)), ((2, 0, 3), (3, 4)),
          ((6, 2, 3), (1, 3, 4)), ((1, 500), (500, 1)), ((13, 3), (3, 300)), ((5, 4, 5), (5, 5, 2)),
          ((20, 37), (37, 64)), ((3, 50), (50, 1104)), ((130, 20), (20, 96)), ((100, 1), (1, 80)),
          ((5, 5, 0), (0, 5)), ((0, 0), (5, 0, 0)), ((2, 3, 0), (2, 0, 4)), ((2, 3, 4), (4, 0))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_matmul(shapes, layout, dtype):
    a, b = (whole(s, dtype, i) for i, s in enumerate(shapes))
    expected, bias = reference.matmul(a, b), whole(shapes[1][-1:], dtype, 2)
    for x, y in ((layout(a), b), (a, layout(b)), (a.swapaxes(-1, -2).copy().swapaxes(-1, -2), b),
                 (a, b.swapaxes(-1, -2).copy().swapaxes(-1, -2)), (np.broadcast_to(a, (2, *a.shape))[1], b)):
        actual = cpu.matmul(x, y)
        assert (actual.dtype, actual.shape) == (dtype, expected.shape)
        np.testing.assert_array_equal(actual, expected)
        np.testing.assert_array_equal(cpu.matmul(x, y, bias), expected + bias)


def test_matmul_keeps_nan_and_inf_in_their_rows_and_columns():
    a, b = normal((20, 30), np.float32), normal((30, 40), np.float32, 1)
    a[3, 4], a[19, 29], b[7, 39] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        assert_close(cpu.matmul(a, b), reference.matmul(a, b))


# ---------------------------------------------------------------------------------------- other processes

def python(code):
    """Run `code` in a new process; what it prints, parsed as JSON."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, text=True, capture_output=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "tests")})
    assert done.returncode == 0, (done.returncode, done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


CACHED = """
import json
from importlib import import_module
import numpy as np
import tinycnn
import test_kernels_conv as t
for geometry in t.GEOMETRIES:
    N, C, O, G, *rest = geometry
    geometry = t.window(*rest), C // G, O // G, G, N
    t.three_passes(t.cpu, geometry, *t.arrays(geometry, np.float32))
hits = misses = 0
for name in ("conv", "matmul", "microkernel"):
    for f in vars(import_module("tinycnn.kernels.cpu." + name)).values():
        stats = getattr(getattr(f, "kernel", f), "stats", None)
        if hasattr(stats, "cache_hits"):
            hits, misses = hits + sum(stats.cache_hits.values()), misses + sum(stats.cache_misses.values())
print(json.dumps([hits > 0, misses]))
"""


def test_a_second_process_compiles_nothing():
    """Machine code is kept on disk: the first process may find it or make it, the second must find it."""
    python(CACHED)
    assert python(CACHED) == [True, 0]
