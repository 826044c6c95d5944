"""Training on "cuda-emu" as users meet it: fit, the command line, mixed precision, batches copied ahead."""
import json
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn
from tinycnn.backend import device_of, to_numpy
from tinycnn.cli import main
from tinycnn.data import DataLoader
from tinycnn.train import Config, NonFiniteLoss, Silent, evaluate, fit

if shutil.which("g++") is None:
    pytest.skip("the emulator needs g++", allow_module_level=True)
DEVICE = "cuda-emu"
DATA = [(np.random.default_rng(i).standard_normal((1, 4, 4)).astype(np.float32) + i % 2, i % 2) for i in range(20)]
CONFIG = Config(epochs=3, batch_size=6, lr=0.05, device=DEVICE, dtype="float64")


def net():
    tc.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def trained(config, **options):
    """Weights and the numbers of the epochs."""
    model = net()
    history = fit(model, DATA, DATA[:8], config, show=Silent(), **options)
    rows = [{k: v for k, v in row.items() if "second" not in k} for row in history.rows]
    return {k: to_numpy(v) for k, v in model.state_dict().items()}, rows


def alike(found, expected, rtol=0.0):
    for key in expected[0]:
        np.testing.assert_allclose(found[0][key], expected[0][key], rtol=rtol, atol=rtol, err_msg=key)
    for a, b in zip(found[1], expected[1], strict=True):
        assert a == (b if not rtol else pytest.approx(b, rel=rtol))


def test_training_is_that_of_the_cpu():
    alike(trained(CONFIG), trained(CONFIG.changed(device="cpu")), rtol=1e-9)


@pytest.mark.parametrize("amp", ["none", "float16"])
def test_a_resumed_run_has_the_bits_of_one_never_stopped(tmp_path, amp):
    config = CONFIG.changed(amp=amp, dtype="float32", clip_norm=1.0)
    whole = trained(config)
    trained(config, run=tmp_path, stop_after_epoch=1)
    alike(trained(config, run=tmp_path, resume=True), whole)
    scaler = tc.load(tmp_path / "checkpoint.tc")["scaler"]
    assert scaler == {} if amp == "none" else 0 < scaler["scale"] <= 2 ** 16


@pytest.mark.parametrize("make", [
    lambda p: tc.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: tc.optim.AdamW(p, lr=0.1, amsgrad=True),
    lambda p: tc.optim.RMSprop(p, lr=0.1, momentum=0.9, centered=True)], ids=["SGD", "AdamW", "RMSprop"])
def test_an_optimizer_follows_its_parameters(make):
    """Made before the model is moved, and with a state that the device and dtype of its first steps have left."""
    def steps(*homes):
        tc.manual_seed(0)
        model = nn.Linear(3, 2).double()
        optimizer = make(model.parameters())
        for device, dtype in homes:
            model.to(device).to(dtype)
            optimizer.zero_grad()
            (model(tc.ones(4, 3, dtype=dtype, device=device)) ** 2).sum().backward()
            optimizer.step()
        arrays = [v for s in optimizer.state.values() for v in s.values() if hasattr(v, "dtype")]
        assert {(device_of(v), v.dtype.name) for v in arrays} == {(device, np.dtype(dtype).name)}
        return [p.detach().numpy() for p in model.parameters()]
    stayed = steps(*[("cpu", np.float64)] * 4)
    moved = steps((DEVICE, np.float64), ("cpu", np.float64), (DEVICE, np.float64), ("cpu", np.float64))
    rounded = steps((DEVICE, np.float32), (DEVICE, np.float32), ("cpu", np.float64), (DEVICE, np.float64))
    for a, b, c in zip(stayed, moved, rounded):
        np.testing.assert_allclose(b, a, rtol=1e-12)
        np.testing.assert_allclose(c, a, rtol=0, atol=1e-6)           # two steps were float32's


def test_gradients_of_a_model_are_checked_there():
    from tinycnn.cli.checking import model_rows
    counts = import_module("tinycnn.kernels.emulator.memory").counts
    before = counts["launches"]
    row = next(model_rows("lenet", DEVICE))
    assert row["op"] == "input" and row["ok"] and counts["launches"] > before + 50


@pytest.mark.parametrize("here, there", [("cpu", DEVICE), (DEVICE, "cpu")])
def test_checkpoints_go_from_device_to_device(tmp_path, here, there):
    trained(CONFIG.changed(device=here), run=tmp_path, stop_after_epoch=2)
    state, model = tc.load(tmp_path / "checkpoint.tc"), net().to(np.float64).to(there)
    model.load_state_dict(state["model"])
    optimizer = tc.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer.load_state_dict(state["optimizer"])
    assert {device_of(s["momentum_buffer"]) for s in optimizer.state.values()} == {there}
    assert evaluate(model, DATA[:8]).loss == pytest.approx(state["history"][-1]["test_loss"], rel=1e-9)


