"""Optimizer kernels: the reference and Numba against PyTorch's optimizers over several steps, with every option."""
from importlib import import_module
from itertools import product

import numpy as np
import pytest
from kernel_checks import LAYOUTS, assert_close, assert_same_bits_on_any_threads, normal

reference, cpu = (import_module("tinycnn.kernels." + name) for name in ("reference", "cpu"))
both = pytest.mark.parametrize("kernels", [reference, cpu])
STEPS, LR = 4, 0.1
SGD = [(momentum, dampening, decay, nesterov, maximize) for momentum, dampening, decay, nesterov, maximize
       in product([0, 0.9], [0, 0.3], [0, 0.02], [False, True], [False, True])
       if not nesterov or (momentum and not dampening)]
ADAM = list(product([0, 0.02], [False, True], [False, True], [False, True]))
RMSPROP = list(product([0, 0.02], [0, 0.9], [False, True], [False, True]))


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def gradient(step, shape=(37, 5), dtype="float64"):
    return normal(shape, dtype, 10 + step)


def torchs(torch, optimizer, **options):
    """The parameter after STEPS steps of a torch.optim class."""
    param = torch.nn.Parameter(torch.tensor(normal((37, 5), "float64")))
    optimizer = getattr(torch.optim, optimizer)([param], lr=LR, foreach=False, **options)
    for step in range(STEPS):
        param.grad = torch.tensor(gradient(step))
        optimizer.step()
    return param.detach().numpy()


def sgd(kernels, shape, dtype, momentum, dampening, decay, nesterov, maximize, layout=np.array):
    param, buf = layout(normal(shape, dtype)), layout(np.zeros(shape, dtype)) if momentum else None
    for step in range(STEPS):
        kernels.sgd_update([param], [gradient(step, shape, dtype)], buf if buf is None else [buf],
                           (LR, momentum, dampening, decay), nesterov, maximize, step == 0)
    return param, buf


def adam(kernels, shape, dtype, decay, amsgrad, decoupled, maximize, layout=np.array):
    param, (m, v, vmax) = layout(normal(shape, dtype)), (layout(np.zeros(shape, dtype)) for _ in range(3))
    vmax = vmax if amsgrad else None
    for step in range(STEPS):
        kernels.adam_update([param], [gradient(step, shape, dtype)], [m], [v], vmax if vmax is None else [vmax],
                            (LR, 0.8, 0.95, 1e-8, decay, step + 1), decoupled, maximize)
    return param, m, v, vmax


def rmsprop(kernels, shape, dtype, decay, momentum, centered, maximize, layout=np.array):
    param, (v, buf, gavg) = layout(normal(shape, dtype)), (layout(np.zeros(shape, dtype)) for _ in range(3))
    buf, gavg = buf if momentum else None, gavg if centered else None
    for step in range(STEPS):
        kernels.rmsprop_update([param], [gradient(step, shape, dtype)], [v], buf if buf is None else [buf],
                               gavg if gavg is None else [gavg], (LR, 0.9, 1e-8, decay, momentum), maximize)
    return param, v, buf, gavg


@both
@pytest.mark.parametrize("options", SGD, ids=str)
def test_sgd_is_torchs(torch, kernels, options):
    names = "momentum", "dampening", "weight_decay", "nesterov", "maximize"
    assert_close(sgd(kernels, (37, 5), "float64", *options)[0], torchs(torch, "SGD", **dict(zip(names, options))))


@both
@pytest.mark.parametrize("options", ADAM, ids=str)
def test_adam_and_adamw_are_torchs(torch, kernels, options):
    decay, amsgrad, decoupled, maximize = options
    expected = torchs(torch, "AdamW" if decoupled else "Adam", betas=(0.8, 0.95), weight_decay=decay, amsgrad=amsgrad,
                      maximize=maximize)
    assert_close(adam(kernels, (37, 5), "float64", *options)[0], expected)


@both
@pytest.mark.parametrize("options", RMSPROP, ids=str)
def test_rmsprop_is_torchs(torch, kernels, options):
    names = "weight_decay", "momentum", "centered", "maximize"
    expected = torchs(torch, "RMSprop", alpha=0.9, **dict(zip(names, options)))
    assert_close(rmsprop(kernels, (37, 5), "float64", *options)[0], expected)


@both
@pytest.mark.parametrize("missing", [None, 0, 1])
def test_running_statistics_are_torchs(torch, kernels, missing):
    """Each moves towards the batch's, the variance's without bias; either may be none that is kept."""
    x, kept = normal((5, 3, 2), "float64"), [normal((3,), "float64", 1), abs(normal((3,), "float64", 2))]
    expected = [torch.tensor(a) for a in kept]
    torch.nn.functional.batch_norm(torch.tensor(x), *expected, training=True, momentum=0.3)
    kept = [None if i == missing else a for i, a in enumerate(kept)]
    kernels.running_update(kept, [x.mean((0, 2)), x.var((0, 2))], 0.3, 10 / 9)
    for actual, e in zip(kept, expected):
        assert actual is None or assert_close(actual, e.numpy()) is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7, 3), (130, 70)], ids=str)
@pytest.mark.parametrize("update, options", [(sgd, SGD[-1]), (sgd, SGD[0]), (adam, ADAM[-1]), (adam, ADAM[0]),
                                             (rmsprop, RMSPROP[-1]), (rmsprop, RMSPROP[0])])
def test_numba_equals_the_reference(update, options, shape, dtype):
    assert_close(update(cpu, shape, dtype, *options), update(reference, shape, dtype, *options))


@both
@pytest.mark.parametrize("layout", ["channels last", "sliced", "backwards"])
@pytest.mark.parametrize("update, options", [(sgd, SGD[-1]), (adam, ADAM[-1]), (rmsprop, RMSPROP[-1])])
def test_any_strides_are_updated_in_place(kernels, update, options, layout):
    shape = 3, 4, 2, 5
    assert_close(update(kernels, shape, "float64", *options, LAYOUTS[layout]),
                 update(reference, shape, "float64", *options))


@both
@pytest.mark.parametrize("update, options", [(sgd, SGD[-1]), (adam, ADAM[-1]), (rmsprop, RMSPROP[-1])])
def test_the_gradient_is_left_alone(kernels, update, options, monkeypatch):
    handed = []
    fresh = gradient
    monkeypatch.setitem(globals(), "gradient", lambda *a: handed.append(fresh(*a)) or handed[-1])
    update(kernels, (9, 4), "float32", *options)
    assert all((g == fresh(step, (9, 4), "float32")).all() for step, g in enumerate(handed)) and len(handed) == STEPS


def test_same_bits_on_any_number_of_threads():
    shape = 300, 333
    assert_same_bits_on_any_threads(lambda: (*sgd(cpu, shape, "f", *SGD[-1]), *adam(cpu, shape, "f", *ADAM[-1]),
                                             *rmsprop(cpu, shape, "f", *RMSPROP[-1])))
