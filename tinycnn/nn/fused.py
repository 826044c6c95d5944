"""Layers that compute together what they would compute one after the other: batch norm or convolution, addition, ReLU.

    conv --> norm --> relu            conv --> norm --> + --> relu            conv --> relu
             [-- one --]                       [------ one -----]             [-- one ---]
                                      x ----------------^

Only where nobody can tell: the layers are plain ones, and no hook waits for what is between them.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..autocast import is_autocast_enabled
from ..autograd import Tensor
from . import functional as F
from .layers.activation import ReLU
from .layers.conv import Conv2d
from .layers.norm import BatchNorm1d, BatchNorm2d
from .module import Module

_NORMS = BatchNorm2d, BatchNorm1d


def then_relu(layer: Module, relu: Module | None, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """relu(layer(x) + residual), or without it relu(layer(x)).  relu None: functional.relu."""
    if layers := _in_order(layer):                   # it is the last of them that counts
        return then_relu(layers[-1], relu, run(layers[:-1], x), residual)
    if _fits(layer, x, residual) and (relu is None or _plain(relu, ReLU)):
        return layer(x, relu=True, residual=residual)
    y = layer(x)
    return (F.relu if relu is None else relu)(y if residual is None else y + residual)


def _fits(layer, x, residual):
    """Whether the layer can add the residual and end with a ReLU, and give what it would give otherwise."""
    if _plain(layer, Conv2d):                        # in autocast it would round what it adds
        return residual is None or not is_autocast_enabled()
    return _plain(layer, *_NORMS) and (residual is None or (residual.shape, residual.dtype) == (x.shape, x.dtype))


def _in_order(layer):
    """The layers of a Sequential that does nothing but run them; [] of anything else."""
    from .containers import Sequential               # which needs run()
    runs = isinstance(layer, Sequential) and type(layer).forward is Sequential.forward and _unwatched(layer)
    return list(layer) if runs else []


def _plain(layer, *kinds):
    """Whether it is of one of the kinds, no subclass, and unwatched."""
    return type(layer) in kinds and _unwatched(layer)


def _unwatched(layer):
    """Whether nothing waits for its output or replaces its forward()."""
    held = vars(layer)
    return "forward" not in held and not (held.get("_forward_hooks") or held.get("_forward_pre_hooks"))


def run(layers: Iterable[Module], x: Any) -> Any:
    """The layers one after the other; a batch norm or convolution and the ReLU behind it in one pass."""
    layers = list(layers)
    while layers:
        layer = layers.pop(0)
        if layers and isinstance(layer, (Conv2d, *_NORMS)) and isinstance(layers[0], ReLU):
            x = then_relu(layer, layers.pop(0), x)
        else:
            x = layer(x)
    return x
