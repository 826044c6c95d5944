"""Paper-scale nets against golden/torchvision/*.json: what torchvision's nets make of the same weights in float64.

golden_recipe.py makes weights, images and labels from names and shapes alone.  The default run takes the cheaper nets;
the slow run all, at all sizes.
"""
import json
import shutil
import zlib
from functools import lru_cache
from pathlib import Path

import golden_recipe
import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn
from tinycnn.models import create_model, model_info
from tinycnn.nn import functional as F
from tinycnn.summary import summary

FOLDER = Path(__file__).parent / "golden"
GOLDEN = {p.stem: json.loads(p.read_text()) for p in sorted((FOLDER / "torchvision").glob("*.json"))}
CHEAP = 30_000_000                                   # parameters of what the default run takes
SIZES = ([2, 3, 64, 64], [2, 3, 97, 71])             # of images, in the default run
MARKS = {name: () if golden["num_params"] < CHEAP else pytest.mark.slow for name, golden in GOLDEN.items()}
FLOAT32 = [pytest.param(name, "cpu", marks=marks) for name, marks in MARKS.items()] + [
    pytest.param(name, "cuda-emu", marks=pytest.mark.slow) for name in ("regnet_y_400mf", "resnet18")]


def cases(kind):
    """Every case of a kind ("eval", "train"), those beyond the default run marked slow."""
    for name, golden in GOLDEN.items():
        for i, case in enumerate(golden[kind]):
            cheap = golden["num_params"] < CHEAP and case["input"] in SIZES
            yield pytest.param(name, i, id=f"{name}-{'x'.join(map(str, case['input']))}-{i}",
                               marks=() if cheap else pytest.mark.slow)


@lru_cache(maxsize=1)
def filled(name):
    """The net with the recipe's weights; read only."""
    return net(name, GOLDEN[name]["kwargs"])


def net(name, options, dtype="float64"):
    golden = GOLDEN[name]
    with nn.init.skip_init():
        model = create_model(golden["builder"].rpartition(".")[2], dtype=dtype, **options)
    model.load_state_dict({key: golden_recipe.fill(key, shape, golden["norm_gain"]) for key, shape, _, _ in
                           golden["state"]})
    return model.eval()


def relative(found, wanted):
    return np.linalg.norm(np.subtract(found, wanted)) / np.linalg.norm(wanted)


def check_logits(found, wanted, tolerance):
    """The first 16, norm, sum and argmax of each row; what is stored has 12 digits."""
    for row, first, l2, total, best in zip(found, *(wanted[k] for k in ("first16", "l2", "sum", "argmax"))):
        assert np.linalg.norm(row[:16] - first) <= tolerance * l2
        assert np.linalg.norm(row) == pytest.approx(l2, rel=tolerance, abs=0)
        assert abs(row.sum() - total) <= tolerance * l2 * len(row) ** 0.5
        assert row.argmax() == best


def test_the_recipe_makes_the_same_bits_here():
    check = json.loads((FOLDER / "recipe_check.json").read_text())
    for row in check["fill"]:
        values = golden_recipe.fill(row["name"], row["shape"], row["norm_gain"])
        assert [v.hex() for v in values.flat[:3].tolist()] == row["first3_hex"]
        assert zlib.crc32(values.tobytes()) == row["crc32"]


def test_all_are_here():
    assert len(GOLDEN) == 12


@pytest.mark.parametrize("name", GOLDEN)
def test_names_shapes_and_counts(name):
    golden = GOLDEN[name]
    with nn.init.skip_init():
        model = create_model(golden["builder"].rpartition(".")[2], **golden["kwargs"])
    state = {k: v.shape for k, v in model.state_dict().items()}
    assert list(state.items()) == [(key, tuple(shape)) for key, shape, _, _ in golden["state"]]
    assert list(dict(model.named_parameters())) == [key for key, _, kind, _ in golden["state"] if kind == "param"]
    assert sum(p.numel() for p in model.parameters()) == golden["num_params"]


