"""What all classifiers have in common: three parts, features, and a last layer that can be replaced.

    image -> stem -> body -> feature map -> head -> logits

The stem takes the image to a first feature map, the body computes in stages of falling resolution, the head turns the
last map into logits (Radosavovic et al. 2020, Designing Network Design Spaces, figure 3).
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import nn
from ..autograd import Tensor
from ..nn import Conv2d, Identity, Linear, Module, Sequential
from ..nn.fused import run

PARTS = ("stem", "body", "head")


def numbered(*layers: Module, start: int = 0) -> dict[str, Module]:
    """Layers under the names "0", "1", ...: those of a plain Sequential."""
    return {str(i): layer for i, layer in enumerate(layers, start)}


class ConvNet(Sequential):
    """A classifier given by the named layers of its three parts, which run one after the other.

    A net is a Sequential of all these layers: their names are those in state_dict.  `net.stem`, `net.body` and
    `net.head` are the parts (where a layer has one of these names, as RegNet's stem, it is that layer).
    """

    def __init__(self, stem: Mapping[str, Module], body: Mapping[str, Module], head: Mapping[str, Module]):
        super().__init__({**stem, **body, **head})
        self.part_names = {name: tuple(part) for name, part in zip(PARTS, (stem, body, head))}

    def __getattr__(self, name: str) -> Any:
        if name in PARTS and "part_names" in vars(self):
            return Sequential({n: getattr(self, n) for n in self.part_names[name]})
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __getitem__(self, index: int | slice) -> Any:
        parts = self._named_parts()[index]
        return Sequential(dict(parts)) if isinstance(index, slice) else parts[1]

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, num_classes)"""
        return self.forward_head(self.forward_features(input))

    def forward_features(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> the last feature map, before any pooling: stem and body."""
        return self._run(input, self.part_names["stem"] + self.part_names["body"])

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """The last feature map -> logits, or what goes into the last layer.  As timm's forward_head."""
        path = self.classifier_path()
        for name in self.part_names["head"]:
            layer = getattr(self, name)
            if pre_logits and (name == path or path.startswith(name + ".")):
                return self._before(layer, path[len(name) + 1:], features)
            features = layer(features)
        return features

    def forward_intermediates(self, input: Tensor, indices: Iterable[int] | None = None) -> list[Tensor]:
        """The last map of each resolution on the way, the largest first; `indices` chooses among them."""
        maps: list[Tensor] = []
        for layer in self._chain():
            input = layer(input)
            if maps and maps[-1].shape[2:] == input.shape[2:]:
                maps.pop()
            maps.append(input)
        return maps if indices is None else [maps[i] for i in indices]

    def get_classifier(self) -> Module:
        """The last layer with weights: Linear, or the 1x1 convolution that stands for it."""
        return self.get_submodule(self.classifier_path())

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh last layer for another number of classes; 0: none, the net gives features.  As timm's."""
        path = self.classifier_path()
        parent, _, name = path.rpartition(".")
        setattr(self.get_submodule(parent), name, other_classes(self.get_classifier(), num_classes))

    def classifier_path(self) -> str:
        """The name of the last layer, dots and all."""
        found = [f"{name}.{path}" if path else name for name in self.part_names["head"]
                 for path, m in getattr(self, name).named_modules() if isinstance(m, (Linear, Conv2d, Identity))]
        return found[-1]

    def _run(self, x, names):
        return run([getattr(self, name) for name in names], x)

    def _chain(self):
        """The layers of stem and body, plain Sequentials taken apart."""
        names = self.part_names["stem"] + self.part_names["body"]
        return [layer for name in names for layer in _apart(getattr(self, name))]

    @staticmethod
    def _before(layer, path, x):
        """Run a Sequential (of Sequentials) up to the layer at `path` in it."""
        if not path:
            return x
        first, _, rest = path.partition(".")
        for name, part in layer.named_children():
            if name == first:
                return ConvNet._before(part, rest, x)
            x = part(x)
        raise AssertionError(f"{path} is not in {layer}")


class FeatureNet(Module):
    """A net without its head, whose output is a list of feature maps: create_model(name, features_only=True).

    out_indices: which of the resolutions, counted from the largest map; all by default.
    """

    def __init__(self, net: ConvNet, out_indices: Sequence[int] | None = None):
        self.net = net
        self.out_indices = None if out_indices is None else tuple(out_indices)
        for name in net.part_names["head"]:
            delattr(net, name)

    def forward(self, input: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> the maps, the largest first"""
        return self.net.forward_intermediates(input, self.out_indices)


def other_classes(layer: Module, num_classes: int) -> Module:
    """A layer like a classifier's last one for another number of classes, with fresh weights; 0: Identity.

    Raises TypeError for a net that has no last layer any more.
    """
    if num_classes == 0:
        return Identity()
    like = {"dtype": layer.weight.dtype, "device": layer.weight.device} if hasattr(layer, "weight") else {}
    if isinstance(layer, Conv2d):
        return Conv2d(layer.in_channels, num_classes, layer.kernel_size, layer.stride, layer.padding, **like)
    if isinstance(layer, Linear):
        return Linear(layer.in_features, num_classes, layer.bias is not None, **like)
    raise TypeError(f"reset_classifier: the last layer is a {type(layer).__name__}: it is not known how many features "
                    "go into it; create the model again")


def _apart(layer):
    """The layers of a plain Sequential, those within it taken apart, too; others as they are."""
    return [part for child in layer.children() for part in _apart(child)] if type(layer) is Sequential else [layer]


def initialise(model: Module, conv: Any = None, linear: Any = None, zero_bias: bool = False) -> Module:
    """Fill the weights of convolutions by conv(weight), of linear layers by linear(weight); returns the model.

    zero_bias: their biases start at zero.  Norms start at 1 and 0 anyway.
    """
    for layer in model.modules():
        fill = conv if isinstance(layer, Conv2d) else linear if isinstance(layer, Linear) else None
        if fill is not None:
            fill(layer.weight)
            if zero_bias and layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model
