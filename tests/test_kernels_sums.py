"""Sums of channels: Numba against the reference, exact where numbers are many, bit for bit on any threads."""
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import LAYOUTS, assert_close, assert_same_bits_on_any_threads, dtypes, examples, layouts, normal

reference, cpu = (import_module("tinycnn.kernels." + name) for name in ("reference", "cpu"))
shapes = st.tuples(st.integers(0, 5), st.integers(1, 70), st.integers(1, 9), st.integers(1, 9))


@examples
@given(shapes, st.integers(2, 4), dtypes, layouts)
def test_channel_sums_equal_the_reference(shape, ndim, dtype, layout):
    g = layout(normal(shape[:ndim], dtype))
    expected = np.asarray(reference.channel_sums(g.astype(np.float64)), dtype)
    sums = cpu.channel_sums(g)
    np.testing.assert_allclose(sums, expected, 0, 1e-6 if dtype == np.float32 else 1e-14)
    assert_close(reference.channel_sums(g), expected)


@pytest.mark.parametrize("C", [1, 6, 40, 700])
def test_many_numbers_keep_their_digits(C):
    """Their mean is 100: one float32 after the other would lose four digits."""
    g = LAYOUTS["channels last"](normal((16, C, 61, 41), np.float32) + 100)
    np.testing.assert_allclose(cpu.channel_sums(g), reference.channel_sums(g.astype(np.float64)), 1e-6)


def test_same_bits_on_any_number_of_threads():
    images = [LAYOUTS["channels last"](normal((7, C, 53, 37), np.float32)) for C in (1, 6, 40)]
    assert_same_bits_on_any_threads(lambda: tuple(cpu.channel_sums(g) for g in images))
