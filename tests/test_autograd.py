"""The graph: what is recorded, walked, freed, guarded and left behind."""
import gc
import threading
import weakref

import numpy as np
import pytest

import tinycnn as tc
from tinycnn.autograd import OPS, through


def leaf(*values):
    return tc.Tensor(np.array(values), requires_grad=True)


def test_gradients_add_up_over_paths_and_calls():
    x = leaf(3.0)
    (x * x + x).backward()
    assert x.grad.item() == 7
    (2 * x).backward()
    assert x.grad.item() == 9


def test_only_leaves_keep_grad_unless_asked():
    x = leaf(3.0)
    y, z = x * x, x * 5
    y.retain_grad()
    (y * z).backward()
    assert y.grad.item() == 15 and z.grad is None


def test_every_order_is_exact():
    x = leaf(2.0)
    g, factor = x * x * x * x * x, 1
    for order in range(5):
        factor *= 5 - order
        (g,) = tc.grad(g, x, create_graph=True)
        assert g.item() == factor * 2.0 ** (4 - order)


def test_grad_returns_and_does_not_store():
    x, unused = leaf(2.0), leaf(1.0)
    assert tc.grad(x * x, [x])[0].item() == 4 and x.grad is None
    with pytest.raises(RuntimeError, match=r"input 1 .*was not used.*allow_unused=True"):
        tc.grad(x * x, [x, unused])
    assert tc.grad(x * x, [x, unused], allow_unused=True)[1] is None


def test_grad_of_an_inner_tensor_and_of_its_ancestor():
    x = leaf(2.0)
    y = x * x
    gx, gy = tc.grad(y * y * y, [x, y])
    assert gy.item() == 3 * 16 and gx.item() == 3 * 16 * 4


def test_backward_frees_the_graph_and_a_second_one_says_so():
    x = leaf(2.0)
    y = x * x
    z = y * 3
    z.backward()
    for t in (z, y):
        with pytest.raises(RuntimeError, match=r"the graph behind mul\(\).*was freed.*retain_graph=True"):
            t.backward()
    z = x * x
    z.backward(retain_graph=True)
    z.backward()
    assert x.grad.item() == 12 + 4 + 4


@pytest.mark.parametrize("change", [
    lambda t: t.mul_(2), lambda t: t.fill_(7), lambda t: t.__setitem__(0, 9.0),
    lambda t: setattr(t, "data", t.data + 1), lambda t: t.data.__setitem__(0, 5.0), lambda t: t.data.fill(1),
], ids=["mul_", "fill_", "setitem", "data+=", "data[0]=", "data.fill"])
@pytest.mark.parametrize("saved", ["input", "output"])
def test_change_of_a_saved_array_is_noticed(change, saved):
    x = leaf(1.0, 2.0)
    y = x * x if saved == "input" else x.exp()
    with tc.no_grad():
        change(x if saved == "input" else y)
    with pytest.raises(RuntimeError, match=rf"(an|the) {saved} of \w+\(\).*changed in place"):
        y.backward(np.ones(2))
    assert x.grad is None


def test_change_of_an_array_that_was_not_saved_is_fine():
    x = leaf(1.0, 2.0)
    y = x + 1
    with tc.no_grad():
        x.mul_(100)
    y.backward(np.ones(2))
    assert x.grad.tolist() == [1, 1]


def test_change_through_a_large_array_is_noticed():
    x = tc.Tensor(np.ones((100, 100)), requires_grad=True)
    y = (x * x).sum()
    x.data[...] = 3
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_hooks_see_and_replace_gradients():
    x, seen = leaf(2.0), []
    y = x * 3
    y.register_hook(lambda g: seen.append(g.item()))
    handle = x.register_hook(lambda g: g * 10)
    (y * 4).backward()
    assert seen == [4] and x.grad.item() == 120
    handle.remove()
    handle.remove()
    x.grad = None
    (x * 3).backward()
    assert x.grad.item() == 3
    with pytest.raises(RuntimeError, match="does not require grad"):
        tc.Tensor(1.0).register_hook(print)


def test_no_grad_as_block_and_decorator():
    x = leaf(2.0)

    @tc.no_grad()
    def quiet():
        return x * x
    assert not quiet().requires_grad and (x * x).requires_grad
    with tc.no_grad():
        assert not tc.is_grad_enabled() and not (x * x).requires_grad
        with tc.enable_grad():
            assert (x * x).requires_grad
    with pytest.raises(ZeroDivisionError), tc.no_grad():
        raise ZeroDivisionError
    assert tc.is_grad_enabled()


def test_the_mode_belongs_to_the_thread():
    seen = []
    with tc.no_grad():
        t = threading.Thread(target=lambda: seen.append(tc.is_grad_enabled()))
        t.start()
        t.join()
    assert seen == [True]


