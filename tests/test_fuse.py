"""Batch norms folded into the layers before them: the same results, fewer layers."""
from collections import Counter

import numpy as np
import pytest
import tinycnn as tc
from tinycnn import nn

NETS = ["bn_lenet", "resnet20_cifar", "regnetx32_d2l", "densenet_d2l", "mobilenet_v2"]


def lived_in(model):
    """The model after some life: statistics and weights of norms that are not 0 and 1."""
    rng = np.random.default_rng(0)
    for m in model.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for t, low in ((m.running_mean, -1), (m.running_var, 0.5), (m.weight, 0.5), (m.bias, -1)):
                if t is not None:
                    t.data[...] = rng.uniform(low, 1.5, t.shape)
    return model.eval()


def norms(model):
    return sum(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in model.modules())


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("dtype, bound", [(np.float64, 1e-10), (np.float32, 1e-4)])
def test_a_fused_net_gives_the_same_logits(name, dtype, bound):
    info = tc.models.model_info(name)
    side = min(64, info.input_shape[2])
    tc.manual_seed(0)
    model = lived_in(tc.models.create_model(name, dtype=dtype))
    x = tc.Tensor(np.random.default_rng(1).standard_normal((2, info.input_shape[1], side, side)).astype(dtype))
    with tc.no_grad():
        before, had = model(x).numpy(), norms(model)
        model.fuse()
        after = model(x).numpy()
    assert after.dtype == dtype and norms(model) < had
    if "densenet" not in name:                       # its norms come first
        assert norms(model) == 0
    assert abs(after - before).max() <= bound * abs(before).max()


def ops(y):
    """How often each op occurs in the graph behind y."""
    names, seen, waiting = Counter(), set(), [y]
    while waiting:
        t = waiting.pop()
        if t is not None and t._node is not None and id(t) not in seen:
            seen.add(id(t))
            names[t._node.name] += 1
            waiting += t._node.parents
    return names


@pytest.mark.parametrize("name, convolutions", [("resnet18", 20), ("regnetx32_d2l", None), ("resnet20_cifar", 19)])
def test_additions_and_relus_go_into_the_convolutions(name, convolutions):
    model = lived_in(tc.models.create_model(name)).fuse()
    found = ops(model(tc.zeros((1, next(model.parameters()).shape[1], 32, 32))))
    assert not {"add", "relu", "batch_norm", "batch_norm_relu"} & set(found) and found["conv2d_relu_output"]
    if convolutions:
        assert found["conv2d_relu_output"] + found["conv2d_output"] == convolutions


class Plain(nn.Module):
    """Layers as they are often written: each called by itself; one ReLU is called twice, one result is seen twice."""

    def __init__(self):
        self.conv1, self.norm1, self.relu1 = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()
        self.conv2, self.relu2 = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()
        self.conv3, self.conv4, self.twice = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.ReLU()
        self.conv5, self.relu5 = nn.Conv2d(3, 3, 1), nn.ReLU()

    def forward(self, x):
        x = self.relu2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        x = self.twice(self.conv4(self.twice(self.conv3(x))))
        y = self.conv5(x)
        return self.relu5(y) + y


def test_relu_layers_are_found_by_the_graph():
    model = lived_in(Plain())
    x = tc.randn(2, 1, 5, 6)
    before = model(x)
    assert ops(before) == {"conv2d_output": 5, "batch_norm": 1, "relu": 5, "add": 1}
    after = model.fuse(x)(x)
    assert ops(after) == {"conv2d_output": 3, "conv2d_relu_output": 2, "relu": 3, "add": 1}
    assert {name for name, m in model.named_children() if isinstance(m, nn.Identity)} == {"conv1", "relu1", "relu2"}
    np.testing.assert_allclose(after.numpy(), before.numpy(), rtol=1e-5, atol=1e-6)


class Odd(nn.Module):
    """A convolution whose result others see, too; one that is called twice; a norm without weight behind a Linear."""

    def __init__(self):
        self.seen, self.norm1 = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
        self.twice, self.norm2 = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.linear, self.norm3 = nn.Linear(8, 4, bias=False), nn.BatchNorm1d(4, affine=False)
        self.behind = nn.BatchNorm1d(4)

    def forward(self, x):
        y = self.seen(x)
        y = self.norm1(y) + y
        y = self.norm2(self.twice(self.twice(y)))
        return self.behind(nn.functional.relu(self.norm3(self.linear(y.flatten(1)))))


def test_only_what_a_norm_alone_sees_is_folded():
    model = lived_in(Odd())
    x = tc.randn(3, 1, 4, 4)
    before = model(x).numpy()
    assert model.fuse(x) is model
    kept = {name for name, m in model.named_children() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))}
    assert kept == {"norm1", "norm2", "behind"} and isinstance(model.linear, nn.Identity)
    assert model.norm3.bias is not None and model.norm3.bias.shape == (4,)
    np.testing.assert_allclose(model(x).numpy(), before, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_fused_is_refused_and_left_alone():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    with pytest.raises(ValueError, match="eval"):
        model.fuse()
    no_statistics = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)).eval()
    assert norms(no_statistics.fuse()) == 1
    awkward = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(99, 2), nn.BatchNorm1d(2)).eval()
    with pytest.raises(ValueError, match="example"):
        awkward.fuse()
    assert norms(awkward) == 1 and not awkward[0]._forward_hooks
    assert nn.Sequential(nn.ReLU()).eval().fuse()
