"""Layers that compute together what they would compute one after the other: batch norm, addition and ReLU.

    conv --> norm --> relu            conv --> norm --> + --> relu
             [-- one --]                       [------ one -----]
                                      x ----------------^

Only where nobody can tell: the layers are plain ones, and no hook waits for what is between them.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..autograd import Tensor
from . import functional as F
from .layers.activation import ReLU
from .layers.norm import BatchNorm1d, BatchNorm2d
from .module import Module


def norm_relu(norm: Module, relu: Module | None, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """relu(norm(x) + residual), or without it relu(norm(x)).  relu None: functional.relu."""
    same = residual is None or (residual.shape, residual.dtype) == (x.shape, x.dtype)
    if same and _plain(norm, BatchNorm2d, BatchNorm1d) and (relu is None or _plain(relu, ReLU)):
        return norm(x, relu=True, residual=residual)
    y = norm(x)
    return (F.relu if relu is None else relu)(y if residual is None else y + residual)


def _plain(layer, *kinds):
    """Whether it is of one of the kinds, no subclass, and nothing waits for its output or replaces its forward()."""
    held = vars(layer)
    return type(layer) in kinds and "forward" not in held and not (
        held.get("_forward_hooks") or held.get("_forward_pre_hooks"))


def run(layers: Iterable[Module], x: Any) -> Any:
    """The layers one after the other; a batch norm and the ReLU behind it in one pass."""
    layers = list(layers)
    while layers:
        layer = layers.pop(0)
        if layers and isinstance(layer, (BatchNorm2d, BatchNorm1d)) and isinstance(layers[0], ReLU):
            x = norm_relu(layer, layers.pop(0), x)
        else:
            x = layer(x)
    return x
