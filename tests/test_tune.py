"""`tinycnn tune` and the file of its choices: used, refused if another machine's or other kernels', survived if bad."""
import json
from importlib import import_module

import numpy as np
import pytest
import tinycnn as tc
from kernel_checks import arrays, normal, window

from tinycnn.cli import main, tuning

choose, tuned, cpu, reference = (import_module(f"tinycnn.kernels.{name}")
                                 for name in ("cpu.choose", "cpu.tuned", "cpu", "reference"))
WIN = window((8, 8), 3, 1, 1)
LAYER = tuned.Layer("output", WIN, 32, 32, 1, np.dtype("float32"))


def asked(layer=LAYER):
    return choose.algorithm(layer.pass_, *layer[1:])


@pytest.fixture(autouse=True)
def forgotten():
    yield
    tuned.use()


@pytest.fixture
def file(tmp_path):
    """A function: choices -> the path of their file."""
    def write(choices):
        path = tmp_path / "tuned.json"
        path.write_text(tuned.text(choices), encoding="utf-8")
        return path
    return write


def test_a_stored_choice_is_used_for_its_layer_alone(file):
    usual, other = asked(), LAYER._replace(pass_="input")
    assert usual != "direct" and asked(other) != "direct"
    tc.use_tuned_convolutions(file({LAYER: "direct"}))
    assert asked() == "direct" and asked(other) != "direct" and tuned.state().startswith("1 choices of ")
    x, weight, bias, _ = arrays((WIN, 32, 32, 1, 2), np.float32, normal)
    expected = cpu.conv2d(x, weight, bias, WIN, 1, how="direct")
    np.testing.assert_array_equal(cpu.conv2d(x, weight, bias, WIN, 1), expected)
    tc.use_tuned_convolutions(False)
    assert asked() == usual and tuned.state() == "none: the table's choices"


def test_what_is_not_exact_enough_is_not_taken(file):
    tc.use_tuned_convolutions(file({LAYER: "winograd4"}))
    assert asked() == "winograd4"
    tc.set_float32_conv_precision("highest")
    try:
        assert asked() == "winograd2"
    finally:
        tc.set_float32_conv_precision("high")
    tc.use_tuned_convolutions(file({LAYER: "grouped"}))                   # nor what cannot compute it
    assert asked() == choose.by_table(LAYER)


