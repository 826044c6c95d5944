"""Optimizers equal PyTorch's step by step, go on from a saved state, and refuse what makes no sense."""
import copy
import json

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn, optim

OPTIMIZERS = [
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9}), ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "maximize": True}), ("SGD", {}),
    ("Adam", {}), ("Adam", {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-3}), ("Adam", {"weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "maximize": True}),
    ("Adam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {}), ("AdamW", {"lr": 0.01, "weight_decay": 0.3, "amsgrad": True}), ("AdamW", {"maximize": True}),
    ("RMSprop", {}), ("RMSprop", {"alpha": 0.5, "eps": 1e-3, "weight_decay": 0.1}), ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True, "momentum": 0.5}), ("RMSprop", {"maximize": True}),
]
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(OPTIMIZERS)]
SHAPES = [(3, 4), (5,), (), (2, 3, 3, 2)]


def arrays(step, dtype=np.float64):
    rng = np.random.default_rng(step)
    return [np.asarray(rng.standard_normal(s), dtype) for s in SHAPES]


def ours(dtype=np.float64):
    return [nn.Parameter(a) for a in arrays(100, dtype)]


def take_steps(optimizer, params, steps, dtype=np.float64):
    """Steps on given gradients; parameter 1 has none in step 2."""
    for step in steps:
        for i, (p, g) in enumerate(zip(params, arrays(step, dtype))):
            p.grad = None if (i, step) == (1, 2) else tc.Tensor(g)
        optimizer.step()


@pytest.mark.parametrize("groups", [False, True], ids=["one group", "two groups"])
@pytest.mark.parametrize("name,options", OPTIMIZERS, ids=IDS)
def test_steps_are_torchs(name, options, groups):
    torch = pytest.importorskip("torch")
    found = []
    theirs = [torch.nn.Parameter(torch.tensor(a)) for a in arrays(100)]
    for library, params in ((optim, ours()), (torch.optim, theirs)):
        given = params
        if groups:
            given = [{"params": params[:2]}, {"params": params[2:], "lr": 0.3, "weight_decay": 0.2}]
        optimizer = getattr(library, name)(given, **options)
        rows = []
        for step in range(8):
            for i, (p, g) in enumerate(zip(params, arrays(step))):
                p.grad = None if (i, step) == (1, 2) else (tc.Tensor(g) if library is optim else torch.tensor(g))
            optimizer.step()
            rows += [np.array(p.detach().numpy()) for p in params]
        found.append(rows)
    for mine, theirs in zip(*found):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name,options", OPTIMIZERS, ids=IDS)
def test_goes_on_bit_for_bit_from_a_saved_state(name, options, dtype):
    whole = ours(dtype)
    take_steps(getattr(optim, name)(whole, **options), whole, range(7), dtype)
    params = ours(dtype)
    first = getattr(optim, name)(params, **options)
    take_steps(first, params, range(4), dtype)
    state = copy.deepcopy(first.state_dict())
    plain = json.loads(json.dumps(state, default=lambda a: {"array": a.tolist()}))   # keys become text, tuples lists
    restored = {"param_groups": plain["param_groups"], "state": {
        n: {k: np.array(v["array"], dtype) if isinstance(v, dict) else v for k, v in s.items()}
        for n, s in plain["state"].items()}}
    second = getattr(optim, name)(params, lr=7.0)
    second.load_state_dict(restored)
    take_steps(second, params, range(4, 7), dtype)
    for a, b in zip(params, whole):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert a.dtype == dtype
    assert second.param_groups[0]["lr"] == first.param_groups[0]["lr"]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_state_is_torchs(name):
    torch = pytest.importorskip("torch")
    options = {"SGD": {"momentum": 0.9}, "RMSprop": {"momentum": 0.9, "centered": True}}.get(name, {"amsgrad": True})
    params = ours()
    mine = getattr(optim, name)(params, **options)
    take_steps(mine, params, [0, 1])
    theirs_params = [torch.nn.Parameter(torch.tensor(a)) for a in arrays(100)]
    theirs = getattr(torch.optim, name)(theirs_params, **options)
    for step in (0, 1):
        for p, g in zip(theirs_params, arrays(step)):
            p.grad = torch.tensor(g)
        theirs.step()
    expected = theirs.state_dict()
    assert set(mine.state[params[0]]) == set(expected["state"][0])
    assert set(mine.param_groups[0]) <= set(expected["param_groups"][0]) | {"decoupled_weight_decay"}
    fresh = getattr(optim, name)(params)
    fresh.load_state_dict({"state": expected["state"], "param_groups": mine.state_dict()["param_groups"]})
    for n, v in expected["state"][0].items():
        np.testing.assert_allclose(fresh.state[params[0]][n], v.numpy(), rtol=1e-12)


def test_updates_are_in_place_and_noticed_by_graphs():
    p = nn.Parameter(np.ones(3))
    view, version = p.data, p._version
    y = (p * p).sum()
    p.grad = tc.Tensor(np.ones(3))
    optim.SGD([p], lr=0.5).step()
    assert p.data is view and p._version == version + 1
    np.testing.assert_array_equal(view, 0.5)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_layout_and_type_of_parameter_and_gradient_do_not_matter(name):
    base = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    grad = np.random.default_rng(1).standard_normal((4, 6))
    found = []
    for layout in (np.ascontiguousarray, np.asfortranarray):
        array = base.copy() if layout is np.ascontiguousarray else np.repeat(base, 2, axis=0)[::2]
        p = nn.Parameter(array)
        optimizer = getattr(optim, name)([p], lr=0.1)
        for _ in range(3):
            p.grad = tc.Tensor(layout(grad))
            optimizer.step()
        found.append(p.numpy())
        assert p.data is array and array.dtype == np.float32
    np.testing.assert_array_equal(*found)


