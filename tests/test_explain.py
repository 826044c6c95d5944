"""t.explain(): its formulas compute what the vjps do, its bytes are what is alive, and every op has an explanation."""
import gc
from functools import lru_cache
from types import FunctionType, ModuleType

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn
from tinycnn.autograd import OPS
from tinycnn.callers import Caller
from tinycnn.cases import all_cases
from tinycnn.cases.table import bound
from tinycnn.explain import _place, _vjps
from tinycnn.formulas import mentioned
from tinycnn.ops.basic import mul
from tinycnn.recording import Node

ROWS = [row for row in all_cases() if row.grads]
each_row = pytest.mark.parametrize("position", range(len(ROWS)), ids=lambda i: ROWS[i].id)


@lru_cache(maxsize=None)
def graph_of(position):
    """All tensors with a node in the graph of a row's outputs and of their gradients."""
    row = ROWS[position]
    tc.manual_seed(0)
    func, tensors = bound(row)
    outputs = func(*tensors)
    outputs = [y for y in (outputs if isinstance(outputs, (tuple, list)) else (outputs,))
               if isinstance(y, tc.Tensor) and y.requires_grad]
    ones = [tc.Tensor(np.ones_like(y.data), requires_grad=True) for y in outputs]
    gradients = tc.grad(outputs, tensors, ones, create_graph=True, allow_unused=True) if outputs else ()
    stack, found = [*outputs, *(g for g in gradients if g is not None)], {}
    while stack:
        t = stack.pop()
        if t is not None and t._node is not None and id(t) not in found:
            found[id(t)] = t
            stack += t._node.parents
    return list(found.values())


def same(a, b):
    return a is b is None or np.array_equal(a.data, b.data, equal_nan=True)


def test_every_op_says_what_it_computes_and_where():
    for name, op in OPS.items():
        assert (op.__doc__ or "").split("\n\n")[0].strip(), f"{name} has no docstring"
        assert _place(op).startswith("tinycnn/"), name


@each_row
def test_every_formula_of_a_row_computes_what_the_vjp_does(position):
    for t in graph_of(position):
        told = t.explain()
        assert told.op == t._node.name and told.formula and not told.freed
        for f, (name, text) in zip(_vjps(t._node).values(), told.gradients, strict=True):
            assert text, f"{told.op}: no source of the vjp for {name}"
            if name == "all" or "\n" in text:        # a body of statements, shown as it stands
                continue
            g, joint = tc.Tensor(np.cos(np.arange(t.numel()).reshape(t.shape)).astype(t.dtype)), f.__code__.co_argcount
            given = dict(zip(f.__code__.co_varnames, (g, t)[:joint]))
            with tc.no_grad(), np.errstate(all="ignore"):
                found = eval(text, {**f.__globals__, **dict(mentioned(f)), **given})
                assert same(found, f(*given.values())), f"{told.op}: {text}"
        assert told.op in str(told) and all(name in str(told) for name, _ in told.gradients)


def test_rows_reach_every_differentiable_op():
    """So the test above leaves none out."""
    seen = {row.op for row in all_cases()} | {t._node.name for i in range(len(ROWS)) for t in graph_of(i)}
    assert not set(OPS) - seen


def alive_behind(node):
    """Bytes of all arrays that can be reached from a node without going to other nodes: by the garbage collector."""
    stack, seen, owners = [node], set(), {}
    while stack:
        value = stack.pop()
        if id(value) in seen or isinstance(value, (ModuleType, type)):
            continue
        seen.add(id(value))
        if isinstance(value, np.ndarray):
            while isinstance(value.base, np.ndarray):
                value = value.base
            owners[id(value)] = value.nbytes
        elif isinstance(value, FunctionType):
            stack += [*(value.__closure__ or ()), *(value.__defaults__ or ())]
        elif isinstance(value, tc.Tensor):
            stack.append(value._data)
        else:
            stack += gc.get_referents(value)
    return sum(owners.values())


@each_row
def test_kept_bytes_are_those_that_are_alive(position):
    for t in graph_of(position):
        told = t.explain()
        assert told.saved_bytes <= told.kept_bytes == alive_behind(t._node)


def test_bytes_of_shared_arrays_count_once_and_views_as_a_whole():
    x = tc.tensor(np.ones((10, 10)), requires_grad=True)
    assert (x * x).explain().saved_bytes == 800
    assert (x[:1] * x[1:2].detach()).explain().saved_bytes == 800
    y = x + 1
    assert (y.explain().saved_bytes, y.explain().kept_bytes) == (0, 800)