def test_two_threads_train_as_one_after_the_other():
    def work(seed, out):
        rng = np.random.default_rng(seed)
        w, x = tc.Tensor(rng.standard_normal((8, 8)), requires_grad=True), rng.standard_normal((16, 8))
        for _ in range(30):
            loss = ((tc.Tensor(x) @ w).sigmoid() * 2 - 1).square().mean()
            w.grad = None
            loss.backward()
            w.data -= 0.1 * w.grad.data
        out[seed] = w.data

    alone, together = {}, {}
    for seed in (1, 2):
        work(seed, alone)
    threads = [threading.Thread(target=work, args=(seed, together)) for seed in (1, 2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(np.array_equal(alone[s], together[s]) for s in (1, 2))


def test_a_chain_of_20_000_ops():
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1 and y.item() == 20_001
    y = x
    for _ in range(20_000):
        y = y * 1.0
    del y                                            # never walked: taking it apart must not recurse either


def test_a_failed_backward_leaves_no_trace():
    @tc.op
    def broken(x):
        def vjp(g):
            raise OverflowError("in a vjp")
        return x.data * 1, (vjp,)

    x, w = leaf(2.0), leaf(5.0)
    with pytest.raises(OverflowError):
        (broken(x) * w).backward()
    assert x.grad is None and w.grad is None and tc.is_grad_enabled()
    (x * w).backward()
    assert x.grad.item() == 5 and w.grad.item() == 2


def test_a_failed_forward_leaves_no_trace():
    x = leaf(1.0, 2.0, 3.0)
    with pytest.raises(ValueError):
        x + tc.Tensor(np.ones(2))
    (x * x).sum().backward()
    assert x.grad.tolist() == [2, 4, 6]


def test_a_vjp_of_the_wrong_shape_names_the_op():
    @tc.op
    def shrunk(x):
        return x.data * 1, (lambda g: g.sum(),)
    with pytest.raises(RuntimeError, match=r"vjp of shrunk\(\) for input 0 returned shape \(\)"):
        shrunk(leaf(1.0, 2.0)).backward(np.ones(2))


def test_users_ops_do_not_replace_the_engines():
    before = OPS["mul"]

    @tc.op
    def mul(x, y):
        return x.data * y.data, None
    assert OPS["mul"] is before and mul(leaf(2.0), leaf(3.0)).item() == 6
    assert not mul(leaf(2.0), leaf(3.0)).requires_grad


def test_graphs_are_freed_by_reference_counts_alone():
    gc.disable()
    try:
        x = leaf(2.0)
        y = (x.exp() * x).tanh() if hasattr(x, "tanh") else x.exp() * x
        watched = [weakref.ref(t) for t in (y, y._node.parents[0])]
        y.backward()
        del y
        assert [w() for w in watched] == [None, None]
        z = x.exp() * x                              # dropped without a backward
        watched = weakref.ref(z._node.parents[0])
        del z
        assert watched() is None
    finally:
        gc.enable()


def test_backward_lets_activations_go_as_it_walks():
    alive = []

    @tc.op
    def probe(x):
        def vjp(g):
            alive.append(watched() is not None)
            return g
        return x.data * 1, (vjp,)

    x = leaf(2.0)
    h = probe(x)
    late = h.exp()                                   # used after probe, so it must be gone when probe's turn comes
    watched = weakref.ref(late)
    y = late * 2
    del late, h
    y.backward()
    assert alive == [False]


def test_leaves_never_share_a_gradient():
    a, b, seed = leaf(1.0, 2.0), leaf(3.0, 4.0), np.ones(2)
    (a + b).backward(seed)
    a.grad.data += 1
    assert b.grad.tolist() == [1, 1] and seed.tolist() == [1, 1]
    c = leaf(1.0, 2.0)
    c.sum().backward()
    c.grad.data += 1                                 # not a read-only broadcast view
    assert c.grad.tolist() == [2, 2]


def test_a_view_that_nothing_else_sees_is_a_leafs_gradient_as_it_is():
    made = []

    @tc.op
    def viewed(x, y):
        """Both gradients are views: of an array each, or of one that they share."""
        def vjp(g, wanted):
            base = np.zeros((2, 4))
            parts = [base[0, :2], base[1, :2]] if shared else [base[0, :2], np.zeros(9)[:2]]
            made[:] = [part.ctypes.data for part in parts]
            return list(map(tc.Tensor, parts))
        return x.data + y.data, vjp
    for shared in (False, True):
        a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
        viewed(a, b).sum().backward()
        assert [t.grad.data.ctypes.data == at for t, at in zip((a, b), made)] == [not shared] * 2
        assert not np.shares_memory(a.grad.data, b.grad.data)
    seed = np.ones((2, 2))
    c = leaf(1.0, 2.0)
    tc.add(c, 0.0).backward(seed[0])                 # a view of what the caller holds
    c.grad.data += 1
    assert seed.tolist() == [[1, 1], [1, 1]]


def test_nobody_elses_gradient_is_added_to_in_place():
    x, kept = leaf(1.0, 2.0), []
    y = tc.add(x, 0.0)                               # hands its gradient on as it is
    y.retain_grad()
    z = x.reshape(1, 2).reshape(2)                   # hands on a view of it
    z.register_hook(kept.append)
    (y + z + x * 3 + x * 5 + x * 7).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [17.0, 17.0])
    np.testing.assert_array_equal([y.grad.data, kept[0].data], np.ones((2, 2)))
    x.grad.data += 1
    np.testing.assert_array_equal([y.grad.data, kept[0].data], np.ones((2, 2)))


@pytest.mark.parametrize("retained", ["itself", "a view"])
def test_a_gradient_that_a_hook_has_seen_is_not_given_to_a_leaf(retained):
    x, w, kept = leaf(1.0, 2.0), leaf(3.0, 4.0), []
    other = tc.add(w, 0.0) if retained == "itself" else w.reshape(2, 1)
    other.register_hook(kept.append)
    ((x + other.reshape(2)) * 2).sum().backward()
    for t in (x, w):
        t.grad.data[...] = 7
    np.testing.assert_array_equal(kept[0].data.reshape(-1), [2.0, 2.0])


def test_many_uses_add_up_in_every_order():
    def f(x):
        return sum([x ** i for i in range(1, 7)])
    assert tc.gradcheck(f, [leaf(0.5, -1.5)]) and tc.gradgradcheck(f, [leaf(0.5, -1.5)])


def test_infinite_gradients_add_up_to_nan_silently():
    x = leaf(1.0)
    for signs in ((1, 1, -1), (-1, 1, 1)):           # inf + inf - inf, whichever end the walk takes first
        x.grad = None
        sum([x * (s * np.inf) for s in signs]).backward()
    x.grad = None
    for sign in (1, -1):
        (x * (sign * np.inf)).backward()
    assert np.isnan(x.grad.item())


def test_through_differentiates_the_composition():
    def fused(x):
        @tc.op
        def square(x):
            return x.data ** 2, lambda g, wanted: through(lambda x: x * x, [x], g)
        return square(x)
    x = leaf(3.0)
    (g,) = tc.grad(fused(x * 2), x, create_graph=True)
    assert g.item() == 24 and tc.grad(g, x)[0].item() == 8


@pytest.mark.parametrize("make, error, words", [
    (lambda: tc.Tensor(np.ones(3), requires_grad=True).backward(), RuntimeError, ["(3,)", "explicit gradient"]),
    (lambda: tc.Tensor(1.0).backward(), RuntimeError, ["does not require grad"]),
    (lambda: tc.Tensor(np.ones(3), requires_grad=True).backward(np.ones(2)), ValueError, ["(2,)", "(3,)"]),
    (lambda: tc.Tensor([1, 2], requires_grad=True), TypeError, ["int64", "x.float()"]),
    (lambda: tc.Tensor("abc"), TypeError, ["numbers"]),
    (lambda: tc.grad(tc.Tensor(1.0), tc.Tensor(1.0)), RuntimeError, ["input 0", "requires_grad=True"]),
    (lambda: (leaf(1.0) * 2).requires_grad_(False), RuntimeError, ["mul()", "detach()"]),
])
def test_errors_say_what_to_do(make, error, words):
    with pytest.raises(error) as caught:
        make()
    assert all(w in str(caught.value) for w in words), str(caught.value)


def test_float32_stays_float32():
    x = tc.Tensor(np.ones(3, np.float32), requires_grad=True)
    for y in (x * 2, x / 3.0, 1 - x, x * np.float64(0.5), np.float64(2) * x, x * tc.Tensor(np.array(2.0)), x @ x):
        assert y.dtype == np.float32
    (x * tc.Tensor(np.ones(3))).sum().backward()     # a float64 operand promotes, the gradient comes back as float32
    assert x.grad.dtype == np.float32


def test_numpy_on_the_left():
    x = leaf(1.0, 2.0)
    y = np.array([3.0, 4.0]) * x
    assert isinstance(y, tc.Tensor) and y.requires_grad


def test_detach_shares_the_array_but_not_the_history():
    x = leaf(1.0)
    y = (x * 2).detach()
    assert not y.requires_grad and y.is_leaf and x.detach().data is x.data
