"""nn/fused.py: batch norm and ReLU are one op where nobody can tell, and themselves where somebody could."""
import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn
from tinycnn.models import create_model
from tinycnn.nn.fused import then_relu

X = np.moveaxis(np.random.default_rng(0).standard_normal((3, 5, 5, 4)), -1, 1)       # channels last, as results are


class Doubled(nn.ReLU):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked(layer, kind):
    getattr(layer, kind)(lambda *args: None)
    return layer


def norm():
    return nn.BatchNorm2d(4, dtype=np.float64)


def convolution(**options):
    tc.manual_seed(0)
    return nn.Conv2d(4, 4, 3, padding=1, dtype=np.float64, **options)


def replaced():
    layer = norm()
    layer.forward = lambda x: x + 1
    return layer


PAIRS = {   # name: (norm, relu, whether they are fused)
    "plain": (norm, nn.ReLU, True),
    "in place": (norm, lambda: nn.ReLU(inplace=True), True),
    "subclass": (norm, Doubled, False),
    "other norm": (lambda: nn.GroupNorm(2, 4, dtype=np.float64), nn.ReLU, False),
    "hook on the norm": (lambda: hooked(norm(), "register_forward_hook"), nn.ReLU, False),
    "hook before the ReLU": (norm, lambda: hooked(nn.ReLU(), "register_forward_pre_hook"), False),
    "replaced forward": (replaced, nn.ReLU, False),
    "convolution": (convolution, nn.ReLU, True),
    "grouped, reflecting": (lambda: convolution(groups=2, padding_mode="reflect", bias=False), nn.ReLU, True),
    "hook on the convolution": (lambda: hooked(convolution(), "register_forward_hook"), nn.ReLU, False),
}


@pytest.mark.parametrize("residual", [None, X[::-1], X[:1]], ids=["alone", "residual", "broadcast"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", PAIRS)
def test_fused_or_not_it_is_one_after_the_other(name, training, residual):
    make_norm, make_relu, fused = PAIRS[name]
    outcomes = []
    for together in (True, False):
        a, b, x = make_norm().train(training), make_relu(), tc.Tensor(X, requires_grad=True)
        if together:
            y = then_relu(a, b, x, residual if residual is None else tc.Tensor(residual))
            same = residual is None or residual.shape == X.shape
            assert (y._node.name in ("batch_norm_relu", "conv2d_relu_output")) == (fused and same)
        else:
            y = b(a(x) if residual is None else a(x) + tc.Tensor(residual))
        (y * y).sum().backward()
        gradients = [p.grad.data for p in a.parameters() if p.grad is not None]
        outcomes.append([y.data, x.grad.data, *a.state_dict().values(), *gradients])
    for one, other in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_sequential_fuses_neighbours():
    layers = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.ReLU())
    y = layers(tc.Tensor(X.astype(np.float32)))
    assert [n.name for n in (y._node, y._node.parents[0]._node)] == ["relu", "batch_norm_relu"]
    seen = []
    layers[1].register_forward_hook(lambda module, inputs, output: seen.append(float(output.min())))
    np.testing.assert_array_equal(layers(tc.Tensor(X.astype(np.float32))).data, y.data)
    assert seen and seen[0] < 0                      # the hook sees what the norm gives, not what the ReLU leaves


@pytest.mark.parametrize("residual", [None, np.float32, "bfloat16"])
def test_in_autocast_the_dtype_is_that_of_one_after_the_other(residual):
    pytest.importorskip("ml_dtypes")
    layer, x = nn.Conv2d(4, 4, 1), tc.Tensor(X.astype(np.float32))
    some = None if residual is None else x.to(residual)
    with tc.autocast("cpu"):
        y, expected = then_relu(layer, None, x, some), layer(x)
        expected = nn.functional.relu(expected if some is None else expected + some)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y.float().data, expected.float().data)


def test_errors_name_the_norm():
    with pytest.raises(ValueError, match=r"1 BatchNorm2d\(5.*has 4 channels"):
        nn.Sequential(nn.Identity(), nn.BatchNorm2d(5), nn.ReLU())(tc.Tensor(X.astype(np.float32)))


@pytest.mark.parametrize("name", ["resnet20_cifar", "digits_net"])
def test_models_have_no_batch_norm_and_relu_apart(name):
    net = create_model(name)
    side = 32 if name != "digits_net" else 8
    y = net(tc.Tensor(np.zeros((2, next(iter(net.parameters())).shape[1], side, side), np.float32)))
    names, stack = set(), [y]
    while stack:
        t = stack.pop()
        if t is not None and t._node is not None:
            names.add(t._node.name)
            stack += t._node.parents
            t._node.free()
    assert "batch_norm_relu" in names and not names & {"batch_norm", "relu"}
