"""Functions whose kernels are fused, against what they are composed of: values and gradients of orders 1 to 3.

The compositions are written here, of sums, products, exp, log and the like.  Compared is, element by element, the
gradient of the derivative of order 0, 1 and 2 along random directions, of sum(u * sin(y)), by both kernel sets.
"""
import numpy as np
import pytest

import tinycnn as tc
from tinycnn import backend
from tinycnn.autograd import Tensor
from tinycnn.nn import functional as F
from tinycnn.ops.math import where

CHANNEL = (1, -1, 1, 1)
LABELS = np.array([2, 0, 3, 1])
MEAN, VAR = np.array([0.3, -0.2, 0.1, 0.0]), np.array([0.7, 1.9, 0.4, 1.1])
CLASS_WEIGHT = np.array([1.0, 2.0, 0.5, 1.5])


def standardized(x, dims, eps=1e-5):
    centred = x - x.mean(dims, keepdim=True)
    return centred / ((centred * centred).mean(dims, keepdim=True) + eps).sqrt()


def by_channel(y, w, b):
    return y * w.reshape(CHANNEL) + b.reshape(CHANNEL)


def running(x, w, b):
    return by_channel((x - Tensor(MEAN).reshape(CHANNEL)) / (Tensor(VAR).reshape(CHANNEL) + 1e-5).sqrt(), w, b)


def positive_part(x):
    return x * Tensor((x.data > 0).astype(x.dtype))


def log_probabilities(x, dim):
    return x - x.exp().sum(dim, keepdim=True).log()


def picked(x, smoothing):
    """Cross-entropy of each row, weighted, by one-hot vectors."""
    logp, weights = log_probabilities(x, 1), Tensor(CLASS_WEIGHT)
    hot = Tensor(np.eye(4)[LABELS])
    return -(logp * weights * hot).sum(1) * (1 - smoothing) - (logp * weights).sum(1) * (smoothing / 4)


