"""The nets of stage "steps torch" in PyTorch, from its parts: torchvision may not be there."""
from __future__ import annotations

from typing import Any

from ..nets import torch_lenet


def build(name: str, num_classes: int) -> Any:
    """A net by the name of our model of the same layers and parameters."""
    from torch import nn
    makers = {
        "lenet": lambda: torch_lenet(nn),
        "resnet18": lambda: _resnet(nn, (2, 2, 2, 2), num_classes, bottleneck=False),
        "resnet50": lambda: _resnet(nn, (3, 4, 6, 3), num_classes),
        "resnext50_32x4d": lambda: _resnet(nn, (3, 4, 6, 3), num_classes, groups=32, width=4),
        "densenet121": lambda: _densenet(nn, (6, 12, 24, 16), num_classes),
        "vgg11": lambda: _vgg(nn, num_classes),
    }
    return makers[name]()


def _norm(nn, c_in, c, kernel, stride=1, groups=1, relu=True):
    layers = [nn.Conv2d(c_in, c, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(c)]
    return layers + [nn.ReLU(inplace=True)] * relu


def _resnet(nn, blocks, num_classes, bottleneck=True, groups=1, width=64):
    class Block(nn.Module):
        def __init__(self, c_in, planes, stride):
            super().__init__()
            c_out, inner = planes * (4 if bottleneck else 1), planes * width // 64 * groups
            self.body = nn.Sequential(*(
                _norm(nn, c_in, inner, 1) + _norm(nn, inner, inner, 3, stride, groups)
                + _norm(nn, inner, c_out, 1, relu=False) if bottleneck else
                _norm(nn, c_in, planes, 3, stride) + _norm(nn, planes, planes, 3, relu=False)))
            self.shortcut = nn.Sequential(*(_norm(nn, c_in, c_out, 1, stride, relu=False)
                                            if stride > 1 or c_in != c_out else []))
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(self.body(x) + self.shortcut(x))

    c, layers = 64, [*_norm(nn, 3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for i, count in enumerate(blocks):
        for j in range(count):
            layers.append(Block(c, 64 << i, 2 if i and not j else 1))
            c = (64 << i) * (4 if bottleneck else 1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, num_classes))


def _densenet(nn, blocks, num_classes, growth=32):
    import torch

    class Layer(nn.Module):
        def __init__(self, c_in):
            super().__init__()
            self.body = nn.Sequential(
                nn.BatchNorm2d(c_in), nn.ReLU(inplace=True), nn.Conv2d(c_in, 4 * growth, 1, bias=False),
                nn.BatchNorm2d(4 * growth), nn.ReLU(inplace=True),
                nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False))

        def forward(self, x):
            return torch.cat([x, self.body(x)], 1)

    c, layers = 64, [*_norm(nn, 3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for i, count in enumerate(blocks):
        layers += [Layer(c + growth * j) for j in range(count)]
        c += growth * count
        layers += [nn.BatchNorm2d(c), nn.ReLU(inplace=True)]
        if i < len(blocks) - 1:
            layers += [nn.Conv2d(c, c // 2, 1, bias=False), nn.AvgPool2d(2)]
            c //= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, num_classes))


def _vgg(nn, num_classes):
    c, layers = 3, []
    for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        layers += [nn.Conv2d(c, width, 3, padding=1), nn.ReLU(inplace=True)] if width else [nn.MaxPool2d(2)]
        c = width or c
    head = [nn.Linear(c * 49, 4096), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(4096, 4096),
            nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(4096, num_classes)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(7), nn.Flatten(), *head)