@pytest.mark.parametrize("name", GOLDEN)
def test_layers_and_arithmetic(name):
    """Every convolution and linear layer: output shape and multiply-accumulates."""
    golden = GOLDEN[name]
    with nn.init.skip_init():
        model = create_model(golden["builder"].rpartition(".")[2], **golden["kwargs"])
    found = summary(model, golden["macs"]["input"], dry=True)
    assert found.macs == golden["macs"]["total"]
    for kind in ("Conv2d", "Linear"):
        assert sum(r.macs for r in found.rows if r.layer == kind) == golden["macs"][kind.lower().replace("2d", "")]
    rows = {r.path: r for r in found.rows}
    assert [(path, list(rows[path].shape[1:]), rows[path].macs) for path, *_ in golden["layers"]] == [
        (path, shape, macs) for path, shape, macs, _ in golden["layers"]]
    if model_info(golden["builder"].rpartition(".")[2]).input_shape == tuple(golden["macs"]["input"]):
        assert model_info(golden["builder"].rpartition(".")[2]).macs == golden["macs"]["total"]


@pytest.mark.parametrize("name, i", [*cases("eval")])
def test_logits(name, i):
    case = GOLDEN[name]["eval"][i]
    model = net(name, {**GOLDEN[name]["kwargs"], **case["override"]}) if "override" in case else filled(name)
    with tc.no_grad():
        logits = model(tc.tensor(golden_recipe.image(case["input"]))).numpy()
    check_logits(logits, case, 1e-10)


@pytest.mark.parametrize("name, device", FLOAT32)
def test_float32_logits(name, device):
    """On "cuda-emu" by way of emulated tensor cores."""
    if device == "cuda-emu" and shutil.which("g++") is None:
        pytest.skip("the emulator needs g++")
    case, model = GOLDEN[name]["eval"][0], net(name, GOLDEN[name]["kwargs"], "float32").to(device)
    with tc.no_grad():
        logits = model(tc.tensor(golden_recipe.image(case["input"], np.float32), device=device)).numpy()
    assert logits.dtype == np.float32
    for row, first, l2 in zip(logits, case["first16"], case["l2"]):
        assert np.linalg.norm(row[:16] - first) <= 1e-5 * l2
        assert np.linalg.norm(row) == pytest.approx(l2, rel=1e-5)


@pytest.mark.parametrize("name, i", [*cases("train")])
def test_a_training_step(name, i):
    """One forward and backward pass without dropout: loss, logits, every gradient, every running statistic."""
    golden, case = GOLDEN[name], GOLDEN[name]["train"][i]
    model = net(name, golden["kwargs"]).train()
    for m in model.modules():
        if isinstance(m, (nn.Dropout, nn.StochasticDepth)):
            m.p = 0.0
    output = model(tc.tensor(golden_recipe.image(case["input"])))
    heads = dict(zip(("logits", "aux2", "aux1"), output if isinstance(output, tuple) else (output,)))
    assert set(heads) == {"logits", *case["aux_weights"]}
    labels = np.array(case["labels"])
    loss = F.cross_entropy(heads["logits"], labels)
    for head, weight in case["aux_weights"].items():
        loss = loss + weight * F.cross_entropy(heads[head], labels)
    loss.backward()
    assert float(loss) == pytest.approx(case["loss"], rel=1e-10)
    for head, logits in heads.items():
        check_logits(logits.numpy(), case[head], 1e-10)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    for (key, _, kind, _), after in zip(golden["state"], case["after"]):
        if key in case["zero_grads"]:
            assert np.linalg.norm(parameters[key].grad.numpy()) <= 1e-10 * case["max_grad_l2"], key
        elif kind == "param":
            found = golden_recipe.pair(key, parameters[key].grad.numpy())
            np.testing.assert_allclose(found, after, rtol=0, atol=1e-9 * after[0], err_msg=key)
        elif key.endswith("num_batches_tracked"):
            assert int(buffers[key].numpy()) == 1
        else:
            found = golden_recipe.pair(key, buffers[key].numpy())
            np.testing.assert_allclose(found, after, rtol=0, atol=1e-10 * after[0], err_msg=key)