def windows(x, kernel, stride, padding=0, pad_with=0.0):
    """(N, C, H, W) -> (N, C, OH, OW, KH*KW), tap by tap, by slices."""
    x = F.pad(x, (padding,) * 4, value=pad_with) if padding else x
    n = [(size - kernel) // stride + 1 for size in x.shape[2:]]
    taps = [x[:, :, i:i + stride * (n[0] - 1) + 1:stride, j:j + stride * (n[1] - 1) + 1:stride]
            for i in range(kernel) for j in range(kernel)]
    return tc.stack(taps, -1)


def convolved(x, w, b, stride=1, padding=0):
    """(N, C, OH, OW, KH*KW) times (O, C, KH*KW)."""
    patches = windows(x, w.shape[-1], stride, padding)
    return (patches.unsqueeze(1) * w.reshape(1, *w.shape[:2], 1, 1, -1)).sum((2, 5)) + b.reshape(CHANNEL)


def sigmoid(x):
    return 1 / (1 + (-x).exp())


def tanh(x):
    return 2 * sigmoid(2 * x) - 1


def softplus(x):
    return (1 + x.exp()).log()


def where_positive(x, then, otherwise):
    return where(Tensor(x.data > 0), then, otherwise)


IMAGE, C = (3, 4, 3, 2), (4,)
PAIRS = {       # name: (fused, composed, shapes)
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
                   lambda x, w, b: by_channel(standardized(x, (0, 2, 3)), w, b), IMAGE, C, C),
    "batch_norm eval": (lambda x, w, b: F.batch_norm(x, MEAN, VAR, w, b), running, IMAGE, C, C),
    "batch_norm_relu": (lambda x, w, b: F.batch_norm_relu(x, None, None, w, b, True),
                        lambda x, w, b: positive_part(by_channel(standardized(x, (0, 2, 3)), w, b)), IMAGE, C, C),
    "batch_norm_relu with residual": (
        lambda x, w, b, r: F.batch_norm_relu(x, None, None, w, b, True, 0.1, 1e-5, r),
        lambda x, w, b, r: positive_part(by_channel(standardized(x, (0, 2, 3)), w, b) + r), IMAGE, C, C, IMAGE),
    "batch_norm_relu eval with residual": (
        lambda x, w, b, r: F.batch_norm_relu(x, MEAN, VAR, w, b, residual=r),
        lambda x, w, b, r: positive_part(running(x, w, b) + r), IMAGE, C, C, IMAGE),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (3, 2), w, b), lambda x, w, b: standardized(x, (2, 3)) * w + b,
                   IMAGE, (3, 2), (3, 2)),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b),
                   lambda x, w, b: by_channel(standardized(x.reshape(3, 2, 12), 2).reshape(*IMAGE), w, b), IMAGE, C, C),
    "instance_norm": (lambda x, w, b: F.instance_norm(x, None, None, w, b),
                      lambda x, w, b: by_channel(standardized(x, (2, 3)), w, b), IMAGE, C, C),
    "rms_norm": (lambda x, w: F.rms_norm(x, (5,), w, 0.1),
                 lambda x, w: x / ((x * x).mean(1, keepdim=True) + 0.1).sqrt() * w, (4, 5), (5,)),
    "local_response_norm": (
        lambda x: F.local_response_norm(x, 3, 0.5, 0.7, 1.2),
        lambda x: x / ((F.pad(x * x, (0, 0, 0, 0, 1, 1))[:, :-2] + x * x + F.pad(x * x, (0, 0, 0, 0, 1, 1))[:, 2:])
                       * (0.5 / 3) + 1.2) ** 0.7, IMAGE),
    "cross_entropy": (lambda x: F.cross_entropy(x, LABELS, CLASS_WEIGHT, reduction="none"),
                      lambda x: picked(x, 0.0), (4, 4)),
    "cross_entropy, smoothed": (
        lambda x: F.cross_entropy(x, LABELS, CLASS_WEIGHT, label_smoothing=0.2),
        lambda x: picked(x, 0.2).sum() / CLASS_WEIGHT[LABELS].sum(), (4, 4)),
    "softmax": (lambda x: F.softmax(x, 1), lambda x: x.exp() / x.exp().sum(1, keepdim=True), IMAGE),
    "log_softmax": (lambda x: F.log_softmax(x, -1), lambda x: log_probabilities(x, -1), (4, 5)),
    "linear": (F.linear, lambda x, w, b: (x.unsqueeze(1) * w).sum(2) + b, (3, 4), (5, 4), (5,)),
    "conv2d_relu with residual": (
        lambda x, w, b, r: F.conv2d_relu(x, w, b, 2, 1, residual=r),
        lambda x, w, b, r: positive_part(convolved(x, w, b, 2, 1) + r), (2, 2, 5, 4), (3, 2, 3, 3), (3,), (2, 3, 3, 2)),
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, 2, 1), lambda x, w, b: convolved(x, w, b, 2, 1),
               (2, 3, 4, 5), (4, 3, 3, 3), (4,)),
    "conv1d": (F.conv1d, lambda x, w, b: (tc.stack([x[:, :, i:i + 3] for i in range(3)], -1).unsqueeze(1)
                                          * w.reshape(1, 4, 3, 1, 3)).sum((2, 4)) + b.reshape(1, -1, 1),
               (2, 3, 5), (4, 3, 3), (4,)),
    "conv_transpose2d": (       # zeros between the pixels, and the mirrored kernel
        lambda x, w, b: F.conv_transpose2d(x, w, b, 2),
        lambda x, w, b: convolved(F.pad(x.reshape(2, 3, 3, 1, 2, 1), (0, 1, 0, 0, 0, 1)).reshape(2, 3, 6, 4)[
            :, :, :-1, :-1], w.permute(1, 0, 2, 3).flip((2, 3)), b, 1, 2), (2, 3, 3, 2), (3, 4, 3, 3), (4,)),
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, 2, 1), lambda x: windows(x, 3, 2, 1, -1e9).amax(-1), (2, 3, 5, 4)),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 2, 1, 1), lambda x: windows(x, 2, 1, 1).mean(-1), (2, 3, 3, 4)),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, 2), lambda x: windows(x, 2, 2).mean(-1), (2, 3, 4, 4)),
    "relu": (F.relu, positive_part, IMAGE),
    "sigmoid": (F.sigmoid, sigmoid, IMAGE),
    "tanh": (F.tanh, tanh, IMAGE),
    "silu": (F.silu, lambda x: x * sigmoid(x), IMAGE),
    "gelu": (F.gelu, lambda x: x * (1 + (x / 2 ** 0.5).erf()) / 2, IMAGE),
    "gelu tanh": (lambda x: F.gelu(x, "tanh"),
                  lambda x: x * (1 + tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x))) / 2, IMAGE),
    "mish": (F.mish, lambda x: x * tanh(softplus(x)), IMAGE),
    "softplus": (lambda x: F.softplus(x, 2.0), lambda x: softplus(2 * x) / 2, IMAGE),
    "logsigmoid": (F.logsigmoid, lambda x: -softplus(-x), IMAGE),
    "elu": (lambda x: F.elu(x, 0.7), lambda x: where_positive(x, x, 0.7 * (x.exp() - 1)), IMAGE),
    "selu": (F.selu, lambda x: 1.0507009873554805 * where_positive(x, x, 1.6732632423543772 * (x.exp() - 1)), IMAGE),
    "celu": (lambda x: F.celu(x, 1.3), lambda x: where_positive(x, x, 1.3 * ((x / 1.3).exp() - 1)), IMAGE),
    "hardswish": (F.hardswish, lambda x: x * (positive_part(x + 3) - positive_part(x - 3)) / 6, IMAGE),
}


@pytest.fixture(params=["cpu", "reference"])
def kernel_set(request, monkeypatch):
    if request.param == "reference":
        monkeypatch.setattr(backend, "_cpu_choice", lambda: "reference")
    backend._kernels.cache_clear()
    yield
    backend._kernels.cache_clear()


@pytest.mark.parametrize("name", PAIRS)
def test_fused_kernels_equal_the_composition_up_to_third_order(name, kernel_set):
    fused, composed, *shapes = PAIRS[name]
    rng = np.random.default_rng(7)
    arrays = [0.5 + 1.5 * rng.standard_normal(s) for s in shapes]
    directions = [tuple(Tensor(rng.standard_normal(s)) for s in shapes) for _ in range(2)]
    y, z = fused(*map(Tensor, arrays)), composed(*map(Tensor, arrays))
    np.testing.assert_allclose(y.data, z.data, rtol=1e-12, atol=1e-12)
    u = Tensor(rng.standard_normal(y.shape))
    for order in (1, 2, 3):
        found = []
        for f in (fused, composed):
            points = tuple(Tensor(a, requires_grad=True) for a in arrays)
            value = tc.autograd.functional.directional(lambda *x, f=f: (u * f(*x).sin()).sum(), points,
                                                       directions[:order - 1], create_graph=True)
            found.append([g.data for g in tc.grad(value, points)])
        for a, b in zip(*found):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10 * max(1.0, np.abs(b).max()))
            assert np.abs(b).max() > 1e-3
