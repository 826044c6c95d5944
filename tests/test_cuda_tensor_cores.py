"""Convolution on tensor cores, on the emulator: against float64, in each precision, for any geometry."""
import shutil
import sys
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinycnn as tc
from tinycnn.dtypes import floating
from tinycnn.kernels import geometry, precision, reference

pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes (extra 'half')")
if shutil.which("g++") is None:
    pytest.skip("the emulator needs g++", allow_module_level=True)
igemm = import_module("tinycnn.kernels.cuda.igemm")
launch = import_module("tinycnn.kernels.cuda.launch")
device = import_module("tinycnn.kernels.emulator.device")
build = import_module("tinycnn.kernels.emulator.build")
device.install()
# The largest error of an element, as a multiple of the sum of the absolute values of its products: a factor is rounded
# by at most half a unit of its last bit.  highest: 2^-22 is dropped with lo * lo', float32 sums add some 2^-24 each.
BOUNDS = {"highest": 2 ** -20, "high": 2 * 2 ** -11 * 1.01, "medium": 2 * 2 ** -8 * 1.01}
precisions = pytest.mark.parametrize("mode", BOUNDS)


@pytest.fixture(autouse=True)
def highest_again():
    yield
    precision.set_float32_matmul_precision("highest")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def problem(N, C, size, O, kernel, stride=1, padding=0, dilation=1, groups=1):
    """x, weight, bias, gy, window, groups."""
    win = geometry.window(size, kernel, stride, padding, dilation)
    return (normal(N, C, *size), normal(O, C // groups, win.KH, win.KW, seed=1), normal(O, seed=2),
            normal(N, O, win.OH, win.OW, seed=3), win, groups)


def three_passes(kernels, x, weight, bias, gy, win, groups):
    """The convolution and its gradients, by the kernels of a module."""
    return (kernels.conv2d(x, weight, bias, win, groups), kernels.conv2d_input(gy, weight, win, groups),
            kernels.conv2d_weight(x, gy, win, groups))


def on_device(problem):
    return [device.asarray(a) if isinstance(a, np.ndarray) else a for a in problem]


def errors(given):
    """The largest error of each pass, in units of the sum of the products' absolute values."""
    *arrays, win, groups = given
    exact = three_passes(reference, *(a.astype("d") for a in arrays), win, groups)
    sizes = three_passes(reference, *(abs(a.astype("d")) for a in arrays), win, groups)
    found = three_passes(igemm, *on_device(given))
    assert [f.shape for f in found] == [e.shape for e in exact] and {f.dtype for f in found} == {arrays[0].dtype}
    return [np.max(abs(f.get().astype("d") - e) / np.maximum(s, 1e-30), initial=0)
            for f, e, s in zip(found, exact, sizes)]


def narrowed(given, dtype):
    """The same problem in 16 bits."""
    *arrays, win, groups = given
    return *(a.astype(floating(dtype)) for a in arrays), win, groups


PROBLEMS = {
    "one tile": problem(2, 32, (8, 8), 64, 3, padding=1),
    "a stem": problem(2, 3, (17, 13), 5, (3, 5), (2, 1), (1, 2)),
    "many channels, dilated": problem(1, 5, (9, 8), 130, (3, 2), 2, 1, (1, 2)),
    "groups": problem(2, 12, (8, 9), 20, (2, 3), 3, 2, 2, groups=4),
    "wide groups": problem(1, 72, (3, 4), 144, (1, 3), padding=(0, 1), groups=2),
    "1x1 with stride": problem(3, 20, (7, 6), 24, 1, 2),
    "one output": problem(1, 4, (5, 5), 4, 5),
    "unequal strides": problem(2, 6, (9, 9), 6, 3, (3, 2), groups=2),
    "more stride than kernel": problem(2, 8, (11, 10), 8, 2, 4, 1),
    "dilation as stride": problem(1, 8, (13, 13), 8, 3, 2, 2, 2),
    "several parts of the weight gradient": problem(2, 4, (16, 17), 4, 3, padding=1)}
QUICK = ("one tile", "a stem", "groups", "several parts of the weight gradient")
problems = pytest.mark.parametrize("given", PROBLEMS.values(), ids=PROBLEMS)


@precisions
@problems
def test_all_passes_are_right(given, mode):
    precision.set_float32_matmul_precision(mode)
    assert max(errors(given)) <= BOUNDS[mode]


@pytest.mark.parametrize("dtype, unit", [("float16", 2 ** -11), ("bfloat16", 2 ** -8)])
@problems
def test_all_passes_of_16_bits_are_right(given, dtype, unit):
    """Products and sums as of float32; what is stored is rounded once, by half a unit."""
    assert max(errors(narrowed(given, dtype))) <= unit + BOUNDS["highest"]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_geometry(data):
    def pair(least, most):
        return tuple(data.draw(st.tuples(st.integers(least, most), st.integers(least, most))))
    groups, kernel, stride = data.draw(st.integers(1, 3)), pair(1, 4), pair(1, 4)
    padding, dilation = pair(0, 3), pair(1, 3)
    span = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    size = tuple(max(1, s - 2 * p) + extra for s, p, extra in zip(span, padding, pair(0, 9)))
    C, O = (groups * data.draw(st.integers(1, 9)) for _ in range(2))
    assert max(errors(problem(data.draw(st.integers(1, 3)), C, size, O, kernel, stride, padding, dilation, groups))) \
        <= BOUNDS["highest"]


def test_long_sums_are_as_exact_as_float32s():
    """Of 2304 positive numbers, where it would add up to 1e-5 that tensor cores cut off instead of rounding."""
    rng, win = np.random.default_rng(0), geometry.window((3, 3), 3, 1, 1)
    x, weight = (rng.uniform(0.5, 1.5, (n, 256, 3, 3)).astype(np.float32) for n in (1, 4))
    exact = reference.conv2d(x.astype("d"), weight.astype("d"), None, win, 1)
    found = igemm.conv2d(device.asarray(x), device.asarray(weight), None, win, 1).get()
    assert np.max(abs(found / exact - 1)) <= BOUNDS["highest"]


def test_each_precision_is_in_use():
    """Each is clearly worse than the next better, and not as bad as the next worse."""
    found = []
    for mode in BOUNDS:
        precision.set_float32_matmul_precision(mode)
        found.append(max(errors(PROBLEMS["one tile"])))
    assert found[0] * 50 < found[1] and found[1] * 4 < found[2]


@pytest.mark.parametrize("name, mode", [
    pytest.param(name, mode, marks=() if mode == "highest" and name in QUICK else pytest.mark.slow)
    for name in PROBLEMS for mode in BOUNDS])
def test_the_order_of_threads_does_not_matter(name, mode):
    precision.set_float32_matmul_precision(mode)
    runs = []
    for order in build.SCHEDULES:
        with device.schedule(order):
            runs.append([a.get().tobytes() for a in three_passes(igemm, *on_device(PROBLEMS[name]))])
    assert all(run == runs[0] for run in runs)


def test_every_instance_has_run():
    for mode in BOUNDS:
        precision.set_float32_matmul_precision(mode)
        for name in ("one tile", "wide groups"):
            three_passes(igemm, *on_device(PROBLEMS[name]))
            for dtype in ("float16", "bfloat16"):
                three_passes(igemm, *on_device(narrowed(PROBLEMS[name], dtype)))
    assert not [name for name in launch.instances("igemm.cu") if not device.launched[name]]


@pytest.fixture
def geforce(monkeypatch):
    """A GPU with 99 KiB of shared memory for a block, and no more."""
    monkeypatch.setattr(build, "MOST_SHARED", 99 << 10)
    launch._most_shared.cache_clear()
    yield
    launch._most_shared.cache_clear()


@pytest.mark.parametrize("dtype, mode, BN", [("float32", "highest", 64), ("float32", "medium", 64),
                                             ("float16", "highest", 128)])
def test_tiles_fit_into_a_gpus_shared_memory(geforce, dtype, mode, BN):
    precision.set_float32_matmul_precision(mode)
    before = device.launched.copy()
    given = PROBLEMS["wide groups"] if dtype == "float32" else narrowed(PROBLEMS["wide groups"], dtype)
    assert max(errors(given)) <= (BOUNDS[mode] if dtype == "float32" else 2 ** -11 + BOUNDS["highest"])
    tiles = {name[:-1].split(", ")[-1] for name in device.launched - before if name.startswith("convolve<")}
    assert tiles == {"64", str(BN)}                          # the input gradient has but 36 channels in a group


def test_cupy_is_asked_for_the_shared_memory_of_its_gpu(monkeypatch):
    gpu = SimpleNamespace(attributes={"MaxSharedMemoryPerBlock": 48 << 10, "MaxSharedMemoryPerBlockOptin": 99 << 10})
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(Device=lambda: gpu)))
    assert launch._most_shared.__wrapped__("cupy") == 99 << 10


