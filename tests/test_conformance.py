"""`tinycnn conformance`: PyTorch's samples come out right here, and a wrong engine is told so."""
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

import tinycnn as tc
from tinycnn import conformance
from tinycnn.cli import main
from tinycnn.conformance import BEYOND, OPERATIONS
from tinycnn.conformance.cases import Case, Leaf, LeftOut, written
from tinycnn.methods import FUNCTIONS
from tinycnn.nn import functional

LIVE = "conv2d,embedding,batch_norm,pad.reflect,max.reduction_with_dim,cross_entropy,getitem,argmax,hardsigmoid,one_hot"
FILE = ROOT / "tests" / "golden" / "conformance.npz"
X = np.array([1.0, -2.0])
DOUBLE = Case("relu", (Leaf(X, True),), {}, outputs=(2 * X,), cotangents=(X,), gradients=(2 * X,))


def scored(function, *cases, op="relu"):
    """The score of a function in the place of an operation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional, op, function)
        return conformance.score(OPERATIONS[op], cases)


# ---------------------------------------------------------------------------------------- with PyTorch

def test_139_operations_and_a_function_for_each():
    assert len(OPERATIONS) == 139 and not set(OPERATIONS) & set(BEYOND)
    assert [op for op, o in (OPERATIONS | BEYOND).items() if o.find() is None] == []


def test_operations_are_found_by_pattern():
    assert [o.op for o in conformance.matching("pad.*,relu")] == ["relu", "pad.constant", "pad.reflect",
                                                                   "pad.replicate", "pad.circular"]
    assert [o.op for o in conformance.matching("dropout?d", beyond=True)] == ["dropout2d", "dropout3d"]
    with pytest.raises(ValueError, match="no operation matches 'dropout'; there are 139, .* more with --all"):
        conformance.matching("relu,dropout")


def test_of_random_numbers_shape_and_dtype_are_compared():
    case = Case("dropout", (Leaf(X, True),), {}, outputs=(X,), cotangents=(X,), gradients=(X,))
    def scored_as(function):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(functional, "dropout", function)
            return conformance.score(BEYOND["dropout"], [case])
    assert scored_as(lambda x: x * 5).ok
    assert not scored_as(lambda x: x[:1]).ok and not scored_as(lambda x: x.float()).ok


def test_a_python_value_is_an_answer():
    case = Case("equal", (Leaf(X), Leaf(X)), {}, outputs=(np.array(True),), cotangents=(None,))
    assert conformance.score(BEYOND["equal"], [case]).ok
    assert not conformance.score(BEYOND["equal"], [case._replace(outputs=(np.array(False),))]).ok


def test_a_handful_of_operations_against_pytorch():
    pytest.importorskip("expecttest")
    pytest.importorskip("torch")
    scores = list(conformance.run(LIVE))
    assert {s.op: s.failures for s in scores} == {op: [] for op in sorted(LIVE.split(","), key=list(OPERATIONS).index)}
    assert all(s.ok and s.samples == s.passed >= 4 and s.worst < 1e-12 for s in scores if s.op != "hardsigmoid")
    assert sum(s.refused for s in scores) >= 10
    assert {s.op: dict(s.left_out) for s in scores if s.left_out} == {
        "conv2d": {"invalid, but complex numbers": 1}, "embedding": {"sparse gradients": 2}}


def test_the_same_samples_each_time_and_a_few_of_them():
    torch = pytest.importorskip("torch")
    pytest.importorskip("expecttest")
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    twice = [[c for c in conformance.cases(OPERATIONS["linear"], samples=4)] for _ in range(2)]
    assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()
    assert len(twice[0]) == 4
    for a, b in zip(*twice):
        assert written(a) == written(b) and all(map(np.array_equal, a.gradients, b.gradients))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"dtype": "float64"}, {"dtype": "float32"}, {"reference_inputs": True}],
                         ids=["float64", "float32", "reference inputs"])
def test_everything_against_pytorch(options):
    pytest.importorskip("torch")
    pytest.importorskip("expecttest")
    scores = list(conformance.run(beyond=True, **options))
    assert {s.op: s.failures[:3] for s in scores if not s.ok} == {} and len(scores) == 139 + len(BEYOND)


def test_without_pytorch_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.testing._internal.common_methods_invocations", None)
    assert main(["conformance", "--ops", "relu"]) == 3
    assert "pip install 'tinycnn[conformance]'" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------- without PyTorch

@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda-emu", marks=pytest.mark.skipif(
    shutil.which("g++") is None, reason="the emulator needs g++"))])
def test_what_pytorch_answered_once(device):
    """Small samples and every invalid call: tinycnn conformance --samples 24 --largest 100 --dump FILE."""
    scores = list(conformance.run_file(FILE, device=device))
    assert {s.op: s.failures for s in scores if not s.ok} == {} and [s.op for s in scores] == list(OPERATIONS)
    assert sum(s.samples for s in scores) == 1091 and sum(s.refusals for s in scores) == 163
    assert max(s.worst for s in scores if s.op not in ("hardsigmoid", "celu")) < 1e-13


def test_a_file_is_scored_where_pytorch_is_not():
    code = ("import sys; sys.modules['torch'] = None; from tinycnn.cli import main; "
            f"sys.exit(main(['conformance', '--load', {str(FILE)!r}, '--ops', 'linear,cat,batch_norm', '--json']))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    data = json.loads(done.stdout)
    assert done.returncode == 0 and data["right"] == data["operations"] == 3 and data["samples"] >= 12


def planted(op, function):
    """The score of an operation, from the file, with its function replaced by one that calls it wrongly."""
    right = OPERATIONS[op].find()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FUNCTIONS, OPERATIONS[op].function, lambda *args, **kwargs: function(right, *args, **kwargs))
        patch.delattr(functional, OPERATIONS[op].function, raising=False)
        score, = conformance.run_file(FILE, op)
    return score


def forgetting(**options):
    """Call it as if these keywords had not been given."""
    return lambda f, *args, **kwargs: f(*args, **{**kwargs, **options})


def statistics_kept(f, x, mean, var, *args, **kwargs):
    return f(x, mean, tc.Tensor(var.data.copy()) if var is not None else None, *args, **kwargs)


BUGS = {
    "padding with 0": ("max_pool2d", lambda f, x, *args, **kwargs: tc.maximum(f(x, *args, **kwargs), tc.Tensor(0.0))
                       if kwargs.get("padding") else f(x, *args, **kwargs)),
    "dilation forgotten": ("conv2d", forgetting(dilation=1)),
    "groups forgotten": ("conv2d", forgetting(groups=1)),
    "running variance not updated": ("batch_norm", statistics_kept),
    "no gradient of the smaller": ("minimum", lambda f, x, y: f(x, y) + 0 * x if x is y else f(x, y.detach()) + 0 * y),
    "gelu by tanh": ("gelu", forgetting(approximate="tanh")),
    "ignored labels count": ("cross_entropy", forgetting(ignore_index=-100)),
    "class weights forgotten": ("cross_entropy", forgetting(weight=None)),
    "any reduction is the mean": ("nll_loss", forgetting(reduction="mean")),
    "the edge in a reflection": ("pad.reflect", lambda f, x, pad, mode: f(x, pad, "replicate")),
    "biased variance": ("var", forgetting(correction=0)),
    "keepdim forgotten": ("amax", forgetting(keepdim=False)),
    "equation turned round": ("einsum", lambda f, equation, operands: f(equation, operands).T),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_file_is_enough_to_find(bug):
    assert not planted(*BUGS[bug]).ok


@pytest.mark.parametrize("op", sorted({op for op, _ in BUGS.values()}))
def test_nothing_planted_nothing_found(op):
    assert planted(op, lambda f, *args, **kwargs: f(*args, **kwargs)).ok


def test_a_file_gives_back_what_was_written(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    whole = Case("getitem", (Leaf(array, True), (slice(1, None, -1), ..., None, [0, True], "a", 1.5, float("nan"))),
                 {"dim": (1,), "mask": Leaf(array > 2)}, False, (array, np.array(2)), {1: array > 3},
                 (array, None), (None,))
    conformance.dump(tmp_path / "a.npz", [whole, whole._replace(refused=True)])
    first, second = conformance.load(tmp_path / "a.npz")
    assert repr(first) == repr(whole) and second.refused and repr(second.args) == repr(whole.args)
    conformance.dump(tmp_path / "b.npz", [whole, whole._replace(refused=True)])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def content(change):
    case = ["abs", {"tuple": [{"tensor": ["float64", 0, [2]], "grad": False}]}, {"dict": {}}, True, {"tuple": []},
            {"dict": {}}, {"tuple": []}, {"tuple": []}]
    return json.dumps(change({"format": 1, "cases": [case]})).encode()


def in_case(place, value):
    return lambda whole: {**whole, "cases": [[*whole["cases"][0][:place], value, *whole["cases"][0][place + 1:]]]}


@pytest.mark.parametrize("change, says", [
    (lambda whole: {**whole, "format": 2}, "its format is 2"),
    (lambda whole: [], "no cases of"),
    (lambda whole: {**whole, "cases": [[1, 2]]}, "no cases of"),
    (in_case(0, "eval"), "there is no operation 'eval'"),
    (in_case(1, {"tuple": [{"tensor": ["float64", 1, [2]]}]}), "refers to 2 numbers of float64 from 1 on, of 2"),
    (in_case(1, {"tuple": [{"tensor": ["float64", -1, [2]]}]}), "refers to"),
    (in_case(1, {"tuple": [{"tensor": ["int8", 0, [2]]}]}), "int8"),
    (in_case(1, {"call": "exit"}), "unknown kind 'call'"),
])
def test_a_damaged_file_is_refused(tmp_path, capsys, change, says):
    path = tmp_path / "a.npz"
    np.savez(path, cases=np.frombuffer(content(change), np.uint8), float64=np.zeros(2))
    assert main(["conformance", "--load", str(path)]) == 3
    assert says in capsys.readouterr().err
    np.savez(path, cases=np.frombuffer(content(lambda whole: whole), np.uint8), float64=np.zeros(2))
    assert main(["conformance", "--load", str(path)]) == 1               # abs takes it, the file says it may not


def test_what_goes_with_a_file(tmp_path, capsys):
    assert main(["conformance", "--load", str(FILE), "--samples", "3"]) == 2
    assert main(["conformance", "--load", str(tmp_path / "none.npz")]) == 3
    (tmp_path / "text.npz").write_text("text")
    assert main(["conformance", "--load", str(tmp_path / "text.npz")]) == 3
    conformance.dump(tmp_path / "a.npz", [DOUBLE])
    assert main(["conformance", "--load", str(tmp_path / "a.npz"), "--ops", "abs"]) == 2
    assert "has no case of 'abs'" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------- what is wrong is found

@pytest.mark.parametrize("function, wrong", [
    (lambda x: x * 2, None),
    (lambda x: x * 2 + 1e-9, "output 0: 2.000000001 at [0], expected 2.0"),
    (lambda x: x * 2 + float("nan"), "output 0: nan at [0], expected 2.0"),
    (lambda x: x.float() * 2, "output 0: dtype float32, expected float64"),
    (lambda x: (x * 2).reshape((2, 1)), "output 0: shape (2, 1), expected (2,)"),
    (lambda x: (x * 2, x), "2 outputs, expected 1"),
    (lambda x: x.detach() * 2, "output 0: requires_grad is False, not PyTorch's"),
    (lambda x: x * 3 - x.detach(), "gradient 0: 3.0 at [0], expected 2.0"),
    (lambda x: x.foo(), "AttributeError: 'Tensor' object has no attribute 'foo'"),
    (lambda x, y: x, "TypeError"),
])
def test_a_wrong_answer_is_named(function, wrong):
    score = scored(function, DOUBLE)
    assert score.ok == (wrong is None) and score.samples == 1 and score.passed == score.ok
    if wrong:
        (call, found), = score.failures
        assert call == "relu(float64[2])" and wrong in found


def test_a_gradient_pytorch_has_not_must_be_zero():
    case = DOUBLE._replace(args=(Leaf(X, True), Leaf(X, True)), gradients=(2 * X, None))
    assert scored(lambda x, y: x * 2, case).ok and scored(lambda x, y: x * 2 + y * 0, case).ok
    assert "gradient 1: -2.0" in scored(lambda x, y: x * 2 + y - y.detach(), case).failures[0][1]
    case = case._replace(gradients=(2 * X, 3 * X))
    assert "gradient 1: 0.0 at [0], expected 3.0" in scored(lambda x, y: x * 2, case).failures[0][1]


def test_changed_arguments_are_compared():
    def function(x, state):
        state.data += 1
        return x * 2
    case = DOUBLE._replace(args=(Leaf(X, True), Leaf(np.zeros(2))))
    for _ in range(2):                               # a case is not used up
        assert "argument 1 after the call: 1.0" in scored(function, case).failures[0][1]
    case = case._replace(changed={1: np.ones(2)})
    assert scored(function, case).ok
    assert "argument 1 after the call: 0.0" in scored(lambda x, state: x * 2, case).failures[0][1]


@pytest.mark.parametrize("array", [
    np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2)[:, :, ::2], np.arange(6.0)[::-1], np.empty((0, 3)),
    np.broadcast_to(np.arange(3.0), (2, 3)), np.array(2.0), np.array([True, False])[::-1],
])
def test_the_engine_gets_arrays_as_they_lie_but_not_pytorchs_memory(array):
    seen = []
    case = Case("relu", (Leaf(array),), {}, outputs=(array,), cotangents=(None,))
    assert scored(lambda x: seen.append(x.data) or x, case).ok
    assert seen[0].strides == array.strides and not np.shares_memory(seen[0], array)


def raising(kind):
    def function(x):
        raise kind("no")
    return function


@pytest.mark.parametrize("kind, ok", [(ValueError, True), (TypeError, True), (IndexError, True), (RuntimeError, True),
                                      (AttributeError, False), (ZeroDivisionError, False)])
def test_only_an_error_that_means_it_is_a_refusal(kind, ok):
    case = Case("relu", (Leaf(X),), {}, refused=True)
    score = scored(raising(kind), DOUBLE, case)
    assert (score.refusals, score.refused) == (1, ok) and (score.samples, score.passed) == (1, 0)
    accepting = scored(lambda x: x * 2, DOUBLE, case)
    assert accepting.failures == [("relu(float64[2])", "accepted, PyTorch refuses it")] and not accepting.ok


def test_a_missing_operation_fails_every_case(monkeypatch):
    monkeypatch.delattr(functional, "relu")
    monkeypatch.delitem(FUNCTIONS, "relu")
    score = conformance.score(OPERATIONS["relu"], [DOUBLE, DOUBLE, LeftOut("relu", "complex numbers")])
    assert score.missing and not score.ok and (score.samples, score.passed) == (2, 0)


def test_nothing_asked_is_nothing_shown():
    assert not scored(lambda x: x).ok


def test_calls_are_written_as_code():
    case = Case("getitem", (Leaf(np.zeros((2, 3))), (slice(1, None), ..., None, [0])), {"dim": (1,), "mode": "a"})
    assert written(case) == "getitem(float64[2,3], (slice(1, None, None), ..., None, [0]), dim=(1,), mode='a')"


# ---------------------------------------------------------------------------------------- the command line

def test_the_command_prints_a_line_per_operation_and_the_sum(capsys):
    pytest.importorskip("torch")
    pytest.importorskip("expecttest")
    assert main(["conformance", "--ops", "conv1d,abs", "--json"]) == 0
    data = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert data["right"] == data["operations"] == 2 and data["samples"] == data["passed"] == 11
    assert main(["conformance", "--ops", "conv1d,abs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["conv1d", "10/10", "9/9"] and lines[2].split()[:3] == ["abs", "1/1", "-"]
    assert "2 of 2 operations right on cpu" in lines[3] and lines[4].startswith("not asked: ")


def test_what_the_command_writes_can_be_asked_again(tmp_path, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("expecttest")
    path = tmp_path / "cases.npz"
    assert main(["conformance", "--ops", "batch_norm,getitem,one_hot,gelu", "--dump", str(path)]) == 0
    assert main(["conformance", "--load", str(path)]) == 0
    first, second = (line.split(": ")[-1] for line in capsys.readouterr().out.splitlines() if "4 of 4" in line)
    assert first == second == "42 of 42 samples, 1 of 1 invalid calls refused"


def test_the_command_fails_with_the_engine(capsys, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("expecttest")
    monkeypatch.setitem(FUNCTIONS, "abs", lambda x: tc.maximum(x, -x) * 1.5)
    assert main(["conformance", "--ops", "abs"]) == 1
    out = capsys.readouterr().out
    assert "WRONG" in out and "abs(float64[20,20])\n    output 0: " in out and "0 of 1 operations right" in out
    assert main(["conformance", "--ops", "nothing"]) == 2
