"""First values of parameters.  Names, arguments and distributions: torch.nn.init.

All write into the tensor, outside any graph, draw from the engine's generator (tinycnn.manual_seed) and return the
tensor.  fan_in is the number of inputs of one output, fan_out the number of outputs of one input: for a weight
(O, C, KH, KW), C*KH*KW and O*KH*KW.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod, sqrt
from statistics import NormalDist
from threading import local

import numpy as np

from .. import random
from ..autograd import Tensor, no_grad

__all__ = ["calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_",
           "orthogonal_", "skip_init", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_",
           "xavier_uniform_", "zeros_"]


_mode = local()                                      # .skipped: in this thread, nothing is drawn


@contextmanager
def skip_init() -> Iterator[None]:
    """Leave what would be drawn at random unset: for models whose weights are loaded next, or only counted.

    The memory of such a model is not even touched until it is written to.  As torch.nn.utils.skip_init.
    """
    before, _mode.skipped = getattr(_mode, "skipped", False), True
    try:
        yield
    finally:
        _mode.skipped = before


def _set(tensor, values):
    with no_grad():
        return tensor.copy_(Tensor(np.asarray(values, np.float64)))


def _drawn(tensor, distribution, *arguments):
    if getattr(_mode, "skipped", False):
        return tensor
    return _set(tensor, random.draw(distribution, *arguments, tensor.shape))


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform in [a, b).  Raises ValueError if a is above b."""
    if a > b:
        raise ValueError(f"uniform_: a={a} must not be above b={b}")
    return _drawn(tensor, "uniform", a, b)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal with the given mean and standard deviation.  Raises ValueError if that is negative."""
    if std < 0:
        raise ValueError(f"normal_: std must be at least 0, got {std}")
    return _drawn(tensor, "normal", mean, std)


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
    """Normal, drawn again where outside [a, b]; these are values, not numbers of standard deviations.

    Raises ValueError unless a < b, or if less than a thousandth of the distribution lies between them.
    """
    if a >= b:
        raise ValueError(f"trunc_normal_: a={a} must be below b={b}")
    bell = NormalDist(mean, std)
    if bell.cdf(b) - bell.cdf(a) < 1e-3:
        raise ValueError(f"trunc_normal_: nearly nothing of the distribution (mean={mean}, std={std}) lies in {a}..{b}"
                         ": a and b are values, not numbers of standard deviations")
    if getattr(_mode, "skipped", False):
        return tensor
    values = random.draw("normal", mean, std, tensor.shape)
    while True:
        outside = (values < a) | (values > b)
        if not outside.any():
            return _set(tensor, values)
        values[outside] = random.draw("normal", mean, std, int(outside.sum()))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """val everywhere."""
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix.  Raises ValueError unless there are two dimensions."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: expected a matrix, got shape {tensor.shape}")
    return _set(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """The convolution that passes its channels on unchanged: (O, C/G, K...), as many as fit, in each group."""
    if tensor.ndim not in (3, 4, 5) or tensor.shape[0] % groups:
        raise ValueError(f"dirac_: expected a convolution weight whose output channels {groups} groups divide, got "
                         f"shape {tensor.shape}")
    values = np.zeros(tensor.shape)
    per_group = tensor.shape[0] // groups
    centre = tuple(k // 2 for k in tensor.shape[2:])
    for g in range(groups):
        for c in range(min(per_group, tensor.shape[1])):
            values[(g * per_group + c, c, *centre)] = 1
    return _set(tensor, values)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By what factor a nonlinearity shrinks the standard deviation, to be made up for by the weights."""
    if nonlinearity == "leaky_relu":
        return sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    gains = {"linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0,
             "conv_transpose2d": 1.0, "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2),
             "selu": 0.75}
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: {nonlinearity!r} is none of {', '.join(gains)}, leaky_relu")
    return gains[nonlinearity]


def _fans(tensor):
    if tensor.ndim < 2:
        raise ValueError(f"fan_in and fan_out need at least two dimensions, got shape {tensor.shape}")
    field = prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fan(tensor, mode):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return _fans(tensor)[mode == "fan_out"]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform with variance gain^2 * 2 / (fan_in + fan_out).  Glorot & Bengio 2010, equation 16."""
    bound = gain * sqrt(6 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with variance gain^2 * 2 / (fan_in + fan_out).  Glorot & Bengio 2010."""
    return normal_(tensor, 0.0, gain * sqrt(2 / sum(_fans(tensor))))


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Uniform with variance gain^2 / fan.  He et al. 2015, equation 14."""
    bound = calculate_gain(nonlinearity, a) * sqrt(3 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Normal with variance gain^2 / fan.  He et al. 2015, equation 14."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / sqrt(_fan(tensor, mode)))


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Rows (or columns, the shorter) orthonormal, times gain.  Saxe et al. 2014."""
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: expected at least two dimensions, got shape {tensor.shape}")
    rows, columns = tensor.shape[0], prod(tensor.shape[1:])
    drawn = random.draw("standard_normal", (rows, columns))
    q, r = np.linalg.qr(drawn if rows >= columns else drawn.T)
    q = q * np.sign(np.diag(r))                      # makes the distribution uniform over the orthogonal matrices
    return _set(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01) -> Tensor:
    """Normal, with a fraction `sparsity` of every column zero.  Martens 2010."""
    if tensor.ndim != 2:
        raise ValueError(f"sparse_: expected a matrix, got shape {tensor.shape}")
    rows, columns = tensor.shape
    values = random.draw("normal", 0.0, std, tensor.shape)
    for j in range(columns):
        values[random.draw("permutation", rows)[:int(np.ceil(sparsity * rows))], j] = 0
    return _set(tensor, values)
