"""The ladder: every rung gives the reference's results; `tinycnn race` says how fast, how right, what is missing."""
import json
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import arrays, assert_close, dtypes, examples, geometries, layouts, window

from tinycnn.cli import main

ladder, reference = (import_module("tinycnn.kernels." + name) for name in ("ladder", "reference"))
ULPS = {"Winograd": 2e-5 / np.finfo(np.float32).eps}   # of the largest result; sums of small whole numbers are exact
SMALL = ["--input", "2,16,9,8", "--seconds", "0"]
RACES = {"conv2d": [*SMALL, "--weight", "32,16,3,3", "--padding", "1"],
         "max_pool2d": [*SMALL, "--kernel-size", "3", "--stride", "2", "--padding", "1"], "batch_norm": SMALL}


@st.composite
def three_by_three(draw):
    """Geometries that Winograd's rung takes, too."""
    size, padding = draw(st.tuples(st.integers(3, 11), st.integers(3, 11))), draw(st.integers(0, 2))
    return window(size, 3, 1, padding), draw(st.sampled_from([16, 32])), draw(st.sampled_from([16, 48])), 1, 2


@pytest.mark.parametrize("operation", ladder.LADDERS)
@given(geometry=geometries() | three_by_three(), dtype=dtypes, layout=layouts, affine=st.booleans())
@examples
def test_every_rung_equals_the_reference(operation, geometry, dtype, layout, affine):
    win, groups = geometry[0], geometry[3]
    x, weight, bias, _ = arrays(geometry, dtype)
    scale, shift = (np.arange(x.shape[1], dtype=dtype) + n if affine else None for n in (1, 2))
    if operation == "batch_norm" and not x.size:
        return                                       # training has no statistics of no images
    args = {"conv2d": (weight, bias if affine else None, win, groups), "max_pool2d": (win,),
            "batch_norm": (scale, shift, 1e-5)}[operation]
    expected = getattr(reference, operation)(x, *args)
    for rung in ladder.LADDERS[operation]:
        if not rung.limits(x, *args):
            actual = rung.function(layout(x), *args)
            if operation == "batch_norm" or rung.name in ULPS:
                assert_close(actual, expected, ULPS.get(rung.name, 64), least=1)
            else:
                np.testing.assert_equal(actual, expected)
                assert all(a.dtype.kind == e.dtype.kind == "i" or a.dtype == e.dtype for a, e in zip(actual, expected))


def test_winograds_rung_is_run_or_says_why_not():
    rung = ladder.CONV2D[-1]
    plain = window(8, 3, padding=1)
    for expected, dtype, C, win, groups in [
            ("", "f", 16, plain, 1), ("float32", "d", 16, plain, 1), ("channels", "f", 15, plain, 1),
            ("3x3", "f", 16, window(8, 3, stride=2), 1), ("3x3", "f", 16, window(8, 5), 1), ("3x3", "f", 32, plain, 2)]:
        x, weight = np.zeros((1, C, 8, 8), dtype), np.zeros((16, C // groups, win.KH, win.KW), dtype)
        reason = rung.limits(x, weight, None, win, groups)
        assert expected in reason and bool(expected) == bool(reason)


# ---------------------------------------------------------------------------------------- tinycnn race

@pytest.fixture
def cli(capsys):
    def run(*command):
        try:
            code = main(["race", *map(str, command)])
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()
    return run


@pytest.mark.parametrize("operation", RACES)
def test_race(cli, operation):
    code, out, err = cli(operation, *RACES[operation], "--json")
    found = json.loads(out.splitlines()[-1])
    assert code == 0 and not found["wrong"] and found["peak"] > 0
    assert [r["name"] for r in found["rungs"]] == [r.name for r in ladder.LADDERS[operation]]
    first = found["rungs"][0]
    for before, row in zip([first, *found["rungs"]], found["rungs"]):
        assert row["name"] in err and row["ok"] and row["error"] <= 1e-4 and row["runs"] == 1
        assert row["over_first"] == first["seconds"] / row["seconds"]
        assert row["over_before"] == (None if row is first else before["seconds"] / row["seconds"])
        work, moved = row["operations_per_second"] * row["seconds"], row["bytes_per_second"] * row["seconds"]
        assert work == pytest.approx(found["operations"]) and moved == pytest.approx(found["bytes"])


def test_race_counts_operations_and_bytes(cli):
    found = json.loads(cli("conv2d", *RACES["conv2d"], "--json")[1])
    assert found["operations"] == 2 * (2 * 9 * 8) * 32 * 16 * 9
    assert found["bytes"] == 4 * (2 * 16 * 72 + 32 * 16 * 9 + 2 * 32 * 72)


def test_race_is_a_table_with_what_a_rung_cannot_do(cli, tmp_path):
    pytest.importorskip("matplotlib")
    code, out, err = cli("conv2d", "--input", "1,4,7,6", "--weight", "6,2,3,2", "--groups", 2, "--stride", "2,1",
                         "--dilation", 2, "--padding", "1,0", "--seconds", 0, "--plot", tmp_path / "race.png")
    lines = out.splitlines()
    assert code == 0 and lines[0].split()[:2] == ["rung", "ms"] and lines[-1].startswith("peak: ")
    assert "for 3x3 kernels" in lines[5] and all(line.endswith("ok") for line in lines[1:5])
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG")


def test_a_wrong_rung_exits_1(cli, monkeypatch):
    rung = ladder.BATCH_NORM[1]
    wrong = rung._replace(function=lambda *args: (rung.function(*args)[0] + 1, *rung.function(*args)[1:]))
    monkeypatch.setitem(ladder.LADDERS, "batch_norm", [ladder.BATCH_NORM[0], wrong])
    code, out, _ = cli("batch_norm", *SMALL)
    assert code == 1 and out.splitlines()[-1] == "WRONG: two passes"


@pytest.mark.parametrize("words, message", [
    ([], "OPERATION"), (["relu"], "relu"), (["conv2d", "--input", "1,2,3"], "N,C,H,W"),
    (["conv2d", "--input", "1,2,8,8"], "--weight"), (["max_pool2d", *SMALL, "--kernel-size", "0"], "at least 1"),
    (["max_pool2d", *SMALL, "--kernel-size", "2,2,2"], "one whole number or two"),
    (["max_pool2d", *SMALL, "--kernel-size", "3", "--padding", "2"], "half"),
    (["max_pool2d", *SMALL, "--kernel-size", "30"], "does not fit"),
    (["conv2d", *SMALL, "--weight", "4,8,3,3"], "groups"), (["batch_norm", *SMALL, "--stride", "2"], "--stride"),
    (["conv2d", *SMALL, "--weight", "9,8,3,3", "--groups", "2"], "groups"),
])
def test_mistakes_exit_2_and_are_named(cli, words, message):
    code, out, err = cli(*words)
    assert code == 2 and message in err and not out
