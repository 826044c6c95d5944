"""Random geometries of convolutions and pools: the kernels by hand against the reference's, in float64.

A hundred of each by default, ten thousand in the slow run, the same ones every time.  The numbers are whole, so that
their products and sums are exact: float64 must agree to the last bit.  In float32 Winograd's transforms round, but by
much less than the 1 by which a missing, doubled or misplaced term would change a result.
"""
from importlib import import_module

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_checks import arrays, layouts, whole

reference, cpu = (import_module("tinycnn.kernels." + name) for name in ("reference", "cpu"))
Window = import_module("tinycnn.kernels.geometry").Window

CHANNELS = st.one_of(st.integers(1, 70), st.sampled_from([1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65]))
IMAGES = st.sampled_from([1, 1, 2, 2, 3, 3, 0])
EPS = {np.dtype(dtype): float(np.finfo(dtype).eps) for dtype in (np.float32, np.float64)}


def many(check):
    """A hypothesis test as two: of 100 examples by default, of 10^4 in the slow run."""
    @pytest.mark.parametrize("examples", [100, pytest.param(10_000, marks=pytest.mark.slow)])
    def test(examples):
        settings(deadline=None, max_examples=examples, derandomize=True, database=None,
                 suppress_health_check=list(HealthCheck))(check)()
    return test


def pair(numbers):
    return st.tuples(numbers, numbers)


