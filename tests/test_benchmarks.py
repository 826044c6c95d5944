"""The benchmarks that answer a question of principle: they run, and the answer is what their docstrings say."""
import json
import sys

import pytest

from benchmarks import depth, memory


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
