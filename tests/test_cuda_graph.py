"""A training step as one captured graph on the emulated device, and what a step costs: launches, memory, no waiting.

`python tests/test_cuda_graph.py` writes tests/golden/cuda_budget.json anew, after a change that was meant.
"""
import json
import shutil
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn
from tinycnn.backend import to_numpy
from tinycnn.models import create_model
from tinycnn.models.resnet_cifar import resnet_cifar
from tinycnn.nn import functional as F

if shutil.which("g++") is None:
    pytest.skip("the emulator needs g++", allow_module_level=True)
DEVICE, BUDGET = "cuda-emu", Path(__file__).parent / "golden" / "cuda_budget.json"
capture, graph, memory = (import_module(f"tinycnn.kernels.{name}") for name in (
    "capture", "emulator.graph", "emulator.memory"))


class Checkpointed(nn.Module):
    """A block that is computed again in backward, with dropout in it."""

    def __init__(self, block):
        self.block = block

    def forward(self, x):
        return tc.checkpoint(self.block, x)


def dropout_net():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.3), nn.Flatten(),
                         Checkpointed(nn.Sequential(nn.Linear(144, 16), nn.Dropout(0.4), nn.ReLU())), nn.Dropout(0.2),
                         nn.RReLU(), nn.Linear(16, 10))


def training(make, optimizer, scheduler=None, clip=None):
    """A model on the device and a function that trains it for one step."""
    tc.manual_seed(0)
    model = (create_model(make, num_classes=10) if isinstance(make, str) else make()).to(DEVICE)
    steps = optimizer(model.parameters())
    schedule = scheduler and scheduler(steps)

    def step(x, target):
        steps.zero_grad()
        logits = model(x)
        loss = F.cross_entropy(logits, target, label_smoothing=0.1)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        steps.step()
        if schedule:
            schedule.step()
        return {"loss": loss, "logits": logits}
    return model, steps, step


def batches(n, shape):
    rng = np.random.default_rng(0)
    return [(rng.standard_normal(shape).astype(np.float32), rng.integers(0, 10, shape[0])) for _ in range(n)]


def everything(model, optimizer):
    """All that training changes, and where the random numbers are."""
    state = [np.asarray(v.get() if hasattr(v, "get") else v) for s in optimizer.state.values() for v in s.values()]
    return [to_numpy(v) for v in model.state_dict().values()] + state + [
        np.array([g["lr"] for g in optimizer.param_groups]), np.array(tc.random.next_seed())]


def momentum(params):
    return tc.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True)


