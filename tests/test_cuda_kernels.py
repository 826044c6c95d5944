"""Every CUDA kernel, run by the emulator, against the reference: dtypes, odd shapes, layouts, orders of threads."""
import shutil
import sys
from importlib import import_module

import numpy as np
import pytest
from kernel_checks import LAYOUTS, assert_close, normal

import tinycnn.kernels
from tinycnn.cases.kernels import outcome, rows

if shutil.which("g++") is None:
    pytest.skip("the emulator needs g++", allow_module_level=True)
cuda, reference = (import_module(f"tinycnn.kernels.{name}") for name in ("cuda", "reference"))
build, device = (import_module(f"tinycnn.kernels.emulator.{name}") for name in ("build", "device"))
launch = import_module("tinycnn.kernels.cuda.launch")
FLOATS = [np.float32, np.float64]
device.install()


def there(value):
    """Arrays on the device, everything else as it is."""
    if isinstance(value, list):
        return list(map(there, value))
    return device.asarray(value) if isinstance(value, np.ndarray) else value


def here(value):
    if isinstance(value, tuple):
        return tuple(map(here, value))
    return value.get() if isinstance(value, device.ndarray) else value


ROWS = {dtype: rows(dtype) for dtype in FLOATS}


def test_no_name_is_missing():
    assert sorted(cuda.__all__) == sorted(reference.__all__)
    assert all(calls for calls in ROWS[np.float32].values())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", reference.__all__)
def test_it_is_the_references(name, dtype):
    for arguments in ROWS[dtype][name]:
        expected = outcome(reference, name, arguments, lambda a: a)
        assert_close(here(outcome(cuda, name, arguments, there)), expected, 256)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("name", [n for n in reference.__all__ if n not in ("matmul", "dropout")])
def test_memory_of_any_layout(name, layout):
    """Channels last, with gaps, backwards: the values count."""
    arguments = ROWS[np.float32][name][0]
    expected = outcome(reference, name, arguments, lambda a: a)

    def move(a):
        if not isinstance(a, np.ndarray):
            return a
        return device.asarray(layout(a)) if layout(a).flags.c_contiguous else device.ndarray(layout(a))
    assert_close(here(outcome(cuda, name, arguments, move)), expected, 256)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", reference.__all__)
def test_the_order_of_threads_does_not_matter(name, dtype):
    arguments = ROWS[dtype][name][0]
    runs = []
    for order in build.SCHEDULES:
        with device.schedule(order):
            found = here(outcome(cuda, name, arguments, there))
        found = found if isinstance(found, tuple) else (found,)
        runs.append([a.tobytes() for a in found if isinstance(a, np.ndarray)])
    assert all(run == runs[0] for run in runs)


@pytest.mark.parametrize("name", [n for n in reference.__all__ if "pool" in n or "_norm" in n or n in (
    "relu", "relu_backward", "erf") if "layer" not in n])
def test_channels_last_stays_so(name, monkeypatch):
    """No array is brought into another order, and results lie as the arguments do."""
    def no_copy(array):
        assert array.flags.c_contiguous, f"{name} copies an array {array.shape} with strides {array.strides}"
        return array
    monkeypatch.setattr(sys.modules[device.NAME], "ascontiguousarray", no_copy, raising=False)

    def move(a):
        return device.asarray(LAYOUTS["channels last"](a)) if isinstance(a, np.ndarray) else a
    images = [arguments for arguments in ROWS[np.float32][name]
              if arguments[0].ndim > 2 and arguments[0].shape[2:] != (1, 1)]       # a pixel lies in both orders
    assert images
    for arguments in images:
        found = getattr(cuda, name)(*map(move, arguments))
        for y in here(found if isinstance(found, tuple) else (found,)):
            assert y is None or y.ndim < 3 or np.moveaxis(y, 1, -1).flags.c_contiguous


def test_every_kernel_of_every_file_has_run():
    """Here, in both precisions; tensor cores' and 16 bits': test_cuda_tensor_cores.py, test_cuda_half.py."""
    for dtype in FLOATS:
        for name, calls in ROWS[dtype].items():
            for arguments in calls:
                outcome(cuda, name, arguments, there)
    for path in sorted(set(launch.FOLDER.glob("*.cu")) - {launch.FOLDER / "igemm.cu"}):
        for name in launch.instances(path.name):
            assert device.launched[name] or "Half" in name or "Bfloat" in name, name


