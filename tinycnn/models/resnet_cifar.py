"""ResNets for CIFAR: three stages of 3x3 convolutions on 32x32, 16x16 and 8x8.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016 (arXiv:1512.03385), section 4.2 and table 6;
Zagoruyko & Komodakis, Wide Residual Networks, BMVC 2016 (arXiv:1605.07146), table 1.

    part      output      resnetN_cifar (N = 6n + 2)      wrnN_k_cifar (N = 6n + 4)
    stem      16x32x32    3x3, 16, BN, ReLU               3x3, 16
    layer1    32x32       [3x3, 16; 3x3, 16] x n          [3x3, 16k; 3x3, 16k] x n
    layer2    16x16       [3x3, 32; 3x3, 32] x n          [3x3, 32k; 3x3, 32k] x n
    layer3    8x8         [3x3, 64; 3x3, 64] x n          [3x3, 64k; 3x3, 64k] x n
    head      10          average, linear                 BN, ReLU, average, linear

    net            20       32       44       56       110        1202        wrn28_10    wrn40_4     wrn16_8
    numbers        269 722  464 154  658 586  853 018  1 727 962  19 421 274  36 479 194  8 949 210   10 961 370

Shortcuts that change the shape (He et al., section 3.3): option A drops every other pixel and fills the new channels
with zeros, without parameters; option B is a 1x1 convolution with batch norm.  The wide nets put norm and ReLU in
front of each convolution, so that nothing stands on the way of the sum.
"""
from __future__ import annotations

from ..autograd import Tensor
from ..nn import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Dropout, Flatten, Identity, Linear, Module, ReLU, Sequential
from ..nn import functional as F, init
from ..nn.fused import then_relu
from ..recompute import checkpoint
from .base import ConvNet, initialise
from .recipes import DEFAULT, cifar
from .registry import register_family
from .resnet import PAPER, SMALL, WIDE, conv1x1, conv3x3

# What the published weights of resnet20_cifar ... were trained with; normalised as ImageNet is.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ZeroPadShortcut(Module):
    """Option A: every other pixel, and zeros for the new channels, half of them in front and half behind."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        self.stride, self.front = stride, (c_out - c_in) // 2
        self.back = c_out - c_in - self.front

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, ceil(H/stride), ceil(W/stride))"""
        return F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.front, self.back))


