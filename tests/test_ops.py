"""Every row of tinycnn/cases, in every way: gradients, against PyTorch, float32, odd memory, both kernel sets."""
import inspect

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import backend
from tinycnn.autograd import OPS
from tinycnn.cases import all_cases, build
from tinycnn.cases.table import FIRST, SECOND, bound, errors_of, uncovered
from tinycnn.methods import _NAMES, FUNCTIONS

CASES = all_cases()
INTERNAL = {"alias", "sum_to"}                       # no counterpart in torch under any name
each_row = pytest.mark.parametrize("row", CASES, ids=lambda row: row.id)
each_differentiable = pytest.mark.parametrize("row", [r for r in CASES if r.grads], ids=lambda row: row.id)


def run(row, inputs):
    """The row's function on plain arrays: a list of the arrays it returns."""
    out = FUNCTIONS[row.op](*inputs, **row.options)
    out = out if isinstance(out, (tuple, list)) else (out,)
    return [y.data if isinstance(y, tc.Tensor) else np.asarray(y) for y in out]


def test_every_op_has_a_row():
    assert not uncovered()


def test_every_method_has_its_function():
    missing = [name for name in _NAMES if name not in FUNCTIONS]
    assert not missing


@each_differentiable
def test_gradients(row):
    first, second = errors_of(row)
    assert first <= FIRST
    assert second is None or second <= SECOND


@each_row
def test_float32_stays_float32_and_is_close(row):
    tc.manual_seed(0)
    exact = run(row, build(row))
    tc.manual_seed(0)
    single = run(row, build(row, dtype=np.float32))
    for a, b in zip(exact, single):
        if a.dtype == np.float64 and row.options.get("dtype") is None and row.op != "to_dtype":
            assert b.dtype == np.float32
            # A sum of n products rounds n times at most; no row has n above 1000, and the worst growth is about 10.
            np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-4 * max(1, np.abs(a[np.isfinite(a)]).max(initial=0)))


def strided(array):
    """The same values, with steps of -1 and 2 in memory."""
    if not isinstance(array, np.ndarray) or not array.ndim:
        return array
    room = np.empty((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[::-1]
    room[..., ::2] = array
    return room[..., ::2]


def channels_last(array):
    if not isinstance(array, np.ndarray) or array.ndim != 4:
        return array
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def mapped(f, inputs):
    return [[f(v) for v in one] if isinstance(one, list) else f(one) for one in inputs]


@each_row
@pytest.mark.parametrize("layout", [strided, channels_last])
def test_memory_layout_does_not_matter(row, layout):
    if layout is channels_last and not any(getattr(v, "ndim", 0) == 4 for v in build(row)):
        return                                       # nothing here has channels
    tc.manual_seed(0)
    straight = run(row, build(row))
    tc.manual_seed(0)
    for a, b in zip(straight, run(row, mapped(layout, build(row)))):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-13)


@each_row
def test_reference_kernels_agree(row, monkeypatch):
    tc.manual_seed(0)
    fast = forward_and_gradients(row)
    monkeypatch.setattr(backend, "_cpu_choice", lambda: "reference")
    backend._kernels.cache_clear()
    try:
        tc.manual_seed(0)
        plain = forward_and_gradients(row)
    finally:
        backend._kernels.cache_clear()
    for a, b in zip(plain, fast):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)


def forward_and_gradients(row):
    func, tensors = bound(row)
    outputs = func(*tensors)
    outputs = [y for y in (outputs if isinstance(outputs, (tuple, list)) else (outputs,)) if isinstance(y, tc.Tensor)]
    found = [y.data for y in outputs]
    for y in outputs:
        if y.requires_grad:
            seed = np.random.default_rng(1).standard_normal(y.shape)
            found += [g.data for g in tc.grad(y, tensors, seed, retain_graph=True, allow_unused=True) if g is not None]
    return found


# ---------------------------------------------------------------------------------------- against PyTorch

def torch_function(torch, name):
    for place in (torch.nn.functional, torch, torch.Tensor):
        if hasattr(place, name):
            return getattr(place, name)
    return None


def to_torch(torch, v):
    if isinstance(v, list):
        return [to_torch(torch, one) for one in v]
    if not isinstance(v, np.ndarray):
        return v
    return torch.tensor(v.copy(), requires_grad=v.dtype.kind == "f")


@each_row
@pytest.mark.filterwarnings("ignore:Using padding='same' with even")    # torch copies its input then
def test_against_torch(row):
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    theirs = torch_function(torch, row.op)
    if theirs is None or row.op in INTERNAL or row.op.startswith("_") or "dtype" in str(row.options):
        return                                       # an internal op, reached through others that are compared
    if row.op in RANDOM:
        return
    tensors = to_torch(torch, build(row))
    options = {k: to_torch(torch, v) for k, v in row.options.items()}
    expected = theirs(*tensors, **options)
    expected = expected if isinstance(expected, (tuple, list)) else (expected,)
    for a, b in zip(expected, run(row, build(row)), strict=True):
        a = a.detach().numpy() if isinstance(a, torch.Tensor) else np.asarray(a)
        np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-12)
        assert b.shape == a.shape
    check_gradients_against(torch, row, [y for y in expected if isinstance(y, torch.Tensor)], tensors)


def check_gradients_against(torch, row, expected, tensors):
    if not row.grads or row.op in ROUGH:
        return
    func, ours = bound(row)
    outputs = func(*ours)
    outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    flat = [t for one in tensors for t in (one if isinstance(one, list) else [one])]
    flat = [t for t in flat if isinstance(t, torch.Tensor) and t.requires_grad]
    for y, z in zip(outputs, expected):
        if not z.requires_grad:
            continue
        seed = np.random.default_rng(1).standard_normal(z.shape)
        theirs = torch.autograd.grad(z, flat, torch.tensor(seed), retain_graph=True, allow_unused=True)
        mine = tc.grad(y, ours, seed, retain_graph=True, allow_unused=True)
        for a, b in zip(theirs, mine, strict=True):
            if a is not None:
                np.testing.assert_allclose(b.data, a.numpy(), rtol=1e-9, atol=1e-11)


ROUGH = {"hardsigmoid"}                              # torch multiplies its gradient by a float32 1/6
RANDOM = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "rrelu",
          "gumbel_softmax"}


def test_signatures_are_torchs():
    """Parameter names, their order and defaults, where torch publishes them."""
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    wrong = {}
    for name, f in FUNCTIONS.items():
        theirs = getattr(torch.nn.functional, name, None)
        try:
            defaults = {name: p.default for name, p in inspect.signature(theirs).parameters.items()
                        if name not in DEPRECATED}
        except (TypeError, ValueError):
            continue                                 # built in: torch does not say
        expected = list(defaults)
        if expected and expected[0] == "args":
            continue
        parameters = inspect.signature(f).parameters
        mine = list(parameters)
        if mine[:len(expected)] != expected[:len(mine)]:
            wrong[name] = (mine, expected)
        other = [p for p in mine if p in defaults and parameters[p].default != defaults[p] and (name, p) not in ASKED]
        if other:
            wrong[name, "defaults"] = other
    assert not wrong


DEPRECATED = {"size_average", "reduce", "_stacklevel"}
ASKED = {(name, "dim") for name in ("softmax", "log_softmax", "softmin")}    # torch guesses it, and warns


def test_names_are_defined_once():
    assert set(OPS) <= set(FUNCTIONS)
