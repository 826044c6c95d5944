"""What the tests of the kernels share: memory layouts, comparisons, thread counts."""
from importlib import import_module

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st


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
    """results(): a tuple of arrays, the same to the last bit on 1 thread, on 2, and on 2 again."""
    numba = import_module("numba")
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("needs two threads")
    before = numba.get_num_threads()
    try:
        runs = []
        for n in (1, 2, 2):
            numba.set_num_threads(n)
            runs.append([np.ascontiguousarray(a).tobytes() for a in results()])
    finally:
        numba.set_num_threads(before)
    assert all(run == runs[0] for run in runs)
