"""The four ways of convolution on a GPU, and matrix products by cuBLAS, on the emulator: each against the reference."""
import shutil
from importlib import import_module

import numpy as np
import pytest
from kernel_checks import LAYOUTS, assert_close, normal

import tinycnn  # noqa: F401
from tinycnn.backend import window

if shutil.which("g++") is None:
    pytest.skip("the emulator needs g++", allow_module_level=True)
blas, columns, conv, direct, igemm, pointwise = (import_module(f"tinycnn.kernels.cuda.{name}") for name in (
    "blas", "columns", "conv", "direct", "igemm", "pointwise"))
reference, precision = (import_module(f"tinycnn.kernels.{name}") for name in ("reference.conv", "precision"))
build, cublas, device, graph, memory = (import_module(f"tinycnn.kernels.emulator.{name}") for name in (
    "build", "cublas", "device", "graph", "memory"))
xp = device.install()
FLOATS = [np.float32, np.float64]
layouts = pytest.mark.parametrize("layout", ["contiguous", "channels last"])
floats = pytest.mark.parametrize("dtype", FLOATS)
# name: images, C, O, groups, window
NARROW = {
    "depthwise": (2, 5, 5, 5, window((7, 6), (3, 2), (2, 1), (1, 0), (1, 2))),
    "more than a warp": (1, 70, 70, 70, window((5, 9), (5, 3), 1, (2, 1))),
    "multiplier": (2, 3, 12, 3, window((6, 5), 3, (1, 3), 2, 2)),
    "groups": (2, 8, 12, 2, window((9, 11), 3, 2, 1)),
    "groups of odd width": (3, 9, 6, 3, window((4, 5), (1, 4), 1, (0, 2))),
    "1x1 groups": (2, 6, 4, 2, window((5, 4), 1, 2, 1)),
    "stem": (2, 3, 6, 1, window((11, 10), 5, 3, 2)),
    "parts": (1, 4, 4, 4, window((23, 47), 3, 1, 1)),   # which do not divide its pixels
}
WIDE = {
    "3x3": (2, 5, 34, 1, window((5, 6), 3, 1, 1)),
    "strides": (2, 33, 3, 1, window((8, 7), (3, 2), (3, 2), (1, 0), (1, 2))),
    "groups": (2, 8, 66, 2, window((6, 5), (2, 3), 1, 1)),
    "tiles": (3, 5, 67, 1, window((7, 8), (2, 3), 1, (0, 1))),
}
POINTS = {
    "1x1": (2, 5, 7, 1, window((4, 3), 1)),
    "strides": (2, 5, 3, 1, window((6, 7), 1, (2, 3))),
    "wide groups": (2, 68, 66, 2, window((3, 4), 1, (1, 2))),
    "a pixel": (3, 5, 4, 1, window((1, 1), 1)),
    "a channel": (2, 1, 1, 1, window((3, 2), 1)),
    "an image": (1, 4, 3, 1, window((3, 2), 1)),
}


def there(a):
    """On the device, lying as it does here; all else as it is."""
    return device.asarray(a) if isinstance(a, np.ndarray) else a


def every(step, a):
    """On the device, in every other cell of an array or from last to first."""
    home = there(np.full([n * abs(step) for n in a.shape], 7, a.dtype))
    view = home[(slice(None, None, step),) * a.ndim]
    view[...] = there(a)
    return view