@st.composite
def windows(draw, pool=False, plain=False):
    """A Window of some outputs each way, sometimes of a single one, with any rest that the stride leaves, with more
    or less padding after the image than before it.  Those of pools have the padding that pools may have; plain ones
    the square kernels and strides of most nets."""
    outputs = (1, 1) if draw(st.integers(0, 5)) == 0 else draw(pair(st.integers(1, 16 if plain else 9)))
    if plain:
        kernel, stride, dilation = (draw(st.sampled_from(of)) for of in ([1, 3, 3, 3, 5, 7], [1, 1, 1, 2], [1]))
        kernel, stride, dilation = (kernel, kernel), (stride, stride), (dilation, dilation)
    else:
        kernel, stride = draw(pair(st.integers(1, 5))), draw(pair(st.integers(1, 4)))
        dilation = draw(pair(st.sampled_from([1, 1, 2, 3])))
    padding, after = (tuple(draw(st.integers(0, k // 2 if pool else 4)) for k in kernel) for _ in range(2))
    size = [max(1, (n - 1) * s + d * (k - 1) + 1 - p - a + draw(st.integers(0, s - 1)))
            for n, k, s, d, p, a in zip(outputs, kernel, stride, dilation, padding, after)]
    return Window(*size, *kernel, *stride, *padding, *dilation, *outputs)


@st.composite
def convolutions(draw):
    """Window, channels per group, outputs per group, groups, N: those of nets, whose channels fill whole vectors, and
    those that nobody would choose, dense, grouped or depthwise."""
    kind, groups = draw(st.sampled_from(["plain", "plain", "dense", "grouped", "depthwise"])), 1
    if kind == "plain":
        inside, outside = draw(pair(st.sampled_from([3, 16, 32, 32, 48, 64])))
    elif kind == "dense":
        inside, outside = draw(pair(CHANNELS))
    elif kind == "grouped":
        inside, groups = draw(st.integers(1, 20)), draw(st.integers(2, 6))
        outside = draw(st.one_of(st.just(inside), st.integers(1, 20)))
    else:
        inside, outside, groups = 1, draw(st.integers(1, 3)), draw(CHANNELS)
    return draw(windows(plain=kind == "plain" or draw(st.booleans()))), inside, outside, groups, draw(IMAGES)


@many
@given(convolutions(), layouts, st.booleans())
def test_convolutions(geometry, layout, with_bias):
    """Forward, the gradient of the input and that of the weight."""
    win, groups = geometry[0], geometry[3]

    def passes(kernels, x, weight, bias, gy):
        return (kernels.conv2d(x, weight, bias if with_bias else None, win, groups),
                kernels.conv2d_input(gy, weight, win, groups), kernels.conv2d_weight(x, gy, win, groups))
    expected = passes(reference, *arrays(geometry, np.float64))
    for dtype in (np.float64, np.float32):
        for a, e in zip(passes(cpu, *map(layout, arrays(geometry, dtype))), expected):
            assert (a.dtype, a.shape) == (dtype, e.shape)
            off, largest = np.abs(a - e).max(initial=0), np.abs(e).max(initial=0)
            assert off == 0 or dtype == np.float32 and off <= min(2e-5 * largest, 0.25)


def assert_pooled(actual, expected, dtype, terms):
    """Equal, but for quotients, of which each of at most so many terms of a sum may be one."""
    assert (actual.dtype, actual.shape) == (dtype, expected.shape)
    off, largest = np.abs(actual - expected).max(initial=0), np.abs(expected).max(initial=0)
    assert off <= terms * EPS[np.dtype(dtype)] * largest


@many
@given(windows(pool=True), IMAGES, CHANNELS, layouts)
def test_max_pools(win, N, C, layout):
    """Values, places, the gradient and its own, with ties, NaN and -inf."""
    x = whole((N, C, win.H, win.W), np.float64)
    x[whole(x.shape, np.float64, 1) == 3] = np.nan
    x[:, ::3][whole(x[:, ::3].shape, np.float64, 2) > 0] = -np.inf
    y, places = reference.max_pool2d(x, win)
    g, gg = whole(y.shape, np.float64, 3), whole(x.shape, np.float64, 4)
    gx, again = reference.max_pool2d_backward(g, places, (win.H, win.W)), reference.max_pool2d_gather(gg, places)
    for dtype in (np.float64, np.float32):
        actual, found = cpu.max_pool2d(layout(x.astype(dtype)), win)
        np.testing.assert_array_equal(actual, y)
        np.testing.assert_array_equal(found, places)
        for known in ((), (win,)):
            backward = cpu.max_pool2d_backward(layout(g.astype(dtype)), layout(found), (win.H, win.W), *known)
            np.testing.assert_array_equal(backward, gx)
        np.testing.assert_array_equal(cpu.max_pool2d_gather(layout(gg.astype(dtype)), layout(found)), again)
        assert actual.dtype == backward.dtype == dtype


@many
@given(windows(pool=True), IMAGES, CHANNELS, layouts, st.booleans(), st.sampled_from([None, 1, 3, -2]),
       pair(st.integers(0, 2)))
def test_average_pools(win, N, C, layout, count_include_pad, divisor_override, pad_after):
    win = win._replace(DH=1, DW=1)
    x, rules = whole((N, C, win.H, win.W), np.float64), (count_include_pad, divisor_override, pad_after)
    y = reference.avg_pool2d(x, win, *rules)
    g = whole(y.shape, np.float64, 3)
    gx = reference.avg_pool2d_backward(g, win, *rules)
    for dtype in (np.float64, np.float32):
        assert_pooled(cpu.avg_pool2d(layout(x.astype(dtype)), win, *rules), y, dtype, 25)
        assert_pooled(cpu.avg_pool2d_backward(layout(g.astype(dtype)), win, *rules), gx, dtype, 25)


@many
@given(pair(st.integers(1, 20)), pair(st.integers(1, 20)), IMAGES, CHANNELS, layouts)
def test_adaptive_pools(size, output_size, N, C, layout):
    x, g = whole((N, C, *size), np.float64), whole((N, C, *output_size), np.float64, 3)
    y, gx = reference.adaptive_avg_pool2d(x, output_size), reference.adaptive_avg_pool2d_backward(g, size)
    largest, places = reference.adaptive_max_pool2d(x, output_size)
    for dtype in (np.float64, np.float32):
        assert_pooled(cpu.adaptive_avg_pool2d(layout(x.astype(dtype)), output_size), y, dtype, 400)
        assert_pooled(cpu.adaptive_avg_pool2d_backward(layout(g.astype(dtype)), size), gx, dtype, 400)
        actual, found = cpu.adaptive_max_pool2d(layout(x.astype(dtype)), output_size)
        np.testing.assert_array_equal(actual, largest)
        np.testing.assert_array_equal(found, places)
