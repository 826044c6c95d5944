"""checkpoint: the same bits as without it, from less memory."""
import gc
import threading
import tracemalloc
import weakref
from collections import namedtuple

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn
from tinycnn.models import create_model
from tinycnn.nn import functional as F


def block(dropout=0.0):
    tc.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(dropout), nn.Tanh(),
                         nn.Conv2d(4, 3, 1)).to(dtype="float64")


def images(*shape):
    return tc.Tensor(np.random.default_rng(0).standard_normal(shape or (2, 3, 5, 4)), requires_grad=True)


def outcome(run, net, x):
    """Everything a training step leaves: loss, gradients of the input and the parameters, buffers, generator."""
    tc.manual_seed(7)
    loss = (run(net, x) ** 2).sum()
    loss.backward()
    state = {k: v.tobytes() for k, v in net.state_dict().items()}
    return loss.item(), x.grad.numpy().tobytes(), [p.grad.numpy().tobytes() for p in net.parameters()], state, \
        tc.rand((3,)).numpy().tobytes()


@pytest.mark.parametrize("run", [
    lambda net, x: tc.checkpoint(net, x),
    lambda net, x: tc.checkpoint(lambda y: tc.checkpoint(net, y), x),
    lambda net, x: tc.checkpoint_sequential(net, 3, x),
    lambda net, x: tc.checkpoint_sequential(list(net), 1, x),
    lambda net, x: tc.checkpoint(lambda a, b: (net(a), b), x, "not a tensor")[0],
    lambda net, x: tc.checkpoint(lambda: net(x)),
    lambda net, x: tc.checkpoint(net[1:], net[0](x)),
    lambda net, x: tc.checkpoint(lambda parts, scale: net(parts["x"][0]) * scale, {"x": [x]}, scale=1.0),
], ids=["once", "nested", "in segments", "one segment", "tuple", "captured", "of an activation", "in a structure"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_step_has_the_same_bits(run, dropout):
    assert outcome(run, block(dropout), images()) == outcome(lambda net, x: net(x), block(dropout), images())


def test_inputs_without_gradient_and_several_outputs():
    net, x = block(), images().detach()
    tc.checkpoint(net, x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    a, b = images(4), tc.Tensor(images(4).data + 1, requires_grad=True)
    y, z, text, constant = tc.checkpoint(lambda a, b: [a * b, a.exp(), "text", tc.ones(2)], a, b)
    assert text == "text" and not constant.requires_grad
    (y.sum() + 2 * z.sum()).backward()
    np.testing.assert_array_equal(a.grad.data, b.data + 2 * np.exp(a.data))
    np.testing.assert_array_equal(b.grad.data, a.data)


def test_structures_come_back_as_they_were():
    pair, x = namedtuple("pair", "first second"), images(3)
    y = tc.checkpoint(lambda x: {"pair": pair(x * 2, [x.exp(), None]), "x": x, "w": 1.5}, x)
    assert type(y["pair"]) is pair and y["pair"].second[1] is None and y["x"] is x and y["w"] == 1.5
    assert tc.checkpoint(lambda x: (x,), x)[0] is x
    same = tc.checkpoint(lambda x: [x.exp()] * 2, x)
    assert same[0] is same[1]


def test_several_outputs_are_recomputed_once_with_the_same_bits():
    calls = []

    def f(x):
        calls.append(1)
        h = (x @ x).tanh()
        return h.sin(), (h @ h).exp(), h.cos()
    found = []
    for run in (f, lambda x: tc.checkpoint(f, x)):
        calls.clear()
        x = images(6, 6)
        a, b, _ = run(x)
        ((a * b).sum() + a.sum()).backward()
        found.append(x.grad.data)
    assert found[0].tobytes() == found[1].tobytes() and len(calls) == 2


def test_sums_outside_keep_their_order():
    """Three ways lead from x to the call; floating-point sums of three depend on the order."""
    def f(a, b, c):
        return a * b + c * a
    found = []
    for run in (f, lambda *inputs: tc.checkpoint(f, *inputs)):
        x = images(1000)
        run(x.sin(), x.exp(), x * x).sum().backward()
        found.append(x.grad.data.tobytes())
    assert found[0] == found[1]


def test_what_was_computed_outside_is_not_walked_through():
    """A captured activation, used outside as well, and behind one that is an argument."""
    w, x = images(3), tc.tensor([1.5, -2.0, 0.5], dtype="float64", requires_grad=True)
    grads = []
    for run in (lambda f, *args, **kwargs: f(*args, **kwargs), tc.checkpoint):
        h = w * 2
        k = h.sin()
        y = run(lambda x, k, h=h: x * h * k, x, k=k)
        grads.append(tc.grad((y + h + k).sum(), [x, w, h, k]))
    for plain, found in zip(*grads):
        np.testing.assert_array_equal(plain.data, found.data)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_hooks_see_whole_gradients_once(checkpointed):
    w, x, seen = images(3), tc.tensor([1.5, -2.0, 0.5], dtype="float64", requires_grad=True), []
    for name, t in {"w": w, "x": x}.items():
        t.register_hook(lambda g, name=name: (seen.append((name, g.data.tolist())), g * 10)[1])

    def f(x):
        return x * w
    y = tc.checkpoint(f, x) if checkpointed else f(x)
    y.register_hook(lambda g: (seen.append(("y", g.data.tolist())), g * 2)[1])
    (y + w).sum().backward()
    assert sorted(seen) == [("w", (2 * x.data + 1).tolist()), ("x", (2 * w.data).tolist()), ("y", [1.0] * 3)]
    np.testing.assert_array_equal(w.grad.data, 10 * (2 * x.data + 1))
    np.testing.assert_array_equal(x.grad.data, 20 * w.data)


def test_backward_hooks_of_modules():
    net, x, seen = block(), images(), []
    net[4].register_full_backward_hook(lambda module, gx, gy: seen.append((gx[0].shape, gy[0].shape)))
    tc.checkpoint(net, x).sum().backward()
    assert seen == [((2, 4, 5, 4), (2, 3, 5, 4))]


def test_grad_and_higher_orders():
    w = tc.tensor([2.0, -1.0], dtype="float64", requires_grad=True)
    x = tc.tensor([0.5, 3.0], dtype="float64", requires_grad=True)

    def f(x):
        return (x * w) ** 3
    y = tc.checkpoint(f, x)
    gx, gw = tc.grad(y.sum(), [x, w], create_graph=True)
    np.testing.assert_allclose(gw.data, 3 * x.data ** 3 * w.data ** 2)
    hx, hw = tc.grad((gx * gw).sum(), [x, w])
    plain = tc.grad(f(x).sum(), [x, w], create_graph=True)
    for found, wanted in zip((hx, hw), tc.grad((plain[0] * plain[1]).sum(), [x, w])):
        np.testing.assert_array_equal(found.data, wanted.data)
    assert tc.gradcheck(lambda x, w: tc.checkpoint(lambda x: x.sin() * w, x), [x, w])
    assert tc.gradgradcheck(lambda x, w: tc.checkpoint(lambda x: x.sin() * w, x), [x, w])


def test_backward_twice():
    x = images(3)
    y = tc.checkpoint(tc.exp, x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad.data, 2 * np.exp(x.data))
    with pytest.raises(RuntimeError, match="freed"):
        y.backward()


def test_nothing_recorded_means_nothing_repeated():
    calls = []

    def f(x):
        calls.append(1)
        return x * 2
    with tc.no_grad():
        assert not tc.checkpoint(f, images()).requires_grad
    assert not tc.checkpoint(f, images().detach()).requires_grad
    assert len(calls) == 2


def test_a_change_in_between_is_noticed():
    net, x = block(), images()
    y = tc.checkpoint(net, x).sum()
    with tc.no_grad():
        net[0].weight.mul_(2.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
    y = tc.checkpoint(net, x).sum()
    with tc.no_grad():
        x.mul_(2.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize("give", [lambda f, x: tc.checkpoint(f, x), lambda f, x: tc.checkpoint(f, x=x),
                                  lambda f, x: tc.checkpoint(lambda xs: f(*xs), [x])])
def test_a_change_of_an_input_without_gradient_is_noticed(give):
    w, x = images(3), images(3).detach()
    y = give(lambda x: x * w, x)
    x += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


@pytest.mark.parametrize("change", [lambda net: net.eval(), lambda net: setattr(net[4], "bias", None),
                                    lambda net: setattr(net[4], "bias", nn.Parameter(net[4].bias.data.copy()))])
def test_another_computation_the_second_time_is_noticed(change):
    net = block()
    y = tc.checkpoint(net, images()).sum()
    change(net)
    with pytest.raises(RuntimeError, match="something else when it was computed again"):
        y.backward()


def test_random_numbers_that_are_not_preserved_are_noticed():
    dropping = nn.Dropout(0.5)
    for preserve in (True, False):
        y = tc.checkpoint(dropping, images(100), preserve_rng_state=preserve).sum()
        z = tc.checkpoint_sequential([dropping, tc.exp], 2, images(100), preserve_rng_state=preserve).sum()
        for t in (y, z):
            if preserve:
                t.backward()
            else:
                with pytest.raises(RuntimeError, match="preserve_rng_state"):
                    t.backward()


def test_an_error_leaves_no_mode_behind():
    fail = []

    def f(x):
        if fail:
            raise ValueError("the second time")
        return x * 2
    y, state = tc.checkpoint(f, images()).sum(), tc.get_rng_state()
    fail.append(True)
    with pytest.raises(ValueError, match="second time"):
        y.backward()
    assert tc.is_grad_enabled() and not tc.autograd.is_replaying()
    np.testing.assert_equal(tc.get_rng_state(), state)


def test_replaying_is_of_one_thread():
    seen = []
    with tc.autograd.replaying():
        thread = threading.Thread(target=lambda: seen.append(tc.autograd.is_replaying()))
        thread.start()
        thread.join()
    assert seen == [False]


def test_threads_go_back_side_by_side():
    """Each recomputes in its own mode; no random numbers, whose generator all threads share."""
    nets, found = [block() for _ in range(4)], {}
    for net in nets:
        net[2].p = 0.0

    def step(i):
        for _ in range(5):
            x = images()
            tc.checkpoint(nets[i], x).sum().backward()
            found[i] = x.grad.numpy().tobytes()
    threads = [threading.Thread(target=step, args=(i,)) for i in range(len(nets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found.values())) == 1


def peak(run, net):
    """Most bytes of arrays at a time, beyond those at the start, in forward and backward."""
    x = images(4, 3, 32, 32)
    run(net, x).sum().backward()                     # kernels compiled, gradients there
    gc.collect()
    tracemalloc.start()
    run(net, x).sum().backward()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found / x.data.nbytes


def test_memory():
    """16 layers, in units of one activation: all are kept, or the inputs of 4 segments and what is in one."""
    net = nn.Sequential(*(nn.Sigmoid() for _ in range(16)))
    plain, less = peak(lambda net, x: net(x), net), peak(lambda net, x: tc.checkpoint_sequential(net, 4, x), net)
    assert 16 <= plain < 20
    assert less < 4 + 4 + 4


def test_what_is_inside_is_not_kept():
    inside = []

    def f(x):
        y = x.exp()
        inside.append(weakref.ref(y))
        return y.sin().sum()
    out = tc.checkpoint(f, images())
    gc.collect()
    assert inside[0]() is None
    out.backward()
    assert len(inside) == 2


def test_segments():
    with pytest.raises(ValueError, match=r"segments=6 must lie in 1..5"):
        tc.checkpoint_sequential(block(), 6, images())


@pytest.mark.parametrize("name, options", [
    ("densenet_bc100_12_cifar", {"block_config": (2, 2, 2)}), ("resnet56_cifar", {}),
    ("resnet18", {"small_stem": True}), ("wrn16_8_cifar", {"width": 1, "dropout": 0.2})])
def test_memory_efficient_models(name, options):
    """The same bits of loss, gradients and running statistics."""
    found = []
    for efficient in (False, True):
        tc.manual_seed(0)
        net = create_model(name, num_classes=10, memory_efficient=efficient, **options)
        found.append(outcome(lambda net, x: net(x), net, tc.Tensor(images(2, 3, 8, 8).data.astype("f"),
                                                                   requires_grad=True)))
    assert found[0] == found[1]


def test_loss_of_a_model_within_a_checkpoint_is_differentiable_in_evaluation():
    net, x = block().eval(), images()
    F.cross_entropy(tc.checkpoint(net, x).flatten(1), np.array([1, 0])).backward()
    assert np.isfinite(x.grad.data).all()
