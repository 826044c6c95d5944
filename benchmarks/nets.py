"""The eleven nets that are timed, in tinycnn and in PyTorch.

The book's nets (Dive into Deep Learning, grey images, ten classes) are built for PyTorch from its parts here; the
others are torchvision's where it can be imported, and built from parts where it cannot.  Both sides have the same
layers and the same number of parameters, which the benchmarks check.
"""
from __future__ import annotations

from typing import Any, NamedTuple


class Net(NamedTuple):
    """The name of a model here and there, and the shape (N, C, H, W) of its input."""
    model: str
    shape: tuple[int, int, int, int]


NETS = {
    "lenet b256": Net("lenet", (256, 1, 28, 28)),
    "alexnet 224 b16": Net("alexnet_d2l", (16, 1, 224, 224)),
    "vgg11/4 224 b8": Net("vgg11_small_d2l", (8, 1, 224, 224)),
    "nin 224 b16": Net("nin_d2l", (16, 1, 224, 224)),
    "googlenet 96 b16": Net("googlenet_d2l", (16, 1, 96, 96)),
    "resnet18 96 b32": Net("resnet18", (32, 3, 96, 96)),
    "resnet18 224 b8": Net("resnet18", (8, 3, 224, 224)),
    "resnext50 96 b8": Net("resnext50_32x4d", (8, 3, 96, 96)),
    "densenet121 96 b8": Net("densenet121", (8, 3, 96, 96)),
    "regnetx400 96 b16": Net("regnet_x_400mf", (16, 3, 96, 96)),
    "convnextT 96 b8": Net("convnext_tiny", (8, 3, 96, 96)),
}


def tinycnn_net(model: str) -> Any:
    """The net of tinycnn's registry."""
    import tinycnn as tc
    return tc.models.create_model(model)


def torch_net(model: str) -> Any:
    """The same net in PyTorch."""
    from torch import nn
    parts = {"lenet": torch_lenet, "alexnet_d2l": _alexnet, "vgg11_small_d2l": _vgg, "nin_d2l": _nin,
             "googlenet_d2l": _googlenet}
    if model in parts:
        return parts[model](nn)
    try:
        from torchvision.models import get_model
        return get_model(model)
    except (ImportError, RuntimeError):              # its compiled part may have been built for another PyTorch
        pass
    if model in ("regnet_x_400mf", "convnext_tiny"):
        return {"regnet_x_400mf": _regnet, "convnext_tiny": _convnext}[model](nn)
    from .gpu.torch_nets import build
    return build(model, 1000)


