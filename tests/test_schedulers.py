"""Schedules equal PyTorch's step by step, chain, go on from a saved state, and refuse what makes no sense."""
import json
import math

import pytest

import tinycnn as tc
from tinycnn import optim
from tinycnn.optim import lr_scheduler as lrs

# name of the class, options; LambdaLR's functions are the same Python functions in both libraries
SCHEDULES = [
    ("LambdaLR", {"lr_lambda": lambda step: 0.9 ** step}),
    ("LambdaLR", {"lr_lambda": [lambda step: 0.9 ** step, lambda step: 1 / (1 + step)]}),
    ("MultiplicativeLR", {"lr_lambda": lambda step: 0.5 + step % 2}),
    ("StepLR", {"step_size": 3}),
    ("StepLR", {"step_size": 1, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 7, 7, 11], "gamma": 0.3}),
    ("MultiStepLR", {"milestones": [5, 0]}),
    ("ExponentialLR", {"gamma": 0.8}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 1}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 7}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 9, "power": 2.5}),
    ("CosineAnnealingLR", {"T_max": 6}),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 100}),
    ("CosineAnnealingWarmRestarts", {"T_0": 4}),
    ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 2, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 3}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 30}),
    ("OneCycleLR", {"max_lr": [0.5, 0.2], "epochs": 6, "steps_per_epoch": 5, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 30, "three_phase": True, "pct_start": 0.4}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 30, "div_factor": 10, "final_div_factor": 100,
                    "base_momentum": 0.7, "max_momentum": 0.99}),
]
NAMES = [f"{name}-{i}" for i, (name, _) in enumerate(SCHEDULES)]


def ours(optimizer="SGD", **options):
    a, b = (tc.tensor([1.0], requires_grad=True) for _ in range(2))
    return getattr(optim, optimizer)([{"params": [a]}, {"params": [b], "lr": 0.03}], lr=0.1, **options)


def theirs(torch, optimizer="SGD", **options):
    a, b = (torch.tensor([1.0], requires_grad=True) for _ in range(2))
    return getattr(torch.optim, optimizer)([{"params": [a]}, {"params": [b], "lr": 0.03}], lr=0.1, **options)


def rates(optimizer, schedule, steps, *, metrics=None):
    """The rates and momenta of both groups at every step."""
    rows = []
    for step in range(steps + 1):
        rows += [v for g in optimizer.param_groups for v in (g["lr"], *g.get("betas", [g.get("momentum")])[:1])]
        if step < steps:
            optimizer.step()
            schedule.step(*([] if metrics is None else [metrics[step]]))
            assert schedule.get_last_lr() == [g["lr"] for g in optimizer.param_groups]
    return rows


def close(expected):
    return pytest.approx(expected, rel=1e-11, abs=1e-15)


@pytest.mark.parametrize("optimizer,options", [("SGD", {"momentum": 0.9}), ("Adam", {})], ids=["SGD", "Adam"])
@pytest.mark.parametrize("name,arguments", SCHEDULES, ids=NAMES)
def test_rates_are_torchs(name, arguments, optimizer, options):
    torch = pytest.importorskip("torch")
    mine, other = ours(optimizer, **options), theirs(torch, optimizer, **options)
    expected = rates(other, getattr(torch.optim.lr_scheduler, name)(other, **arguments), 30)
    assert rates(mine, getattr(lrs, name)(mine, **arguments), 30) == close(expected)


@pytest.mark.parametrize("name,arguments", SCHEDULES, ids=NAMES)
def test_goes_on_from_a_saved_state(name, arguments):
    whole = ours(momentum=0.9)
    expected = rates(whole, getattr(lrs, name)(whole, **arguments), 25)
    first = ours(momentum=0.9)
    schedule = getattr(lrs, name)(first, **arguments)
    rates(first, schedule, 11)
    saved = json.loads(json.dumps([first.state_dict()["param_groups"], schedule.state_dict()]))    # plain values only

    second = ours(momentum=0.9)
    resumed = getattr(lrs, name)(second, **arguments)
    second.load_state_dict({"state": {}, "param_groups": saved[0]})
    resumed.load_state_dict(saved[1])
    assert rates(second, resumed, 14) == expected[-len(rates(first, schedule, 14)):]


