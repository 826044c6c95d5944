"""Rows of ops/activation.py, ops/softmax.py and ops/dropout.py."""
from math import prod

import numpy as np

from . import Maker, apart, case


def wide(*shape):
    """Halves, ..., -1.5, -0.5, 0.5, 1.5, ... in random order: on both sides of kinks at integers."""
    return Maker("wide", shape, lambda rng, s: rng.permutation(np.arange(prod(s)) - prod(s) // 2 + 0.5).reshape(s))


CASES = [
    case("scaled_outside", (2, 3), np.array([[True, False, True], [False, True, False]]), 0.5),
    case("exponential_unit", wide(2, 3), 0.7, 1.3, 0.9),
    case("relu", apart(2, 3, 4)),
    case("relu", apart(2, 2, 3, 2)),
    case("leaky_relu", apart(3, 4)),
    case("leaky_relu", apart(3, 4), negative_slope=-0.3),
    case("relu6", wide(4, 4)),
    case("hardtanh", wide(3, 4)),
    case("hardtanh", wide(3, 4), min_val=-2.0, max_val=3.0),
    case("hardsigmoid", wide(4, 3)),
    case("hardswish", wide(4, 3)),
    case("threshold", wide(3, 4), 1.0, -7.0),
    case("softshrink", apart(4, 8)),
    case("softshrink", wide(3, 4), lambd=2.0),
    case("hardshrink", wide(3, 4), lambd=2.0),
    case("prelu", apart(3, 4), (1,)),
    case("prelu", apart(2, 3, 2, 2), (3,)),
    case("elu", wide(3, 4)),
    case("elu", wide(3, 4), alpha=0.4),
    case("selu", wide(3, 4)),
    case("celu", wide(3, 4), alpha=2.5),
    case("gelu", (3, 4)),
    case("gelu", wide(3, 4), approximate="tanh"),
    case("silu", wide(3, 4)),
    case("mish", wide(3, 4)),
    case("softplus", wide(3, 4)),
    case("softplus", wide(4, 4), beta=0.5, threshold=3.0),                # kink at 6
    case("logsigmoid", wide(3, 4)),
    case("softsign", wide(3, 4)),
    case("tanhshrink", (3, 4)),
    case("glu", (3, 4)),
    case("glu", (2, 4, 3), dim=1),
    case("softmax", (3, 4), dim=1),
    case("softmax", (2, 3, 2, 2), dim=1),
    case("softmax", (2, 3, 4), dim=-2),
    case("softmax", (), dim=0),
    case("log_softmax", (3, 4), dim=0),
    case("log_softmax", (2, 3, 2, 2), dim=1),
    case("softmin", (3, 4), dim=-1),
    case("drop", (3, 4), 0.3, 7),
    case("dropout", (3, 4), grads=0),
    case("dropout", (3, 4), training=False),
    case("dropout1d", (2, 3, 4), grads=0),
    case("dropout2d", (2, 3, 4, 2), grads=0, p=0.2),
    case("dropout3d", (2, 3, 2, 2, 2), grads=0),
    case("stochastic_depth", (4, 2, 3), grads=0, p=0.3, mode="row"),
    case("stochastic_depth", (4, 2, 3), grads=0, p=0.3, mode="batch"),
    case("alpha_dropout", (3, 4), grads=0, training=True),
    case("feature_alpha_dropout", (3, 4, 2), grads=0, training=True),
    case("rrelu", apart(3, 4)),
    case("rrelu", apart(3, 4), grads=0, training=True),
    case("gumbel_softmax", (3, 4), grads=0, tau=0.5),
]