def test_the_line_and_the_layers_are_the_users():
    net = nn.Sequential({"body": nn.Sequential(nn.Linear(2, 3), nn.ReLU()), "head": nn.Linear(3, 1)})
    x = tc.ones((1, 2))
    with tc.autograd.record_lines():
        y = net(x)                                   # here
    told = y.explain()
    assert told.caller.file == __file__ and told.caller.code == "y = net(x)                                   # here"
    assert told.caller.layers == (("", "Sequential"), ("head", "Linear")) and told.caller.layer == "head"
    assert "in layer     Sequential > head (Linear)" in str(told) and "# here" in str(told)
    assert net(x).explain().caller is None


def test_recording_lines_leaves_nothing_behind_and_goes_with_anomaly_mode():
    plain = Node.__init__
    with tc.autograd.record_lines():
        with tc.autograd.detect_anomaly():
            assert tc.is_anomaly_enabled()
        assert Node.__init__ is not plain and not tc.is_anomaly_enabled()
        with tc.autograd.record_lines():
            pass
        assert Node.__init__ is not plain
    assert Node.__init__ is plain
    with tc.autograd.detect_anomaly(), tc.autograd.record_lines():
        y = tc.ones(1, requires_grad=True) * 2
    assert Node.__init__ is plain and isinstance(y.explain().caller, Caller)


def test_a_leaf():
    told = tc.ones((2, 3), requires_grad=True).explain()
    assert told.op is None and told.shape == (2, 3) and told.requires_grad
    assert str(told) == ("a leaf: (2, 3) float32\n  state        on cpu, version 0, requires grad; "
                         "made by the user, or computed without recording")


def test_after_the_graph_was_freed():
    x = tc.ones(3, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    told = y.explain()
    assert told.op == "sum" and told.freed and not told.inputs and not told.saved and told.kept_bytes == 0
    assert "The sum" in told.formula and "freed by backward()" in str(told)


def test_a_change_in_place_is_told():
    x, w = tc.ones(3, requires_grad=True), tc.ones(3)
    y = x * w
    assert not any(s.changed for s in y.explain().saved)
    w.add_(1)
    assert [s.name for s in y.explain().saved if s.changed] == ["other"]
    assert "other (3,) float32, changed in place since: backward() will refuse" in str(y.explain())
    z = tc.exp(x)
    z.data[0] = 7
    assert z.explain().needs_output and z.explain().changed and "the output, changed in place" in str(z.explain())


@tc.op
def cube(x):
    """x cubed.

    More of it.
    """
    return x.data ** 3, (lambda g: mul(g, 3) * x * x,)


def test_an_op_of_the_users():
    told = cube(tc.ones(2, requires_grad=True)).explain()
    assert told.formula == "x cubed." and told.gradients == (("x", "g * 3 * x * x"),)
    assert "test_explain.py" in told.source


def test_an_op_whose_source_is_not_at_hand():
    space = {"tc": tc, "__name__": "somewhere"}
    exec("@tc.op\ndef twice(x):\n    return x.data * 2, (lambda g: g * 2,)", space)
    told = space["twice"](tc.ones(2, requires_grad=True)).explain()
    assert told.op == "twice" and [i.shape for i in told.inputs] == [(2,)] and told.gradients[0][1] == ""


def test_two_vjps_in_one_line_are_told_apart():
    @tc.op
    def both(a, b):
        return a.data * b.data, (lambda g: g * b, lambda g: g * a)
    told = both(tc.ones(2, requires_grad=True), tc.ones(2, requires_grad=True)).explain()
    assert [text for _, text in told.gradients] == ["g * b", "g * a"]


def test_joint_vjps_lists_and_checkpoints():
    x = tc.ones((2, 3), requires_grad=True)
    assert tc.batch_norm(x, None, None, None, None, True).explain().gradients[0][0] == "all"
    assert [i.name for i in tc.cat([x, x]).explain().inputs] == ["tensors[0]", "tensors[1]"]
    for t in (tc.checkpoint(tc.exp, x), tc.checkpoint(tc.exp, x)._node.parents[0]):
        assert t.explain().op == "checkpoint" and str(t.explain())


def test_a_name_that_two_functions_use_for_two_things_is_told_twice():
    found = tc.layer_norm(tc.ones((2, 3, 4), requires_grad=True), (3, 4)).explain().definitions
    assert found["kept"] == "(2, 1, 1)" and found["rows"] == "(2, 12)"
