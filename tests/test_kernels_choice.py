"""Which algorithm computes a convolution: a wrong choice gives right results, late, and no other test would tell."""
from importlib import import_module

import numpy as np
import pytest

import tinycnn as tc

choose, correlate, microkernel, vector = (import_module(f"tinycnn.kernels.cpu.{name}")
                                          for name in ("choose", "correlate", "microkernel", "vector"))
window = import_module("tinycnn.kernels.geometry").window
PASSES = "output", "input", "weight"


def chosen(size, kernel=3, channels=(64, 64), groups=1, dtype=np.float32, stride=1, padding=None, dilation=1):
    """The algorithms of the three passes; of one, if they are the same."""
    win = window(size, kernel, stride, kernel // 2 * dilation if padding is None else padding, dilation)
    found = tuple(choose.algorithm(pass_, win, *channels, groups, dtype) for pass_ in PASSES)
    return found[0] if len(set(found)) == 1 else found


@pytest.fixture
def precise():
    tc.set_float32_conv_precision("highest")
    yield
    tc.set_float32_conv_precision("high")


@pytest.mark.parametrize("options, expected", [
    ({"size": (56, 56)}, "winograd4"),
    ({"size": (28, 28), "channels": (32, 32)}, "winograd4"),
    ({"size": (6, 6)}, "winograd2"),
    ({"size": (3, 3)}, ("direct", "direct", "winograd4")),
    ({"size": (1, 1)}, "direct"),
    ({"size": (26, 26), "kernel": 5}, "winograd2"),
    ({"size": (26, 26), "kernel": 5, "channels": (16, 16)}, "winograd2"),
    ({"size": (3, 3), "kernel": 5}, "direct"),
    ({"size": (56, 56), "kernel": 7}, "direct"),
    ({"size": (56, 56), "kernel": 1}, "direct"),
    ({"size": (56, 56), "channels": (16, 64)}, "direct"),
    ({"size": (56, 56), "channels": (64, 16)}, "direct"),
    ({"size": (56, 56), "channels": (64, 65)}, "direct"),
    ({"size": (56, 56), "channels": (65, 64)}, "direct"),
    ({"size": (56, 56), "dtype": np.float64}, "direct"),
    ({"size": (56, 56), "stride": (2, 1)}, "direct"),
    ({"size": (56, 56), "stride": (1, 2)}, "direct"),
    ({"size": (56, 56), "dilation": (2, 1), "padding": 1}, "direct"),
    ({"size": (56, 56), "dilation": (1, 2), "padding": 1}, "direct"),
    ({"size": (56, 56), "kernel": (3, 5), "padding": 1}, "direct"),
    ({"size": (56, 56), "groups": 2}, "direct"),
    ({"size": (56, 56), "groups": 8, "channels": (1, 1)}, "grouped"),
    ({"size": (56, 56), "groups": 8, "channels": (1, 2)}, "grouped"),
    ({"size": (56, 56), "groups": 8, "channels": (4, 4)}, "grouped"),
    ({"size": (56, 56), "groups": 8, "channels": (3, 3)}, "direct"),
    ({"size": (56, 56), "channels": (1, 1)}, "direct"),
], ids=str)
def test_layers_and_their_algorithms(options, expected):
    assert chosen(**options) == expected


@pytest.mark.parametrize("kernel, expected", [(3, "winograd2"), (5, "direct")])
def test_the_exact_ones(precise, kernel, expected):
    assert chosen((56, 56), kernel) == expected


def test_a_group_that_fills_a_vector():
    """With many registers by itself: only the gradient of weights of wide maps takes the kernel of narrow groups."""
    whole = 2 * (vector.lanes(np.float32),)
    many = vector.REGISTERS == 32
    assert chosen((24, 24), channels=whole, groups=4) == (("direct", "direct", "grouped") if many else "grouped")
    assert chosen((5, 5), channels=whole, groups=4) == ("direct" if many else "grouped")


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_map_and_its_mirror_image_are_alike(kernel):
    sizes = [(h, w) for h in range(1, 20) for w in range(1, 20)]
    assert len({chosen(size, kernel) for size in sizes}) >= 3
    assert [chosen(size, kernel) for size in sizes] == [chosen(size[::-1], kernel) for size in sizes]


@pytest.mark.parametrize("kernel", [3, 5])
def test_it_is_the_map_that_is_computed_that_counts(kernel):
    """Without padding the output is smaller than the input, whose gradient is as much work as an output of its size."""
    for n in range(kernel, 20):
        small = n - kernel + 1
        output, gradient, weight = (choose.algorithm(p, window((n, n), kernel, 1, 0), 64, 64, 1, np.float32)
                                    for p in PASSES)
        same = [choose.algorithm(p, window((m, m), kernel, 1, kernel // 2), 64, 64, 1, np.float32)
                for p, m in zip(PASSES, (small, n, small))]
        assert [output, gradient, weight] == same


@pytest.mark.parametrize("inwards", [False, True])
def test_few_channels_are_computed_for_several_pixels_at_once(inwards):
    """So that vectors are full; many channels fill them by themselves."""
    banded, whole = import_module("tinycnn.kernels.cpu.band").banded, vector.lanes(np.float32)
    few = banded(window((24, 48), 5, 1, 2), inwards, 3, whole // 4, np.float32)
    assert few.pixels > 1 and few.pixels * whole // 4 % whole == 0
    assert banded(window((24, 48), 5, 1, 2), inwards, 3, whole, np.float32) is None


@pytest.mark.parametrize("rows, blocks, expected", [
    (1152, 48, (96, 24)),                            # two tasks of each strip, as large as each other
    (1152, 5, (96, 3)),
    (100000, 1, (96, 1)),
    (96, 4, (24, 1)),                                # a task for each of four threads or more
    (5, 64, (24, 4)),
    (1, 1, (12, 1)),
])
def test_a_products_tasks(rows, blocks, expected):
    assert correlate.cut(rows, blocks) == expected


@pytest.mark.parametrize("rows", [1, 13, 96, 97, 1000, 50000])
@pytest.mark.parametrize("blocks", [1, 2, 7, 48, 400])
def test_there_are_tasks_for_all_threads(rows, blocks):
    strip, several = correlate.cut(rows, blocks)
    assert strip % microkernel.ROWS == 0 < strip <= correlate.BM and 1 <= several <= blocks
    whole = -(-rows // microkernel.ROWS) * blocks    # the smallest tasks there could be
    assert -(-rows // strip) * -(-blocks // several) >= min(whole, correlate.TASKS) / 2