def test_closure_zero_grad_and_repr():
    p = nn.Parameter(np.float32([3.0]))
    optimizer = optim.SGD([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss
    with tc.no_grad():
        assert optimizer.step(closure).item() == 9
    np.testing.assert_allclose(p.numpy(), [2.4], rtol=1e-6)
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.item() == 0
    optimizer.zero_grad()
    assert p.grad is None
    torch = pytest.importorskip("torch")
    lines = repr(torch.optim.SGD([torch.ones(1)], lr=0.1)).splitlines()
    dropped = ("differentiable", "foreach", "fused")
    assert repr(optimizer).splitlines() == [line for line in lines if not line.strip().startswith(dropped)]


def test_groups_are_added_with_their_own_options():
    a, b = nn.Parameter(np.ones(1)), nn.Parameter(np.ones(1))
    optimizer = optim.SGD([a], lr=0.1, momentum=0.5)
    optimizer.add_param_group({"params": b, "lr": 1.0})
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 1.0] and optimizer.param_groups[1]["momentum"] == 0.5


def test_a_refused_state_changes_nothing():
    params = ours()
    optimizer = optim.Adam(params)
    take_steps(optimizer, params, [0])
    state = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters, this optimizer of \[4\]"):
        optimizer.load_state_dict(optim.Adam(params[:1]).state_dict())
    wrong = copy.deepcopy(state)
    wrong["param_groups"][0]["lr"], wrong["state"][1]["exp_avg"] = 5.0, np.ones(3)
    with pytest.raises(ValueError, match=r"exp_avg has shape \(3,\), its parameter \(5,\)"):
        optimizer.load_state_dict(wrong)
    assert optimizer.param_groups[0]["lr"] == 1e-3
    np.testing.assert_array_equal(optimizer.state[params[1]]["exp_avg"], state["state"][1]["exp_avg"])


def test_loaded_state_is_copied():
    params = ours()
    first, second = optim.SGD(params, momentum=0.9), optim.SGD(params, momentum=0.9)
    take_steps(first, params, [0])
    second.load_state_dict(first.state_dict())
    take_steps(second, params, [1])
    assert not np.shares_memory(first.state[params[0]]["momentum_buffer"], second.state[params[0]]["momentum_buffer"])


P = nn.Parameter(np.ones(2))


@pytest.mark.parametrize("make,kind,words", [
    (lambda: optim.SGD([]), ValueError, "SGD: got no parameters"),
    (lambda: optim.SGD(iter([])), ValueError, "used up by an earlier loop"),
    (lambda: optim.SGD(P), TypeError, "got a Parameter: pass model.parameters() or [tensor]"),
    (lambda: optim.SGD([np.ones(2)]), TypeError, "parameter 0 is a ndarray, not a Tensor"),
    (lambda: optim.SGD([P * 2]), ValueError, "is the result of an op and cannot be optimized"),
    (lambda: optim.SGD([P, P]), ValueError, "parameter 1 (shape (2,)) is given twice"),
    (lambda: optim.SGD([{"params": [P]}, {"params": [P]}]), ValueError, "given twice"),
    (lambda: optim.SGD([{"params": [P], "beta": 1}]), ValueError, "unknown options beta: it takes lr, momentum"),
    (lambda: optim.SGD([{"lr": 1}]), TypeError, "must be a dict with 'params'"),
    (lambda: optim.SGD([P], lr=-1), ValueError, "SGD: lr must be at least 0, got -1"),
    (lambda: optim.SGD([P], lr=float("nan")), ValueError, "lr must be at least 0, got nan"),
    (lambda: optim.SGD([P], momentum=-0.1), ValueError, "momentum must be at least 0"),
    (lambda: optim.SGD([P], weight_decay=-0.1), ValueError, "weight_decay must be at least 0"),
    (lambda: optim.SGD([P], nesterov=True), ValueError, "nesterov=True needs momentum > 0"),
    (lambda: optim.SGD([P], momentum=0.9, dampening=0.1, nesterov=True), ValueError, "and dampening = 0"),
    (lambda: optim.SGD([{"params": [P], "lr": -2}]), ValueError, "lr must be at least 0, got -2"),
    (lambda: optim.Adam([P], betas=(0.9, 1.0)), ValueError, "betas must be two numbers, each at least 0 and below 1"),
    (lambda: optim.AdamW([P], betas=(0.9,)), ValueError, "AdamW: betas must be two numbers"),
    (lambda: optim.Adam([P], eps=-1), ValueError, "eps must be at least 0"),
    (lambda: optim.RMSprop([P], alpha=-1), ValueError, "RMSprop: alpha must be at least 0"),
    (lambda: optim.Optimizer([P], {"lr": 1, "weight_decay": 0})._update(None, None, None, None), NotImplementedError,
     "does not define _update"),
])
def test_mistakes(make, kind, words):
    with pytest.raises(kind) as caught:
        make()
    assert words in str(caught.value)


def test_a_read_only_parameter_is_refused():
    array = np.ones(2)
    array.flags.writeable = False
    p = nn.Parameter(array)
    p.grad = tc.Tensor(np.ones(2))
    with pytest.raises(ValueError, match="read-only"):
        optim.SGD([p]).step()


@pytest.mark.parametrize("name,options", [("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 0.1}),
                                          ("AdamW", {"lr": 0.1}), ("RMSprop", {"lr": 0.02})])
def test_finds_a_minimum(name, options):
    target = np.array([1.0, -2.0, 3.0])
    p = nn.Parameter(np.zeros(3))
    optimizer = getattr(optim, name)([p], **options)
    for _ in range(400):
        optimizer.zero_grad()
        ((p - tc.Tensor(target)) ** 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(p.numpy(), target, atol=0.05)
