"""Batch norms folded into the layers before them: the same results, fewer layers."""
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
    assert kept == {"norm1", "norm2", "behind"} and isinstance(model.norm3, nn.Identity)
    assert model.linear.bias is not None and model.linear.bias.shape == (4,)
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
