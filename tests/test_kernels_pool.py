"""Pooling kernels: the reference against PyTorch, Numba against the reference, bit for bit on any threads."""
from importlib import import_module
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kernel_checks import LAYOUTS, assert_close, assert_same_bits_on_any_threads, dtypes, examples, layouts, normal

reference, cpu = (import_module("tinycnn.kernels." + name) for name in ("reference", "cpu"))
window = import_module("tinycnn.kernels.geometry").window

WINDOWS = [    # size, kernel_size, stride, padding, dilation, ceil_mode
    ((6, 7), 2, 2, 0, 1, False), ((7, 5), (3, 2), (2, 1), (1, 0), 1, False), ((5, 8), 3, 2, 1, 1, True),
    ((9, 4), (2, 3), (3, 2), (1, 1), 1, True), ((8, 9), (3, 2), 1, 1, (2, 3), False), ((10, 7), 2, 3, 0, 2, True),
    ((1, 1), 1, 1, 0, 1, False), ((4, 4), 4, 4, 2, 1, True), ((5, 5), 2, 5, 1, 1, True),
    ((3, 6), (1, 2), 2, (0, 1), 1, True), ((7, 5), 3, 1, 1, (1, 3), False), ((5, 7), 3, 1, 1, (3, 1), False),
]
BINS = [((7, 7), (1, 1)), ((5, 8), (3, 2)), ((6, 6), (4, 4)), ((2, 3), (5, 4)), ((9, 10), (9, 10)), ((1, 7), (3, 1))]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def awkward(size, dtype="float64", channels=3):
    """(2, channels, H, W) with ties, a few NaN, and -inf everywhere in one plane."""
    x = np.random.default_rng(1).integers(-2, 3, (2, channels, *size)).astype(dtype)
    x[0, 1].flat[::5] = np.nan
    x[1, 2] = -np.inf
    return x


def torch_pool(torch, name, x, g, *arguments, **options):
    """Output, indices if any, and input gradient of a pool in PyTorch, as arrays."""
    t = torch.tensor(x, requires_grad=True)
    y = getattr(torch.nn.functional, name)(t, *arguments, **options)
    y, *indices = y if isinstance(y, tuple) else (y,)
    y.backward(torch.tensor(g))
    return (y.detach().numpy(), *[i.numpy() for i in indices], t.grad.numpy())


@pytest.mark.parametrize("options", WINDOWS, ids=str)
def test_max_pool_is_torchs(torch, options):
    size, kernel, stride, padding, dilation, ceil_mode = options
    win, x = window(*options), awkward(options[0])
    y, indices = reference.max_pool2d(x, win)
    g = normal(y.shape, x.dtype)
    expected = torch_pool(torch, "max_pool2d", x, g, kernel, stride, padding, dilation, ceil_mode, True)
    assert_close((y, indices, reference.max_pool2d_backward(g, indices, size)), expected)


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("divisor_override", [None, 3, -2])
@pytest.mark.parametrize("options", [w for w in WINDOWS if w[4] == 1], ids=str)
def test_avg_pool_is_torchs(torch, options, divisor_override, count_include_pad):
    size, kernel, stride, padding, _, ceil_mode = options
    win, x = window(*options), normal((2, 3, *size), "float64")
    rules = count_include_pad, divisor_override, (win.PH, win.PW)
    y = reference.avg_pool2d(x, win, *rules)
    g = normal(y.shape, x.dtype)
    expected = torch_pool(torch, "avg_pool2d", x, g, kernel, stride, padding, ceil_mode, *rules[:2])
    assert_close((y, reference.avg_pool2d_backward(g, win, *rules)), expected)


@pytest.mark.parametrize("size, output_size", BINS)
def test_adaptive_pools_are_torchs(torch, size, output_size):
    x, g = normal((2, 3, *size), "float64"), normal((2, 3, *output_size), "float64", 1)
    expected = torch_pool(torch, "adaptive_avg_pool2d", x, g, output_size)
    y = reference.adaptive_avg_pool2d(x, output_size)
    assert_close((y, reference.adaptive_avg_pool2d_backward(g, size)), expected)
    x = awkward(size)
    expected = torch_pool(torch, "adaptive_max_pool2d", x, g, output_size, return_indices=True)
    y, indices = reference.adaptive_max_pool2d(x, output_size)
    assert_close((y, indices, reference.max_pool2d_backward(g, indices, size)), expected)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "int8"])
def test_integers_pool_as_in_torch(torch, dtype):
    x = np.random.default_rng(0).integers(0 if dtype == "uint8" else -100, 100, (2, 3, 6, 5)).astype(dtype)
    win, F = window((6, 5), 2, 2, 1), torch.nn.functional
    y, indices = F.max_pool2d(torch.tensor(x), 2, 2, 1, return_indices=True)
    assert_close(reference.max_pool2d(x, win), (y.numpy(), indices.numpy()))
    if dtype == "int64":
        expected = F.avg_pool2d(torch.tensor(x), 2, 2, 1).numpy()
        assert_close(reference.avg_pool2d(x, win, True, None, (1, 1)), expected)


@pytest.mark.parametrize("kernels", [reference, cpu])
def test_a_window_of_padding_alone_has_no_maximum(kernels):
    """Dilation 5 from -1: rows and columns -1 and 4 of an image of 4."""
    y, indices = kernels.max_pool2d(np.ones((1, 1, 4, 4)), window((4, 4), 2, 1, 1, 5))
    assert y.item() == -np.inf and indices.item() == -1
    assert not kernels.max_pool2d_backward(np.ones((1, 1, 1, 1)), indices, (4, 4)).any()
    assert kernels.max_pool2d_gather(np.ones((1, 1, 4, 4)), indices).item() == 0


