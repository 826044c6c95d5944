"""`tinycnn conformance`: PyTorch's samples come out right here, and a wrong engine is told so."""
import json
import sys

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import conformance
from tinycnn.cli import main
from tinycnn.conformance import OPERATIONS
from tinycnn.conformance.cases import Case, Leaf, LeftOut, written
from tinycnn.methods import FUNCTIONS
from tinycnn.nn import functional

LIVE = "conv2d,embedding,batch_norm,pad.reflect,max.reduction_with_dim,cross_entropy,getitem,argmax,hardsigmoid,one_hot"
X = np.array([1.0, -2.0])
DOUBLE = Case("relu", (Leaf(X, True),), {}, outputs=(2 * X,), cotangents=(X,), gradients=(2 * X,))


def scored(function, *cases, op="relu"):
    """The score of a function in the place of an operation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional, op, function)
        return conformance.score(OPERATIONS[op], cases)


# ---------------------------------------------------------------------------------------- with PyTorch

def test_139_operations_and_a_function_for_each():
    assert len(OPERATIONS) == 139 and [op for op, o in OPERATIONS.items() if o.find() is None] == []


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
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_all_139_against_pytorch(dtype):
    pytest.importorskip("torch")
    pytest.importorskip("expecttest")
    scores = list(conformance.run(dtype=dtype))
    assert {s.op: s.failures[:3] for s in scores if not s.ok} == {} and len(scores) == 139


def test_without_pytorch_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.testing._internal.common_methods_invocations", None)
    assert main(["conformance", "--ops", "relu"]) == 3
    assert "pip install 'tinycnn[conformance]'" in capsys.readouterr().err


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


def test_the_command_fails_with_the_engine(capsys, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("expecttest")
    monkeypatch.setitem(FUNCTIONS, "abs", lambda x: tc.maximum(x, -x) * 1.5)
    assert main(["conformance", "--ops", "abs"]) == 1
    out = capsys.readouterr().out
    assert "WRONG" in out and "abs(float64[20,20])\n    output 0: " in out and "0 of 1 operations right" in out
    assert main(["conformance", "--ops", "nothing"]) == 2
