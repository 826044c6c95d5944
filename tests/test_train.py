"""The training loop: it learns, repeats and resumes bit for bit, stops when asked, and says what goes wrong."""
import io
import json
import signal
import threading

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn
from tinycnn.train import Config, History, NonFiniteLoss, Run, Silent, evaluate, fit
from tinycnn.train.config import SCHEDULES, make_optimizer, make_schedule
from tinycnn.train.progress import Bar, Lines, Tqdm, progress
from tinycnn.train.stop import StopSignals

SHOW = Silent()


def stripes(n=24, seed=0):
    """A data set of (image (1, 6, 6), label): noise with a bright row, column or nothing."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(n):
        image = rng.normal(0, 0.3, (1, 6, 6)).astype(np.float32)
        if i % 3 == 0:
            image[:, 2] += 1
        elif i % 3 == 1:
            image[:, :, 3] += 1
        samples.append((image, i % 3))
    return samples


def small_net(seed=0):
    tc.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Dropout(0.2), nn.Linear(36, 3))


QUICK = Config(epochs=4, batch_size=6, lr=0.05)


def weights(model):
    return {name: np.array(value).tobytes() for name, value in model.state_dict().items()}


def numbers(history):
    """The rows without what a clock decides."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in history]


def trained(config=QUICK, **options):
    model = small_net()
    history = fit(model, stripes(), stripes(12, seed=1), config, show=SHOW, **options)
    return weights(model), numbers(history)


@pytest.fixture(autouse=True)
def unless_pictures_are_the_subject(request, monkeypatch):
    """Drawing takes longer than these runs."""
    if request.node.name != "test_run_folder":
        monkeypatch.setattr(Run, "draw", lambda *args: None)


class StopAt(Silent):
    """Sends this process a signal in the middle of a step."""

    def __init__(self, step, number=signal.SIGINT):
        self.left, self.number = step, number

    def step(self, *progress):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self.number)


def test_fit_learns():
    model = small_net()
    history = fit(model, stripes(60), stripes(30, seed=1), QUICK.changed(epochs=8), show=SHOW)
    assert len(history) == 8 and history.last["step"] == 80
    assert history.last["train_loss"] < 0.5 * history.column("train_loss")[0]
    found = evaluate(model, stripes(30, seed=1))
    assert found.accuracy == history.last["test_accuracy"] > 0.9
    assert found.loss == history.last["test_loss"]
    assert found.confusion.sum() == 30 and np.trace(found.confusion) == found.accuracy * 30


def test_a_step_is_what_it_says():
    """One step over the whole set is one step down the mean gradient."""
    samples = stripes(6)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    before = np.array(model[1].weight.data)
    images, labels = np.stack([image for image, _ in samples]), np.array([label for _, label in samples])
    nn.functional.cross_entropy(model(tc.Tensor(images)), labels).backward()
    downhill = before - 0.1 * model[1].weight.grad.data
    fit(model, samples, config=Config(epochs=1, batch_size=6, lr=0.1, schedule="constant"), show=SHOW)
    np.testing.assert_allclose(model[1].weight.data, downhill, rtol=1e-5, atol=1e-7)


def test_mixed_labels_and_clipping_train_too():
    class Mixed(list):
        def batch(self, indices, rng):
            images, labels = zip(*(self[i] for i in indices))
            return np.stack(images), 0.9 * np.eye(3)[list(labels)] + 0.1 / 3
    history = fit(small_net(), Mixed(stripes(60)), stripes(12), QUICK.changed(epochs=6, clip_norm=0.5), show=SHOW)
    assert history.last["test_accuracy"] > 0.9 and history.last["train_accuracy"] > 0.8


def test_evaluate_leaves_the_mode_and_counts_classes():
    model = small_net()
    model.train()
    evaluate(model, stripes(6))
    assert model.training
    model.eval()
    found = evaluate(model, stripes(7), batch_size=2)
    assert not model.training and found.confusion.sum(axis=1).tolist() == [3, 2, 2]
    with pytest.raises(ValueError, match="empty"):
        evaluate(model, [])


def test_same_seed_same_bits_other_seed_other_bits():
    assert trained() == trained()
    assert trained()[0] != trained(QUICK.changed(seed=1))[0]


