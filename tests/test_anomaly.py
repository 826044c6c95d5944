"""Anomaly mode: a NaN planted in any layer is found there, with its op; off, the engine is as it was."""
import numpy as np
import pytest

import tinycnn as tc
from tinycnn import nn
from tinycnn.anomaly import AnomalyError
from tinycnn.cases import all_cases, build
from tinycnn.cli import main
from tinycnn.methods import FUNCTIONS
from tinycnn.recording import Node

LAYERS = [f"{i // 4}.{i % 4}" for i in range(20)]


@tc.op
def broken_forward(x):
    y = x.data.copy()
    y.flat[0] = np.nan
    return y, (lambda g: g,)


@tc.op
def broken_backward(x):
    return x.data.copy(), (lambda g: g * float("nan"),)


def net():
    """Twenty layers in five blocks, and a batch for them."""
    tc.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(3, 1, 1))
              for _ in range(5)]
    return nn.Sequential(*blocks), tc.randn(2, 3, 6, 6)


def plant(model, path, op):
    layer = dict(model.named_modules())[path]
    plain = layer.forward
    layer.forward = lambda x: op(plain(x))


def test_a_sound_net_raises_nothing():
    model, x = net()
    with tc.autograd.detect_anomaly():
        model(x).sum().backward()                    # max pooling pads with -inf, which is its own affair
    assert all(np.isfinite(p.grad.data).all() for p in model.parameters())


def leaf(value, grads):
    """A row's argument with tensors for its arrays of floats."""
    if isinstance(value, list):
        return [leaf(v, grads) for v in value]
    floats = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return tc.Tensor(value, requires_grad=grads > 0) if floats else value


@pytest.mark.parametrize("row", all_cases(), ids=lambda row: row.id)
def test_what_an_op_does_inside_raises_nothing(row):
    """The table's inputs and results are finite; an infinity on the way, as in a masked softmax, is nobody's affair."""
    inputs = [leaf(v, row.grads) for v in build(row)]
    with tc.autograd.detect_anomaly():
        out = FUNCTIONS[row.op](*inputs, **row.options)
        for y in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(y, tc.Tensor) and y.requires_grad:
                y.sum().backward(retain_graph=True)


@pytest.mark.parametrize("path", LAYERS)
@pytest.mark.parametrize("recording", [True, False])
def test_a_nan_of_the_forward_pass_is_found_in_its_layer(path, recording):
    model, x = net()
    plant(model, path, broken_forward)
    with tc.autograd.detect_anomaly(), tc.set_grad_enabled(recording), pytest.raises(AnomalyError) as found:
        model(x)
    assert (found.value.layer, found.value.op) == (path, "broken_forward")
    told = str(found.value)
    assert "1 nan, 0 inf of 216" in told and "input 0: shape (2, 3, 6, 6)" in told and "allow_inf=True" in told


@pytest.mark.parametrize("path", LAYERS)
def test_a_nan_of_the_backward_pass_is_found_in_its_layer(path):
    model, x = net()
    plant(model, path, broken_backward)
    with tc.autograd.detect_anomaly():
        loss = model(x).sum()
        with pytest.raises(AnomalyError) as found:
            loss.backward()
    told = str(found.value)
    assert (found.value.layer, found.value.op) == (path, "broken_backward")
    assert "the vjp for input 0 (test_anomaly.py:" in told and "gradient of input 0: shape (2, 3, 6, 6)" in told
    assert "op(plain(x))" in told                    # the line of the forward pass


def test_the_line_is_the_users():
    with tc.autograd.detect_anomaly(), pytest.raises(AnomalyError, match=r"test_anomaly.py:\d+: tc.log\(x - 3\)"):
        x = tc.tensor([1.0])
        tc.log(x - 3)


def test_infinities_can_be_allowed_and_checks_left_out():
    zero = tc.tensor([0.0])
    with tc.autograd.detect_anomaly(), pytest.raises(AnomalyError, match="1 inf of 1, none finite"):
        tc.log(zero)
    with tc.autograd.detect_anomaly(allow_inf=True):
        tc.softmax(tc.tensor([0.0, -np.inf]) + 1, 0)
        with pytest.raises(AnomalyError, match="1 nan"):
            tc.log(zero) * 0
    with tc.autograd.detect_anomaly(check_nan=False):
        assert np.isnan(tc.log(zero - 1).item())


def test_a_bad_gradient_to_start_from_is_told_from_a_bad_vjp():
    x = tc.tensor([1.0], requires_grad=True)
    with tc.autograd.detect_anomaly(), pytest.raises(AnomalyError, match="the gradient that reaches mul"):
        (x * 2).backward(tc.tensor([np.nan]))


def test_a_graph_from_before_the_mode_is_checked_without_its_line():
    x = tc.tensor([1.0], requires_grad=True)
    y = broken_backward(x)
    with tc.autograd.detect_anomaly(), pytest.raises(AnomalyError, match="not known: the op ran before"):
        y.backward()


def function_of(call):
    return call.__closure__[call.__code__.co_freevars.index("function")].cell_contents


def test_off_nothing_is_left_in_place():
    before = function_of(broken_forward), Node.__init__, Node.gradients
    with tc.autograd.detect_anomaly(), tc.autograd.set_detect_anomaly(False):
        assert not tc.is_anomaly_enabled()
        assert (function_of(broken_forward), Node.__init__, Node.gradients) == before
    tc.autograd.set_detect_anomaly(True)
    assert function_of(broken_forward) is not before[0] and tc.is_anomaly_enabled()
    tc.autograd.set_detect_anomaly(False)
    assert (function_of(broken_forward), Node.__init__, Node.gradients) == before


def test_train_tells_the_step(tmp_path, capsys):
    code = main(["train", "--lr", "1e30", "--epochs", "1", "--detect-anomaly", "--out", str(tmp_path / "run")])
    told = capsys.readouterr().err
    assert code == 1 and "step 2 (epoch 1): forward of " in told and " in layer " in told
    assert not tc.is_anomaly_enabled()
