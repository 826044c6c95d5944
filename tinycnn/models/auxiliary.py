"""Nets that classify half way through, too: in training the auxiliary heads carry gradients to the early layers."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..autograd import Tensor
from ..nn import Module
from .base import ConvNet, other_classes
from .blocks import transform_input


class AuxiliaryNet(ConvNet):
    """A ConvNet with auxiliary heads among its layers.

    aux           name of a head -> name of the layer whose output it classifies
    aux_weights   what the losses of the heads count for, in the order of the outputs
    transform     whether the input is to be normalised another way first (blocks.transform_input)

    In training the output is (logits, last auxiliary logits, ..., first auxiliary logits), in evaluation the logits.
    """

    def __init__(self, stem: Mapping[str, Module], body: Mapping[str, Module], head: Mapping[str, Module],
                 aux: Mapping[str, str], aux_weight: float, transform: bool = False):
        super().__init__(stem, body, head)
        self.aux = {name: after for name, after in aux.items() if name in body}
        self.aux_weights = (aux_weight,) * len(self.aux)
        self.transform_input = transform

    def forward(self, input: Tensor) -> Any:
        """(N, C, H, W) -> logits, in training with those of the auxiliary heads"""
        features, found = self._features(input, self.training)
        logits = self.forward_head(features)
        return (logits, *reversed(found)) if found else logits

    def forward_features(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> the last feature map; the auxiliary heads are left out."""
        return self._features(input, False)[0]

    def reset_classifier(self, num_classes: int) -> None:
        """Fresh last layers of the head and, unless num_classes is 0, of the auxiliary heads."""
        super().reset_classifier(num_classes)
        for name in self.aux if num_classes else ():
            head = getattr(self, name)
            last = list(dict(head.named_children()))[-1]
            setattr(head, last, other_classes(getattr(head, last), num_classes))

    def _features(self, x, with_aux):
        """The last feature map, and the logits of the auxiliary heads in their order."""
        heads = {after: name for name, after in self.aux.items()}
        x, found = transform_input(x) if self.transform_input else x, []
        for name in self.part_names["stem"] + self.part_names["body"]:
            if name in self.aux:
                continue
            x = getattr(self, name)(x)
            if with_aux and name in heads:
                found.append(getattr(self, heads[name])(x))
        return x, found

    def _chain(self):
        return [layer for layer in super()._chain() if not any(layer is getattr(self, name) for name in self.aux)]
