"""`python -m benchmarks.gpu`, rehearsed on the emulator: it ends in time, and says what is wrong."""
import json
import os
import shutil
import stat
import time
from contextlib import nullcontext
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

import tinycnn as tc
from benchmarks.gpu import ops_table, report, stages, steps
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.stages import Settings, Stage, read_rows, run_all, run_stage, write_row

STAGES = '''
import os, signal, time

class Lost(Exception):
    pass

def item(kind):
    if kind == "fails":
        raise ValueError("no such thing")
    if kind == "hangs":
        time.sleep(600)
    if kind == "dies":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "slow":
        time.sleep(0.1)
    return {"process": os.getpid()}

def lost():
    raise Lost("illegal address")

def run(work):
    kinds = {"slow": ["slow"] * 1000}.get(work.stage, ["good", work.stage, "good"])
    alive = lost if work.settings.seed == 13 else lambda: None
    work.each([(f"{i}", lambda kind=kind: item(kind)) for i, kind in enumerate(kinds)], alive)
    if work.stage == "good" and work.settings.seed == 13:
        raise Lost("after all items")
'''


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A function that runs a stage of the module above, and returns its rows by item."""
    (tmp_path / "made_stages.py").write_text(STAGES)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH")))))

    def run(name, cap, module="made_stages", seed=1):
        run_stage(Stage(name, module, 1), Settings(tmp_path, "cuda-emu", True, seed), cap)
        return {row["item"]: row for row in read_rows(tmp_path)}
    return run


def test_a_stage_that_fails_goes_on(made):
    rows = made("fails", 20)
    assert rows["1"]["error"].startswith("ValueError: no such thing (made_stages.py:") and list(rows) == ["0", "1", "2"]
    assert rows["0"]["process"] == rows["2"]["process"]


def test_a_device_that_is_lost_gets_a_new_process(made):
    rows = made("fails", 20, seed=13)
    assert list(rows) == ["0", "1", "2"] and "no such thing" in rows["1"]["error"]
    assert rows["0"]["process"] != rows["2"]["process"]


def test_a_process_that_dies_costs_one_item(made):
    rows = made("dies", 20)
    assert list(rows) == ["0", "1", "2"] and "signal SIGSEGV" in rows["1"]["error"]


def test_an_item_that_hangs_is_given_up(made):
    start = time.monotonic()
    rows = made("hangs", 2.5)
    assert time.monotonic() - start < 4
    assert rows["1"]["error"] == "ended after 2 s without an answer" and "process" in rows["2"]


def test_no_item_starts_when_the_time_is_over(made):
    start = time.monotonic()
    rows = made("slow", 1.5)
    assert time.monotonic() - start < 2 and "process" in rows["0"]
    assert rows["time"]["left_out"] == f"{1000 - len(rows) + 1} items: no time was left"


def test_a_stage_that_fails_between_items_says_why(made, tmp_path):
    start = time.monotonic()
    assert "No module named 'there_is_none'" in made("import", 9, "there_is_none")["between items"]["error"]
    (tmp_path / "rows.jsonl").unlink()
    assert "Lost: after all items" in made("good", 9, seed=13)["between items"]["error"]
    assert time.monotonic() - start < 5


def test_the_budget_holds_and_later_stages_get_what_is_left(made, tmp_path, capsys):
    write_row(tmp_path, {"stage": "good", "item": "of an earlier run"})
    write_row(tmp_path, {"stage": "another", "item": "of an earlier run"})
    start = time.monotonic()
    run_all([Stage(name, "made_stages", 1) for name in ("good", "hangs", "fails")], Settings(tmp_path), 6)
    assert time.monotonic() - start < 6
    rows = read_rows(tmp_path)
    caps = {row["stage"]: row["cap"] for row in rows if row["item"] == "seconds"}
    assert list(caps) == ["good", "hangs", "fails"] and caps["good"] < 2 < caps["hangs"] < 3
    assert [row["stage"] for row in rows if row["item"] == "of an earlier run"] == ["another"]
    assert capsys.readouterr().out.count("1 errors") == 2


# ---------------------------------------------------------------------------------------- the table

def run_of_everything():
    """Rows as a whole run on a GPU writes them."""
    rows = [{"stage": "machine", "item": "versions", "date": "2026-01-02 03:04", "host": "h" * 100},
            {"stage": "machine", "item": "nvidia-smi", "name": "GPU", "power.draw": "1 W"},
            {"stage": "machine", "item": "copy", "ms": 1.0, "gb_s": 4000.0}]
    rows += [{"stage": "machine", "item": f"gemm {mode}", "ms": 1.0, "tflop_s": 400.0} for mode in ops_table.SIZES]
    for stage, slower in (("ops", 1), ("ops torch", 2)):
        rows += [{"stage": stage, "item": op.item, "ms": slower * op.bytes / 2e9, "label": op.label, "mode": op.mode,
                  "last": op.last, "flops": op.flops, "bytes": op.bytes} for op in ops_table.table()]
    rows += [{"stage": stage, "item": f"{net} {mode}", "net": net, "mode": mode, "how": how, "batch": 8, "peak_mib": 9,
              "img_s": 1e5 if how == "graph" else 5e4}
             for stage in ("steps", "steps torch") for net in steps.NETS for mode in steps.MODES
             for how in ("eager", "graph")]
    rows += [{"stage": "compile", "item": "a.cu", "kernels": 3, "seconds": 1.0, "registers": {"k": 168}, "spills": {}}]
    return rows + [{"stage": "correctness", "item": f"k{i}", "ok": True, "worst": 0.1, "same_bits": True, "calls": 1}
                   for i in range(200)] + [{"stage": s.name, "item": "seconds", "seconds": 1.0} for s in stages.STAGES]


def test_a_whole_run_fits_into_the_reply():
    lines = report.table(run_of_everything())
    text = "\n".join(lines)
    assert len(lines) <= 60 and len(text) < 12_000 and "more lines" not in text and "ERROR" not in text
    for net in steps.NETS:
        assert any(line.startswith(net) and line.split().count("1.00") == 3 for line in lines), net
    for row in ops_table.CONVOLUTIONS:
        assert any(line.strip().startswith(row[0] + " ") and line.count("x 2.00") == 3 for line in lines), row
    for kernel in (*ops_table.MAPS, *ops_table.ROWS, *ops_table.UPDATES):
        assert any(line.split()[0] == kernel and " 50 %" in line for line in lines), kernel


def test_what_is_wrong_comes_first_and_makes_the_run_fail():
    rows = run_of_everything()
    assert not report.failed(rows)
    rows.insert(20, {"stage": "correctness", "item": "relu float32", "ok": False, "worst": 7.0, "same_bits": True})
    rows += [{"stage": "ops", "item": f"{i}", "error": "x" * 300} for i in range(100)]
    assert [row["item"] for row in report.failed(rows)] == ["relu float32"]
    lines = report.table(rows)
    assert len(lines) <= 60 and max(map(len, lines)) <= 180 and "and 88 more errors" in "\n".join(lines)
    assert "WRONG relu float32: error 7.0 of what is allowed" in lines
    assert report.failed([{"stage": "correctness", "item": "erf", "error": "ended"}])


def test_a_row_that_was_cut_off_and_a_broken_one_do_not_hide_the_rest(tmp_path):
    for row in run_of_everything():
        write_row(tmp_path, row)
    write_row(tmp_path, {"stage": "compile", "item": "b.cu", "kernels": "three"})
    with open(tmp_path / "rows.jsonl", "a") as file:
        file.write('{"stage": "ops", "it')
    lines = report.table(read_rows(tmp_path))
    assert any(line.startswith("ERROR report: TypeError") for line in lines) and any("lenet" in line for line in lines)


def test_report_prints_and_keeps_the_rows(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report.keep, "__defaults__", (tmp_path,))
    rows = run_of_everything()
    for row in rows:
        write_row(tmp_path, row)
    assert main(["--report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == report.table(rows)
    kept = (tmp_path / "gpu-2026-01-02.jsonl").read_text().splitlines()
    told = (tmp_path / "gpu-2026-01-02.md").read_text().splitlines()
    assert told == report.markdown(rows) and sum("(x 1.00)" in line for line in told) == len(steps.NETS)
    assert list(map(json.loads, kept)) == rows
    for wrong in (["--report", str(tmp_path / "none")], [], ["--stages", "opps"]):
        with pytest.raises(SystemExit):
            main(wrong)


# ---------------------------------------------------------------------------------------- on the emulator

CUDA = import_module("tinycnn.kernels.cuda")
emulated = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


@pytest.fixture
def device():
    return import_module("benchmarks.gpu.device").Device("cuda-emu", tiny=True)


@emulated
def test_wrong_kernels_are_found(device, monkeypatch):
    correctness = import_module("benchmarks.gpu.correctness")
    relu, calls = CUDA.relu, correctness.rows(np.float32, 1)["relu"]

    def judged(kernel):
        monkeypatch.setattr(CUDA, "relu", kernel)
        row = correctness.compare(device, "relu", calls, True, "highest")
        return row["ok"], row["worst"], row["same_bits"]
    off = iter([1.0, 1.0 + 1e-6] * len(calls))
    assert judged(relu) == (True, 0.0, True)
    assert judged(lambda x: relu(x) * np.float32(1.0001))[::2] == (False, True)
    assert judged(lambda x: device.xp.empty(x.shape, x.dtype)) == (False, None, True)      # nothing is written
    assert judged(lambda x: relu(x).astype(np.float64)) == (False, None, True)
    assert judged(lambda x: relu(x)[..., :1]) == (False, None, True)
    assert judged(lambda x: relu(x) * np.float32(next(off)))[::2] == (False, False)


@emulated
@pytest.mark.parametrize("mode, error, ok", [("highest", 2e-6, False), ("high", 1e-3, True), ("high", 3e-3, False),
                                             ("medium", 1e-2, True), ("medium", 3e-2, False)])
def test_products_are_held_to_their_precision(device, monkeypatch, mode, error, ok):
    correctness = import_module("benchmarks.gpu.correctness")
    a, b = np.abs(np.random.default_rng(0).standard_normal((2, 5, 5)).astype(np.float32))
    exact = (a.astype("d") @ b).astype(np.float32)
    monkeypatch.setattr(CUDA, "matmul", lambda a, b: device.put(exact * np.float32(1 + error)))
    assert correctness.compare(device, "matmul", [(a, b)], False, mode)["ok"] == ok
    assert tc.get_float32_matmul_precision() == "highest"


@emulated
def test_gradients_that_nearly_vanish_are_held_to_what_they_are_the_sum_of(device, monkeypatch):
    """Batch norm over two values, in float64: any inputs pass, an error of 1e-9 does not."""
    correctness = import_module("benchmarks.gpu.correctness")
    kernel = correctness.cuda.batch_norm_backward
    calls = [c for seed in range(5, 9) for c in correctness.rows(np.float64, seed)["batch_norm_backward"]]

    def worst():
        return correctness.compare(device, "batch_norm_backward", calls, False, "highest")["worst"]
    assert worst() < 0.1
    monkeypatch.setattr(correctness.cuda, "batch_norm_backward", lambda *a: tuple(y * (1 + 1e-9) for y in kernel(*a)))
    assert worst() > 10


@emulated
def test_the_golden_is_of_all_kernels_and_tells_when_one_is_another(device, monkeypatch):
    golden = import_module("benchmarks.gpu.golden")
    assert golden.FILE.stat().st_size <= 300_000
    with np.load(golden.FILE, allow_pickle=False) as file:
        kept = dict(file)
    assert {tuple(key.split()[:2]) for key in kept} == set(golden.kinds())
    name, mode = "softmax", "highest"
    assert golden.compare(device, name, mode, kept)["ok"]
    kept[f"{name} {mode} 0"] = kept[f"{name} {mode} 0"] * np.float32(1.0001)
    assert not golden.compare(device, name, mode, kept)["ok"]
    assert not golden.compare(device, name, mode, {})["ok"]


@emulated
def test_compiled_is_what_launches_look_for():
    compiling = import_module("benchmarks.gpu.compiling")
    launch = compiling.launch
    found = [name for _, names in compiling.modules() for name in names]
    assert sorted(found) == sorted(name for path in launch.FOLDER.glob("*.cu") for name in launch.instances(path.name))
    for file, names in compiling.modules():
        chosen = names[0].partition("<")[2]
        assert names == tuple(name for name in launch.instances(file) if name.endswith(f"<{chosen}"))


class Memory:
    """What CuPy's pool gives."""

    def __init__(self, size):
        self.size, self.byte = size, None

    def memset_async(self, byte, size):
        assert size == self.size
        self.byte = byte