@pytest.mark.parametrize("shape", [(32, 48, 3, 1), (16, 32, 5, 1), (8, 8, 3, 4), (1, 2, 3, 16)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_possible_choice_is_right(shape, dtype):
    C, O, kernel, groups = shape
    win = window((9, 8), kernel, 1, kernel // 2)
    x, weight, _, gy = arrays((win, C, O, groups, 2), dtype, normal)
    calls = {"output": ("conv2d", (x, weight, None)), "input": ("conv2d_input", (gy, weight)),
             "weight": ("conv2d_weight", (x, gy))}
    for pass_, (name, given) in calls.items():
        expected = getattr(reference, name)(*given, win, groups)
        layer = tuned.Layer(pass_, win, C, O, groups, np.dtype(dtype))
        assert choose.by_table(layer) in choose.possible(layer)
        for how in choose.possible(layer):
            with tuned.trying({layer: how}):
                found = getattr(cpu, name)(*given, win, groups)
            assert abs(found - expected).max() <= (2e-5 if dtype == np.float32 else 1e-13) * abs(expected).max(), how


def test_with_a_tuned_file_images_do_not_depend_on_their_batch(file):
    net = tc.nn.Sequential(tc.nn.Conv2d(3, 32, 3, padding=1), tc.nn.ReLU(), tc.nn.Conv2d(32, 32, 3, padding=1)).eval()
    x = tc.randn(3, 3, 8, 8)
    tc.use_tuned_convolutions(file({LAYER: "direct"}))
    whole, alone = net(x), [net(x[i:i + 1]) for i in range(3)]
    np.testing.assert_array_equal(whole.numpy(), np.concatenate([y.numpy() for y in alone]))


GOOD = json.loads(tuned.text({LAYER: "direct"}))
BAD = {
    "nothing": "", "no JSON": "{", "another JSON": "[1, 2]", "a number": "7", "bytes": b"\xff\x00\x01",
    "deep": "[" * 99999,
    "another format": {**GOOD, "format": 2}, "another processor": {**GOOD, "processor": "z80"},
    "another vector": {**GOOD, "vector_bytes": 8}, "other kernels": {**GOOD, "kernels": "0" * 16},
    "no kernels": {k: v for k, v in GOOD.items() if k != "kernels"}, "choices of a kind": {**GOOD, "choices": 3},
    "a word": {**GOOD, "choices": ["direct"]},
    "algorithm": {**GOOD, "choices": [{**GOOD["choices"][0], "algorithm": "guess"}]},
    "pass": {**GOOD, "choices": [{**GOOD["choices"][0], "pass": ["output"]}]},
    "dtype": {**GOOD, "choices": [{**GOOD["choices"][0], "dtype": "float33"}]},
    "a size": {**GOOD, "choices": [{**GOOD["choices"][0], "inside": "32"}]},
    "window": {**GOOD, "choices": [{**GOOD["choices"][0], "window": {"H": 3}}]},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_survived_with_one_warning(tmp_path, monkeypatch, name):
    path, content = tmp_path / "tuned.json", BAD[name]
    content = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv("TINYCNN_TUNED", str(path))
    tuned.use()
    with pytest.warns(RuntimeWarning, match="tuned.json.*tinycnn tune") as seen:
        assert [asked() for _ in range(3)] == [choose.by_table(LAYER)] * 3
    assert len(seen) == 1 and tuned.state().startswith("not used: ")
    with pytest.raises(ValueError, match="tuned.json"):
        tc.use_tuned_convolutions(path)


def test_where_the_file_lies(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        tc.use_tuned_convolutions(tmp_path / "none")
    assert tuned.place() is None                     # the tests' own setting
    monkeypatch.delenv("TINYCNN_TUNED")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tuned.place().parent == tmp_path / "tinycnn" and asked() == choose.by_table(LAYER)
    tuned.place().parent.mkdir()
    tuned.place().write_text(tuned.text({LAYER: "direct"}), encoding="utf-8")
    tuned.use()
    assert asked() == "direct"


def test_tune_measures_keeps_and_removes(tmp_path, monkeypatch, capsys):
    path = tmp_path / "deep" / "tuned.json"
    monkeypatch.setenv("TINYCNN_TUNED", str(path))

    def invented(layer, images, seconds):
        """On 8x8 direct is fastest, clearly forwards, not clearly for the input's gradient, not always for weights'."""
        times = {how: [2.0] * 4 for how in choose.possible(layer)}
        if layer.win.H == 8:
            times["direct"] = {"output": [1.0] * 4, "input": [1.95] * 4, "weight": [1.0, 1.0, 1.99, 2.0]}[layer.pass_]
        return times
    real = tuning._times
    monkeypatch.setattr(tuning, "_times", invented)
    assert main(["tune", "resnet20_cifar", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (facts["stored"], facts["kept"], len(facts["rows"])) == (1, 1, 6)
    (layer, how), = tuned.read(path).items()
    assert (layer.pass_, layer.win.H, layer.inside, how) == ("output", 8, 64, "direct") and asked(layer) == "direct"
    monkeypatch.setattr(tuning, "_times", lambda *given: {how: [1.0] * 4 for how in choose.possible(given[0])})
    assert main(["tune", "resnet20_cifar", "--input", "2,3,16,16"]) == 0   # other sizes: the old choice is kept
    assert len(tuned.read(path)) == 1 and not any(p.name != path.name for p in path.parent.iterdir())
    monkeypatch.setattr(tuning, "_times", real)
    assert main(["tune", "resnet20_cifar", "--seconds", "0"]) == 0
    assert "resnet" not in (text := capsys.readouterr().out) and "64-64 3x3 on 8x8" in text
    assert main(["tune", "--reset"]) == 0 and not path.exists() and asked(layer) == choose.by_table(layer)
    monkeypatch.setenv("TINYCNN_TUNED", "off")
    assert main(["tune"]) == 2 and "--file" in capsys.readouterr().err
