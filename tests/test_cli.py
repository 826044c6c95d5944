"""The command line: results on stdout, the rest on stderr, exit codes, JSON, and the whole way through a run folder."""
import json
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from conftest import ROOT

from tinycnn.cli import main

QUICK = ["--epochs", "1", "--batch-size", "256"]     # 6 steps on the digits


def words(*command):
    return [sys.executable, "-m", "tinycnn", *map(str, command)]


def shell(*command, **options):
    """Run it as a user would: (exit code, stdout, stderr)."""
    done = subprocess.run(words(*command), capture_output=True, text=True, cwd=ROOT, timeout=120, **options)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def cli(capsys):
    """Run it in this process: (exit code, stdout, stderr)."""
    def run(*command):
        capsys.readouterr()
        try:
            code = main([str(word) for word in command])
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()
    return run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A small net, trained for an epoch by the command line."""
    folder = tmp_path_factory.mktemp("runs") / "a run"
    code, out, err = shell("train", *QUICK, "--out", folder)
    assert code == 0, err
    return folder, out, err


def last_json(out):
    return json.loads(out.splitlines()[-1])


def test_train_ends_with_the_accuracy_and_talks_to_stderr(run_folder):
    folder, out, err = run_folder
    name, _, value = out.splitlines()[-1].rpartition(" ")
    assert name == "test accuracy:" and 0.1 < float(value) <= 1 and len(value) == 6
    assert "epoch 1/1" in err and not {"\r", "\x1b"} & set(out + err)
    found = {p.name for p in folder.iterdir()}
    assert {"config.json", "metrics.csv", "metrics.json", "confusion.csv", "checkpoint.tc",
            "weights.safetensors"} <= found


def test_pictures_or_a_note(run_folder):
    folder, _, err = run_folder
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert "matplotlib" in err
    else:
        assert (folder / "curves.png").stat().st_size > 1000 and (folder / "confusion.png").stat().st_size > 1000


def test_eval_says_what_train_said(run_folder, cli):
    folder, out, _ = run_folder
    code, evaluated, _ = cli("eval", folder)
    assert code == 0 and evaluated.splitlines()[-1] == out.splitlines()[-1]
    code, evaluated, _ = cli("eval", folder, "--json")
    found = last_json(evaluated)
    assert code == 0 and {"test_accuracy", "test_loss", "seconds", "parameters"} <= set(found)
    assert f"test accuracy: {found['test_accuracy']:.4f}" == out.splitlines()[-1]


def test_train_json(tmp_path, cli):
    code, out, _ = cli("train", *QUICK, "--out", tmp_path / "run", "--json")
    found = last_json(out)
    assert code == 0 and 0 < found["test_accuracy"] <= 1 and found["test_loss"] > 0 and found["seconds"] > 0
    assert found["parameters"] > 1000 and found["run"] == str(tmp_path / "run")


def test_resume_both_ways_and_bitwise(tmp_path, cli):
    common = ["train", "--epochs", "3", "--batch-size", "256"]
    assert cli(*common, "--out", tmp_path / "whole")[0] == 0
    assert cli(*common, "--out", tmp_path / "parts", "--stop-after-epoch", "1")[0] == 0
    assert cli("train", "--resume", tmp_path / "parts", "--stop-after-epoch", "2")[0] == 0
    assert cli("train", "--resume", "--out", tmp_path / "parts")[0] == 0
    whole, parts = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    code, _, err = cli("train", "--resume", tmp_path / "parts", "--epochs", "5")
    assert code == 2 and "epochs=3" in err and "Traceback" not in err


def test_ctrl_c_saves_and_exits_130(tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen(words("train", "--epochs", "500", "--batch-size", "16", "--out", folder), cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not (folder / "checkpoint.tc").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "saved in" in err and "Traceback" not in err
    before = json.loads((folder / "metrics.json").read_text())
    epochs = len(before)
    code, out, err = shell("train", "--resume", folder, "--stop-after-epoch", epochs + 1)
    assert code == 0, err
    assert json.loads((folder / "metrics.json").read_text())[:epochs] == before


def test_predict(run_folder, cli, tmp_path):
    folder = run_folder[0]
    np.save(tmp_path / "one.npy", np.zeros((8, 8), np.uint8))
    np.save(tmp_path / "two.npy", np.random.default_rng(0).random((2, 1, 8, 8)))
    (tmp_path / "bad.npy").write_bytes(b"no array")
    np.save(tmp_path / "wide.npy", np.zeros((9, 8)))
    assert cli("predict", folder, tmp_path / "bad.npy")[0] == 3 and cli("predict", folder)[0] == 2
    code, _, err = cli("predict", folder, tmp_path / "wide.npy")
    assert code == 2 and "(1, 8, 8)" in err
    code, out, err = cli("predict", folder, tmp_path / "one.npy", tmp_path / "two.npy", "--sample", 3, "--json")
    assert code == 0, err
    rows = last_json(out)["predictions"]
    assert len(rows) == 6 and [r["label"] is None for r in rows] == [True] * 3 + [False] * 3
    for row in rows:
        chances = [t["probability"] for t in row["top"]]
        assert len(chances) == 3 and chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1.000001


def test_predict_of_pictures(run_folder, cli, tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name, mode, size in (("a.png", "L", (8, 8)), ("b.jpg", "RGB", (40, 31)), ("c.png", "RGBA", (9, 9))):
        image.new(mode, size).save(tmp_path / name)
    code, out, err = cli("predict", run_folder[0], *(tmp_path / n for n in ("a.png", "b.jpg", "c.png")))
    assert code == 0 and len(out.splitlines()) == 3, err
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    code, _, err = cli("predict", run_folder[0], tmp_path / "broken.png")
    assert code == 3 and "broken.png" in err


def test_predict_without_pillow_says_what_to_install(run_folder, cli, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "PIL", None)
    code, _, err = cli("predict", run_folder[0], tmp_path / "a.png")
    assert code == 3 and "pip install" in err and ".npy" in err


def test_summary_and_models(cli):
    code, out, _ = cli("summary", "lenet", "--input", "2,1,28,28")
    assert code == 0 and "61,706" in out
    found = last_json(cli("summary", "lenet", "--input", "2,1,28,28", "--json")[1])
    assert found["parameters"] == 61706
    code, out, _ = cli("models")
    assert code == 0 and "lenet" in out and "digits_net" in out
    found = last_json(cli("models", "*lenet", "--json")[1])
    assert {m["name"] for m in found["models"]} == {"lenet", "bn_lenet", "googlenet"}
    assert next(m for m in found["models"] if m["name"] == "lenet")["parameters"] == 61706


def test_data(cli):
    code, out, _ = cli("data")
    assert code == 0 and "digits" in out and "mnist" in out


def test_gradcheck(cli):
    code, out, _ = cli("gradcheck", "avg_pool2d", "--json")
    found = last_json(out)
    assert code == 0 and found["wrong"] == [] and found["rows"][0]["first"] < 1e-8
    code, out, err = cli("gradcheck", "digits_net")
    assert code == 0, out + err


def test_gradcheck_fails_with_1(cli, monkeypatch):
    import tinycnn.cases.table as table
    monkeypatch.setattr(table, "FIRST", 0.0)
    code, out, _ = cli("gradcheck", "avg_pool2d")
    assert code == 1 and "WRONG" in out


def test_doctor(cli, monkeypatch):
    code, out, err = shell("doctor", "--threads", "1", "--json")
    found = last_json(out)
    assert code == 0 and found["ok"] and found["packages"]["numpy"] == np.__version__, out + err
    assert {"blas", "simd", "cpus", "threading_layer", "cache", "cuda", "self_test"} <= set(found)
    assert found["numba_threads"] == 1 and len(found["self_test"]) == 3
    monkeypatch.setattr("tinycnn.cli.checking._kernels_agree", lambda: (True, "as they should"))
    monkeypatch.setattr("tinycnn.cli.checking._gradients_right", lambda: 1 / 0)
    monkeypatch.setattr("tinycnn.cli.checking._step_repeats", lambda: (False, "not at all"))
    code, out, _ = cli("doctor")
    assert code == 1 and "WRONG gradients: ZeroDivisionError" in out and "WRONG a training step: not at all" in out


@pytest.mark.parametrize("command, code, message", [
    ([], 2, "VERB"), (["trian"], 2, "trian"), (["train", "--epochs", "0"], 2, "at least 1"),
    (["train", "--lr", "fast"], 2, "fast"), (["train", "--optimizer", "sgdd"], 2, "adamw"),
    (["train", "lenett"], 2, "lenet"), (["train", "--data", "mnits"], 2, "mnist"),
    (["train", "--augment", "spin"], 2, "flip"), (["summary", "lenet", "--input", "1,28"], 2, "N,C,H,W"),
    (["summary", "lenet", "--input", "1,1,20,20"], 2, "Linear(144, 120)"), (["gradcheck", "conv9d"], 2, "conv9d"),
    (["eval", "no/such/run"], 3, "no/such/run"), (["train", "--resume", "no/such/run"], 3, "no/such/run"),
    (["train", "--data", "mnist", "--data-dir", "no/such/folder"], 3, "no/such/folder"),
    (["train", "--device", "tpu"], 2, "tpu"), (["train", "--resume"], 2, "--out"),
])
def test_errors_are_a_paragraph_and_a_code(cli, command, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    got, out, err = cli(*command)
    assert got == code and message in err and "Traceback" not in err and not out
    assert not list(tmp_path.iterdir())              # nothing was begun


def test_damaged_checkpoint_is_told_in_a_line(cli, run_folder, tmp_path):
    for file in ("config.json", "checkpoint.tc"):
        (tmp_path / file).write_bytes((run_folder[0] / file).read_bytes()[:-1 if file.endswith("tc") else None])
    code, _, err = cli("eval", tmp_path)
    assert code == 3 and "checkpoint.tc" in err and "Traceback" not in err
    (tmp_path / "checkpoint.tc.prev").write_bytes((run_folder[0] / "checkpoint.tc").read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("default")             # an error in these tests
        code, _, err = cli("eval", tmp_path)
    assert code == 0 and err.count("\n") == 1 and err.startswith("tinycnn: warning: ")


def test_errors_in_json(cli):
    code, out, err = cli("eval", "no/such/run", "--json")
    assert code == 3 and last_json(out)["exit_code"] == 3 and last_json(out)["error"] in err


def test_data_error_exits_3(cli, tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"rubbish")
    code, _, err = cli("train", "lenet", "--data", "mnist", "--data-dir", tmp_path, "--out", tmp_path / "run")
    assert code == 3 and "Traceback" not in err


def test_nan_loss_exits_1(cli, tmp_path):
    code, _, err = cli("train", *QUICK, "--optimizer", "sgd", "--lr", "1e30", "--epochs", "2", "--clip-norm", "0",
                       "--out", tmp_path / "run")
    assert code == 1 and "the loss is" in err and "lr" in err


def test_help_loads_nothing_of_weight(tmp_path):
    start = time.perf_counter()
    assert shell("train", "--help")[0] == 0
    assert time.perf_counter() - start < 3           # the bound is 0.15 s on a quiet machine
    loaded = "import sys, tinycnn.cli.parser; print({'numba', 'matplotlib', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "set()\n"


def test_same_bits_for_one_and_two_threads(tmp_path):
    for threads in (1, 2):
        environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads)}
        code, _, err = shell("train", *QUICK, "--threads", threads, "--out", tmp_path / str(threads), env=environment)
        assert code == 0, err
    one, two = ((tmp_path / name / "weights.safetensors").read_bytes() for name in "12")
    assert one == two
