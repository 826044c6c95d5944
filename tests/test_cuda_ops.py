"""Every op and small models on device "cuda-emu": the CUDA kernels under the whole engine, run by the emulator."""
import shutil
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context

import numpy as np
import pytest

import tinycnn as tc
from tinycnn.autograd import Tensor, grad
from tinycnn.backend import device_of, to_device, to_numpy
from tinycnn.cases import all_cases, build
from tinycnn.cases.table import FIRST, SECOND, bound, errors_of
from tinycnn.methods import FUNCTIONS
from tinycnn.models import create_model
from tinycnn.nn import functional as F

if shutil.which("g++") is None:
    pytest.skip("the emulator needs g++", allow_module_level=True)
DEVICE = "cuda-emu"
each_row = pytest.mark.parametrize("row", all_cases(), ids=lambda row: row.id)


def moved(value, device, leaves, wanted):
    """The inputs of a row as tensors on a device; those with gradients are added to leaves."""
    if isinstance(value, list):
        return [moved(v, device, leaves, wanted) for v in value]
    if not isinstance(value, np.ndarray):
        return value
    leaves.append(Tensor(to_device(value, device), requires_grad=wanted and value.dtype.kind == "f"))
    return leaves[-1]


def outcome(row, device):
    """Values of a row's outputs and, for some gradient of these, the gradients of its inputs."""
    tc.manual_seed(0)
    leaves = []
    outputs = FUNCTIONS[row.op](*[moved(v, device, leaves, bool(row.grads)) for v in build(row)], **row.options)
    outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    values = [to_numpy(y.data) if isinstance(y, Tensor) else np.asarray(y) for y in outputs]
    assert row.op == "_to_device" or {device_of(y.data) for y in outputs if isinstance(y, Tensor)} <= {device}
    ends = [y for y in outputs if isinstance(y, Tensor) and y.requires_grad]
    inputs = [t for t in leaves if t.requires_grad]
    seeds = [Tensor(to_device(np.cos(np.arange(y.data.size)).reshape(y.shape), device_of(y.data))) for y in ends]
    found = grad(ends, inputs, seeds, allow_unused=True) if ends else ()
    return values, [None if g is None else g.numpy() for g in found]


@each_row
def test_values_and_gradients_are_those_of_the_cpu(row):
    for found, expected in zip(outcome(row, DEVICE), outcome(row, "cpu")):
        assert len(found) == len(expected)
        for a, b in zip(found, expected):
            assert (a is None) == (b is None)
            if b is not None:
                assert a.shape == b.shape and a.dtype == b.dtype
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def errors_at(position):
    """Of a row by its place in the table: rows hold functions, which do not go from process to process."""
    return errors_of(all_cases()[position], DEVICE)


@pytest.fixture(scope="module")
def errors(request):
    """(first, second) of each row that was selected, to be waited for: one process per processor works on them."""
    wanted = {item.callspec.params["row"].id for item in request.session.items
              if item.name.startswith("test_gradients_against_differences")}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield {row.id: pool.submit(errors_at, i) for i, row in enumerate(all_cases()) if row.id in wanted}
        pool.shutdown(cancel_futures=True)


@pytest.mark.slow
@pytest.mark.parametrize("row", [r for r in all_cases() if r.grads], ids=lambda row: row.id)
def test_gradients_against_differences(row, errors):
    first, second = errors[row.id].result()
    assert first <= FIRST and (second is None or second <= SECOND)


# ---------------------------------------------------------------------------------------- models

def step(name, device, batch, side, options):
    """Loss, and what one step of SGD with momentum makes of the parameters and buffers."""
    tc.manual_seed(0)
    model = create_model(name, dtype="float64", num_classes=10, **options).to(device)
    channels = next(m for m in model.modules() if isinstance(m, tc.nn.Conv2d)).in_channels
    x = tc.tensor(np.random.default_rng(0).standard_normal((batch, channels, side, side))).to(device)
    optimizer = tc.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss = F.cross_entropy(model(x), np.arange(batch) % 10)
    loss.backward()
    optimizer.step()
    return {"loss": np.asarray(float(loss)), **{k: to_numpy(v) for k, v in model.state_dict().items()}}


