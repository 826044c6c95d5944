"""Batch norm and ReLU for inference at no cost: folded into the layer before them.

    y = weight * (conv(x) - mean) / sqrt(var + eps) + bias        all but conv(x) are constants in evaluation

      = conv'(x),   kernels' = kernels * s,   bias' = (bias_of_conv - mean) * s + bias,   s = weight / sqrt(var + eps)

    before      conv --> norm --> + --> relu       The convolution goes to where the norm was: there nn/fused.py finds
                                  ^                it, and has it add and raise to 0 what it computes in the same pass
    after       ------> conv', +, relu ------      (functional.conv2d_relu)
                                ^

Which layer comes before which is not read off their names: the model runs once, on no images, and the graph that it
leaves tells.  A layer is changed only if nothing but the norm, or the ReLU, sees its result.
"""
from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ..autograd import Tensor, enable_grad, no_grad
from .containers import Sequential
from .layers.activation import ReLU
from .layers.conv import Conv1d, Conv2d
from .layers.linear import Identity, Linear
from .layers.norm import BatchNorm1d, BatchNorm2d
from .module import Module
from .parameter import Parameter

SIDES = 28, 32, 64, 96, 224, 299, 512                # of the square images that are tried without an example


def fuse(model: Module, example: Tensor | None = None) -> Module:
    """Fold every batch norm that follows a convolution or linear layer into its weights, and ReLUs into convolutions,
    in place; returns the model.

    model    in evaluation: call eval() first.  The layer takes the norm's place, with what that had learned in its
             weights, and leaves an Identity in its own; the model is for inference from then on.  A ReLU layer that is
             called once, behind a convolution in another container, moves to it: Sequential(convolution, ReLU)
    example  an input of the model, of which only shape and dtype count; by default square images of as many channels
             as the first convolution takes, or rows for the first linear layer

    The results are the same but for rounding.  Norms elsewhere (before the convolution, as in DenseNet, or behind
    one that others see, too) stay as they are.  Raises ValueError in training, and if no example is found that fits.
    As torch.ao.quantization.fuse_modules for conv and norm.

    >>> from tinycnn import nn
    >>> fuse(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval())
    Sequential(
      (0): Identity()
      (1): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
      (2): ReLU()
    )
    """
    if model.training:
        raise ValueError("fuse: the model is in training, where batch norm uses the batch's statistics: call eval() "
                         "first")
    moved: dict[Module, Module] = {}
    for layer, after in _pairs(model, example):
        if type(after) is ReLU:
            layer = moved.get(layer, layer)
            if isinstance(layer, Conv2d) and not _in_one_sequential(model, layer, after):
                _replace(model, {layer: Sequential(layer, ReLU()), after: Identity()})
        else:
            _fold(layer, after)
            _replace(model, {layer: Identity(), after: layer})
            moved[after] = layer
    return model


def _replace(model, others):
    """Put another module in the place of each."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child in others:
                setattr(parent, name, others[child])


def _in_one_sequential(model, *layers):
    """Whether all are parts of one Sequential, which runs them together (nn/fused.py)."""
    return any(isinstance(m, Sequential) and set(layers) <= set(m) for m in model.modules())


def _pairs(model, example):
    """(layer, norm or ReLU behind it), in the order of calls, where that alone sees the layer's result, each called
    once."""
    made: dict[int, tuple[Module, Tensor]] = {}
    calls: Counter[int] = Counter()
    found: list[tuple[Module, Module, Tensor]] = []

    def after(module: Module, inputs: Any, output: Tensor) -> None:
        calls[id(module)] += 1
        layer, y = made.get(id(inputs[0]), (None, None))
        if y is inputs[0] and _folds(layer, module):
            found.append((layer, module, y))
        made[id(output)] = module, output
    kinds = (Conv1d, Conv2d, Linear, BatchNorm1d, BatchNorm2d, ReLU)
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


def _folds(layer, after):
    """Whether one can be folded into the other."""
    if type(after) is ReLU:
        return isinstance(layer, (Conv2d, BatchNorm2d))
    normed = isinstance(after, (BatchNorm1d, BatchNorm2d)) and after.running_mean is not None
    return normed and isinstance(layer, (Conv1d, Conv2d, Linear))


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
