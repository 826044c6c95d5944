"""tc.autograd.functional: closed forms, exactly; PyTorch's structures, values and refusals."""
import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinycnn as tc
from tinycnn.nn import functional as F

AF = tc.autograd.functional
PRODUCTS = ("vjp", "jvp", "vhp", "hvp")


def whole(seed, *shape):
    """Whole numbers in float64: what is only added and multiplied comes out exactly."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64)


def tensors(*arrays):
    return tuple(map(tc.Tensor, arrays))


# ---------------------------------------------------------------------------------------- closed forms

@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4))
def test_a_linear_map(seed, m, n):
    A, x, u, v = whole(seed, m, n), whole(seed + 1, n), whole(seed + 2, m), whole(seed + 3, n)

    def f(t):
        return tc.Tensor(A) @ t
    np.testing.assert_array_equal(AF.jacobian(f, tc.Tensor(x)).data, A)
    for product, given_, expected in ((AF.vjp, u, u @ A), (AF.jvp, v, A @ v)):
        y, found = product(f, *tensors(x, given_))
        np.testing.assert_array_equal(y.data, A @ x)
        np.testing.assert_array_equal(found.data, expected)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3))
def test_a_quadratic_form_of_two_vectors(seed, m, n):
    """f(x, z) = x'Ax + x'Bz: the Hessian is [[A + A', B], [B', 0]]."""
    A, B, x, z = whole(seed, m, m), whole(seed + 1, m, n), whole(seed + 2, m), whole(seed + 3, n)
    v, w = whole(seed + 4, m), whole(seed + 5, n)

    def f(x, z):
        return x @ (tc.Tensor(A) @ x) + x @ (tc.Tensor(B) @ z)
    S = A + A.T
    expected = ((S, B), (B.T, np.zeros((n, n))))
    for row, expected_row in zip(AF.hessian(f, tensors(x, z)), expected, strict=True):
        for block, e in zip(row, expected_row, strict=True):
            np.testing.assert_array_equal(block.data, e)
    for product in (AF.vhp, AF.hvp):
        y, (first, second) = product(f, tensors(x, z), tensors(v, w))
        assert y.item() == x @ A @ x + x @ B @ z
        np.testing.assert_array_equal(first.data, S @ v + B @ w)
        np.testing.assert_array_equal(second.data, B.T @ v)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 10**6), st.integers(0, 5), st.integers(1, 3))
def test_directional_derivatives_of_a_power_of_a_linear_form(seed, order, n):
    """f(x) = (a'x)^4: D^k f [v1, ..., vk] = 4!/(4-k)! (a'x)^(4-k) (a'v1)...(a'vk), 0 beyond the fourth."""
    a, x, *directions = (whole(seed + i, n) for i in range(2 + order))
    s = a @ x
    factors = [4 * s**3, 12 * s**2, 24 * s, 24.0, 0.0]
    expected = np.prod([a @ v for v in directions]) * factors[order - 1] if order else s**4

    def f(t):
        z = (tc.Tensor(a) * t).sum()
        return z * z * z * z
    assert AF.directional(f, tc.Tensor(x), tensors(*directions)).item() == expected


def test_directional_derivatives_go_on():
    """exp(x)'s, of order 3 and with a graph: 1 more by backward."""
    x = tc.Tensor([0.5], requires_grad=True)
    third = AF.directional(lambda t: t.exp(), x, [tc.Tensor([1.0])] * 3, create_graph=True)
    third.backward()
    assert third.item() == x.grad.item() == np.exp(np.float32(0.5))


def test_softmax_has_its_textbook_jacobian():
    x = tc.Tensor(np.random.default_rng(0).standard_normal(5))
    p = F.softmax(x, 0).data
    np.testing.assert_allclose(AF.jacobian(lambda x: F.softmax(x, 0), x).data, np.diag(p) - np.outer(p, p), atol=1e-16)