def test_state_holds_no_functions_and_no_optimizer():
    optimizer = ours()
    schedule = lrs.LambdaLR(optimizer, lambda step: 0.5 ** step)
    assert set(schedule.state_dict()) == {"base_lrs", "last_epoch", "_steps"}


def test_last_epoch_goes_on_with_the_groups_initial_rates():
    torch = pytest.importorskip("torch")
    mine, other = ours(), theirs(torch)
    for optimizer in (mine, other):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    expected = rates(other, torch.optim.lr_scheduler.LambdaLR(other, lambda s: 1 / (1 + s), last_epoch=4), 5)
    assert rates(mine, lrs.LambdaLR(mine, lambda s: 1 / (1 + s), last_epoch=4), 5) == close(expected)


def test_schedules_of_one_optimizer_multiply():
    torch = pytest.importorskip("torch")
    found = []
    for optimizer, library in ((ours(), lrs), (theirs(torch), torch.optim.lr_scheduler)):
        parts = [library.ExponentialLR(optimizer, 0.9), library.MultiStepLR(optimizer, [3, 6]),
                 library.ConstantLR(optimizer, 0.5, total_iters=4)]
        found.append(rates(optimizer, library.ChainedScheduler(parts, optimizer=optimizer), 10))
    assert found[0] == close(found[1])


@pytest.mark.parametrize("after", [
    lambda library, o: library.CosineAnnealingLR(o, T_max=15),
    lambda library, o: library.StepLR(o, step_size=4),
    lambda library, o: library.ExponentialLR(o, 0.9),
    lambda library, o: library.PolynomialLR(o, total_iters=10),
    lambda library, o: library.LambdaLR(o, lambda step: 1.0),
    lambda library, o: library.CosineAnnealingWarmRestarts(o, 4),
], ids=["cosine", "step", "exponential", "polynomial", "lambda", "restarts"])
def test_warm_up_then_decay(after):
    torch = pytest.importorskip("torch")
    found = []
    for optimizer, library in ((ours(), lrs), (theirs(torch), torch.optim.lr_scheduler)):
        rise = library.LinearLR(optimizer, start_factor=0.2, total_iters=5)
        found.append(rates(optimizer, library.SequentialLR(optimizer, [rise, after(library, optimizer)], [5]), 20))
    assert found[0] == close(found[1])


def test_three_schedules_in_sequence_go_on_from_a_saved_state():
    def make():
        optimizer = ours()
        parts = [lrs.ConstantLR(optimizer, 0.1, 100), lrs.ExponentialLR(optimizer, 0.9), lrs.StepLR(optimizer, 2)]
        return optimizer, lrs.SequentialLR(optimizer, parts, [2, 9])
    optimizer, schedule = make()
    expected = rates(optimizer, schedule, 16)
    optimizer, schedule = make()
    rates(optimizer, schedule, 7)
    saved = json.loads(json.dumps([optimizer.state_dict(), schedule.state_dict()]))
    optimizer, schedule = make()
    optimizer.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    assert rates(optimizer, schedule, 9) == expected[-40:]


def test_restarts_take_fractional_epochs():
    torch = pytest.importorskip("torch")
    found = []
    for optimizer, library in ((ours(), lrs), (theirs(torch), torch.optim.lr_scheduler)):
        schedule, rows = library.CosineAnnealingWarmRestarts(optimizer, 2, T_mult=2), []
        for epoch in (0, 0.25, 1.75, 2, 5.999, 6, 6.5, 13.9, 14):
            optimizer.step()
            schedule.step(epoch)
            rows += schedule.get_last_lr()
        found.append(rows)
    assert found[0] == close(found[1])


