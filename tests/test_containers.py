"""Containers of modules and parameters, and what nn.utils does to all parameters or gradients of a model."""
from collections import OrderedDict

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn


def test_sequential_is_torchs():
    torch = pytest.importorskip("torch")
    for use in (
        lambda n: n.Sequential(n.Linear(2, 3), n.ReLU()), lambda n: n.Sequential(OrderedDict(a=n.ReLU(), b=n.Tanh())),
        lambda n: n.Sequential(n.ReLU(), n.Tanh(), n.ELU())[1:],
        lambda n: n.Sequential(n.ReLU()).append(n.Tanh()).extend([n.ELU(), n.SELU()]).insert(1, n.GELU()),
        lambda n: n.Sequential(n.Sequential(n.ReLU()), n.Sequential()),
        lambda n: n.ModuleList([n.ReLU(), n.ReLU(), n.Tanh()]), lambda n: n.ModuleList([n.ReLU()]) + [n.Tanh()],
        lambda n: n.ModuleDict({"a": n.ReLU(), "b": n.Sequential(n.Tanh())}),
    ):
        assert repr(use(nn)) == repr(use(torch.nn))


def test_sequential_as_a_list():
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    model = nn.Sequential(a, b, c)
    assert len(model) == 3 and list(model) == [a, b, c] and model[-1] is c and model[:2](tc.ones(1, 2)).shape == (1, 3)
    del model[1]
    assert [n for n, _ in model.named_children()] == ["0", "1"] and model[1] is c
    model[1] = b
    assert model.pop() is b and len(model) == 1
    part = nn.Sequential(a, b, c)[1:].append(nn.ReLU())
    assert len(part) == 3 and part[0] is b, "the slice's names 1, 2 must not be taken again"
    with pytest.raises(IndexError, match="index 3 is out of range for 3 parts"):
        part[3]
    assert isinstance(nn.Sequential(b)(tc.ones(2)), tc.Tensor) and nn.Sequential()(5) == 5


@pytest.mark.parametrize("make,words", [
    (lambda: nn.Sequential(nn.ReLU(), tc.relu), "part '1' is a function, expected a Module"),
    (lambda: nn.Sequential(nn.ReLU), "part '0' is a type, expected a Module: create it first"),
    (lambda: nn.ModuleList().append(3), "ModuleList: part '0' is a int"),
    (lambda: nn.ModuleDict({"a": "relu"}), "ModuleDict: part 'a' is a str")])
def test_containers_refuse_what_is_no_module(make, words):
    with pytest.raises(TypeError, match=words):
        make()


def test_module_dict_and_parameter_containers():
    parts = nn.ModuleDict({"a": nn.Linear(1, 1)})
    parts["b"] = nn.ReLU()
    assert list(parts) == ["a", "b"] and "b" in parts and len(parts) == 2 and parts.pop("b") is not parts["a"]
    assert [n for n, _ in parts.named_parameters()] == ["a.weight", "a.bias"] and list(parts.values()) == [parts["a"]]
    parts.clear()
    assert not parts.items()
    weights = nn.ParameterList([np.ones(2), tc.ones(3)])
    assert [p.shape for p in weights] == [(2,), (3,)] and list(weights.state_dict()) == ["0", "1"]
    assert list(nn.ParameterDict({"a": np.ones(2)}).state_dict()) == ["a"]


# ---------------------------------------------------------------------------------------- utilities

@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clip_grad_norm_is_torchs(norm_type, max_norm):
    torch = pytest.importorskip("torch")
    grads = [np.random.default_rng(i).standard_normal(s) for i, s in enumerate([(3, 4), (5,), ()])]
    mine, theirs = [tc.zeros(g.shape, dtype=np.float64) for g in grads], [torch.zeros(g.shape).double() for g in grads]
    for p, q, g in zip(mine, theirs, grads):
        p.grad, q.grad = tc.Tensor(g.copy()), torch.tensor(g)
    got, expected = (f(ps, max_norm, norm_type) for f, ps in ((nn.utils.clip_grad_norm_, mine),
                                                             (torch.nn.utils.clip_grad_norm_, theirs)))
    np.testing.assert_allclose(got.item(), expected.item(), rtol=1e-12)
    for p, q in zip(mine, theirs):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)


def test_clip_grad_norm_takes_the_iterator_that_parameters_returns():
    model = nn.Linear(2, 1)
    model(tc.ones(1, 2) * 30).sum().backward()
    total = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert total.dtype == np.float32 and abs(nn.utils.clip_grad_norm_(model.parameters(), 9.0).item() - 1) < 1e-5


def test_clipping_values_nonfinite_norms_and_no_gradients():
    p = tc.zeros(3)
    assert nn.utils.clip_grad_norm_([p], 1.0).item() == 0
    p.grad = tc.tensor([-5.0, 0.5, float("nan")])
    with pytest.raises(RuntimeError, match="the norm of the gradients is nan"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    nn.utils.clip_grad_value_([p], 1.0)
    np.testing.assert_array_equal(p.grad.numpy(), [-1, 0.5, np.nan])


def test_parameters_as_one_vector_and_back():
    model = nn.Linear(3, 2)
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert vector.shape == (8,)
    nn.utils.vector_to_parameters(vector * 2, model.parameters())
    np.testing.assert_allclose(nn.utils.parameters_to_vector(model.parameters()).detach().numpy(),
                               vector.detach().numpy() * 2)
    with pytest.raises(ValueError, match=r"the vector has shape \(7,\), the parameters need \(8,\)"):
        nn.utils.vector_to_parameters(vector[:7], model.parameters())
