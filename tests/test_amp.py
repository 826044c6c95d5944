"""Mixed precision: who computes in what, gradients, the scaling of losses, and models of 16 bits."""
import threading

import numpy as np
import pytest

import tinycnn as tc
from tinycnn.amp import GradScaler, autocast, is_autocast_enabled
from tinycnn.autocast import NARROW, WIDE, WIDEST
from tinycnn.dtypes import bfloat16, floating, is_floating
from tinycnn.methods import FUNCTIONS
from tinycnn.models import create_model
from tinycnn.nn import functional as F

pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes (extra 'half')")
HALVES = ["float16", "bfloat16"]
halves = pytest.mark.parametrize("dtype", HALVES)


def noise(*shape, seed=0, dtype="float32"):
    return tc.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def half(dtype):
    return floating(dtype)


# ---------------------------------------------------------------------------------------- who computes in what

def test_every_name_of_the_lists_is_a_function():
    assert not (NARROW | WIDE | WIDEST) - set(FUNCTIONS)
    assert not NARROW & WIDE and not NARROW & WIDEST and not WIDE & WIDEST


@halves
def test_products_are_of_16_bits_and_sums_of_32(dtype):
    x, w = noise(2, 3, 8, 8), noise(4, 3, 3, 3, seed=1)
    with autocast("cpu", dtype):
        y = F.conv2d(x, w, padding=1)
        z = F.linear(y.flatten(1), noise(5, 256, seed=2), noise(5, seed=3))
        p = F.softmax(z, dim=1)
        kept = [F.relu(y), F.max_pool2d(y, 2), F.avg_pool2d(y, 2), y + y, y * 2.5]
    assert y.dtype == z.dtype == half(dtype) and p.dtype == np.float32
    assert {t.dtype for t in kept} == {half(dtype)}
    rounded = F.conv2d(x.to(half(dtype)).float(), w.to(half(dtype)).float(), padding=1)
    np.testing.assert_array_equal(y.numpy(), rounded.numpy().astype(half(dtype)))


@halves
def test_losses_and_sums_are_wide(dtype):
    y, target = noise(4, 6).to(half(dtype)), np.arange(4)
    with autocast("cpu", dtype):
        found = [F.cross_entropy(y, target), F.mse_loss(y, y * 0), y.sum(), y.exp(), F.layer_norm(y, (6,)), y.mean(1),
                 tc.logsumexp(y, 1)]
    assert {t.dtype for t in found} == {np.dtype("float32")}


@halves
def test_the_widest_decides(dtype):
    y, x = noise(2, 3).to(half(dtype)), noise(2, 3)
    with autocast("cpu", dtype):
        assert tc.cat([y, y]).dtype == half(dtype) and tc.cat([y, x]).dtype == np.float32
        assert tc.stack([x, y]).dtype == np.float32


def test_what_is_left_alone():
    double, whole = noise(2, 3, dtype="float64"), tc.tensor([[1, 2], [3, 4]])
    with autocast("cpu", "float16"):
        assert (double @ double.T).dtype == np.float64 and whole.sum().dtype == np.int64
    x = noise(2, 2)
    with autocast("cuda-emu"):
        assert (x @ x).dtype == np.float32           # a tensor of another device


def test_blocks_nest_and_end_with_an_exception():
    x = noise(2, 2)
    with autocast("cpu", "float16"):
        with autocast("cpu", enabled=False):
            assert (x @ x).dtype == np.float32 and not is_autocast_enabled()
        assert (x @ x).dtype == np.float16
        seen = []
        other = threading.Thread(target=lambda: seen.append(is_autocast_enabled()))
        other.start()
        other.join()
        assert seen == [False]
    with pytest.raises(ZeroDivisionError), autocast("cpu", "float16"):
        raise ZeroDivisionError
    with pytest.raises(ValueError), autocast("cpu", "float16"):
        x @ noise(3, 3)
    assert not is_autocast_enabled() and (x @ x).dtype == np.float32

    @autocast("cpu", "float16")
    def product(x):
        return x @ x
    assert product(x).dtype == product(x).dtype == np.float16 and (x @ x).dtype == np.float32


def test_what_is_refused(monkeypatch):
    with pytest.raises(TypeError, match="dtype must be float16 or bfloat16, got float32"):
        autocast("cpu", "float32")
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        autocast("tpu")
    with autocast("cpu"), pytest.raises(RuntimeError, match="binary_cross_entropy_with_logits"):
        F.binary_cross_entropy(tc.ones((2,)) / 2, tc.ones((2,)))
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    with pytest.raises(RuntimeError, match=r"pip install 'tinycnn\[half\]'"):
        autocast("cpu", "bfloat16")
    with autocast("cpu", enabled=False):             # needs nothing
        assert not is_autocast_enabled()


# ---------------------------------------------------------------------------------------- gradients and training

@pytest.mark.parametrize("dtype, bound", [("float16", 0.02), ("bfloat16", 0.15)])
@pytest.mark.parametrize("name, shape", [("digits_net", (8, 1, 8, 8)), ("bn_lenet", (16, 1, 28, 28))])
def test_gradients_are_those_of_float32_roughly(name, shape, dtype, bound):
    tc.manual_seed(0)
    model, x, target = create_model(name), noise(*shape), np.arange(shape[0]) % 10
    F.cross_entropy(model(x), target).backward()
    exact = [p.grad.numpy().copy() for p in model.parameters()]
    model.zero_grad()
    with autocast("cpu", dtype):
        loss = F.cross_entropy(model(x), target)
    loss.backward()
    norm = np.sqrt(sum((g ** 2).sum() for g in exact))
    error = np.sqrt(sum(((p.grad.numpy() - g) ** 2).sum() for p, g in zip(model.parameters(), exact))) / norm
    assert 1e-5 < error < bound                      # rounded, and not by more
    assert {p.grad.dtype for p in model.parameters()} == {p.dtype for p in model.parameters()} == {np.dtype("f")}