def problem(case, dtype, layout="contiguous"):
    """x, weight, bias, gy, window, groups."""
    N, C, O, groups, win = case
    lie = LAYOUTS[layout]
    return (lie(normal((N, C, win.H, win.W), dtype)), normal((O, C // groups, win.KH, win.KW), dtype, 1),
            normal((O,), dtype, 2), lie(normal((N, O, win.OH, win.OW), dtype, 3)), win, groups)


def passes(kernels, x, weight, bias, gy, win, groups):
    """The convolution, with bias and without, and its gradients, by the kernels of a module."""
    return (kernels.conv2d(x, weight, bias, win, groups), kernels.conv2d(x, weight, None, win, groups),
            kernels.conv2d_input(gy, weight, win, groups), kernels.conv2d_weight(x, gy, win, groups))


def check(given, kernels=conv):
    """The kernels' results, after they were found to be the reference's."""
    found = passes(kernels, *map(there, given))
    assert_close(tuple(a.get() for a in found), passes(reference, *given), 256)
    return found


def launches(function):
    """What function() launches: name -> how often."""
    before = memory.launched.copy()
    function()
    return memory.launched - before


@pytest.fixture(autouse=True)
def highest_again():
    yield
    precision.set_float32_matmul_precision("highest")


# ---------------------------------------------------------------------------------------- the choice

@pytest.mark.parametrize("C, O, groups, win, float32, float64", [
    (64, 64, 64, window(9, 3), direct, direct),
    (32, 64, 16, window(9, 1), direct, direct),
    (3, 16, 1, window(9, 3), direct, direct),
    (3, 32, 1, window(9, 3), igemm, columns),
    (64, 64, 2, window(9, 3), igemm, columns),
    (64, 62, 2, window(9, 1), igemm, pointwise),
    (3, 3, 1, window(9, 1, 2), pointwise, pointwise),
    (64, 64, 1, window(9, 1, 1, 1), igemm, columns),
    (64, 64, 1, window(4, 1, 2)._replace(OH=3), igemm, columns),
])
def test_each_geometry_has_its_way(C, O, groups, win, float32, float64):
    for dtype, expected in ((np.float32, float32), (np.float64, float64)):
        assert conv._way(np.ones(1, dtype), C, O, win, groups) is expected
    assert conv._way(np.ones(0), C, O, win, groups) is reference


def test_cublas_has_tensor_cores_for_less_than_float32s_accuracy():
    precision.set_float32_matmul_precision("high")
    assert conv._way(np.ones(1, np.float32), 64, 64, window(9, 1), 1) is pointwise
    assert conv._way(np.ones(1, np.float32), 64, 64, window(9, 3), 1) is igemm


@floats
@pytest.mark.parametrize("case", {**NARROW, **WIDE, **POINTS}.values(), ids=str)
def test_no_images_and_other_layouts(case, dtype):
    """An empty batch has zeros for its weight's gradient; arrays with gaps and backwards count by their values."""
    none = check(problem((0, *case[1:]), dtype))
    assert not none[3].get().any()
    for step in (2, -1):
        x, weight, bias, gy, win, groups = problem(case, dtype)
        moved = [every(step, a) for a in (x, weight, bias, gy)]
        assert_close(tuple(a.get() for a in passes(conv, *moved, win, groups)),
                     passes(reference, x, weight, bias, gy, win, groups), 256)


# ---------------------------------------------------------------------------------------- few channels

@floats
@layouts
@pytest.mark.parametrize("case", NARROW.values(), ids=NARROW)
def test_narrow_groups(case, layout, dtype):
    given = problem(case, dtype, layout)
    found = check(given)
    assert all(a.transpose(0, 2, 3, 1).flags.c_contiguous for a in found[:3]) and found[3].flags.c_contiguous
    ran = launches(lambda: passes(conv, *map(there, given)))
    assert {name.partition("<")[0] for name in ran} <= {"direct", "direct_weight", "direct_parts", "ascontiguousarray"}


def test_the_weights_gradient_is_summed_in_parts(monkeypatch):
    """More than one part, the last one smaller; and fewer, larger ones where they would take too much memory."""
    case, parts = NARROW["parts"], []
    new = direct.new
    monkeypatch.setattr(direct, "new", lambda *a, **k: parts.append(a[1:]) or new(*a, **k))
    check(problem(case, np.float64))
    pixels = 3 * 19 * 21
    assert parts[-1] == (3, 9, 4) and pixels % 3 == 0 and pixels / 3 < direct.PART
    monkeypatch.setattr(direct, "MOST", 80)                               # 36 elements each
    check(problem(case, np.float64))
    assert parts[-1] == (2, 9, 4) and pixels % 2
    monkeypatch.setattr(direct, "PART", 40)                               # more parts than a block adds up at once
    monkeypatch.setattr(direct, "MOST", 1 << 20)
    check(problem(case, np.float64))
    assert parts[-1][0] > 3 * 256 // direct.COLUMNS


# ---------------------------------------------------------------------------------------- 1x1 and patches

@floats
@layouts
@pytest.mark.parametrize("case", POINTS.values(), ids=POINTS)
def test_1x1_lies_as_the_image_does(case, layout, dtype):
    given = problem(case, dtype, layout)
    found = check(given)
    y, _, gx, gw = found
    assert gw.flags.c_contiguous
    if layout == "channels last" or case[3] > 1:
        assert y.transpose(0, 2, 3, 1).flags.c_contiguous and gx.transpose(0, 2, 3, 1).flags.c_contiguous
    else:
        assert y.flags.c_contiguous and gx.flags.c_contiguous


@pytest.mark.parametrize("layout, copies", [("contiguous", 2), ("channels last", 0)])
def test_1x1_is_one_product_of_what_lies_there(layout, copies):
    x, weight, bias, gy, win, groups = map(there, problem(POINTS["1x1"], np.float32, layout))
    forward = launches(lambda: conv.conv2d(x, weight, None, win, groups))
    back = launches(lambda: conv.conv2d_input(gy, weight, win, groups))
    assert forward == back == {"gemmEx" if layout == "channels last" else "gemmStridedBatchedEx": 1}
    assert launches(lambda: conv.conv2d(x, weight, bias, win, groups)) == {**forward, "setitem": 1}
    expected = {"gemmEx": 1, "ascontiguousarray": copies}
    assert launches(lambda: conv.conv2d_weight(x, gy, win, groups)) == {k: n for k, n in expected.items() if n}


@layouts
@pytest.mark.parametrize("case", WIDE.values(), ids=WIDE)
def test_patches_in_memory(case, layout):
    found = check(problem(case, np.float64, layout))
    assert all(a.transpose(0, 2, 3, 1).flags.c_contiguous for a in found[:3]) and found[3].flags.c_contiguous


def test_the_product_gathers_its_patches():
    """One launch, the weights brought into order apart, and no matrix of patches; padding is not read as a number."""
    x, weight, bias, _, win, groups = problem(WIDE["tiles"], np.float64, "channels last")
    ran = launches(lambda: conv.conv2d(*map(there, (x, weight, bias)), win, groups))
    assert ran == {"implicit_gemm<double>": 1, "ascontiguousarray": 1}
    ones = np.ones_like(weight)
    found = conv.conv2d(*map(there, (x, ones * np.inf)), None, win, groups).get()
    with np.errstate(all="ignore"):
        expected = reference.conv2d(x, ones * np.inf, None, win, groups)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("images", [1, 2, 3])
def test_patches_are_unfolded_in_turn(images, monkeypatch):
    """Never more of them than the workspace holds, an image at least; results are the same."""
    N, C, O, groups, win = 5, *WIDE["groups"][1:]
    given = problem((N, C, O, groups, win), np.float64)
    one = C * win.KH * win.KW * win.OH * win.OW * 8
    at_once, sizes, new = passes(conv, *map(there, given)), [], columns.new
    monkeypatch.setattr(columns, "WORKSPACE", images * one + one - 1 if images > 1 else 1)
    monkeypatch.setattr(columns, "new", lambda *a, **k: sizes.append(np.prod(a[1:])) or new(*a, **k))
    found = check(given)
    assert max(sizes) * 8 == images * one
    for a, b in zip(found[:3], at_once):                                  # the weight's gradient is added up otherwise
        np.testing.assert_array_equal(a.get(), b.get())


@floats
@pytest.mark.parametrize("case", [NARROW["groups"], NARROW["parts"], WIDE["groups"], POINTS["wide groups"]], ids=str)
def test_the_order_of_threads_does_not_matter(case, dtype):
    runs = []
    for order in build.SCHEDULES:
        with device.schedule(order):
            runs.append([a.get().tobytes() for a in passes(conv, *map(there, problem(case, dtype)))])
    assert all(run == runs[0] for run in runs)


# ---------------------------------------------------------------------------------------- matrices

def matrix(*shape, seed=0, dtype=np.float64):
    return there(normal(shape, dtype, seed))


# name: a, b, launches but that of the product (copies)
VIEWS = {
    "plain": lambda m: (m(3, 4), m(4, 5), 0),
    "transposed": lambda m: (m(4, 3).T, m(5, 4).T, 0),
    "parts of rows": lambda m: (m(8, 6)[1:4, 1:5], m(4, 9)[:, 2:7], 0),
    "parts of rows, transposed": lambda m: (m(6, 8)[1:5, 1:4].T, m(9, 4)[2:7].T, 0),
    "every other row": lambda m: (m(6, 4)[::2], m(4, 5), 0),
    "every other column": lambda m: (m(3, 8)[:, ::2], m(4, 5), 1),
    "backwards": lambda m: (m(3, 4)[::-1], m(4, 5), 1),
    "one row, one column": lambda m: (m(1, 4), m(4, 1), 0),
    "outer": lambda m: (m(3, 1), m(1, 5), 0),
    "one of a row": lambda m: (m(3, 4)[:, 1:2], m(1, 5), 0),
    "broadcast row": lambda m: (xp.broadcast_to(m(1, 4), (3, 4)), m(4, 5), 1),
    "broadcast column": lambda m: (xp.broadcast_to(m(3, 1), (3, 4)), m(4, 5), 1),
    "batch": lambda m: (m(2, 3, 4), m(2, 4, 5), 0),
    "one factor for all": lambda m: (m(3, 4), m(2, 4, 5), 0),
    "rows of a batch": lambda m: (m(2, 3, 4), m(4, 5), 0),
    "rows of a batch of parts": lambda m: (m(2, 3, 6)[..., 1:5], m(4, 5), 0),
    "batch backwards": lambda m: (m(2, 3, 4)[::-1], m(2, 4, 5), 1),
    "two batch dimensions": lambda m: (m(2, 3, 4, 5), m(2, 3, 5, 2), 0),
    "other order of the batch": lambda m: (m(2, 5, 3, 4).transpose(0, 2, 1, 3), m(2, 3, 4, 2), 1),    # a 2nd product
    "each with each": lambda m: (m(2, 1, 3, 4), m(1, 6, 4, 5), 1),
    "each of many with each": lambda m: (m(20, 1, 3, 4), m(1, 30, 4, 2), 2),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("name", VIEWS)
def test_products_of_views(name, dtype):
    a, b, more = VIEWS[name](lambda *shape: matrix(*shape, seed=sum(shape), dtype=dtype))
    found = []
    ran = launches(lambda: found.append(conv.matmul(a, b)))
    assert ran["matmul"] == 0 and sum(ran.values()) == 1 + more
    exact = a.get().astype(np.float64) @ b.get().astype(np.float64)
    assert_close(found[0].get(), exact.astype(dtype), 8)
    assert found[0].flags.c_contiguous


def test_bfloat16_is_summed_in_float32():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    a, b = matrix(3, 300).astype(bfloat16), matrix(300, 2).astype(bfloat16)
    found = conv.matmul(a, b).get()
    exact = a.get().astype(np.float64) @ b.get().astype(np.float64)
    assert found.dtype == bfloat16
    np.testing.assert_allclose(found.astype(np.float64), exact, rtol=2.0 ** -8, atol=1e-5)


def test_products_into_memory_and_added():
    a, b = matrix(2, 3, 4), matrix(4, 5, seed=1)
    exact = a.get() @ b.get()
    place = xp.zeros((3, 2, 7))
    out = place.transpose(1, 0, 2)[..., 1:6]                              # rows with others between them
    assert blas.gemm(a, b, out) is out
    blas.gemm(a, b, out, add=True)
    np.testing.assert_allclose(out.get(), 2 * exact, rtol=1e-14)
    assert not place[..., ::6].get().any()
    for wrong in (xp.empty((2, 5, 3)).transpose(0, 2, 1), xp.empty((2, 3, 4))):
        with pytest.raises(ValueError, match="gemm: out must be"):
            blas.gemm(a, b, wrong)


def test_nothing_to_multiply():
    assert conv.matmul(matrix(0, 3), matrix(3, 4)).shape == (0, 4)
    assert conv.matmul(matrix(2, 0, 3, 4), matrix(4, 5)).shape == (2, 0, 3, 5)
    np.testing.assert_array_equal(conv.matmul(matrix(2, 0), matrix(0, 3)).get(), np.zeros((2, 3)))
    ones = xp.ones((2, 3))
    np.testing.assert_array_equal(blas.gemm(matrix(2, 0), matrix(0, 3), ones, add=True).get(), np.ones((2, 3)))


def test_what_cublas_does_not_know_goes_to_matmul():
    a, b = there(np.arange(6).reshape(2, 3)), there(np.arange(12).reshape(3, 4))
    assert launches(lambda: conv.matmul(a, b)) == {"matmul": 1}
    np.testing.assert_array_equal(conv.matmul(a, b).get(), a.get() @ b.get())


def test_without_cupys_private_binding(monkeypatch):
    """What is left is matmul, into the same places."""
    monkeypatch.setattr(blas, "_library", lambda name: None)
    assert launches(lambda: conv.matmul(matrix(3, 4), matrix(4, 5))) == {"matmul": 1}
    for case in (WIDE["groups"], POINTS["strides"], POINTS["wide groups"]):
        check(problem(case, np.float64, "channels last"))


@pytest.mark.parametrize("mode, bits, least", [("highest", 24, 0), ("high", 11, 1e-5), ("medium", 8, 1e-4)])
def test_precision(mode, bits, least):
    """float32 factors are rounded to so many bits, and seen to be; float64 is not touched."""
    precision.set_float32_matmul_precision(mode)
    a, b = matrix(20, 30, dtype=np.float32), matrix(30, 20, seed=1, dtype=np.float32)
    exact, size = a.get().astype("d") @ b.get().astype("d"), abs(a.get()).astype("d") @ abs(b.get())
    error = (abs(conv.matmul(a, b).get() - exact) / size).max()
    assert least < error < 2.02 * 2.0 ** -bits
    a, b = matrix(20, 30), matrix(30, 20, seed=1)
    np.testing.assert_allclose(conv.matmul(a, b).get(), a.get() @ b.get(), rtol=1e-12)


def test_a_captured_product_is_replayed():
    a, b = matrix(3, 4), matrix(2, 4, 5)
    with graph.Session() as session:
        captured, y = session.record(lambda: conv.matmul(a, b))
        a[...] = a * 2
        captured.launch()
    np.testing.assert_allclose(y.get(), a.get() @ b.get(), rtol=1e-14)


def test_the_emulators_cublas_checks_what_it_is_told():
    a, b, c = matrix(3, 4), matrix(4, 5), xp.empty((3, 5))
    numbers = np.array([1.0, 0.0])
    one, zero = numbers.ctypes.data, numbers.ctypes.data + 8

    def product(lda=4, ldb=5, ldc=5, A=a.data.ptr, k=4, compute=70):
        cublas.gemmEx(0, 0, 0, 5, 3, k, one, b.data.ptr, 1, ldb, A, 1, lda, zero, c.data.ptr, 1, ldc, compute, -1)
    product()
    np.testing.assert_allclose(c.get(), a.get() @ b.get(), rtol=1e-14)
    for wrong, message in (({"lda": 5}, "not all of the 112 bytes"), ({"A": a.data.ptr + 8}, "illegal memory access"),
                           ({"A": one}, "illegal memory access"), ({"ldb": 4}, "columns of 5 elements, 4 apart"),
                           ({"k": 0}, "m, n, k = 5, 3, 0"), ({"compute": 68 + 1}, "computed as 69"),
                           ({"A": a.data.ptr - 1}, "illegal memory access"), ({"ldc": 9}, "illegal memory access")):
        with pytest.raises(build.EmulatorError, match=message):
            product(**wrong)
