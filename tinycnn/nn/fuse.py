"""Batch norm for inference at no cost: folded into the weights of the layer before it.

    y = weight * (conv(x) - mean) / sqrt(var + eps) + bias        all but conv(x) are constants in evaluation

      = conv'(x),   kernels' = kernels * s,   bias' = (bias_of_conv - mean) * s + bias,   s = weight / sqrt(var + eps)

Which layer comes before which is not read off their names: the model runs once, on no images, and the graph that it
leaves tells.  A layer is changed only if nothing but the norm sees its result.
"""
from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ..autograd import Tensor, enable_grad, no_grad
from .layers.conv import Conv1d, Conv2d
from .layers.linear import Identity, Linear
from .layers.norm import BatchNorm1d, BatchNorm2d
from .module import Module
from .parameter import Parameter

SIDES = 28, 32, 64, 96, 224, 299, 512                # of the square images that are tried without an example


def fuse(model: Module, example: Tensor | None = None) -> Module:
    """Fold every batch norm that follows a convolution or linear layer into its weights, in place; returns the model.

    model    in evaluation: call eval() first.  A folded norm becomes an Identity: what it had learned is in the
             weights, and the model is for inference from then on
    example  an input of the model, of which only shape and dtype count; by default square images of as many channels
             as the first convolution takes, or rows for the first linear layer

    The results are the same but for rounding.  Norms elsewhere (before the convolution, as in DenseNet, or behind
    one that others see, too) stay as they are.  Raises ValueError in training, and if no example is found that fits.
    As torch.ao.quantization.fuse_modules for conv and norm.

    >>> from tinycnn import nn
    >>> fuse(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval())[1]
    Identity()
    """
    if model.training:
        raise ValueError("fuse: the model is in training, where batch norm uses the batch's statistics: call eval() "
                         "first")
    for layer, norm in _pairs(model, example):
        _fold(layer, norm)
        for parent in model.modules():
            for name, child in list(parent.named_children()):
                if child is norm:
                    setattr(parent, name, Identity())
    return model


def _pairs(model, example):
    """(layer, norm behind it) where the norm alone sees the layer's result, each called once."""
    made: dict[int, tuple[Module, Tensor]] = {}
    calls: Counter[int] = Counter()
    found: list[tuple[Module, Module, Tensor]] = []

    def after(module: Module, inputs: Any, output: Tensor) -> None:
        calls[id(module)] += 1
        if isinstance(module, (BatchNorm1d, BatchNorm2d)):
            layer, y = made.get(id(inputs[0]), (None, None))
            if y is inputs[0] and layer is not None and module.running_mean is not None:
                found.append((layer, module, y))
        else:
            made[id(output)] = module, output
    kinds = (Conv1d, Conv2d, Linear, BatchNorm1d, BatchNorm2d)
    hooks = [m.register_forward_hook(after) for m in model.modules() if isinstance(m, kinds)]
    refused = None
    try:
        for x in _examples(model, example):
            for kept in (made, calls, found):        # of an example that did not fit
                kept.clear()
            try:
                with enable_grad():
                    uses = _uses(model(x))
                break
            except ValueError as error:
                refused = error
        else:
            raise ValueError(f"fuse: the model takes no square image ({refused}): give an example") from refused
    finally:
        for hook in hooks:
            hook.remove()
    return [(layer, norm) for layer, norm, y in found
            if uses[id(y)] == 1 and calls[id(layer)] == calls[id(norm)] == 1]


def _examples(model, example):
    """Batches of nothing, of the shapes that the model may take."""
    first = next((m for m in model.modules() if isinstance(m, (Conv1d, Conv2d, Linear))), None)
    if example is not None:
        sizes = [example.shape[1:]]
    elif isinstance(first, Linear):
        sizes = [(first.in_features,)]
    else:
        sizes = [(1, 1) if first is None else (first.in_channels, *(side,) * first.dims) for side in SIDES]
    like = example if first is None else first.weight
    for size in sizes:
        empty = np.zeros((0, *size), np.float32 if like is None else like.dtype)
        yield Tensor(empty, requires_grad=True) if like is None else Tensor(empty, requires_grad=True).to(like.device)


def _uses(outputs):
    """How many ops took each tensor (by id) on the way to the outputs."""
    uses: Counter[int] = Counter()
    waiting, seen = _tensors(outputs), set()
    while waiting:
        t = waiting.pop()
        if id(t) in seen or t._node is None:
            continue
        seen.add(id(t))
        parents = [p for p in t._node.parents if p is not None]
        uses.update(id(p) for p in parents)
        waiting += parents
    return uses


def _tensors(value):
    if isinstance(value, Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [t for v in values for t in _tensors(v)]


def _fold(layer, norm):
    """The norm's constants into the layer's weight and bias, worked out in float64."""
    dtype = layer.weight.dtype
    with no_grad():
        mean, var = norm.running_mean.to(np.float64), norm.running_var.to(np.float64)
        scale = (var + norm.eps) ** -0.5
        if norm.weight is not None:
            scale = scale * norm.weight.to(np.float64)
        shift = -mean if layer.bias is None else layer.bias.to(np.float64) - mean
        shift = shift * scale
        if norm.bias is not None:
            shift = shift + norm.bias.to(np.float64)
        each = scale.reshape(-1, *(1,) * (layer.weight.ndim - 1))                        # (O, 1, ...)
        layer.weight = Parameter((layer.weight.to(np.float64) * each).to(dtype).data)
        layer.bias = Parameter(shift.to(dtype).data)