@halves
def test_second_derivatives(dtype):
    x = noise(3, 4)
    x.requires_grad_()
    with autocast("cpu", dtype):
        y = (x @ noise(4, 2, seed=1)).tanh().sum()
    (g,) = tc.grad(y, x, create_graph=True)
    (gg,) = tc.grad((g * g).sum(), x)
    assert g.dtype == gg.dtype == np.float32 and np.abs(gg.numpy()).max() > 0


@halves
def test_a_whole_model_of_16_bits(dtype):
    """model.to(dtype): parameters, activations, gradients and momentum."""
    tc.manual_seed(0)
    model = create_model("lenet").to(half(dtype))
    optimizer = tc.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, target, losses = noise(8, 1, 28, 28).to(half(dtype)), np.arange(8), []
    for _ in range(8):
        loss = F.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    assert {p.dtype for p in model.parameters()} == {p.grad.dtype for p in model.parameters()} == {half(dtype)}


def test_small_gradients_survive_float16_with_a_scaler():
    w, x = tc.tensor([1.0], requires_grad=True), tc.tensor([1e-9])
    for scaler, survives in ((GradScaler(init_scale=2.0 ** 16), True), (GradScaler(enabled=False), False)):
        w.grad = None
        loss = (w.to("float16") * tc.tensor(np.float16([1.0]))).float() * x
        scaler.scale(loss).backward()
        scaler.unscale_(tc.optim.SGD([w], lr=1.0))
        assert (abs(w.grad.item() - 1e-9) < 1e-11) == survives


# ---------------------------------------------------------------------------------------- GradScaler

def steps(scaler, gradients):
    """What the scale and a parameter are after steps with given gradients."""
    w, seen = tc.tensor([0.0], requires_grad=True), []
    optimizer = tc.optim.SGD([w], lr=1.0)
    for g in gradients:
        w.grad = tc.tensor([g * scaler.get_scale()])
        scaler.step(optimizer)
        scaler.update()
        seen.append((scaler.get_scale(), w.item()))
    return seen


def test_it_shrinks_with_an_overflow_and_grows_after_a_while():
    inf, nan = float("inf"), float("nan")
    found = steps(GradScaler(init_scale=8.0, growth_interval=2), [1.0, inf, 1.0, 1.0, nan, 1.0])
    assert found == [(8, -1), (4, -1), (4, -2), (8, -3), (4, -3), (4, -4)]


def test_it_is_torchs():
    torch = pytest.importorskip("torch", reason="the judge is PyTorch")
    gradients = [1.0, float("inf"), 0.5, 2.0, 1.0, float("nan"), float("nan"), 1.0, 1.0, 1.0]
    judge = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2, growth_factor=3.0, backoff_factor=0.25)
    w, expected = torch.zeros(1, requires_grad=True), []
    optimizer = torch.optim.SGD([w], lr=1.0)
    for g in gradients:
        judge.scale(torch.zeros(1))
        w.grad = torch.tensor([g * judge.get_scale()])
        judge.step(optimizer)
        judge.update()
        expected.append((judge.get_scale(), w.item()))
    mine = GradScaler("cpu", init_scale=64.0, growth_interval=2, growth_factor=3.0, backoff_factor=0.25)
    np.testing.assert_allclose(steps(mine, gradients), expected, rtol=1e-6)
    assert mine.state_dict() == judge.state_dict()


def test_unscaling_first_and_twice():
    scaler, w = GradScaler(init_scale=4.0), tc.tensor([0.0], requires_grad=True)
    optimizer = tc.optim.SGD([w], lr=1.0)
    w.grad = tc.tensor([8.0])
    scaler.unscale_(optimizer)
    assert w.grad.item() == 2
    with pytest.raises(RuntimeError, match="unscaled already"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert w.item() == -2
    scaler.update()
    with pytest.raises(RuntimeError, match="call step"):
        scaler.update()
    with pytest.raises(RuntimeError, match="closures"):
        scaler.step(optimizer, lambda: None)


def test_its_state_and_its_options():
    scaler = GradScaler(init_scale=32.0, growth_interval=3)
    steps(scaler, [1.0])
    other = GradScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict() and other.get_scale() == 32
    with pytest.raises(ValueError, match="has no _growth_tracker"):
        other.load_state_dict({k: v for k, v in scaler.state_dict().items() if k != "_growth_tracker"})
    for options in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}, {"init_scale": 0.0}, {"growth_interval": 0}):
        with pytest.raises(ValueError, match="GradScaler: needs"):
            GradScaler(**options)
    off = GradScaler(enabled=False)
    assert off.scale(3.0) == 3.0 and off.get_scale() == 1 and off.state_dict() == {} and not off.is_enabled()
    assert scaler.scale((tc.tensor([1.0]), [tc.tensor([2.0])]))[1][0].item() == 64


def test_dtypes():
    assert is_floating(np.dtype(bfloat16())) and is_floating(np.dtype("float16")) and not is_floating(np.dtype("int16"))
    with pytest.raises(TypeError, match="expected a floating-point dtype, got int16"):
        floating("int16")
    x = noise(4).to(bfloat16())
    assert (x * 2.0).dtype == (2.0 - x).dtype == (x / 3).dtype == x.dtype
    assert (x + noise(4)).dtype == np.float32 and (x + tc.ones(4).to("float16")).dtype == np.float32
