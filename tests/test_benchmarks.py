"""The benchmarks that answer a question of principle: they run, and the answer is what their docstrings say."""
import json
import sys
from math import prod
from pathlib import Path

import pytest

from benchmarks import depth, kernels, memory, nets, report, scaling, third_order, timing, train_step
from benchmarks.kernel_calls import TinyCNN
from benchmarks.kernel_calls_torch import Torch
from benchmarks.kernel_table import PARAMETERS, parameter_shapes

ROOT = Path(__file__).parents[1]


def test_depth_prints_and_writes_its_table(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    depth.main(["--depth", "20", "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:32].strip() for line in lines[2:]] == [case.label for case in depth.CASES] and len(lines) == 8
    nets = json.loads((tmp_path / "depth.json").read_text())["nets"]
    assert [len(net["gradients"]) for net in nets] == [19] * 6
    assert [line.split("  ")[-1] for line in lines[2:]] == [net["diagnosis"] for net in nets]
    assert (tmp_path / "depth.png").read_bytes().startswith(b"\x89PNG")


def test_depth_without_matplotlib_says_so(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    depth.main(["--depth", "8", "--out", str(tmp_path)])
    assert "pip install matplotlib" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["depth.json"]


@pytest.mark.slow
def test_only_batch_norm_with_shortcuts_is_healthy_at_110_layers():
    assert [f.diagnosis for f in depth.findings(110)] == [
        "vanishes", "vanishes", "inputs indistinguishable", "explodes backward", "explodes forward", "healthy"]


def test_third_order_is_right_here_and_says_where_others_are_not(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(third_order, "FUNCTIONS", third_order.FUNCTIONS[-2:])
    monkeypatch.setattr(third_order, "installed", lambda package: False)
    third_order.main(["--seed", "1", "--json", str(tmp_path / "found.json")])
    found, out = json.loads((tmp_path / "found.json").read_text()), capsys.readouterr().out
    assert [row["order"] for row in found["rows"]] == [1, 2, 3, 4] * 2
    assert all(row["tinycnn"] <= third_order.RIGHT for row in found["rows"])
    assert "tinycnn: right in all 8 rows" in out and "PyTorch is not installed" in out
    rows = [{**row, "torch": 0.05 if row["order"] == 3 else 1e-9} for row in found["rows"]]
    verdict = third_order.verdict(rows, ["torch"])
    assert verdict == "torch: off in max_pool2d order 3 by 5 %, cross_entropy order 3 by 5 %"
    assert third_order.table(rows, ["tinycnn", "torch"]).count(" !") == 2


def test_the_numbers_of_third_order_in_readme():
    """Relative errors as committed: here at most 1e-6 everywhere, PyTorch's as README says."""
    rows = json.loads((ROOT / "benchmarks" / "results" / "third_order.json").read_text())["rows"]
    assert len(rows) == 32 and all(row["tinycnn"] <= third_order.RIGHT for row in rows)
    off = {(row["function"], row["order"]): row["torch"] for row in rows if row["torch"] > third_order.RIGHT}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(off) == {(name, order) for name in ("batch_norm", "layer_norm") for order in (3, 4)}
    for order, place in ((3, "third"), (4, "fourth")):
        batch, layer = (f"{100 * off[name, order]:.2g} %" for name in ("batch_norm", "layer_norm"))
        assert f"{batch} and {layer} at {place}" in " ".join(text.split())


@pytest.mark.parametrize("gradients, spread, largest, diagnosis", [
    ([1.0, 1.0], 1.0, float("nan"), "explodes forward"),
    ([1.0, 1.0], 1.0, 1001.0, "explodes forward"),
    ([0.0, 0.0], 1.0, 1.0, "vanishes"),
    ([1e-7, 1.0], 1.0, 1.0, "vanishes"),
    ([1.0, 1.0], 0.009, 1.0, "inputs indistinguishable"),
    ([1001.0, 1.0], 1.0, 1.0, "explodes backward"),
    ([float("inf"), 1.0], 1.0, 1.0, "explodes backward"),
    ([10.0, 1.0], 1.0, 10.0, "healthy"),
])
def test_diagnosis(gradients, spread, largest, diagnosis):
    assert depth.diagnose(gradients, spread, largest) == diagnosis


def test_depth_of_another_form_is_refused(capsys):
    with pytest.raises(SystemExit):
        depth.main(["--depth", "21"])
    assert "6n + 2" in capsys.readouterr().err


@pytest.mark.slow
def test_dense_block_keeps_quadratic_memory_or_linear():
    def kept(layers, memory_efficient):
        asked = memory.request("densenet121", (2, 3, 64, 64), block_config=[layers], memory_efficient=memory_efficient)
        return memory.measure(asked)["kept"]
    for memory_efficient in (False, True):
        k2, k4, k6 = (kept(layers, memory_efficient) for layers in (2, 4, 6))
        bend = (k6 - 2 * k4 + k2) / (k4 - k2)        # of one step of two layers
        assert bend < 0.02 if memory_efficient else bend > 0.1


@pytest.mark.slow
def test_memory_prints_both_tables(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(memory.NETS, "resnet20_cifar", (2, 3, 32, 32))
    monkeypatch.setattr(memory, "DENSE", ("densenet_bc100_12_cifar", (2, 3, 8, 8)))
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")     # main sets both: put back afterwards
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    memory.main(["resnet20_cifar", "--layers", "2", "--threads", "1", "--out", str(tmp_path)])
    text = capsys.readouterr().out
    found = json.loads((tmp_path / "memory.json").read_text())
    (block,), (net,) = found["dense_block"], found["nets"]
    assert block["block_config"] == [2] and net["net"] == "resnet20_cifar"
    assert text.count("same") == 2 and "DIFFER" not in text
    for both in (block, net):
        assert both["memory_efficient"]["kept"] < both["plain"]["kept"] < both["plain"]["arrays"]
        assert both["plain"]["arrays"] < both["plain"]["process"] and both["plain"]["seconds"] > 0
    assert net["memory_efficient"]["arrays"] < net["plain"]["arrays"]


MODELS = sorted({net.model for net in nets.NETS.values()})


@pytest.mark.parametrize("model", MODELS)
def test_both_sides_of_a_net_have_the_same_parameters(model, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "torchvision.models", None)       # as where it is not installed
    with torch.device("meta"):
        theirs = nets.torch_net(model)
    shapes = sorted(tuple(p.shape) for p in nets.tinycnn_net(model).parameters())
    assert shapes == sorted(tuple(p.shape) for p in theirs.parameters())


@pytest.mark.slow
def test_train_step_compares(capsys, tmp_path):
    pytest.importorskip("torch")
    train_step.main(["--nets", "lenet*", "--seconds", "0.1", "--threads", "1", "--json", str(tmp_path / "found.json"),
                     "--out", str(tmp_path / "found.txt")])
    text = capsys.readouterr().out
    assert (tmp_path / "found.txt").read_text() == text
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(row["mode"], row["contender"]) for row in found["rows"]] == [
        (mode, name) for mode in ("training", "inference") for name in train_step.CONTENDERS]
    assert {row["parameters"] for row in found["rows"] if row["mode"] == "training"} == {61706}
    for row in found["rows"]:
        low, high = row["quartiles"]
        assert row["best"] <= low <= row["median"] <= high and row["macs"] == 256 * 416_520
    training = train_step.ratio(found["rows"][:3])
    assert f"training: geometric mean of the ratio over 1 nets {training:.2f}" in text


def test_train_step_knows_its_nets(capsys):
    with pytest.raises(SystemExit):
        train_step.main(["--nets", "resnet19*"])
    assert "choose from lenet b256" in capsys.readouterr().err


def test_rows_are_marked_where_quartiles_are_far_apart():
    assert timing.unsteady(timing.summarised([1.0, 1.0, 1.2, 1.2]))
    assert not timing.unsteady(timing.summarised([1.0, 1.0, 1.0, 1.1, 9.0]))
    assert timing.geometric_mean([0.5, 2.0]) == pytest.approx(1.0)


def test_each_timed_kernel_has_a_call_on_both_sides():
    rows = list(kernels.kernels())
    assert len({row.name for row in rows}) == len(rows) > 100
    for row in rows:
        assert callable(getattr(TinyCNN, row.method)) and callable(getattr(Torch, row.method)) and row.bytes > 0
    assert sum(map(prod, parameter_shapes())) == PARAMETERS


@pytest.mark.slow
def test_kernels_compare(capsys, tmp_path):
    pytest.importorskip("torch")
    kernels.main(["*1x1 1024-512@14", "--seconds", "0.05", "--threads", "1", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    lines = {line[:40].strip(): line for line in capsys.readouterr().out.splitlines()}
    assert [row["kernel"].split()[0] for row in found["rows"]] == ["conv2d", "conv2d_input", "conv2d_weight"]
    for row in found["rows"]:
        assert row["flops"] == 2 * 8 * 14 * 14 * 1024 * 512
        assert row["ratio"] == pytest.approx(row["tinycnn"]["median"] / min(
            row["torch"]["median"], row["torch channels-last"]["median"]), abs=1e-3)
        assert f"{row['limit'] / row['tinycnn']['median']:.0%}" in lines[row["kernel"]]


def test_a_kernel_of_no_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        kernels.main(["conv5d*"])
    assert "conv5d" in capsys.readouterr().err


@pytest.mark.slow
def test_scaling_prints_and_draws(capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    batch = [(f"{n}", n, "lenet", (n, 1, 28, 28)) for n in (1, 2)]
    monkeypatch.setattr(scaling, "SETTINGS", {"batch": (("image", 1), batch)})
    monkeypatch.setattr(scaling, "THREADED", [("lenet", (2, 1, 28, 28))])
    monkeypatch.setattr(scaling, "GROUPED", (1, 16, 4, 16, 3, 1, 1))
    monkeypatch.setattr(scaling, "GROUPS", [1, 16])
    scaling.main(["batch", "threads", "groups", "--seconds", "0.05", "--threads", "2", "--plot", str(tmp_path),
                  "--json", str(tmp_path / "scaling.json")])
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert [(row["part"], row["units"]) for row in found["rows"]] == [
        ("batch", 1), ("batch", 2), ("threads", 1), ("threads", 2)]
    dense, grouped = found["groups"]
    assert set(dense["speed-up"].values()) == {1.0}
    assert grouped["speed-up"]["conv2d"] == pytest.approx(
        dense["conv2d"]["median"] / grouped["conv2d"]["median"], abs=0.01)
    for name in ("scaling.png", "groups.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def _results(compared=True):
    times = [("tinycnn", 30.0), *[("torch", 60.0), ("torch channels-last", 50.0)] * compared]
    rows = [{"net": "lenet b256", "mode": mode, "contender": name, "median": ms, "quartiles": [ms, ms * 1.2],
             **({"peak": 100.0} if mode == "training" else {})} for mode in ("training", "inference")
            for name, ms in times]
    return {"machine": "a processor, 2 cores, waiting for it", "threads": 2, "versions": {"numpy": "2.4"}, "rows": rows}


def test_report_writes_between_its_marks_and_writes_the_same_again(tmp_path):
    readme, results = tmp_path / "README.md", tmp_path / "found.json"
    readme.write_text("before\n<!-- steps -->\nold\n<!-- /steps -->\nafter\n")
    results.write_text(json.dumps(_results()))
    for _ in range(2):
        report.main(["--json", str(results), "--readme", str(readme)])
        text = readme.read_text()
        assert text == f"before\n<!-- steps -->\n{report.table(_results())}<!-- /steps -->\nafter\n"
    assert "| 30.0? | 60.0? | 50.0? | **0.60** |" in text and "geometric mean 0.60 in training" in text
    assert "| lenet b256 | 30.0? | 30.0? | 100 |" in report.table(_results(compared=False))


def test_report_says_what_is_missing(tmp_path, capsys):
    readme = tmp_path / "README.md"
    for text, complaint in (("nothing", "no place for the table"), ("<!-- steps -->\n<!-- /steps -->", "is missing")):
        readme.write_text(text)
        with pytest.raises(SystemExit):
            report.main(["--json", str(tmp_path / "found.json"), "--readme", str(readme)])
        assert complaint in capsys.readouterr().err


@pytest.mark.skipif(not report.RESULTS.exists(), reason="not measured yet")
def test_readme_has_the_results():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert report.PLACE.search(readme)[0] == report.table(json.loads(report.RESULTS.read_text(encoding="utf-8")))