class BasicBlock(Module):
    """Two 3x3 convolutions and a shortcut of option A or B."""

    def __init__(self, c_in: int, c_out: int, stride: int, option: str):
        self.conv1, self.bn1 = conv3x3(c_in, c_out, stride=stride, padding=1), BatchNorm2d(c_out)
        self.conv2, self.bn2 = conv3x3(c_out, c_out, padding=1), BatchNorm2d(c_out)
        if stride == 1 and c_in == c_out:
            self.shortcut = Identity()
        elif option == "A":
            self.shortcut = ZeroPadShortcut(c_in, c_out, stride)
        else:
            self.shortcut = Sequential(conv1x1(c_in, c_out, stride=stride), BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H/stride, W/stride)"""
        y = self.conv2(then_relu(self.bn1, None, self.conv1(x)))
        return then_relu(self.bn2, None, y, self.shortcut(x))


class Stage(Sequential):
    """Blocks in a row; with `segments`, only the inputs of so many parts of it are kept for backward."""

    segments = 0

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H/stride, W/stride)"""
        if not (self.segments and self.training):
            return super().forward(x)
        size = -(-len(self) // self.segments)
        for start in range(0, len(self), size):
            x = checkpoint(self[start:start + size], x)
        return x


def _stages(widths, n, block, memory_efficient):
    """layer1 .. layer3: n blocks each; block(c_in, c_out, stride) makes one."""
    stages, c = {}, 16
    for i, width in enumerate(widths):
        stages[f"layer{i + 1}"] = made = Stage(*(block(c if k == 0 else width, width, 2 if i and k == 0 else 1)
                                                 for k in range(n)))
        # The square root of n segments keeps least: as many inputs of segments as blocks in one (Chen et al. 2016).
        made.segments = max(1, round(n ** 0.5)) if memory_efficient else 0
        c = width
    return stages


def resnet_cifar(depth: int, num_classes: int = 10, in_channels: int = 3, option: str = "A",
                 memory_efficient: bool = False) -> Module:
    """He et al.'s ResNet of 6n + 2 layers, for 32x32 images.

    option            of the shortcuts that change the shape, "A" or "B"
    memory_efficient  keep about 2 sqrt(n) of the n blocks' inputs for backward, and compute the rest again

    Raises ValueError for a depth that is not 6n + 2 and an unknown option.
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"resnet_cifar: depth={depth} must be 6n + 2: 8, 14, 20, ..., 110, 1202")
    if option not in ("A", "B"):
        raise ValueError(f"resnet_cifar: option={option!r} must be 'A' or 'B'")
    stem = {"conv1": conv3x3(in_channels, 16, padding=1), "bn1": BatchNorm2d(16), "relu": ReLU()}
    body = _stages((16, 32, 64), (depth - 2) // 6, lambda *shape: BasicBlock(*shape, option), memory_efficient)
    head = {"avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "linear": Linear(64, num_classes)}
    return initialise(ConvNet(stem, body, head), init.kaiming_normal_, init.kaiming_normal_)


class WideBlock(Module):
    """Norm, ReLU, 3x3, twice, with dropout between (the wide paper's figure 1d)."""

    def __init__(self, c_in: int, c_out: int, stride: int, dropout: float):
        self.bn1, self.conv1 = BatchNorm2d(c_in), conv3x3(c_in, c_out, stride=stride, padding=1)
        self.bn2, self.conv2 = BatchNorm2d(c_out), conv3x3(c_out, c_out, padding=1)
        self.dropout = Dropout(dropout)
        self.shortcut = None if stride == 1 and c_in == c_out else conv1x1(c_in, c_out, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H/stride, W/stride)"""
        active = then_relu(self.bn1, None, x)
        y = self.conv2(self.dropout(then_relu(self.bn2, None, self.conv1(active))))
        return y + (x if self.shortcut is None else self.shortcut(active))


def wide_resnet_cifar(depth: int, width: int, num_classes: int = 10, in_channels: int = 3, dropout: float = 0.0,
                      memory_efficient: bool = False) -> Module:
    """The Wide ResNet of 6n + 4 layers, `width` times as wide as the narrow one, for 32x32 images.

    Raises ValueError for a depth that is not 6n + 4.
    """
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"wide_resnet_cifar: depth={depth} must be 6n + 4: 10, 16, 22, 28, 40, ...")
    stem = {"conv1": Conv2d(in_channels, 16, 3, padding=1, bias=False)}
    body = _stages([16 * width, 32 * width, 64 * width], (depth - 4) // 6,
                   lambda *shape: WideBlock(*shape, dropout), memory_efficient)
    head = {"bn": BatchNorm2d(64 * width), "relu": ReLU(), "avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(),
            "linear": Linear(64 * width, num_classes)}
    return initialise(ConvNet(stem, body, head), lambda w: init.kaiming_normal_(w, nonlinearity="relu"))


NORMALISED = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
register_family(resnet_cifar, {f"resnet{depth}_cifar": {"depth": depth} for depth in (20, 32, 44, 56, 110, 1202)},
                PAPER, 2015, SMALL, {"default": {**DEFAULT, **NORMALISED}, "paper": cifar(**NORMALISED)})
register_family(wide_resnet_cifar, {"wrn16_8_cifar": {"depth": 16, "width": 8},
                                    "wrn28_10_cifar": {"depth": 28, "width": 10},
                                    "wrn40_4_cifar": {"depth": 40, "width": 4}},
                WIDE, 2016, SMALL, {"default": DEFAULT, "paper": cifar(weight_decay=5e-4, epochs=200)})