def test_images_stay_channels_last():
    x, weight, _, gy, win, groups = PROBLEMS["one tile"]
    def last(a):
        return device.asarray(np.ascontiguousarray(a.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
    w, before = device.asarray(weight), device.counts["allocations"]
    y = igemm.conv2d(last(x), w, None, win, groups)
    gx = igemm.conv2d_input(last(gy), w, win, groups)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous and gx.transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(y.get(), igemm.conv2d(device.asarray(x), w, None, win, groups).get())
    assert device.counts["allocations"] - before <= 14          # images, weights, results: nothing is copied twice


def test_nothing_and_what_is_not_a_number():
    x, weight, bias, gy, win, groups = PROBLEMS["one tile"]
    y, gx, gw = three_passes(igemm, *on_device((x[:0], weight, bias, gy[:0], win, groups)))
    assert y.shape == (0, *gy.shape[1:]) and gx.shape == (0, *x.shape[1:]) and not gw.get().any()
    x = x.copy()
    x[0, 3, 4, 4] = np.nan
    found = igemm.conv2d(*on_device((x, weight, bias, win, groups))).get()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(reference.conv2d(x, weight, bias, win, groups)))


def test_the_precision_is_one_of_three():
    assert tc.get_float32_matmul_precision() == "highest"
    tc.set_float32_matmul_precision("high")
    assert precision.get_float32_matmul_precision() == "high"
    with pytest.raises(ValueError, match="expected one of 'highest', 'high', 'medium', got 'low'"):
        tc.set_float32_matmul_precision("low")
