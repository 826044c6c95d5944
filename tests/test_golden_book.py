"""The book's nets against golden/*.json: what PyTorch makes of the same nets, parameters and images in float64.

Each file says how it was made: "source" and "recipe".  `tinycnn.summary` gives the shapes and the arithmetic.  All run
on "cuda-emu", too, the CUDA kernels on the CPU, to the same tolerances.
"""
import json
import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import tinycnn as tc
from tinycnn.backend import to_device
from tinycnn.models import create_model, model_info
from tinycnn.nn import functional as F
from tinycnn.summary import summary

GOLDEN = {p.stem: json.loads(p.read_text()) for p in sorted((Path(__file__).parent / "golden" / "book").glob("*.json"))}
NUMERIC = [name for name, golden in GOLDEN.items() if golden["numbers"]]         # the large VGG has counts and shapes
QUICK = ("lenet", "bn_lenet")                        # on the emulator; the others take 6 to 12 s each
NETS = [(name, "cpu") for name in NUMERIC] + [
    pytest.param((name, "cuda-emu"), marks=() if name in QUICK else pytest.mark.slow) for name in NUMERIC]


@pytest.fixture(scope="module", params=GOLDEN)
def name(request):
    """Of each net in turn: all tests of one come one after the other, so that only one is in memory."""
    return request.param


@pytest.fixture(scope="module", params=NETS, ids=lambda net: "-".join(net))
def numeric(request):
    """(net, device) of each net that there are numbers for: for the large VGG there are counts and shapes only."""
    if request.param[1] == "cuda-emu" and shutil.which("g++") is None:
        pytest.skip("the emulator needs g++")
    return request.param


def made_by_recipe(name, device):
    """The net with the recipe's parameters, and its images."""
    model = create_model(name, dtype="float64", device=device)
    for m in model.modules():
        if isinstance(m, tc.nn.Dropout):
            m.p = 0.0
    for p, (path, parameter) in enumerate(model.named_parameters()):
        v = np.random.RandomState(1000 + p).uniform(-1, 1, parameter.numel()).reshape(parameter.shape)
        if v.ndim > 1:
            v *= np.sqrt(6 / np.prod(v.shape[1:]))
        else:
            v = 0.1 * v + path.endswith("weight")
        parameter.data = to_device(v, device)
    images = np.random.RandomState(7).uniform(0, 1, GOLDEN[name]["numbers"]["input_shape"])
    return model, tc.tensor(images, device=device)


@lru_cache(maxsize=1)
def described(name):
    """(a fresh model, its summary)"""
    with tc.nn.init.skip_init():                     # nothing is computed
        model = create_model(name)
    return model, summary(model, GOLDEN[name]["structure"]["input_shape"], dry=True)


@lru_cache(maxsize=1)
def one_step(name, device):
    """(model with gradients and updated buffers, images, training logits, loss) of one forward and backward pass."""
    model, x = made_by_recipe(name, device)
    logits = model(x)
    loss = F.cross_entropy(logits, np.arange(len(x)) % 10)
    loss.backward()
    return model, x, logits.numpy(), float(loss)


def buffers(model):
    """The running statistics; PyTorch's list leaves out the counters."""
    return {k: v for k, v in model.named_buffers() if not k.endswith("num_batches_tracked")}


def shapes(named):
    return [(name, list(v.shape)) for name, v in named]


def rows_of(found, names):
    """{path: row} of a summary, in the order of `names`."""
    rows = {r.path: r for r in found.rows}
    return [rows[n] for n in names]


def test_all_are_here():
    assert len(GOLDEN) == 10 and len(NUMERIC) == 9


def test_parameters_and_buffers(name):
    want, (model, found) = GOLDEN[name]["structure"], described(name)
    kinds = {"conv": tc.nn.Conv2d, "linear": tc.nn.Linear, "batchnorm": (tc.nn.BatchNorm1d, tc.nn.BatchNorm2d)}
    for kind, classes in kinds.items():
        layers = [m for m in model.modules() if isinstance(m, classes)]
        assert sum(p.numel() for m in layers for p in m.parameters()) == want[f"param_count_{kind}"]
    total = sum(p.numel() for p in model.parameters())
    assert model_info(name).parameters == found.parameters == total == want["param_count"]
    assert shapes(model.named_parameters()) == [(p["name"], p["shape"]) for p in want["params"]]
    assert shapes(buffers(model).items()) == [(b["name"], b["shape"]) for b in want["buffers"]]