def test_cross_entropy_has_its_textbook_hessian():
    """diag(p) - pp', whatever the label (Bishop, Pattern Recognition and Machine Learning, eq. 4.110)."""
    x = tc.Tensor(np.random.default_rng(0).standard_normal(5))
    p = F.softmax(x, 0).data
    found = AF.hessian(lambda x: F.cross_entropy(x.reshape(1, 5), np.array([3])), x)
    np.testing.assert_allclose(found.data, np.diag(p) - np.outer(p, p), atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_stay_and_what_comes_back_is_detached(dtype):
    x, v = tensors(np.ones(3, dtype), np.ones(3, dtype))
    x.requires_grad_()
    results = [*AF.vjp(F.silu, x, v), *AF.jvp(F.silu, x, v), AF.jacobian(F.silu, x)]
    results += [*AF.vhp(cubes, x, v), *AF.hvp(cubes, x, v), AF.hessian(cubes, x), AF.directional(cubes, x, [v])]
    assert all(t.dtype == dtype and not t.requires_grad for t in results)
    assert x.grad is None


def cubes(x):
    return (x * x * x).sum()


def test_results_can_be_differentiated_again():
    """With create_graph the sum of the Hessian of sum(x^3) is sum(6x), of gradient 6; so are the products'."""
    x, ones = tc.Tensor(whole(0, 3), requires_grad=True), tc.Tensor(np.ones(3))
    for found in (AF.hessian(cubes, x, create_graph=True), AF.vhp(cubes, x, ones, create_graph=True)[1],
                  AF.hvp(cubes, x, ones, create_graph=True)[1],
                  AF.jacobian(lambda x: 3 * x * x, x, create_graph=True),
                  AF.jvp(lambda x: 3 * x * x, x, ones, create_graph=True)[1],
                  AF.vjp(lambda x: 3 * x * x, x, ones, create_graph=True)[1]):
        (g,) = tc.grad(found.sum(), x)
        np.testing.assert_array_equal(g.data, [6, 6, 6])


def test_nothing_recorded_outside_is_needed():
    with tc.no_grad():
        assert AF.hessian(cubes, tc.Tensor([2.0])).item() == 12
        assert AF.hessian(cubes, tc.Tensor([2.0]), create_graph=True).requires_grad


def test_the_function_may_mention_the_original():
    """Only the argument counts as a variable: d/dx of (a * x) at a = x is x, not 2x."""
    x = tc.Tensor([3.0], requires_grad=True)
    assert AF.jacobian(lambda t: t * x, x).item() == 3


def test_fused_kernels_have_second_derivatives_here():
    """jvp needs the vjp of a vjp, of a norm and a pool too."""
    rng = np.random.default_rng(0)
    x, v = tensors(rng.standard_normal((4, 2, 4, 4)), rng.standard_normal((4, 2, 4, 4)))

    def f(x):
        return F.max_pool2d(F.batch_norm_relu(x, None, None, training=True), 2)
    (_, forward), jacobian = AF.jvp(f, x, v), AF.jacobian(f, x)
    np.testing.assert_allclose(forward.data, np.tensordot(jacobian.data, v.data, 4), rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------------------------- refusals

@pytest.mark.parametrize("name", ["jacobian", "hessian"])
def test_options_that_are_not_offered(name):
    with pytest.raises(NotImplementedError, match=f"{name}: vectorize=True"):
        getattr(AF, name)(cubes, tc.Tensor([1.0]), vectorize=True)
    strategy = "strategy" if name == "jacobian" else "outer_jacobian_strategy"
    with pytest.raises(NotImplementedError, match="'forward-mode'"):
        getattr(AF, name)(cubes, tc.Tensor([1.0]), **{strategy: "forward-mode"})


def test_wrong_arguments_are_named():
    x, two = tc.Tensor([1.0]), tc.Tensor([1.0, 2.0])
    for name in PRODUCTS:
        with pytest.raises(ValueError, match=rf"{name}: v must have the shapes of the .*\(1,\).*\(2,\)"):
            getattr(AF, name)(cubes if name != "vjp" else lambda x: x, x, two)
        with pytest.raises(RuntimeError, match=f"{name}: v can only be left out"):
            getattr(AF, name)(cubes if name != "vjp" else lambda x: x, two)
        with pytest.raises(TypeError, match=f"{name}: the inputs must be a Tensor or a tuple of Tensors, got list"):
            getattr(AF, name)(cubes, [x])
    for name in ("vhp", "hvp", "hessian"):
        with pytest.raises(RuntimeError, match=rf"{name}: .* must return a single Tensor of one element.*\(2,\)"):
            getattr(AF, name)(lambda x: x, two, *[two][:name != "hessian"])
    with pytest.raises(TypeError, match="what the function returns must be a Tensor"):
        AF.jacobian(lambda x: 3.0, x)


@pytest.mark.parametrize("name", [*PRODUCTS, "jacobian", "hessian"])
def test_independence_is_zero_or_refused(name):
    x, one = tc.Tensor([1.0]), tc.Tensor([1.0])
    cases = [lambda x: (x.detach() * 2).sum()]                               # of no input at all
    cases += [lambda x: x.sum()] * (name in ("vhp", "hvp", "hessian"))       # a constant gradient
    for f in cases:
        found = getattr(AF, name)(f, x, *[one][:name in PRODUCTS and name != "vjp"])
        found = found[1] if name in PRODUCTS else found
        assert found.data.size == 1 and found.item() == 0
        with pytest.raises(RuntimeError, match="strict=True refuses"):
            getattr(AF, name)(f, x, *[one][:name in PRODUCTS and name != "vjp"], strict=True)


def test_two_inputs_one_of_them_unused():
    x, z = tensors(whole(0, 2), whole(1, 3))
    used, unused = AF.jacobian(lambda x, z: x * x, (x, z))
    assert used.shape == (2, 2) and unused.shape == (2, 3) and not unused.data.any()
    with pytest.raises(RuntimeError, match="entry 1"):
        AF.jacobian(lambda x, z: x * x, (x, z), strict=True)


# ---------------------------------------------------------------------------------------- against PyTorch

def two_outputs(x, w):
    return (x * x * w).sum(0), x.exp() @ w.T


def one_output(x):
    return x.tanh() * x.sum()


def scalar(x, w):
    return ((x @ w.T).exp() * 0.1).sum() + (w * w * w).sum()


def single(x):
    return (x * x.sin()).sum()


def flat(results):
    return [a for r in results for a in flat(r)] if isinstance(results, tuple) else [results]


def structure(results):
    return tuple(map(structure, results)) if isinstance(results, tuple) else tuple(results.shape)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name, func, shapes, out_shapes", [
    ("vjp", two_outputs, ((2, 3), (2, 3)), ((3,), (2, 2))), ("vjp", one_output, (2, 3), (2, 3)),
    ("jvp", two_outputs, ((2, 3), (2, 3)), None), ("jvp", one_output, (2, 3), None), ("jvp", one_output, (1,), None),
    ("jacobian", two_outputs, ((2, 3), (2, 3)), None), ("jacobian", one_output, (2, 3), None),
    ("jacobian", one_output, ((4,),), None), ("jacobian", one_output, (), None),
    ("jacobian", scalar, ((2, 3), (2, 3)), None),
    ("hessian", scalar, ((2, 3), (1, 3)), None), ("hessian", single, (2, 2), None), ("hessian", single, ((2,),), None),
    ("vhp", scalar, ((2, 3), (1, 3)), None), ("vhp", single, (2, 2), None), ("vhp", single, (1,), None),
    ("hvp", scalar, ((2, 3), (1, 3)), None), ("hvp", single, (2, 2), None), ("hvp", single, ((3,),), None),
])
def test_values_and_structures_are_torchs(name, func, shapes, out_shapes, create_graph):
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    rng = np.random.default_rng(2)

    def drawn(shapes):
        if shapes and isinstance(shapes[0], tuple):
            return tuple(rng.standard_normal(s) for s in shapes)
        return rng.standard_normal(shapes)
    inputs, v = drawn(shapes), drawn(out_shapes or shapes)

    def call(place, make):
        made = [tuple(map(make, a)) if isinstance(a, tuple) else make(a) for a in (inputs, v)]
        for t in flat(made[0]):
            t.requires_grad_()
        made = made[:1] if name in ("jacobian", "hessian") or shapes == (1,) else made      # (1,): v is left out
        return getattr(place, name)(func, *made, create_graph=create_graph)
    ours, theirs = call(AF, tc.Tensor), call(torch.autograd.functional, torch.tensor)
    assert structure(ours) == structure(theirs)
    for a, b in zip(flat(ours), flat(theirs)):
        np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=1e-12, atol=1e-13)
        assert a.requires_grad == b.requires_grad


def test_signatures_are_torchs():
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    for name in (*PRODUCTS, "jacobian", "hessian"):
        ours, theirs = ([(p.name, p.default) for p in inspect.signature(getattr(place, name)).parameters.values()]
                        for place in (AF, torch.autograd.functional))
        assert ours == theirs