def test_losses_are_read_when_they_are_shown_and_not_more(monkeypatch):
    from tinycnn.train import loop
    monkeypatch.setattr(loop, "READ_EVERY", 1e9)
    reads, read = [], loop.to_numpy
    monkeypatch.setattr(loop, "to_numpy", lambda array: reads.append(1) or read(array))
    fit(net(), DATA, None, CONFIG.changed(epochs=1, batch_size=2), show=Silent())
    assert len(reads) == 2                           # the first step, and the end of the epoch


def test_a_loss_that_is_nan_is_told_before_it_is_saved(tmp_path, monkeypatch):
    from tinycnn.train import loop
    monkeypatch.setattr(loop, "READ_EVERY", 1e9)
    broken = [*DATA[:12], (np.full((1, 4, 4), np.nan, np.float32), 0), *DATA[12:]]
    with pytest.raises(NonFiniteLoss, match="the loss is nan at step"):
        fit(net(), broken, None, CONFIG, run=tmp_path, show=Silent())
    assert not (tmp_path / "checkpoint.tc").exists()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mixed_precision_learns_what_full_precision_learns(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    config = CONFIG.changed(dtype="float32", epochs=2)
    full, mixed = trained(config), trained(config.changed(amp=dtype))
    assert all(v.dtype != np.float16 for v in mixed[0].values())
    assert 0 < abs(mixed[1][-1]["test_loss"] - full[1][-1]["test_loss"]) < 0.05


def test_mixed_precision_has_rules():
    with pytest.raises(ValueError, match="amp='half', expected one of none, float16, bfloat16"):
        Config(amp="half")
    with pytest.raises(ValueError, match="amp='float16' with dtype='float64'"):
        Config(amp="float16", dtype="float64")


# ---------------------------------------------------------------------------------------- batches

def test_batches_are_on_the_device_and_the_same():
    for (x, t), (a, b) in zip(DataLoader(DATA, 6, shuffle=True, device=DEVICE), DataLoader(DATA, 6, shuffle=True)):
        assert {device_of(x), device_of(t)} == {DEVICE}
        np.testing.assert_array_equal(to_numpy(x), a)
        np.testing.assert_array_equal(to_numpy(t), b)
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        DataLoader(DATA, device="gpu")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_that_copies_ahead_is_where_its_batches_are(workers):
    loader = DataLoader(DATA, 3, shuffle=True, num_workers=workers, device=DEVICE)
    whole = [to_numpy(t).tolist() for _, t in loader]
    loader.set_epoch(0)
    batches = iter(loader)
    assert [to_numpy(next(batches)[1]).tolist() for _ in range(3)] == whole[:3]
    batches.close()                                  # left early
    assert loader.state_dict() == {"epoch": 0, "position": 3, "seed": 0}
    other = DataLoader(DATA, 3, shuffle=True, num_workers=workers, device=DEVICE)
    other.load_state_dict(loader.state_dict())
    assert [to_numpy(t).tolist() for _, t in other] == whole[3:]
    assert next(iter(loader)) and loader.epoch == 1


# ---------------------------------------------------------------------------------------- the command line

@pytest.mark.slow
def test_the_command_line(tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["train", "--device", DEVICE, "--dtype", "float64", "--batch-size", "720", "--epochs", "1", "--json",
                 "--out", run]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    for more in ([], ["--device", "cpu"]):
        assert main(["eval", run, "--json", *more]) == 0
        tested = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert tested["test_loss"] == pytest.approx(found["test_loss"], rel=1e-9)
    assert main(["predict", run, "--sample", "2", "--device", DEVICE]) == 0
    assert capsys.readouterr().out.startswith("test image 0: ")


def test_cuda_without_a_gpu_is_told_in_a_paragraph(capsys, tmp_path):
    if tc.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["train", "--device", "cuda", "--out", str(tmp_path / "run")]) == 1
    message = capsys.readouterr().err
    assert "device 'cuda'" in message and "'cuda-emu'" in message and "Traceback" not in message
    assert not (tmp_path / "run").exists()


def test_what_the_page_of_cuda_shows_runs():
    text = (Path(__file__).parents[1] / "docs" / "cuda.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300,
                          cwd=Path(__file__).parents[1])
    first, gradients, *rest = done.stdout.splitlines() or [done.stderr, ""]
    assert [first, *rest] == ["(2, 10)", "[[[[5. 7.]]]]", "1"] and re.fullmatch(r"\[[\d.]+, [\d.]+\]", gradients)