@pytest.mark.parametrize("schedule, optimizer", [*zip(SCHEDULES, 2 * ["sgd", "adam", "adamw"])])
def test_stopped_after_an_epoch_and_resumed_is_the_same_run(tmp_path, schedule, optimizer):
    config = QUICK.changed(schedule=schedule, optimizer=optimizer, lr=0.01)
    whole = trained(config)
    first = trained(config, run=tmp_path / "run", stop_after_epoch=2)
    assert len(first[1]) == 2 and first[1] == whole[1][:2] and first[0] != whole[0]
    assert trained(config, run=tmp_path / "run", resume=True) == whole


@pytest.mark.parametrize("step", [1, 4, 6, 15])
def test_stopped_by_ctrl_c_and_resumed_is_the_same_run(tmp_path, step):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(small_net(), stripes(), stripes(12, seed=1), QUICK, run=tmp_path / "run", show=StopAt(step))
    assert signal.getsignal(signal.SIGINT) is before
    assert Run.open(tmp_path / "run").load_checkpoint()["step"] == step
    assert trained(run=tmp_path / "run", resume=True) == trained()


def test_stopped_while_evaluating_and_resumed_is_the_same_run(tmp_path, monkeypatch):
    import tinycnn.train.loop as loop
    real = loop.evaluate

    def interrupted(model, dataset, batch_size, after_batch):
        signal.raise_signal(signal.SIGINT)
        return real(model, dataset, batch_size, after_batch)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "evaluate", interrupted)
        trained(run=tmp_path / "run")
    state = Run.open(tmp_path / "run").load_checkpoint()
    assert (state["epoch"], state["step"]) == (0, 4)
    assert trained(run=tmp_path / "run", resume=True) == trained()


def test_sigterm_saves_and_exits_143(tmp_path):
    with pytest.raises(SystemExit) as exit:
        fit(small_net(), stripes(), config=QUICK, run=tmp_path / "run", show=StopAt(3, signal.SIGTERM))
    assert exit.value.code == 143 and Run.open(tmp_path / "run").has_checkpoint()


def test_second_signal_ends_at_once():
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)


def test_no_handlers_outside_the_main_thread():
    found = []

    def work():
        with StopSignals():
            found.append(signal.getsignal(signal.SIGINT))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]


def test_nan_loss_stops_and_keeps_the_last_checkpoint(tmp_path):
    config = QUICK.changed(epochs=2)
    fit(small_net(), stripes(), config=config, run=tmp_path / "run", show=SHOW, stop_after_epoch=1)
    good = (tmp_path / "run" / "checkpoint.tc").read_bytes()
    bad = stripes()
    bad[7][0][:] = np.nan
    with pytest.raises(NonFiniteLoss, match=r"nan at step \d \(epoch 2, lr 0\.\d+\)"):
        fit(small_net(), bad, config=config, run=tmp_path / "run", show=SHOW, resume=True)
    assert (tmp_path / "run" / "checkpoint.tc").read_bytes() == good


def test_nan_in_the_test_set_is_found_too():
    bad = stripes(6)
    bad[2][0][:] = np.inf
    with pytest.raises(NonFiniteLoss, match="test loss"):
        fit(small_net(), stripes(6), bad, QUICK, show=SHOW)


