"""What the tests of the kernels share: memory layouts, geometries of convolutions, comparisons, thread counts."""
from importlib import import_module

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

window = import_module("tinycnn.kernels.geometry").window


def _everywhere_else(x, step):
    """x's values in every other (step 2) or every last-to-first (step -1) cell of a new array."""
    home = np.full([n * abs(step) for n in x.shape], 7, x.dtype)[tuple([slice(None, None, step)] * x.ndim)]
    home[...] = x
    return home


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "channels last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if x.ndim > 1 else x,
    "sliced": lambda x: _everywhere_else(x, 2),
    "backwards": lambda x: _everywhere_else(x, -1),
}
layouts = st.sampled_from(list(LAYOUTS.values()))
dtypes = st.sampled_from([np.float32, np.float64])
examples = settings(deadline=None, max_examples=40, derandomize=True)


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@st.composite
def geometries(draw):
    """Window, channels per group, outputs per group, groups, N: small ones, and channels over more than one tile."""
    small, pairs = st.integers(1, 4), lambda low, high: st.tuples(*[st.integers(low, high)] * 2)
    kernel, stride, padding, dilation = draw(pairs(1, 4)), draw(pairs(1, 4)), draw(pairs(0, 3)), draw(pairs(1, 3))
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation)]
    size = tuple(n + extra for n, extra in zip(least, draw(pairs(0, 9))))
    win = window(size, kernel, stride, padding, dilation)
    more = draw(pairs(-1, 2))                        # outputs that ask for padding after, or leave input unread
    win = win._replace(OH=max(1, win.OH + more[0]), OW=max(1, win.OW + more[1]))
    channels, outputs = draw(st.sampled_from([1, 2, 3, 16, 19])), draw(st.sampled_from([1, 2, 5, 16, 70]))
    return win, channels, outputs, draw(small), draw(st.integers(0, 3))


def whole(shape, dtype, seed=0):
    """Whole numbers from -3 to 3."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype)


def arrays(geometry, dtype, numbers=whole):
    """x, weight, bias, gy of a geometry."""
    win, channels, outputs, groups, N = geometry
    C, O = channels * groups, outputs * groups
    return (numbers((N, C, win.H, win.W), dtype, 1), numbers((O, channels, win.KH, win.KW), dtype, 2),
            numbers((O,), dtype, 3), numbers((N, O, win.OH, win.OW), dtype, 4))


def assert_close(actual, expected, ulps=64, least=0.0):
    """Arrays, or tuples of them (None allowed), of the same shape and dtype, differing by at most `ulps` roundings
    of the largest finite number in `expected`, or of `least` where what is compared is a difference of such numbers;
    NaN and inf in the same places."""
    if isinstance(expected, tuple):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected):
            assert_close(a, e, ulps, least)
    elif expected is None:
        assert actual is None
    else:
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        if expected.dtype.kind == "f":
            largest = np.abs(np.where(np.isfinite(expected), expected, 0)).max(initial=least)
            np.testing.assert_allclose(actual, expected, rtol=0, atol=ulps * np.finfo(expected.dtype).eps * largest)
        else:
            np.testing.assert_array_equal(actual, expected)


def assert_same_bits_on_any_threads(results):
    """results(): a tuple of arrays, the same to the last bit on 1 thread, on 2, on 2 again, and on 4.

    Numba starts as many threads as there are processors, or NUMBA_NUM_THREADS; counts beyond that are left out.
    """
    numba = import_module("numba")
    counts = [n for n in (1, 2, 2, 4) if n <= numba.config.NUMBA_NUM_THREADS]
    if len(counts) < 2:
        pytest.skip("needs two threads")
    before = numba.get_num_threads()
    try:
        runs = []
        for n in counts:
            numba.set_num_threads(n)
            runs.append([np.ascontiguousarray(a).tobytes() for a in results()])
    finally:
        numba.set_num_threads(before)
    assert all(run == runs[0] for run in runs)