METRICS = [5, 4, 4, 4, 4, 3.9999, 3.9998, 2, 2, 2, 2, 2, 2, 3, 4, 5, math.nan, 1, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("options", [
    {"patience": 2}, {"patience": 0, "factor": 0.5, "cooldown": 2}, {"patience": 1, "mode": "max"},
    {"patience": 1, "threshold": 0.5, "threshold_mode": "abs"}, {"patience": 1, "min_lr": [0.02, 0.01]},
    {"patience": 0, "eps": 0.05},
], ids=str)
def test_plateau_is_torchs_and_goes_on_from_a_saved_state(options):
    torch = pytest.importorskip("torch")
    mine, other = ours(), theirs(torch)
    expected = rates(other, torch.optim.lr_scheduler.ReduceLROnPlateau(other, **options), len(METRICS), metrics=METRICS)
    schedule = lrs.ReduceLROnPlateau(mine, **options)
    begun = rates(mine, schedule, 9, metrics=METRICS)
    saved = json.loads(json.dumps([mine.state_dict(), schedule.state_dict()]))
    mine = ours()
    schedule = lrs.ReduceLROnPlateau(mine, **options)
    mine.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    rest = rates(mine, schedule, len(METRICS) - 9, metrics=METRICS[9:])
    assert begun + rest[4:] == pytest.approx(expected, rel=1e-11, nan_ok=True)


def test_a_schedule_stepped_before_its_optimizer_warns():
    schedule = lrs.StepLR(ours(), 2)
    with pytest.warns(UserWarning, match="StepLR.step.. was called before optimizer.step"):
        schedule.step()


@pytest.mark.parametrize("make,kind,words", [
    (lambda o: lrs.StepLR(o, 0), ValueError, "step_size must be at least 1, got 0"),
    (lambda o: lrs.StepLR("sgd", 1), TypeError, "first argument must be an optimizer, got a str"),
    (lambda o: lrs.StepLR(o, 1, last_epoch=3), ValueError, "no 'initial_lr'"),
    (lambda o: lrs.LambdaLR(o, [abs]), ValueError, "one function for each of the 2 parameter groups, got 1"),
    (lambda o: lrs.LinearLR(o, start_factor=0), ValueError, "start_factor must be above 0 and at most 1, got 0"),
    (lambda o: lrs.LinearLR(o, end_factor=2), ValueError, "end_factor must lie in 0..1, got 2"),
    (lambda o: lrs.ConstantLR(o, factor=1.5), ValueError, "factor must be above 0 and at most 1, got 1.5"),
    (lambda o: lrs.CosineAnnealingLR(o, 0), ValueError, "T_max must be at least 1, got 0"),
    (lambda o: lrs.CosineAnnealingWarmRestarts(o, 0), ValueError, "at least 1, got 0 and 1"),
    (lambda o: lrs.OneCycleLR(o, 0.1), ValueError, "total_steps or as epochs and steps_per_epoch"),
    (lambda o: lrs.OneCycleLR(o, 0.1, total_steps=0), ValueError, "total_steps must be at least 1, got 0"),
    (lambda o: lrs.OneCycleLR(o, [0.1], total_steps=5), ValueError, "one max_lr for each of the 2"),
    (lambda o: lrs.OneCycleLR(o, 0.1, 5, pct_start=3), ValueError, "pct_start must lie in 0..1, got 3"),
    (lambda o: lrs.OneCycleLR(o, 0.1, 5, anneal_strategy="cosine"), ValueError, "'cos' or 'linear', got 'cosine'"),
    (lambda o: lrs.ReduceLROnPlateau(o, factor=1), ValueError, "factor must be below 1, got 1"),
    (lambda o: lrs.ReduceLROnPlateau(o, "low"), ValueError, "mode must be 'min' or 'max', got 'low'"),
    (lambda o: lrs.SequentialLR(o, [], []), ValueError, "at least one schedule, got none"),
    (lambda o: lrs.SequentialLR(o, [lrs.StepLR(o, 1)] * 2, []), ValueError, "2 schedules need 1 milestones"),
    (lambda o: lrs.SequentialLR(o, [lrs.StepLR(ours(), 1)], []), ValueError, "belongs to another optimizer"),
    (lambda o: lrs.SequentialLR(o, [lrs.ReduceLROnPlateau(o)], []), TypeError, "steps by a metric"),
])
def test_mistakes(make, kind, words):
    with pytest.raises(kind, match=words.replace("(", r"\(")):
        make(ours())


def test_one_cycle_ends():
    optimizer = ours(momentum=0.9)
    schedule = lrs.OneCycleLR(optimizer, 0.1, total_steps=3)
    for _ in range(3):
        optimizer.step()
        schedule.step()
    with pytest.raises(ValueError, match="step 4 of a cycle of 3 steps"):
        schedule.step()
    with pytest.raises(ValueError, match="no momentum to cycle: pass cycle_momentum=False"):
        lrs.OneCycleLR(_Plain(), 0.1, 3)


class _Plain(optim.Optimizer):
    """An optimizer without momentum."""

    def __init__(self):
        super().__init__([tc.tensor([1.0])], {"lr": 0.1, "weight_decay": 0})