def test_run_folder(tmp_path):
    run = Run.fresh(QUICK, tmp_path)
    history = fit(small_net(), stripes(), stripes(12, seed=1), QUICK, run=run, show=SHOW)
    assert run.path == tmp_path / "model-data-1" and Run.fresh(QUICK, tmp_path).path.name == "model-data-2"
    assert Config.from_dict({k: v for k, v in json.loads((run.path / "config.json").read_text()).items()
                             if k != "version"}) == QUICK
    assert json.loads((run.path / "metrics.json").read_text()) == history.rows
    lines = (run.path / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,step,train_loss") and len(lines) == 5
    table = [line.split(",") for line in (run.path / "confusion.csv").read_text().splitlines()]
    assert [row[0] for row in table[1:]] == ["0", "1", "2"]
    assert sum(int(cell) for row in table[1:] for cell in row[1:]) == 12
    assert not list(run.path.glob(".*"))
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return
    assert (run.path / "curves.png").read_bytes()[:4] == (run.path / "confusion.png").read_bytes()[:4] == b"\x89PNG"


def test_resume_wants_the_same_config(tmp_path):
    trained(run=tmp_path / "run", stop_after_epoch=1)
    with pytest.raises(ValueError, match="epochs=4, not 9.*same settings"):
        trained(QUICK.changed(epochs=9), run=tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match="holds a run already"):
        trained(run=tmp_path / "run")


@pytest.mark.parametrize("at", [0.01, 0.5, 0.99])
def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, at):
    trained(run=tmp_path / "run", stop_after_epoch=2)
    file = tmp_path / "run" / "checkpoint.tc"
    content = bytearray(file.read_bytes())
    content[int(len(content) * at)] ^= 1
    file.write_bytes(content)
    (tmp_path / "run" / ".checkpoint.tc.77.tmp").write_bytes(b"half")
    with pytest.warns(UserWarning, match="going on from the one before"):
        assert Run.open(tmp_path / "run").load_checkpoint()["epoch"] == 1
    with pytest.warns(UserWarning):
        assert trained(run=tmp_path / "run", resume=True) == trained()
    assert not list((tmp_path / "run").glob(".*.tmp"))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_end_low_and_warm_up(schedule):
    config = Config(epochs=10, schedule=schedule, lr=0.1)
    optimizer = make_optimizer(config, nn.Linear(2, 2))
    plan, seen = make_schedule(config, optimizer, 10), []
    for _ in range(100):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        plan.step(*[1.0] if schedule == "plateau" else [])
    expected = {"constant": 0.1, "step": 0.001, "multistep": 0.001}
    assert max(seen) == pytest.approx(0.1) and seen[-1] == pytest.approx(expected.get(schedule, 0), abs=2e-4)


def test_warm_up_rises_to_the_rate():
    config = Config(epochs=10, schedule="cosine", lr=0.1, warmup_epochs=2)
    optimizer = make_optimizer(config, nn.Linear(2, 2))
    plan, seen = make_schedule(config, optimizer, 10), []
    for _ in range(100):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        plan.step()
    assert seen[0] < 0.01 and seen[20] == pytest.approx(0.1) and np.all(np.diff(seen[:21]) > 0)
    assert np.all(np.diff(seen[20:]) < 0)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"lr": -1}, {"lr": float("nan")}, {"optimizer": "sdg"},
                                   {"schedule": "cos"}, {"warmup_epochs": 10}, {"dtype": "int8"},
                                   {"augment": "turn"}, {"warmup_epochs": 1, "schedule": "onecycle"}])
def test_config_refuses(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)


ROW = {"epoch": 1, "step": 9, "train_loss": 1.0, "train_accuracy": 0.5, "test_loss": None, "test_accuracy": None,
       "lr": 0.1, "seconds": 1.0, "images_per_second": 9.0}


def test_progress_in_a_file_is_plain_lines():
    stream = io.StringIO()
    show = progress(stream)
    assert type(show) is Lines
    show.step(1, 2, 3, 9, 1.0)
    show.epoch(ROW, 2)
    assert stream.getvalue().startswith("epoch 1/2  train loss 1.0000") and stream.getvalue().count("\n") == 1
    assert not {"\r", "\x1b"} & set(stream.getvalue())


@pytest.mark.parametrize("make", [Lines, Bar, lambda s: Tqdm(pytest.importorskip("tqdm").tqdm, s)])
def test_progress_of_other_work(make):
    stream = io.StringIO()
    show = make(stream)
    for done, name in enumerate(["one", "two", ""]):
        show.part(name, done, 2)
    text = stream.getvalue()
    assert text.index("one") < text.index("two") and "2" in text
    if type(show) is Lines:
        assert text == "1/2 one\n2/2 two\n"
    else:                                            # it goes when all is done
        assert text.endswith(("\r", "\x1b[K"))


@pytest.mark.parametrize("make", [Bar, lambda s: Tqdm(pytest.importorskip("tqdm").tqdm, s)])
def test_bar(make):
    stream = io.StringIO()
    show = make(stream)
    for done in range(1, 10):
        show.step(1, 2, done, 9, 1.0)
    show.epoch(ROW, 2)
    assert "\r" in stream.getvalue() and stream.getvalue().endswith("images/s)\n")


def test_history_plots(tmp_path):
    pytest.importorskip("matplotlib")
    History([ROW, {**ROW, "epoch": 2, "test_loss": 1.0, "test_accuracy": 0.5}]).plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