def torch_lenet(nn: Any) -> Any:
    """The book's LeNet."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Sigmoid(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(),
        nn.Linear(84, 10))


def _conv(nn, *args, **options):
    return [nn.Conv2d(*args, **options), nn.ReLU()]


def _head(nn, features):
    return [nn.Flatten(), nn.Linear(features, 4096), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Dropout(0.5), nn.Linear(4096, 10)]


def _alexnet(nn):
    return nn.Sequential(
        *_conv(nn, 1, 96, 11, 4, 1), nn.MaxPool2d(3, 2), *_conv(nn, 96, 256, 5, padding=2), nn.MaxPool2d(3, 2),
        *_conv(nn, 256, 384, 3, padding=1), *_conv(nn, 384, 384, 3, padding=1), *_conv(nn, 384, 256, 3, padding=1),
        nn.MaxPool2d(3, 2), *_head(nn, 6400))


def _vgg(nn):
    c, layers = 1, []
    for width, count in ((16, 1), (32, 1), (64, 2), (128, 2), (128, 2)):
        for _ in range(count):
            layers += _conv(nn, c, width, 3, padding=1)
            c = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *_head(nn, c * 49))


def _nin(nn):
    def block(c_in, c, kernel, stride=1, padding=0):
        return [*_conv(nn, c_in, c, kernel, stride, padding), *_conv(nn, c, c, 1), *_conv(nn, c, c, 1)]
    return nn.Sequential(
        *block(1, 96, 11, 4), nn.MaxPool2d(3, 2), *block(96, 256, 5, padding=2), nn.MaxPool2d(3, 2),
        *block(256, 384, 3, padding=1), nn.MaxPool2d(3, 2), nn.Dropout(0.5), *block(384, 10, 3, padding=1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _googlenet(nn):
    import torch

    class Inception(nn.Module):
        def __init__(self, c_in, one, three, five, pooled):
            super().__init__()
            self.branches = nn.ModuleList([
                nn.Sequential(*_conv(nn, c_in, one, 1)),
                nn.Sequential(*_conv(nn, c_in, three[0], 1), *_conv(nn, *three, 3, padding=1)),
                nn.Sequential(*_conv(nn, c_in, five[0], 1), *_conv(nn, *five, 5, padding=2)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), *_conv(nn, c_in, pooled, 1))])
            self.width = one + three[1] + five[1] + pooled

        def forward(self, x):
            return torch.cat([branch(x) for branch in self.branches], 1)

    rows = ((64, (96, 128), (16, 32), 32), (128, (128, 192), (32, 96), 64), None,
            (192, (96, 208), (16, 48), 64), (160, (112, 224), (24, 64), 64), (128, (128, 256), (24, 64), 64),
            (112, (144, 288), (32, 64), 64), (256, (160, 320), (32, 128), 128), None,
            (256, (160, 320), (32, 128), 128), (384, (192, 384), (48, 128), 128))
    c, layers = 192, [*_conv(nn, 1, 64, 7, 2, 3), nn.MaxPool2d(3, 2, 1), *_conv(nn, 64, 64, 1),
                      *_conv(nn, 64, 192, 3, padding=1), nn.MaxPool2d(3, 2, 1)]
    for row in rows:
        layers.append(Inception(c, *row) if row else nn.MaxPool2d(3, 2, 1))
        c = layers[-1].width if row else c
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 10))


def _regnet(nn):
    def norm(c_in, c, kernel, stride=1, groups=1):
        return [nn.Conv2d(c_in, c, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(c)]

    class Block(nn.Module):
        def __init__(self, c_in, c, stride):
            super().__init__()
            self.f = nn.Sequential(*norm(c_in, c, 1), nn.ReLU(inplace=True), *norm(c, c, 3, stride, c // 16),
                                   nn.ReLU(inplace=True), *norm(c, c, 1))
            self.proj = nn.Sequential(*(norm(c_in, c, 1, stride) if stride > 1 or c_in != c else []))
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(self.proj(x) + self.f(x))

    c, layers = 32, [*norm(3, 32, 3, 2), nn.ReLU(inplace=True)]
    for width, count in ((32, 1), (64, 2), (160, 7), (400, 12)):
        for i in range(count):
            layers.append(Block(c, width, 1 if i else 2))
            c = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 1000))


def _convnext(nn):
    import torch

    class Norm(nn.LayerNorm):                        # over the channels of (N, C, H, W)
        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    class Block(nn.Module):
        def __init__(self, c, drop):
            super().__init__()
            self.conv = nn.Conv2d(c, c, 7, padding=3, groups=c)
            self.rest = nn.Sequential(nn.LayerNorm(c, 1e-6), nn.Linear(c, 4 * c), nn.GELU(), nn.Linear(4 * c, c))
            self.scale = nn.Parameter(torch.full((c, 1, 1), 1e-6))
            self.drop = drop

        def forward(self, x):
            y = self.scale * self.rest(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            if self.training and self.drop:
                y = y * x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - self.drop).div_(1 - self.drop)
            return x + y

    drops = (0.1 * i / 17 for i in range(18))
    c, layers = 96, [nn.Conv2d(3, 96, 4, 4), Norm(96, 1e-6)]
    for width, count in ((96, 3), (192, 3), (384, 9), (768, 3)):
        if width > c:
            layers += [Norm(c, 1e-6), nn.Conv2d(c, width, 2, 2)]
            c = width
        layers += [Block(c, next(drops)) for _ in range(count)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), Norm(c, 1e-6), nn.Flatten(), nn.Linear(c, 1000))