@pytest.mark.parametrize("name", [n for n in reference.__all__ if not n.endswith("_update") and n != "matmul"])
def test_empty_arrays(name):
    """A batch of nothing: no launch, no error, the reference's shapes."""
    arguments = ROWS[np.float32][name][0]
    empty = [a[:0] if isinstance(a, np.ndarray) and a.ndim > 1 and a.shape[0] == arguments[0].shape[0] else a
             for a in arguments]
    if any(isinstance(a, np.ndarray) and a.ndim == 1 and a.shape == arguments[0].shape[:1] for a in arguments):
        empty = [a[:0] if isinstance(a, np.ndarray) and a.shape[0] == arguments[0].shape[0] else a for a in arguments]
    try:
        with np.errstate(all="ignore"):
            expected = getattr(reference, name)(*empty)
    except (ValueError, IndexError):
        pytest.skip("the reference does not take it either")
    found = here(getattr(cuda, name)(*map(there, empty)))
    for f, e in zip(*(v if isinstance(v, tuple) else (v,) for v in (found, expected))):
        assert f.shape == e.shape and f.dtype == e.dtype


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_large_means_keep_their_digits(layout):
    """float32 numbers around 10000, one apart: float32 sums of their squares would have no variance left."""
    x = (10_000 + normal((3, 37, 9, 5), np.float64)).astype(np.float32)
    y, mean, var = here(cuda.batch_norm(device.asarray(LAYOUTS[layout](x)), None, None, 1e-5))
    expected = reference.batch_norm(x.astype(np.float64), None, None, 1e-5)
    np.testing.assert_allclose(var, expected[2], rtol=1e-6)
    np.testing.assert_allclose(y, expected[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("C", [7, 1500])
def test_softmax_of_what_is_not_finite(C):
    """Rows with NaN, infinity, minus infinity alone or first, and one number of all: as the reference."""
    x = normal((6, C), np.float64)
    x[0, 3], x[1, 4], x[2, :], x[3, :-1], x[4, 0] = np.nan, np.inf, -np.inf, -np.inf, -np.inf
    with np.errstate(all="ignore"):
        for name in ("softmax", "log_softmax"):
            assert_close(here(getattr(cuda, name)(there(x))), getattr(reference, name)(x), 256)
        options = np.arange(6) % C, None, -100, 0.0
        found = cuda.cross_entropy(there(x), *map(there, options))
        assert_close(here(found), reference.cross_entropy(x, *options), 256)


def test_sums_are_split_among_blocks_and_joined():
    """Shapes with several parts of several tiles of channels, the last ones smaller."""
    for shape in ((5, 70, 33, 31), (40, 33, 7, 7), (3000, 5), (2, 3, 3000)):
        x, g = normal(shape, np.float32), normal(shape, np.float32, 1)
        for layout in ("contiguous", "channels last"):
            a, b = (device.asarray(LAYOUTS[layout](v)) for v in (x, g))
            y, mean, var = cuda.batch_norm(a, None, None, 1e-5)
            expected = reference.batch_norm(x, None, None, 1e-5)
            assert_close(here((y, mean, var)), expected, 256)
            assert_close(here(cuda.batch_norm_backward(b, a, mean, var, None, 1e-5)),
                         reference.batch_norm_backward(g, x, *expected[1:], None, 1e-5), 256)


def test_a_grid_of_any_size_covers_all_elements():
    x = normal((2000,), np.float32)
    for blocks in (1, 2, 3, 8, 9):
        y = device.empty((2000,), np.float32)
        launch.launch("elementwise.cu", "relu", x.dtype, 2000, (there(x), y, 2000), blocks)
        np.testing.assert_array_equal(y.get(), np.maximum(x, 0))


# ---------------------------------------------------------------------------------------- what is refused

def test_scalars_arrays_and_numbers_of_arguments():
    x, y = there(normal((4,), np.float32)), there(normal((4,), np.float32))
    with pytest.raises(ValueError, match=r"relu takes 3 arguments \(x, y, n\), got 2"):
        launch.launch("elementwise.cu", "relu", x.dtype, 4, (x, y))
    with pytest.raises(TypeError, match="relu: y must be an array of cupy_on_cpu, got one of builtins.int"):
        launch.launch("elementwise.cu", "relu", x.dtype, 4, (x, 3, 4))
    with pytest.raises(TypeError, match="compute in floating point, got int32"):
        launch.launch("elementwise.cu", "relu", np.int32, 4, (x, y, 4))
    with pytest.raises(build.EmulatorError, match="points to 'f', the array is float64"):
        launch.launch("elementwise.cu", "relu", x.dtype, 4, (x, there(np.zeros(4)), 4))
    with pytest.raises(build.EmulatorError, match="not in C order"):
        launch.launch("elementwise.cu", "relu", x.dtype, 4, (x[::2], y, 2))


def test_the_emulators_own_checks():
    x = there(normal((4,), np.float32))
    assert np.isnan(device.empty((3,), np.float32).get()).all()
    with pytest.raises(TypeError, match="an array of the host"):
        x + np.ones(4, np.float32)
    with pytest.raises(TypeError, match="does not become a NumPy array by itself"):
        np.asarray(x)
    before = device.counts["syncs"]
    float(x[0])
    assert device.counts["syncs"] == before + 1
    assert tinycnn.kernels is not None