@pytest.mark.parametrize("kernels", [reference, cpu])
@pytest.mark.parametrize("N, C", [(0, 3), (2, 0)])
def test_empty_batches(kernels, N, C):
    x, win = np.ones((N, C, 4, 5), "f"), window((4, 5), 2)
    y, indices = kernels.max_pool2d(x, win)
    assert y.shape == indices.shape == kernels.avg_pool2d(x, win, True, None, (0, 0)).shape == (N, C, 3, 4)
    assert kernels.max_pool2d_backward(y, indices, (4, 5)).shape == (N, C, 4, 5)
    assert kernels.max_pool2d_gather(x, indices).shape == y.shape
    assert kernels.adaptive_avg_pool2d(x, (2, 2)).shape == kernels.adaptive_max_pool2d(x, (2, 2))[0].shape


# ------------------------------------------------------------------------------ Numba against the reference

@st.composite
def pools(draw):
    """A Window, and an image for it with ties and NaN, in some layout."""
    number = st.integers(1, 4)
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    kernel, stride, dilation = (draw(st.tuples(number, number)) for _ in range(3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    assume(all(n + 2 * p > d * (k - 1) for n, p, d, k in zip(size, padding, dilation, kernel)))
    x = draw(layouts)(awkward(size, draw(dtypes), draw(st.sampled_from([3, 8, 36]))))
    return window(size, kernel, stride, padding, dilation, draw(st.booleans())), x


def with_int64(pooled):
    """A backend may give its indices as any integers that hold them."""
    y, indices = pooled
    assert indices.dtype.kind == "i"
    return y, indices.astype(np.int64)


@examples
@given(pools(), layouts)
def test_max_pool_equals_the_reference(pool, layout):
    win, x = pool
    y, indices = reference.max_pool2d(x, win)
    assert_close(with_int64(cpu.max_pool2d(x, win)), (y, indices), 0)
    g, places = layout(normal(y.shape, x.dtype)), layout(cpu.max_pool2d(x, win)[1])
    gx = reference.max_pool2d_backward(g, indices, (win.H, win.W))
    for known in ((), (win,)):
        assert_close(cpu.max_pool2d_backward(g, places, (win.H, win.W), *known), gx)
    assert_close(cpu.max_pool2d_gather(x, places), reference.max_pool2d_gather(x, indices), 0)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_the_gradient_of_every_small_window(kernel, ceil_mode):
    """Along one axis: with dilation, a window cut by the border may end before the one before it."""
    for n, stride, padding, dilation in product(range(1, 9), (1, 2, 3), range(kernel // 2 + 1), (1, 2, 3)):
        if n + 2 * padding > dilation * (kernel - 1):
            win = window((n, 1), (kernel, 1), (stride, 1), (padding, 0), (dilation, 1), ceil_mode)
            x = np.random.default_rng(0).integers(-2, 3, (1, 16, n, 1)).astype(np.float64)
            y, indices = reference.max_pool2d(x, win)
            g = np.arange(1.0, y.size + 1).reshape(y.shape)
            np.testing.assert_array_equal(cpu.max_pool2d_backward(g, indices, (n, 1), win),
                                          reference.max_pool2d_backward(g, indices, (n, 1)), str(win))


@examples
@given(pools(), st.booleans(), st.sampled_from([None, 3, -2]), layouts)
def test_avg_pool_equals_the_reference(pool, count_include_pad, divisor_override, layout):
    win, x = pool
    win = win._replace(DH=1, DW=1)
    rules = count_include_pad, divisor_override, (win.PH, win.PW)
    y = reference.avg_pool2d(x, win, *rules)
    assert_close(cpu.avg_pool2d(x, win, *rules), y)
    g = layout(normal(y.shape, x.dtype))
    assert_close(cpu.avg_pool2d_backward(g, win, *rules), reference.avg_pool2d_backward(g, win, *rules))


@examples
@given(st.tuples(*[st.integers(1, 9)] * 2), st.tuples(*[st.integers(1, 9)] * 2), dtypes, layouts)
def test_adaptive_pools_equal_the_reference(size, output_size, dtype, layout):
    x, g = layout(awkward(size, dtype)), layout(normal((2, 3, *output_size), dtype))
    assert_close(with_int64(cpu.adaptive_max_pool2d(x, output_size)), reference.adaptive_max_pool2d(x, output_size), 0)
    assert_close(cpu.adaptive_avg_pool2d(x, output_size), reference.adaptive_avg_pool2d(x, output_size))
    assert_close(cpu.adaptive_avg_pool2d_backward(g, size), reference.adaptive_avg_pool2d_backward(g, size))


def test_same_bits_on_any_number_of_threads():
    x = LAYOUTS["channels last"](normal((3, 24, 41, 37), "f"))
    win = window((41, 37), 3, 2, 1)

    def results():
        y, indices = cpu.max_pool2d(x, win)
        return (y, indices, cpu.max_pool2d_backward(y, indices, (41, 37)),
                cpu.max_pool2d_backward(y, indices, (41, 37), win), cpu.max_pool2d_gather(x, indices),
                cpu.avg_pool2d(x, win, True, None, (1, 1)), cpu.avg_pool2d_backward(y, win, True, None, (1, 1)),
                cpu.adaptive_avg_pool2d(x, (1, 1)), cpu.adaptive_max_pool2d(x, (7, 7))[0])
    assert_same_bits_on_any_threads(results)