def test_layers(name):
    want, (model, found) = GOLDEN[name]["structure"], described(name)
    assert [k for k, _ in model.named_children()] == [v["name"] for v in want["layers"]]
    top = rows_of(found, [v["name"] for v in want["layers"]])
    assert [[r.path, r.layer, list(r.shape)] for r in top] == [[v[k] for k in ("name", "layer", "output_shape")]
                                                               for v in want["layers"]]
    leaves = rows_of(found, [v["name"] for v in want["leaf_layers"]])
    assert ([[r.path, r.layer, list(r.shape), r.parameters, r.macs] for r in leaves]
            == [[v[k] for k in ("name", "layer", "output_shape", "params", "macs")] for v in want["leaf_layers"]])
    assert {r.path for r in leaves} == {k for k, m in model.named_modules() if not list(m.children())}
    assert sum(int(np.prod(r.shape)) for r in leaves) == want["leaf_module_output_elements_per_image"]


def test_arithmetic(name):
    want, (_, found) = GOLDEN[name]["structure"], described(name)
    for layer, macs in (("Conv2d", want["macs_conv_per_image"]), ("Linear", want["macs_linear_per_image"])):
        assert sum(r.macs for r in found.rows if r.layer == layer) == macs
    assert found.macs == model_info(name).macs == want["macs_conv_per_image"] + want["macs_linear_per_image"]


def test_logits_and_loss(numeric):
    want, (_, _, logits, loss) = GOLDEN[numeric[0]]["numbers"], one_step(*numeric)
    assert logits.dtype == np.float64
    np.testing.assert_allclose(logits, want["train_logits"], rtol=0, atol=1e-9)
    assert loss == pytest.approx(want["train_loss"], rel=0, abs=1e-9)


def test_gradients(numeric):
    """Norm, first element and sum; the biases in front of a batch norm have a gradient of zero."""
    want, model = GOLDEN[numeric[0]]["numbers"], one_step(*numeric)[0]
    golden, zero = want["grads_name_l2norm_first_sum"], set(want["analytically_zero_grad_params"])
    assert [k for k, _ in model.named_parameters()] == [row[0] for row in golden]
    largest = max(row[1] for row in golden)
    for (path, p), (_, norm, first, total) in zip(model.named_parameters(), golden):
        g = p.grad.numpy()
        assert g.dtype == np.float64 and g.shape == p.shape
        if path in zero:
            assert np.linalg.norm(g) <= 1e-10 * largest, path
        else:
            found = np.linalg.norm(g), g.flat[0], g.sum()
            rounding = 1e-12 * norm                  # the last layer's gradient sums to zero over the classes
            np.testing.assert_allclose(found, (norm, first, total), rtol=1e-7, atol=rounding, err_msg=path)


def test_running_statistics(numeric):
    want, model = GOLDEN[numeric[0]]["numbers"]["running_buffers_l2norm_first"], one_step(*numeric)[0]
    found = {k: [np.linalg.norm(v.numpy()), v.numpy().flat[0]] for k, v in buffers(model).items()}
    assert list(found) == list(want)
    for path in want:
        np.testing.assert_allclose(found[path], want[path], rtol=0, atol=1e-9, err_msg=path)
    counters = [int(v.numpy()) for k, v in model.named_buffers() if k not in found]
    assert counters == [1] * (len(want) // 2)


def test_evaluation_after_the_step(numeric):
    """With the running statistics that the one forward pass left; the parameters are unchanged."""
    want, (model, x, _, _) = GOLDEN[numeric[0]]["numbers"], one_step(*numeric)
    model.eval()
    with tc.no_grad():
        found = model(x).numpy()
    model.train()
    np.testing.assert_allclose(found, want["eval_logits_after_one_train_forward"], rtol=0, atol=1e-9)
