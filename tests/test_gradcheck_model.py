"""gradcheck_model finds the layer whose gradient is wrong, and none where all are right."""
import numpy as np
import pytest

import tinycnn as tc
from tinycnn.gradcheck import GradcheckError, gradcheck_model


@tc.op
def off_by_a_thousandth(x):
    return x.data * 1, (lambda g: g * 1.001,)


def spoil(layer):
    """Make the gradient of a layer's output wrong; returns how to undo it."""
    forward = layer.forward
    layer.forward = lambda *inputs, **options: off_by_a_thousandth(forward(*inputs, **options))
    return lambda: delattr(layer, "forward")


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape)


@pytest.fixture(scope="module")
def resnet():
    tc.manual_seed(0)
    return tc.models.create_model("resnet18_d2l", dtype="float64")


LAYERS = 42
FEW = (0, 3, 9)


@pytest.mark.parametrize("which", [pytest.param(i, marks=[] if i in FEW else pytest.mark.slow) for i in range(LAYERS)])
def test_a_wrong_layer_is_named(resnet, which):
    leaves = [(name, m) for name, m in resnet.named_modules() if not list(m.children())]
    assert len(leaves) == LAYERS
    name, layer = leaves[which]
    undo = spoil(layer)
    try:
        with pytest.raises(GradcheckError, match=f"layer {name.replace('.', '[.]')} "):
            gradcheck_model(resnet, images(2, 1, 32, 32))
        found = gradcheck_model(resnet, images(2, 1, 32, 32), raise_exception=False)
    finally:
        undo()
    assert (found.ok, found.layer, found.op) == (False, name, "off_by_a_thousandth")


def test_what_goes_wrong_between_layers_is_the_module_arounds():
    class Block(tc.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = tc.nn.Linear(3, 3), tc.nn.Linear(3, 3)

        def forward(self, x):
            return self.b(self.a(x)) + x.detach()    # a shortcut without its gradient

    net = tc.nn.Sequential(tc.nn.Linear(3, 3), Block(), tc.nn.Linear(3, 2)).double()
    found = gradcheck_model(net, images(4, 3), raise_exception=False)
    assert (found.ok, found.layer, found.argument) == (False, "1", "input 0")


def test_a_wrong_parameter_is_named():
    class Scale(tc.nn.Module):
        def __init__(self):
            super().__init__()
            self.by = tc.nn.Parameter(np.array([2.0, 3.0]))

        def forward(self, x):
            return x * self.by.detach() + 0 * self.by
    net = tc.nn.Sequential(tc.nn.Linear(2, 2), Scale()).double()
    found = gradcheck_model(net, images(4, 2), raise_exception=False)
    assert (found.layer, found.argument) == ("1", "by")


@pytest.mark.parametrize("name, shape", [("lenet", (2, 1, 28, 28)),
                                         pytest.param("resnet18_d2l", (2, 1, 32, 32), marks=pytest.mark.slow),
                                         pytest.param("densenet_d2l", (2, 1, 64, 64), marks=pytest.mark.slow)])
def test_right_models_pass_and_are_left_as_they_were(name, shape):
    tc.manual_seed(3)
    model = tc.models.create_model(name, dtype="float64")
    before, state = {k: v.copy() for k, v in model.state_dict().items()}, tc.get_rng_state()
    found = gradcheck_model(model, images(*shape))
    assert found and found.checked > 20 and not found.unclear and not found.message
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    assert all(p.grad is None for p in model.parameters())
    assert str(tc.get_rng_state()) == str(state)


def test_only_float64_can_be_checked():
    with pytest.raises(TypeError, match=r"x is not float64.*model\.double\(\)"):
        gradcheck_model(tc.nn.Linear(2, 2).double(), images(2, 2).astype(np.float32))
    with pytest.raises(TypeError, match="weight is not float64"):
        gradcheck_model(tc.nn.Linear(2, 2), images(2, 2))
