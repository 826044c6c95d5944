"""tinycnn.summary: shapes, counts and receptive fields by hand, and a model that stays as it was."""
import json

import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn
from tinycnn.cli import main
from tinycnn.models import create_model, model_info
from tinycnn.summary import summary


def by_path(found):
    return {r.path: r for r in found.rows}


def weights_and_statistics(model):
    return {k: v.tobytes() for k, v in model.state_dict().items()}


class Block(nn.Module):
    """A residual block that adds in its forward, without a layer for it."""

    def __init__(self):
        self.conv, self.bn = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)

    def forward(self, x):
        return tc.relu(x + self.bn(self.conv(x)))


TABLE = """\
layer            output    parameters   MACs   memory  field/step
-----------------------------------------------------------------
Sequential       2x3                             24 B
  body Block     2x2x6x4                        384 B         3/1
    conv Conv2d  2x2x6x4           38  1,728    384 B         3/1
    bn BatchN    2x2x6x4            4           384 B         3/1
  pool AvgPool2d 2x2x3x2                         96 B         4/2
  flat Flatten   2x12                            96 B
  head Linear    2x3               39     72     24 B
-----------------------------------------------------------------
parameters          81 (81 trainable, 324 B)
multiply-adds       1,800 (3,600 FLOPs)
activation memory   984 B for input (2, 2, 6, 4)"""


def small():
    return nn.Sequential({"body": Block(), "pool": nn.AvgPool2d(2), "flat": nn.Flatten(), "head": nn.Linear(12, 3)})


def test_table():
    found = [line.split() for line in str(summary(small(), (2, 2, 6, 4))).splitlines()]
    wanted = [line.replace("BatchN ", "BatchNorm2d ").split() for line in TABLE.splitlines()]
    assert [line for line in found if len(line) > 1] == [line for line in wanted if len(line) > 1]


def test_table_is_aligned():
    lines = str(summary(small(), (2, 2, 6, 4))).splitlines()
    rows = [line for line in lines[2:9]]
    column = lines[0].index("memory") + len("memory")
    assert all(line[column - 1] == "B" and line[column:column + 1] in ("", " ") for line in rows)
    assert set(lines[1]) == set(lines[9]) == {"-"} and len(lines[1]) == len(lines[9]) == max(map(len, lines[:9]))


def test_to_dict_is_json_with_the_same_numbers():
    found = summary(small(), (2, 2, 6, 4))
    values = json.loads(json.dumps(found.to_dict()))
    layers = values.pop("layers")
    assert values == {"input_shape": [2, 2, 6, 4], "parameters": 81, "trainable": 81, "macs": 1800, "flops": 3600,
                      "parameter_bytes": 324, "activation_bytes": 984}
    assert layers[2] == {"path": "body.conv", "depth": 2, "layer": "Conv2d", "shape": [2, 2, 6, 4], "parameters": 38,
                         "macs": 1728, "bytes": 384, "receptive_field": [3, 1]}
    assert layers[-1]["receptive_field"] is None and len(layers) == len(found.rows) == 7
    assert (found.parameters, found.trainable, found.macs, found.flops) == (81, 81, 1800, 3600)


def test_frozen_parameters_are_counted_apart():
    model = small()
    model.body.requires_grad_(False)
    found = summary(model, (2, 2, 6, 4))
    assert (found.parameters, found.trainable) == (81, 39)


@pytest.mark.parametrize("name, path, field", [("lenet", "5", (16, 4)), ("bn_lenet", "7", (16, 4)),
                                               ("resnet18_d2l", "b5", (435, 32)), ("digits_net", "9", (10, 2))])
def test_receptive_field_of_the_models(name, path, field):
    rows = by_path(summary(create_model(name), model_info(name).input_shape))
    assert rows[path].receptive_field == field
    assert list(rows.values())[-1].receptive_field is None


CHAINS = {
    "dilation": [nn.Conv2d(1, 1, 3, dilation=2), nn.Conv2d(1, 1, 3, stride=2), nn.Conv2d(1, 1, 3)],
    "stride": [nn.Conv2d(1, 1, 4, stride=3, padding=1), nn.AvgPool2d(3, 1), nn.AvgPool2d(2), nn.LPPool2d(1, 2, 1)],
    "as it was": [nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1), nn.Sigmoid(), nn.Identity(), nn.ZeroPad2d(1)],
}