class LikeCuPy:
    """The emulator's arrays with those parts of CuPy that benchmarks.gpu calls besides."""

    def __init__(self, arrays):
        self._arrays, self.allocators = arrays, []
        self.cuda = SimpleNamespace(
            get_elapsed_time=lambda start, stop: stop.at - start.at,
            using_allocator=lambda allocate: nullcontext(self.allocators.append(allocate)),
            Device=lambda: SimpleNamespace(attributes={"L2CacheSize": 50 << 20}, compute_capability="90"))
        now = iter(range(10**9))
        self.cuda.Event = type("Event", (), {"record": lambda event: setattr(event, "at", next(now)),
                                             "synchronize": lambda event: None})

    def get_default_memory_pool(self):
        return SimpleNamespace(malloc=Memory)

    def __getattr__(self, name):
        return getattr(self._arrays, name)


@emulated
def test_what_is_done_on_a_gpu_alone(monkeypatch, tmp_path):
    """Clocks, poisoned memory, sets of inputs and the compiler's report, with a CuPy that is none."""
    device, compiling, correctness = (import_module(f"benchmarks.gpu.{name}")
                                      for name in ("device", "compiling", "correctness"))
    emulator, cupy = device.Device("cuda-emu"), LikeCuPy(device.Device("cuda-emu").xp)
    monkeypatch.setattr(device.backend, "module_of", lambda name: cupy)
    monkeypatch.setattr(device.backend, "runtime", lambda name: emulator.runtime)
    gpu = device.Device("cuda")
    assert gpu.real and gpu.time(lambda: None, 0) == {"ms": 1, "low": 1, "high": 1, "samples": 5}
    assert [gpu.sets(n) for n in (1, 50 << 20, 1 << 40)] == [64, 3, 2]
    relu = correctness.rows(np.float32)["relu"]
    assert correctness.compare(gpu, "relu", relu, True, "highest")["ok"]
    assert [allocate(8).byte for allocate in cupy.allocators] == [0xff, 0x42] * len(relu)
    assert cupy.allocators[0](0).byte is None
    nvrtc = import_module("tinycnn.kernels.cuda.nvrtc")
    if nvrtc.installed("lib/libnvrtc.so*"):
        monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
        cupy.cuda.nvrtc = nvrtc
        row = compiling.by_nvrtc(gpu, "elementwise.cu", ("relu<float>",))
        assert row["arch"] == "sm_90" and 8 <= row["registers"]["relu<float>"] <= 64 and not row["spills"]