CASES = {
    "lenet, SGD with momentum and a schedule": (
        "lenet", (2, 1, 28, 28), momentum, lambda o: tc.optim.lr_scheduler.StepLR(o, 2, 0.5), None),
    "digits_net, Adam": ("digits_net", (2, 1, 8, 8), lambda p: tc.optim.Adam(p, 0.01, amsgrad=True), None, None),
    "dropout, AdamW, clipped": (dropout_net, (3, 1, 8, 8), lambda p: tc.optim.AdamW(p, 0.01), None, 0.5),
    "dropout, SGD": (dropout_net, (3, 1, 8, 8), lambda p: tc.optim.SGD(p, 0.1),
                     lambda o: tc.optim.lr_scheduler.CosineAnnealingLR(o, 5), None),
    "digits_net, RMSprop": ("digits_net", (2, 1, 8, 8),
                            lambda p: tc.optim.RMSprop(p, 0.01, momentum=0.5, centered=True), None, 1.0),
    "resnet8_cifar, SGD": (lambda: resnet_cifar(8), (2, 3, 4, 4), momentum, None, None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_replay_has_the_bits_of_an_eager_step(name):
    make, shape, *options = CASES[name]
    data = batches(3, shape)
    model, optimizer, step = training(make, *options)
    eager = []
    for x, target in [data[0], data[0], *data[1:]]:          # capture runs the first batch twice
        out = step(tc.tensor(x).to(DEVICE), tc.tensor(target).to(DEVICE))
        eager.append([to_numpy(out["loss"].data), to_numpy(out["logits"].data)])
    expected = everything(model, optimizer)
    model, optimizer, step = training(make, *options)
    replay = tc.cuda.capture(step, *data[0], device=DEVICE)
    replayed = []
    for x, target in data[1:]:
        memory.counts.clear()
        out = replay(x, target)
        assert memory.counts["launches"] == 1 and not memory.counts["allocations"] and not memory.counts["syncs"]
        replayed.append([to_numpy(out["loss"].data), to_numpy(out["logits"].data)])
    for a, b in zip((v for row in replayed for v in row), (v for row in eager[2:] for v in row), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(everything(model, optimizer), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_forward_pass_alone():
    model = create_model("lenet").to(DEVICE).eval()

    def predict(x):
        with tc.no_grad():
            return model(x).argmax(1), (model(x) * 2,)
    data = batches(2, (3, 1, 28, 28))
    replay = tc.cuda.capture(predict, tc.tensor(data[0][0]).to(DEVICE), warmup=1)        # the device is the input's
    for x, _ in data:
        classes, (twice,) = replay(tc.tensor(x).to(DEVICE))
        expected = predict(tc.tensor(x).to(DEVICE))
        np.testing.assert_array_equal(to_numpy(classes.data), to_numpy(expected[0].data))
        np.testing.assert_array_equal(to_numpy(twice.data), to_numpy(expected[1][0].data))


def test_a_capture_runs_nothing():
    model, optimizer, step = training("digits_net", lambda p: tc.optim.Adam(p, 0.01))
    x, target = (tc.tensor(a).to(DEVICE) for a in batches(1, (4, 1, 8, 8))[0])
    step(x, target)
    before = everything(model, optimizer)[:-1]
    with graph.Session() as session:
        recorded, out = capture.record(session, lambda: step(x, target))
    for a, b in zip(everything(model, optimizer)[:-1], before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isnan(to_numpy(out["logits"].data)).all()
    recorded.replay()
    assert np.isfinite(to_numpy(out["logits"].data)).all()


def test_what_is_returned_is_noticed_to_change():
    replay = tc.cuda.capture(lambda x: x * 2, np.ones(3, np.float32), device=DEVICE)
    y = replay(np.ones(3, np.float32))
    w = tc.ones(3).to(DEVICE).requires_grad_()
    z = (y * w).sum()
    assert replay(np.zeros(3, np.float32)) is y
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward()


# ---------------------------------------------------------------------------------------- what is refused

def reads_item(x):
    return x * x.sum().item()


def branches(x):
    return x if x.sum() > 0 else x * 2


def reads_numpy(x):
    return x * float(x.numpy().sum())


def brings_in(x):
    return x + tc.tensor(np.arange(3.0, dtype=np.float32)).to(DEVICE)


def selects(x):
    return x[x > 0] * 2


@pytest.mark.parametrize("step, words", [
    (reads_item, "return x * x.sum().item()"), (branches, "return x if x.sum() > 0 else x * 2"),
    (reads_numpy, "return x * float(x.numpy().sum())"), (brings_in, "np.arange(3.0"), (selects, "return x[x > 0]"),
])
def test_reads_are_named_and_leave_no_capture_open(step, words):
    with pytest.raises(RuntimeError, match="A captured step may not read values") as caught:
        tc.cuda.capture(step, np.ones(3, np.float32), device=DEVICE)
    assert words in str(caught.value) and "test_cuda_graph.py" in str(caught.value)
    assert not capture.is_capturing() and memory.stream.tape is None and memory.stream.held is None
    assert tc.ones(3).to(DEVICE).sum().item() == 3


def test_mistakes():
    x = np.ones((2, 3), np.float32)
    with pytest.raises(RuntimeError, match="device 'cpu' runs what it is told at once and captures nothing"):
        tc.cuda.capture(lambda x: x, x)
    with pytest.raises(ValueError, match="warmup must be at least 1, got 0"):
        tc.cuda.capture(lambda x: x, x, warmup=0, device=DEVICE)
    replay = tc.cuda.capture(lambda x: x * 2, x, device=DEVICE)
    with pytest.raises(ValueError, match=r"input 0 has shape \(1, 3\) and dtype float32, it was captured for \(2, 3\)"):
        replay(x[:1])
    with pytest.raises(ValueError, match="dtype float64"):
        replay(x.astype(np.float64))
    with pytest.raises(ValueError, match="captured step of 1 inputs got 2"):
        replay(x, x)
    with pytest.raises(RuntimeError, match="a captured step cannot capture another"):
        tc.cuda.capture(lambda y: replay and tc.cuda.capture(lambda x: x, y), x, device=DEVICE)


def test_an_optimizers_first_step_is_not_captured():
    p = nn.Parameter(np.ones(3, np.float32)).to(DEVICE).detach().requires_grad_()
    p.grad = tc.ones(3).to(DEVICE)
    with graph.Session() as session, pytest.raises(RuntimeError, match="made by its first step"):
        capture.record(session, tc.optim.Adam([p]).step)


def test_tables_of_addresses_are_checked():
    launch = import_module("tinycnn.kernels.cuda.launch")
    device = import_module("tinycnn.kernels.emulator.device")
    table, chunks = device.asarray(np.array([1 << 40, 0], np.uint64)), device.asarray(np.array([[0, 0, 1]]))
    numbers = device.asarray(np.zeros(4, np.float32))
    with pytest.raises(RuntimeError, match="a table holds the address 0x10000000000, where there is no array"):
        launch.launch("optim.cu", "sgd", np.float32, 1, (table, chunks, 1, numbers, *[False] * 4), blocks=1)


def test_labels_out_of_range_make_the_loss_nan():
    logits = tc.zeros((3, 4)).to(DEVICE).requires_grad_()
    for wrong in (4, -1):
        target = tc.tensor(np.array([0, wrong, 1])).to(DEVICE)
        loss = F.cross_entropy(logits, target)
        assert np.isnan(loss.item())
        assert np.isnan(to_numpy(tc.grad(loss, [logits])[0].data)).all(1).tolist() == [False, True, False]
        rows = to_numpy(F.cross_entropy(logits, target, reduction="none").data)
        assert np.isnan(rows).tolist() == [False, True, False]
    with pytest.raises(IndexError, match="target\\[1\\] is 4"):
        F.cross_entropy(logits, np.array([0, 4, 1]))


def test_memory_is_counted():
    assert tc.cuda.synchronize(DEVICE) is None and graph.is_available()
    if not tc.cuda.is_available():
        with pytest.raises(RuntimeError):
            tc.ones(1).to("cuda")
    tc.cuda.reset_peak_memory_stats(DEVICE)
    before = tc.cuda.memory_allocated(DEVICE)
    x = tc.zeros((256, 4)).to(DEVICE)
    assert tc.cuda.memory_allocated(DEVICE) == before + 4096
    del x
    assert tc.cuda.memory_allocated(DEVICE) == before and tc.cuda.max_memory_allocated(DEVICE) == before + 4096
    tc.cuda.empty_cache(DEVICE)
    with pytest.raises(RuntimeError, match="captures nothing"):
        tc.cuda.memory_allocated("cpu")


# ---------------------------------------------------------------------------------------- budgets

SIZES = {"lenet": (1, 28), "resnet18": (3, 32), "densenet_d2l": (1, 32), "googlenet_d2l": (1, 64)}


def cost(name):
    """What one training step of a model asks of the device, which is told and does not do it: so it takes no time."""
    model, optimizer, step = training(name, lambda p: tc.optim.SGD(p, lr=0.1))
    channels, side = SIZES[name]
    x = tc.zeros((2, channels, side, side)).to(DEVICE)
    target = tc.zeros(2, dtype="int64").to(DEVICE)
    memory.counts.clear()
    memory.launched.clear()
    with graph.Session() as session:
        capture.record(session, lambda: step(x, target))
    counts = {what: memory.counts[what] for what in ("launches", "allocations", "syncs")}
    return counts, dict(sorted(memory.launched.items(), key=lambda item: (-item[1], item[0])))


@pytest.mark.parametrize("name", SIZES)
def test_a_step_costs_no_more_than_before(name):
    allowed = json.loads(BUDGET.read_text())[name]
    counts, by_kernel = cost(name)
    more = {k: (n, allowed["by kernel"].get(k, 0)) for k, n in by_kernel.items() if n > allowed["by kernel"].get(k, 0)}
    assert counts["syncs"] == 0
    assert all(counts[what] <= allowed[what] for what in counts), f"{counts} exceed {allowed}: (now, before) {more}"


if __name__ == "__main__":
    costs = {name: cost(name) for name in SIZES}
    rows = {name: {**counts, "by kernel": by_kernel} for name, (counts, by_kernel) in costs.items()}
    BUDGET.write_text(json.dumps(rows, indent=1) + "\n")
    sys.stdout.write("\n".join(f"{name}: {counts}" for name, (counts, _) in costs.items()) + "\n")