@pytest.mark.parametrize("name", CHAINS)
def test_receptive_field_is_what_a_gradient_reaches(name, rng):
    """The rows of pixels with a gradient from an output in the middle, and from its neighbour."""
    model = nn.Sequential(*CHAINS[name]).double().eval()
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    first, last = [], []
    for offset in (0, 1):
        x = tc.tensor(rng.uniform(0.1, 0.2, (1, 1, 60, 60)), requires_grad=True)
        y = model(x)
        middle = y.shape[2] // 2 + offset
        y[0, 0, middle, middle].backward()
        reached = np.flatnonzero(x.grad.numpy()[0, 0].any(axis=1))
        first.append(reached[0])
        last.append(reached[-1])
    found = last[0] - first[0] + 1, first[1] - first[0]
    assert summary(model, (1, 1, 60, 60)).rows[0].receptive_field == found


def test_functional_residual_takes_the_longer_path():
    rows = by_path(summary(nn.Sequential(nn.Conv2d(1, 2, 5), Block(), Block()), (1, 1, 12, 12)))
    assert [rows[k].receptive_field for k in ("0", "1", "2")] == [(5, 1), (7, 1), (9, 1)]
    assert rows["2"].receptive_field == rows["2.bn"].receptive_field == rows["2.conv"].receptive_field


class Add(nn.Module):
    def forward(self, x, y):
        return x + y


class Branches(nn.Module):
    """A short and a long path joined by a layer, the short one first."""

    def __init__(self, long):
        self.short, self.long, self.add = nn.Conv2d(1, 1, 1), long, Add()

    def forward(self, x):
        return self.add(self.short(x), self.long(x))


def test_layer_with_several_inputs_takes_the_longest_path():
    rows = by_path(summary(Branches(nn.Conv2d(1, 1, 7, padding=3)), (1, 1, 9, 9)))
    assert (rows["short"].receptive_field, rows["add"].receptive_field) == ((1, 1), (7, 1))


def test_field_is_unknown_behind_what_sees_the_whole_image_or_enlarges():
    rows = by_path(summary(Branches(nn.AdaptiveAvgPool2d(1)), (1, 1, 9, 9)))
    assert rows["long"].receptive_field is rows["add"].receptive_field is None
    up = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ConvTranspose2d(1, 1, 2, stride=2), nn.ReLU(), nn.Conv2d(1, 1, 3))
    assert [r.receptive_field for r in summary(up, (1, 1, 9, 9)).rows] == [None, (3, 1), None, None, None]


class Twice(nn.Module):
    """The same layer under two names, called three times."""

    def __init__(self):
        self.a = self.b = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.b(self.a(self.a(x)))


def test_shared_layer_is_one_row_with_all_its_calls():
    found = summary(Twice(), (1, 3, 5, 5))
    assert [r.path for r in found.rows] == ["", "a"]
    assert found.parameters == 84 and found.macs == 3 * 25 * 3 * 27
    assert found.rows[1].bytes == found.activation_bytes == 3 * 3 * 25 * 4
    assert found.rows[0].receptive_field == (7, 1)


def test_shared_weight_is_counted_once():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    found = summary(model, (1, 4))
    assert (found.parameters, found.parameter_bytes, found.macs) == (16, 64, 32)


@pytest.mark.parametrize("layer, size, macs", [
    (nn.Conv2d(4, 6, (3, 2), stride=2, groups=2), (2, 4, 9, 9), 2 * 6 * 4 * 4 * (2 * 6)),
    (nn.Conv1d(2, 3, 4), (1, 2, 9), 3 * 6 * 2 * 4),
    (nn.ConvTranspose2d(4, 6, 3, stride=2), (1, 4, 5, 5), 4 * 25 * 6 * 9),
    (nn.ConvTranspose1d(4, 6, 3, groups=2), (1, 4, 5), 4 * 5 * 3 * 3),
    (nn.Linear(5, 7, bias=False), (2, 3, 5), 2 * 3 * 7 * 5),
    (nn.BatchNorm2d(3), (1, 3, 2, 2), 0),
])
def test_macs_of_single_layers(layer, size, macs):
    assert summary(layer, size).macs == macs