@emulated
def test_sanitizers_say_what_they_found(tmp_path, monkeypatch):
    sanitizer = import_module("benchmarks.gpu.sanitizer")
    program = tmp_path / "compute-sanitizer"
    program.write_text('#!/bin/sh\necho "checked by $2"\ntest "$2" != racecheck || exit 9\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert sanitizer.tool() == str(program)
    assert sanitizer.checked(str(program), "memcheck", "cuda-emu") == {"summary": "checked by memcheck"}
    with pytest.raises(RuntimeError, match="racecheck ends with 9: checked by racecheck"):
        sanitizer.checked(str(program), "racecheck", "cuda-emu")


def test_pytorchs_nets_are_ours():
    pytest.importorskip("torch")
    build = import_module("benchmarks.gpu.torch_nets").build
    torch = import_module("torch")
    for net in steps.NETS.values():
        classes = 10 if net.model == "lenet" else 1000
        with torch.device("meta"):
            theirs = sum(p.numel() for p in build(net.model, classes).parameters())
        assert theirs == tc.models.model_info(net.model).parameters, net


@emulated
@pytest.mark.slow
def test_pytorchs_ops_are_ours(device):
    pytest.importorskip("torch")
    ops, theirs, rival = (import_module(f"benchmarks.gpu.{name}") for name in ("ops", "ops_torch", "rival"))
    torch = rival.Torch("cpu")
    for op in ops_table.table(tiny=True):
        found = [call() for call in (ops.call(device, op), theirs.call(torch, op))]
        first = [f[0] if isinstance(f, (tuple, list)) else f for f in found]
        if not op.kernel.endswith("_update"):
            assert tuple(first[0].shape) == tuple(first[1].shape), op.item
    steps_torch = import_module("benchmarks.gpu.steps_torch")
    for row in steps_torch.measure(torch, "lenet", steps.NETS["lenet"]._replace(batch=2), "bfloat16", True, 0.01):
        assert row["img_s"] > 0 and row["last"]


@emulated
@pytest.mark.slow
def test_rehearsal(tmp_path, capsys):
    """Every stage, as on a GPU: all rows, no error, the table last."""
    assert main(["--device", "cuda-emu", "--tiny", "--budget", "240", "--out", str(tmp_path)]) == 0
    rows = read_rows(tmp_path)
    assert not [row for row in rows if "error" in row]
    assert {row["stage"] for row in rows if row["item"] == "seconds"} == {stage.name for stage in stages.STAGES}
    assert len(report.of(rows, "correctness", "ok")) > 200 and len(report.of(rows, "ops", "ms")) == len(
        list(ops_table.table(tiny=True)))
    assert {row["how"] for row in report.of(rows, "ops", "ms")} == {"graph"}
    assert [row["item"] for row in rows if row["stage"] in ("ops torch", "steps torch") and "left_out" not in row] \
        == ["seconds"] * 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[len(stages.STAGES):] == report.table(rows) and len(lines) <= 68
