"""The checker itself: it accepts what is right, and finds what is wrong."""
import numpy as np
import pytest

import tinycnn as tc
from tinycnn.gradcheck import GradcheckError, worst_error


def point(*shape):
    return tc.Tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True)


@tc.op
def cube(x):
    return x.data ** 3, (lambda g: g * 3 * x * x,)


@tc.op
def slightly_wrong(x):
    return x.data ** 3, (lambda g: g * 3.0001 * x * x,)


@tc.op
def wrong_second(x):
    """Right at first order, but the vjp hides x from the graph."""
    return x.data ** 3, (lambda g: g * (3 * x.data * x.data),)


@pytest.mark.parametrize("fast", [False, True])
def test_right(fast):
    assert tc.gradcheck(cube, [point(2, 3)], fast_mode=fast)
    assert tc.gradgradcheck(cube, [point(2, 3)], fast_mode=fast)
    assert tc.gradcheck(lambda a, b: (a * b, a @ b.T), [point(2, 3), point(2, 3)], fast_mode=fast)
    assert tc.gradcheck(cube, point(3))


@pytest.mark.parametrize("fast", [False, True])
def test_wrong_first_order(fast):
    with pytest.raises(GradcheckError, match="gradient wrong"):
        tc.gradcheck(slightly_wrong, [point(2, 3)], fast_mode=fast)
    assert not tc.gradcheck(slightly_wrong, [point(2, 3)], raise_exception=False, fast_mode=fast)


def test_the_message_names_the_element():
    def one_bad(x):
        return slightly_wrong(x[1]) + cube(x[0])
    with pytest.raises(GradcheckError, match=r"d output 0\[\] / d input 0\[1\]: backward says .*, differences say"):
        tc.gradcheck(one_bad, [tc.Tensor(np.array([1.0, 2.0]), requires_grad=True)])


def test_wrong_second_order():
    assert tc.gradcheck(wrong_second, [point(3)])
    with pytest.raises(GradcheckError):
        tc.gradgradcheck(wrong_second, [point(3)])


def test_kinks_and_ties_are_moved_and_counted():
    x = tc.Tensor(np.array([[0.0, 1.0, -1.0, 2e-5]]), requires_grad=True)
    found = tc.gradcheck(tc.relu, x, report=True)
    assert found and {where for where, _ in found.moved} == {0} and {e for _, e in found.moved} == {0, 3}
    assert x.data[0, 0] == 0                         # a copy was moved
    ties = tc.Tensor(np.zeros((1, 1, 4, 4)), requires_grad=True)
    found = tc.gradcheck(lambda x: tc.max_pool2d(x, 2), ties, report=True)
    assert found and len(found.moved) >= 4
    assert tc.gradcheck(tc.relu, x, fast_mode=True) and not tc.gradcheck(tc.exp, x, report=True).moved


def test_a_wrong_gradient_beside_kinks_is_found():
    @tc.op
    def leaky(x):
        return np.maximum(x.data, 0), (lambda g: g * ((x.data > 0) * 1.01),)
    x = tc.Tensor(np.array([0.0, 1.0, -1.0, 1e-5]), requires_grad=True)
    with pytest.raises(GradcheckError, match=r"of leaky\(\).*input 0\[1\].*1.01"):
        tc.gradcheck(leaky, x)


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_false_alarm_at_random_kinks(count):
    rng = np.random.default_rng(0)
    changes = [lambda x: x, np.round, lambda x: np.maximum(x, 0), lambda x: np.round(x, 4)]
    functions = [tc.relu, lambda x: tc.max_pool2d(x, 2), lambda x: tc.max_pool2d(x, 3, 1, 1)]
    moved = 0
    for i in range(count):
        x = changes[i % 4](rng.standard_normal((1, 1, 4, 4)))
        found = tc.gradcheck(functions[i % 3], tc.Tensor(x, requires_grad=True), report=True)
        moved += len(found.moved)
    assert moved > count


@pytest.mark.parametrize("wrong, hint", [
    (lambda g, a: -a.T @ g, "the sign is wrong"), (lambda g, a: g * 0, "only zeros"),
    (lambda g, a: a @ g, "transposed"), (lambda g, a: a.T @ g * 3, "it is 3 times"), (lambda g, a: g * np.nan, "NaN"),
])
def test_the_message_says_what_it_looks_like(wrong, hint):
    a = np.array([[1.0, 2.0], [0.5, -1.0]])

    @tc.op
    def times(x):
        return a @ x.data, (lambda g: tc.Tensor(wrong(g.data, a)),)
    with pytest.raises(GradcheckError, match=hint):
        tc.gradcheck(times, point(2))


def test_missing_gradient_is_found():
    with pytest.raises(GradcheckError):
        tc.gradcheck(lambda x: x.detach() * 2 + 0 * x, [point(2)])


def test_nan_is_not_agreement():
    assert not tc.gradcheck(lambda x: (x - 10).log(), [point(2)], raise_exception=False)


def test_chance_in_backward_is_found():
    rng = np.random.default_rng(0)

    @tc.op
    def noisy(x):
        return x.data * 1, (lambda g: g * (1 + 1e-9 * rng.standard_normal()),)
    with pytest.raises(GradcheckError, match="two runs of backward differ"):
        tc.gradcheck(noisy, [point(2)], atol=1e-3)
    assert tc.gradcheck(noisy, [point(2)], atol=1e-3, nondet_tol=1e-6)


def test_inputs_that_cannot_be_checked():
    with pytest.raises(ValueError, match="no input requires grad"):
        tc.gradcheck(cube, [tc.Tensor(np.ones(2))])
    with pytest.raises(ValueError, match=r"float32.*x.double\(\)"):
        tc.gradcheck(cube, [tc.Tensor(np.ones(2, np.float32), requires_grad=True)])


def test_other_arguments_are_passed_on():
    assert tc.gradcheck(lambda x, n, w: x * n * w, [point(2), 3, tc.Tensor(np.ones(2))])


def test_smooth_functions_are_held_to_1e_9():
    assert worst_error(lambda x: (x.exp() * x.sin()).sum(), [point(3, 2)]) < 1e-9


@pytest.mark.parametrize("fast", [False, True])
def test_an_error_of_a_millionth_is_found(fast):
    @tc.op
    def millionth(x):
        return x.data ** 3, (lambda g: g * (3 + 3e-6) * x * x,)
    with pytest.raises(GradcheckError, match="it is 1.000001 times"):
        tc.gradcheck(millionth, [point(2, 3)], fast_mode=fast)