def test_float64_takes_twice_the_memory_and_follows_the_model():
    single, double = summary(small(), (1, 2, 6, 4)), summary(small().double(), (1, 2, 6, 4))
    assert double.parameter_bytes == 2 * single.parameter_bytes
    assert double.activation_bytes == 2 * single.activation_bytes
    assert summary(nn.ReLU(), (3,), dtype="float64").activation_bytes == 24


def test_integer_input_and_lazy_layers():
    assert summary(nn.Embedding(5, 3), (2, 4), dtype="int64").rows[0].shape == (2, 4, 3)
    found = summary(nn.Sequential(nn.LazyConv2d(3, 3), nn.ReLU()), (1, 2, 5, 5))
    assert found.parameters == 57 and found.rows[1].layer == "Conv2d"


@pytest.mark.parametrize("size", [(2, 1, 28, 28), (2, 1, 9, 9), (1, 3), ("1", 1, 28, 28), (0, 1, 28, 28), (1.5,)])
def test_model_stays_as_it_was(size, rng):
    """Whether the summary succeeds or fails: modes, values, counters, gradients, hooks and random numbers."""
    model = create_model("bn_lenet")
    model(tc.tensor(rng.standard_normal((3, 1, 28, 28)).astype("f"))).sum().backward()
    model[1].eval()
    gradients = [p.grad for p in model.parameters()]
    arrays = [g.numpy().copy() for g in gradients]
    state, modes, drawn = weights_and_statistics(model), [m.training for m in model.modules()], tc.get_rng_state()
    assert int(model[5].num_batches_tracked.numpy()) == 1
    try:
        summary(model, size)
    except ValueError:
        assert size != (2, 1, 28, 28)
    else:
        assert size == (2, 1, 28, 28)
    assert weights_and_statistics(model) == state
    assert [m.training for m in model.modules()] == modes and not model[1].training and model.training
    assert all(p.grad is g for p, g in zip(model.parameters(), gradients))
    assert all(np.array_equal(g.numpy(), a) for g, a in zip(gradients, arrays))
    assert not any(m._hooks("_forward_hooks") for m in model.modules())
    np.testing.assert_equal(tc.get_rng_state(), drawn)


def test_works_without_gradients_being_on():
    with tc.no_grad():
        found = summary(nn.Sequential(nn.Conv2d(1, 2, 3), Block()), (1, 1, 8, 8))
        assert not tc.is_grad_enabled()
    assert found.rows[0].receptive_field == (5, 1)


def test_error_comes_with_the_table_up_to_the_failing_layer():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(3, 2, 1), nn.Flatten())
    with pytest.raises(ValueError) as caught:
        summary(model, (1, 1, 6, 6))
    table, _, message = str(caught.value).partition("\n\n")
    reached = [line.split()[:3] for line in table.splitlines()[2:7]]
    assert reached == [["Sequential", "not", "reached"], ["0", "Conv2d", "1x4x4x4"], ["1", "ReLU", "1x4x4x4"],
                       ["2", "Conv2d", "not"], ["3", "Flatten", "not"]]
    assert message.startswith("the model does not take an input of (1, 1, 6, 6): 2 Conv2d")
    assert "has 4 channels" in message


@pytest.mark.parametrize("size", [("x",), (1, 0, 5), (2.0, 1), (-1, 3)])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="summary: input_size=.* positive whole numbers"):
        summary(nn.ReLU(), size)


@pytest.mark.parametrize("name", ["lenet", "regnet_y_128gf", "googlenet", "densenet121"])
def test_command_line(name, capsys):
    assert main(["summary", name, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    values, info = json.loads(lines[-1]), model_info(name)
    assert values["model"] == name and values["input"] == list(info.input_shape)
    assert (values["parameters"], values["macs"]) == (info.parameters, info.macs)
    assert main(["summary", name]) == 0
    table = capsys.readouterr().out
    assert f"{info.parameters:,} ({info.parameters:,} trainable" in table and f"{info.macs:,} (" in table
    assert all(len(line) <= 120 for line in table.splitlines())
