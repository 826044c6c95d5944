"""Common mistakes, and what their messages must contain: the layer's path or the op, what came, what was expected, a
cure.
"""
from importlib.util import find_spec

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn, optim
from tinycnn.nn import functional as F


def lenet(features=400):
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
                      nn.MaxPool2d(2), nn.Flatten()),
        nn.Sequential(nn.Linear(features, 120), nn.ReLU(), nn.Linear(120, 10)))


def images(*shape):
    return tc.randn(*shape)


def second_backward():
    x = tc.ones(3, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    y.backward()


def changed_in_place():
    x = tc.ones(3, requires_grad=True)
    y = x * 2
    z = (y * y).sum()
    y.data += 1
    z.backward()


def list_of_layers():
    class Net(nn.Module):
        def __init__(self):
            self.blocks = [nn.Conv2d(1, 2, 3), nn.Conv2d(2, 4, 3)]
    Net()


MISTAKES = {
    # ------------------------------------------------------------------ shapes inside a model
    "wrong number of channels": (
        lambda: lenet()(images(2, 3, 28, 28)), ValueError,
        ["0.0 Conv2d(1, 6, kernel_size=(5, 5)", "conv2d: input (2, 3, 28, 28) has 3 channels", "takes 1 * 1 = 1",
         "in_channels=3"]),
    "Linear after the wrong flatten": (
        lambda: lenet()(images(2, 1, 20, 20)), ValueError,
        ["1.0 Linear(in_features=400, out_features=120", "has 144 features (= 16*3*3 flattened)", "takes 400",
         "use Linear(144, 120)"]),
    "no flatten at all": (
        lambda: nn.Sequential(nn.Conv2d(1, 6, 5), nn.Linear(3456, 10))(images(2, 1, 28, 28)), ValueError,
        ["1 Linear(in_features=3456", "input (2, 6, 24, 24)", "Flatten() gives 6*24*24 = 3456 features",
         "which is what the weight takes"]),
    "kernel larger than its input": (
        lambda: lenet()(images(2, 1, 4, 4)), ValueError,
        ["0.3 Conv2d(6, 16", "conv2d: kernel 5x5", "does not fit in input 2x2 with padding 0x0", "use a larger input"]),
    "pool larger than its input": (
        lambda: nn.MaxPool2d(5)(images(1, 1, 3, 3)), ValueError,
        ["MaxPool2d(kernel_size=5", "kernel 5x5", "input 3x3", "smaller kernel"]),
    "an image without its channel": (
        lambda: lenet()(images(28, 28)), ValueError,
        ["0.0 Conv2d", "expected input (N, C, H, W) or (C, H, W), got shape (28, 28)", "unsqueeze"]),
    "one unbatched image through batch norm": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))(images(1, 8, 8)), ValueError,
        ["1 BatchNorm2d(4", "expected an input (N, C, H, W), got shape (4, 6, 6)", "unsqueeze(0)"]),
    "batch norm of one value per channel": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.BatchNorm1d(5))(images(1, 1, 3, 3)), ValueError,
        ["2 BatchNorm1d(5", "batch_norm: input (1, 5) has one value per channel", "batch of at least 2",
         "drop_last=True", "eval()"]),
    "batch norm of other channels": (
        lambda: nn.BatchNorm2d(3)(images(2, 4, 5, 5)), ValueError,
        ["BatchNorm2d(3", "has 4 channels, expected 3", "use BatchNorm2d(4)"]),
    "two types of numbers": (
        lambda: lenet()(tc.randn(2, 1, 28, 28, dtype=np.float64)), TypeError,
        ["0.0 Conv2d", "input is float64, weight is float32", "they must agree", "x.to(weight.dtype)"]),
    "images that are still bytes": (
        lambda: lenet()(np.zeros((2, 1, 28, 28), np.uint8)), TypeError,
        ["0.0 Conv2d", "must be floating point, got uint8", "x.float()"]),
    "a lazy layer's parameters before its first input": (
        lambda: nn.LazyLinear(10).weight.shape, ValueError,
        ["LazyLinear.weight has no shape yet", "call the model once"]),

    # ------------------------------------------------------------------ making layers
    "groups that do not divide": (
        lambda: nn.Conv2d(6, 8, 3, groups=4), ValueError,
        ["Conv2d: groups=4 must divide in_channels=6 and out_channels=8"]),
    "group norm that does not divide": (
        lambda: nn.GroupNorm(3, 8), ValueError, ["GroupNorm: num_groups=3 must divide num_channels=8"]),
    "a kernel of nothing": (
        lambda: nn.Conv2d(3, 8, 0), ValueError, ["Conv2d: kernel_size must be at least 1, got 0"]),
    "a kernel of one and a half": (
        lambda: nn.Conv2d(3, 8, 1.5), TypeError, ["Conv2d: kernel_size must be an int or a tuple of 2 ints, got 1.5"]),
    "same padding with a stride": (
        lambda: nn.Conv2d(3, 8, 3, stride=2, padding="same"), ValueError,
        ["Conv2d: padding='same' needs stride 1, got stride=(2, 2)", "as a number"]),
    "dropout of more than everything": (
        lambda: nn.Dropout(1.5), ValueError, ["Dropout: p is a probability and must lie in 0..1, got 1.5"]),
    "layers in a plain list": (
        list_of_layers, TypeError,
        ["Net.blocks: a plain list holds a Conv2d", "would not be found", "use nn.ModuleList([...])"]),
    "a class where an instance belongs": (
        lambda: nn.Sequential(nn.ReLU), TypeError,
        ["Sequential: part '0' is a type, expected a Module", "create it first"]),

    # ------------------------------------------------------------------ losses and labels
    "labels that are floats": (
        lambda: F.cross_entropy(images(3, 4), tc.tensor([0.0, 1.0, 2.0])), TypeError,
        ["cross_entropy: labels must be integers, got float32 of shape (3,)", "target.long()"]),
    "a label out of range": (
        lambda: F.cross_entropy(images(3, 4), np.array([0, 7, 2])), IndexError,
        ["cross_entropy: target[1] is 7", "4 classes", "0..3", "more outputs"]),
    "labels of the wrong shape": (
        lambda: F.cross_entropy(images(3, 4), np.array([[0], [1], [2]])), ValueError,
        ["cross_entropy: target has shape (3, 1), input (3, 4) needs (3,)", "target.squeeze(1)"]),
    "probabilities out of range": (
        lambda: nn.BCELoss()(tc.tensor([1.5]), tc.tensor([1.0])), ValueError,
        ["BCELoss()", "probabilities in 0..1, got 1.5..1.5", "apply sigmoid"]),
    "an unknown reduction": (
        lambda: nn.MSELoss(reduction="avg")(tc.ones(2), tc.ones(2)), ValueError,
        ["mse_loss: reduction must be \"mean\", \"sum\" or \"none\", got 'avg'"]),

    # ------------------------------------------------------------------ gradients
    "backward of many numbers": (
        lambda: (tc.ones(3, requires_grad=True) * 2).backward(), RuntimeError,
        ["backward: a tensor of shape (3,) needs an explicit gradient", "call .sum() or .mean() first"]),
    "backward of what needs no gradient": (
        lambda: tc.ones(3).sum().backward(), RuntimeError,
        ["backward: the tensor (shape ()) does not require grad", "no_grad() or detached"]),
    "backward twice": (
        second_backward, RuntimeError,
        ["backward: the graph behind sum() (shape ()) was freed by an earlier backward()", "retain_graph=True"]),
    "a saved array changed in place": (
        changed_in_place, RuntimeError,
        ["backward: an input of mul() (shape (3,), float32) was changed in place", "x = x + 1 instead of x += 1"]),
    "a parameter changed in place while a graph is recorded": (
        lambda: nn.Linear(2, 2).weight.add_(1), RuntimeError, ["add_: a tensor that requires grad", "no_grad()"]),
    "gradients of integers": (
        lambda: tc.tensor([1, 2], requires_grad=True), TypeError,
        ["only floating-point tensors can require gradients, this one is int64", "x.float()"]),

    # ------------------------------------------------------------------ tensors
    "shapes that do not broadcast": (
        lambda: images(3, 4) + images(2, 5), ValueError,
        ["add: shapes (3, 4) and (2, 5) do not broadcast", "4 in one and 5 in the other", "reshape or unsqueeze"]),
    "joining different shapes": (
        lambda: tc.cat([tc.ones(2, 3), tc.ones(2, 4)]), ValueError,
        ["cat: shapes (2, 3) and (2, 4) do not fit along dim 0", "all other sizes must be equal"]),
    "matrices that do not fit": (
        lambda: tc.ones(2, 3) @ tc.ones(2, 3), ValueError,
        ["matmul: (2, 3) @ (2, 3)", "the last dimension of the first, 3, must equal", "2"]),
    "a reshape that loses elements": (
        lambda: tc.ones(2, 3).reshape(4, 2), ValueError, ["reshape: (2, 3) has 6 elements", "(4, 2)"]),
    "the truth of many numbers": (
        lambda: bool(tc.ones(3) > 0), ValueError, ["shape (3,) is ambiguous", ".any() or .all()"]),
    "an unknown device": (
        lambda: tc.ones(3).to("gpu"), ValueError, ["unknown device 'gpu'", "expected one of cpu, cuda"]),
    "a model on an unknown device": (
        lambda: nn.Linear(1, 1).to("gpu"), ValueError, ["unknown device 'gpu'", "expected one of cpu, cuda"]),

    # ------------------------------------------------------------------ states, optimizers, names, files
    "keys missing and unexpected": (
        lambda: nn.Linear(2, 3).load_state_dict({"weight": np.ones((3, 2)), "offset": np.ones(3)}), ValueError,
        ["Linear.load_state_dict", "missing keys: bias", "unexpected keys: offset", "strict=False"]),
    "a state of other shapes": (
        lambda: nn.Linear(2, 3).load_state_dict({"weight": np.ones((2, 3)), "bias": np.ones(3)}), ValueError,
        ["wrong shapes: weight: expected (3, 2), got (2, 3)", "same architecture"]),
    "an optimizer of nothing": (
        lambda: optim.SGD(nn.ReLU().parameters(), lr=0.1), ValueError,
        ["SGD: got no parameters", "pass model.parameters()"]),
    "a negative learning rate": (
        lambda: optim.Adam([tc.ones(1)], lr=-0.1), ValueError, ["Adam: lr must be at least 0, got -0.1"]),
    "an unknown model": (
        lambda: tc.models.create_model("lenett"), ValueError, ["'lenett'", "did you mean lenet"]),
    "an unknown data set": (
        lambda: tc.data.load_dataset("mnits"), ValueError, ["'mnits'", "did you mean mnist"]),
    "a data folder that is not there": (
        lambda: tc.data.load_dataset("mnist", data_dir="no/such/folder"), FileNotFoundError,
        ["no/such/folder", "does not exist", "mnist"]),
    "a loader of nothing": (
        lambda: tc.data.DataLoader([], batch_size=4), ValueError, ["DataLoader: the data set is empty"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_message_says_where_what_and_how_to_mend_it(name):
    make, kind, words = MISTAKES[name]
    with pytest.raises(kind) as caught:
        make()
    assert type(caught.value) is kind
    for part in words:
        assert part in str(caught.value)


def test_cuda_that_cannot_be_used_says_so():
    if find_spec("cupy"):
        pytest.skip("CuPy is installed")
    with pytest.raises(RuntimeError, match="device 'cuda' needs CuPy.*use device='cpu'"):
        nn.Linear(1, 1).to("cuda")
