"""Kernels for float16 and bfloat16: those of the GPU's own, run by the emulator, and float32's where there are none."""
import shutil
from importlib import import_module

import numpy as np
import pytest

import tinycnn as tc
from tinycnn.backend import to_device
from tinycnn.cases.kernels import narrowed, rows
from tinycnn.dtypes import floating
from tinycnn.models import create_model
from tinycnn.nn import functional as F

pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes (extra 'half')")
if shutil.which("g++") is None:
    pytest.skip("the emulator needs g++", allow_module_level=True)
cuda, half, reference = (import_module(f"tinycnn.kernels.{name}") for name in ("cuda", "half", "reference"))
launch = import_module("tinycnn.kernels.cuda.launch")
device = import_module("tinycnn.kernels.emulator.device")
device.install()
ROWS = rows(np.float32)
UNITS = {"float16": 2.0 ** -11, "bfloat16": 2.0 ** -8}          # what a stored number is rounded by, relative, at most
halves = pytest.mark.parametrize("dtype", UNITS)
NAMES = [n for n in reference.__all__ if not n.endswith("_update")]


def tupled(results):
    return results if isinstance(results, tuple) else (results,)


@halves
@pytest.mark.parametrize("name", sorted(cuda.SIXTEEN_BITS))
def test_the_gpus_own_are_rounded_once(name, dtype):
    for arguments in ROWS[name]:
        narrow, wide = narrowed(arguments, dtype)
        expected = tupled(getattr(reference, name)(*wide))
        found = tupled(getattr(cuda, name)(*[device.asarray(a) if isinstance(a, np.ndarray) else a for a in narrow]))
        assert len(found) == len(expected) and found[0].dtype == narrow[0].dtype
        for a, b in zip(found, expected):
            assert (a is None) == (b is None)
            if b is not None and b.dtype.kind == "i":
                np.testing.assert_array_equal(a.get(), b)
            elif b is not None:
                largest = np.abs(np.where(np.isfinite(b), b, 0)).max(initial=0)
                np.testing.assert_allclose(a.get().astype("f"), b, rtol=UNITS[dtype], atol=2e-6 * largest)


@halves
@pytest.mark.parametrize("name", NAMES)
def test_the_others_are_float32s_rounded(name, dtype):
    kernels = half.widened(reference)
    for arguments in ROWS[name]:
        narrow, wide = narrowed(arguments, dtype)
        if not half.is_half(narrow[0]):
            continue
        found, expected = (tupled(getattr(k, name)(*a)) for k, a in ((kernels, narrow), (reference, wide)))
        assert found[0].dtype == narrow[0].dtype
        np.testing.assert_array_equal(found[0].astype("f"), expected[0].astype(narrow[0].dtype).astype("f"))
        assert [f is None or f.dtype for f in found[1:]] == [e is None or e.dtype for e in expected[1:]]


def test_every_instance_of_16_bits_has_run():
    """But convolution's: test_cuda_tensor_cores.py."""
    for dtype in UNITS:
        for name in cuda.SIXTEEN_BITS:
            test_the_gpus_own_are_rounded_once(name, dtype)
    files = set(launch.FOLDER.glob("*.cu")) - {launch.FOLDER / "igemm.cu"}
    made = [i for path in files for i in launch.instances(path.name) if "Half" in i or "Bfloat" in i]
    assert made and not [name for name in made if not device.launched[name]]


@halves
def test_a_step_in_mixed_precision_is_that_of_the_cpu(dtype):
    """On the emulator: activations of 16 bits on the device, parameters and gradients of float32."""
    tc.manual_seed(0)
    model = create_model("digits_net")
    x, target = np.random.default_rng(0).standard_normal((8, 1, 8, 8)).astype("f"), np.arange(8)
    found = []
    for where in ("cpu", "cuda-emu"):
        moved = model.to(where)
        moved.zero_grad()
        with tc.autocast(where, dtype):
            y = moved(tc.Tensor(to_device(x, where)))
            loss = F.cross_entropy(y, target)
        loss.backward()
        assert y.dtype == floating(dtype) and {p.grad.dtype for p in moved.parameters()} == {np.dtype("f")}
        found.append((float(loss), np.concatenate([p.grad.numpy().ravel() for p in moved.parameters()])))
    (loss, g), (loss_there, g_there) = found
    assert abs(loss - loss_there) < 20 * UNITS[dtype]
    assert np.linalg.norm(g - g_there) < 30 * UNITS[dtype] * np.linalg.norm(g)
