"""One checker for every engine: plain functions, JAX's and PyTorch's vjp, tinycnn's Tensors, a class of one's own."""
import sys

import numpy as np
import pytest

import tinycnn as tc
from tinycnn.gradcheck import GradcheckError, Subject, gradcheck, torch_function, vjp_function, with_backward

# y = max(x @ w, 0) + x.sum(), in five ways; `off` is what the element [1, 0] of x's gradient is multiplied by


def forward(x, w):
    return np.maximum(x @ w, 0) + x.sum()


def backward(g, x, w, off):
    inner = g * (x @ w > 0)
    dx = inner @ w.T + g.sum()
    dx[1, 0] *= off
    return dx, x.T @ inner


def plain(off):
    return with_backward(forward, lambda g, x, w: backward(g, x, w, off))


def vjp(off):
    return vjp_function(lambda x, w: (forward(x, w), lambda g: backward(g, x, w, off)))


class Own(Subject):
    name = "own"

    def __init__(self, off):
        self.off = off

    def forward(self, x, w):
        return [forward(x, w)]

    def vjp(self, x, w):
        return [forward(x, w)], lambda seeds: backward(seeds[0], x, w, self.off)


def of_torch(off):
    torch = pytest.importorskip("torch")

    class Rectified(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return torch.relu(x @ w) + x.sum()

        @staticmethod
        def backward(ctx, g):
            return tuple(map(torch.from_numpy, backward(g.numpy(), *(t.numpy() for t in ctx.saved_tensors), off)))
    return torch_function(Rectified.apply)


def of_torch_func(off):
    """JAX's interface, as PyTorch has it."""
    torch = pytest.importorskip("torch")
    f = of_torch(off)

    def pulled(*arrays):
        y, pullback = f.vjp(*arrays)
        return torch.from_numpy(y[0]), lambda g: [torch.from_numpy(d) for d in pullback([g])]
    return vjp_function(pulled)


def of_tensors(off):
    @tc.op
    def rectified(x, w):
        return forward(x.data, w.data), (lambda g: tc.Tensor(backward(g.data, x.data, w.data, off)[0]),
                                         lambda g: tc.Tensor(backward(g.data, x.data, w.data, off)[1]))
    return rectified


ENGINES = {"plain": plain, "vjp": vjp, "own": Own, "torch": of_torch, "torch.func": of_torch_func,
           "Tensors": of_tensors}
engines = pytest.mark.parametrize("engine", ENGINES)


def given(engine, *arrays):
    return [tc.Tensor(a, requires_grad=True) for a in arrays] if engine == "Tensors" else list(arrays)


@pytest.fixture
def x(rng):
    return rng.standard_normal((3, 2))


@pytest.fixture
def w(rng):
    return rng.standard_normal((2, 4))


@engines
@pytest.mark.parametrize("fast", [False, True])
def test_right(engine, fast, x, w):
    found = gradcheck(ENGINES[engine](1), given(engine, x, w), fast_mode=fast, report=True)
    assert found and not found.moved and found.full is not fast and found.error < 1e-9


@engines
@pytest.mark.parametrize("fast", [False, True])
def test_a_planted_error_is_named(engine, fast, x, w):
    with pytest.raises(GradcheckError, match=r"d output 0\[.*\] / d input 0\[1, 0\]: backward says .*, \w+.* say"):
        gradcheck(ENGINES[engine](1.01), given(engine, x, w), fast_mode=fast)


@engines
@pytest.mark.parametrize("fast", [False, True])
def test_kinks_are_moved_and_counted(engine, fast, x, w):
    x[0] = 0                                         # a row of x @ w is 0
    found = gradcheck(ENGINES[engine](1), given(engine, x, w), report=True, fast_mode=fast)
    assert found and {i for i, _ in found.moved} <= {0, -1} and found.moved
    with pytest.raises(GradcheckError, match="gradient wrong"):
        gradcheck(ENGINES[engine](1.01), given(engine, x, w), fast_mode=fast)


def test_what_is_not_checked_is_passed_on(x):
    def chosen_backward(g, x, n, which):
        return np.eye(3)[:, which] @ g * n, None, None
    assert gradcheck(with_backward(lambda x, n, which: x[which] * n, chosen_backward), [x, 3, np.array([2, 0])])
    assert gradcheck(with_backward(lambda x: (x.argmax(), 2 * x), lambda g, x: 2 * g[1]), x)


def test_functions_that_write_into_their_arguments(x):
    def squared(x):
        x *= x
        return x

    def squared_backward(g, x):
        x *= 2
        return np.multiply(g, x, out=g)
    before = x.copy()
    assert gradcheck(with_backward(squared, squared_backward), x)
    assert (x == before).all()


@pytest.mark.parametrize("gradient, looks", [
    (lambda g, x, b: (g, g), r"input 1 has shape \(3, 2\), the input \(2,\): the input was broadcast"),
    (lambda g, x, b: (g.T, g.sum(0)), r"input 0 has shape \(2, 3\), the input \(3, 2\): it is transposed"),
    (lambda g, x, b: (g.ravel(), g.sum(0)), "must be reshaped"), (lambda g, x, b: (g[:1], g.sum(0)), r"\(1, 2\)"),
    (lambda g, x, b: g, "gives 1 gradients, there are 2 inputs"),
    (lambda g, x, b: (g, None), r"input 1\[0\].*only zeros"),
])
def test_gradients_of_the_wrong_shape(gradient, looks, x):
    with pytest.raises(GradcheckError, match=looks):
        gradcheck(with_backward(lambda x, b: x + b, gradient), [x, np.ones(2)])


def test_what_cannot_be_checked(x):
    pair = with_backward(lambda x: x, lambda g, x: g)
    with pytest.raises(ValueError, match="no input is a float64 NumPy array"):
        gradcheck(pair, [3])
    with pytest.raises(ValueError, match=r"input 0 is float32.*x.astype"):
        gradcheck(pair, x.astype(np.float32))
    with pytest.raises(ValueError, match="output 0 is float32.*jax_enable_x64"):
        gradcheck(with_backward(lambda x: x.astype(np.float32), lambda g, x: g), x)
    with pytest.raises(TypeError, match="gradgradcheck: needs a function of Tensors"):
        tc.gradgradcheck(pair, x)
    with pytest.raises(NotImplementedError, match=r"Subject needs a method forward"):
        gradcheck(Subject(), x)


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="torch_function: PyTorch is not installed: pip install torch"):
        torch_function(abs)


def test_torch_names_the_operation(x):
    torch = pytest.importorskip("torch")
    with pytest.raises(GradcheckError, match=r"of MulBackward0\(\)"):
        gradcheck(torch_function(lambda x: x.detach() * x), x)
    assert gradcheck(torch_function(lambda x, n: (x.sum() * n, x.argmax(), x.detach().sum() * 0)), [x, 3])
    assert gradcheck(torch_function(torch.nn.Linear(2, 3).double()), x)