@pytest.mark.parametrize("name, batch, side, options", [
    ("lenet", 2, 28, {}), ("bn_lenet", 4, 28, {}), ("digits_net", 4, 8, {}), ("regnetx32_d2l", 4, 32, {}),
    ("resnet20_cifar", 2, 16, {}), ("convnext_tiny", 2, 32, {"depths": (1, 1, 1, 1), "widths": (8, 8, 16, 16)}),
    pytest.param("resnet18_d2l", 2, 64, {}, marks=pytest.mark.slow),
    pytest.param("googlenet_d2l", 2, 64, {}, marks=pytest.mark.slow),
    pytest.param("densenet_d2l", 2, 64, {}, marks=pytest.mark.slow)])
def test_a_training_step_is_that_of_the_cpu(name, batch, side, options):
    expected = step(name, "cpu", batch, side, options)
    for key, found in step(name, DEVICE, batch, side, options).items():
        np.testing.assert_allclose(found, expected[key], rtol=1e-7, atol=1e-10, err_msg=key)


@pytest.mark.parametrize("name, call", {
    "add": lambda a, b: a(2, 3) + b(2, 3), "add_": lambda a, b: a(2).add_(b(2)),
    "conv2d": lambda a, b: F.conv2d(a(1, 2, 4, 4), a(3, 2, 3, 3), b(3)), "_join": lambda a, b: tc.cat([a(2), b(2)]),
    "batch_norm": lambda a, b: F.batch_norm(a(2, 3, 2, 2), None, None, b(3), b(3), True),
    "group_norm": lambda a, b: F.group_norm(a(2, 4, 3), 2, b(4))}.items(),
    ids=lambda v: v if isinstance(v, str) else "")
def test_devices_do_not_mix(name, call):
    def host(*shape):
        return tc.ones(shape)

    def device(*shape):
        return tc.ones(shape, device=DEVICE)
    for a, b, home in ((host, device, "cpu"), (device, host, DEVICE)):
        with pytest.raises(TypeError) as caught:
            call(a, b)
        words = str(caught.value)
        assert words.startswith(name) and ": all tensors must be on one device" in words
        assert "on 'cpu'" in words and f"on '{DEVICE}'" in words and f"x.to('{home}')" in words


def test_no_op_mixes_devices_unnoticed():
    """One tensor of each row on the other device, each in turn."""
    tried, shapes_only = 0, {"view_as", "reshape_as", "expand_as", "meshgrid"}
    for row in filter(lambda row: row.grads, all_cases()):
        (func, host), (_, device) = bound(row), bound(row, device=DEVICE)
        allowed = row.op in shapes_only or not all(t.numel() and t.ndim for t in host)     # as torch: a lone number
        for k in range(len(host) if len(host) > 1 and not allowed else 0):
            with pytest.raises(TypeError, match="all tensors must be on one device") as caught:
                func(*host[:k], device[k], *host[k + 1:])
            assert "on 'cpu'" in str(caught.value) and f"on '{DEVICE}'" in str(caught.value), row.id
            tried += 1
    assert tried > 250


def test_tensors_and_models_are_made_there():
    made = [tc.zeros(3, device=DEVICE), tc.rand(3, device=DEVICE), tc.arange(3, device=DEVICE)]
    model = create_model("digits_net", device=DEVICE)
    assert {t.device for t in [*made, *model.parameters(), *model.buffers()]} == {DEVICE}
    assert made[2].cpu().device == "cpu" and made[2].cpu().numpy().tolist() == [0, 1, 2]
    with pytest.raises(RuntimeError, match="device 'cuda'.*use device='cpu', or 'cuda-emu'"):
        if not tc.cuda.is_available():
            made[2].cuda()
        else:
            pytest.skip("there is a GPU")


def test_where_of_two_numbers_is_where_the_condition_is():
    y = tc.where(tc.Tensor(np.array([True, False])).to(DEVICE), 1.5, 2)
    assert (y.device, y.dtype, y.tolist()) == (DEVICE, np.float32, [1.5, 2.0])


def test_tensors_come_back():
    assert tc.ones(3).to(DEVICE).to("cpu").numpy().tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="unknown device 'tpu': expected one of cpu, cuda, cuda-emu"):
        tc.ones(3).to("tpu")


def test_the_command_line_checks_gradients_there(capsys):
    from tinycnn.cli import main
    assert main(["gradcheck", "relu", "--device", DEVICE]) == 0
    assert "1 checked, 0 wrong" in capsys.readouterr().out


def test_without_a_compiler_it_says_what_is_missing(monkeypatch):
    build_module = import_module("tinycnn.kernels.emulator.build")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match="needs g\\+\\+"):
        build_module.compiler()
