"""ResNet, ResNeXt and Wide ResNet: blocks that add what they compute to what they are given.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016 (arXiv:1512.03385), table 1;
Xie et al., Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017 (arXiv:1611.05431), table 1;
Zagoruyko & Komodakis, Wide Residual Networks, BMVC 2016 (arXiv:1605.07146).

    part     output (224)   18, 34       50, 101, 152           ResNeXt 32x4d          Wide-2
    stem     64x56x56       7x7, 64, stride 2; 3x3 max pool, stride 2
    layer1   56x56          [3x3, 64     [1x1, 64               [1x1, 128              [1x1, 128
                             3x3, 64]     3x3, 64                3x3, 128, 32 groups    3x3, 128
                                          1x1, 256]              1x1, 256]              1x1, 256]
    layer2   28x28          each layer has twice the widths of the one before and half the height and width
    layer3   14x14
    layer4   7x7
    head     1000           average, linear

    blocks of layers 1 to 4: 18: 2 2 2 2   34, 50: 3 4 6 3   101: 3 4 23 3   152: 3 8 36 3

The numbers of parameters are in the rows below.  Two things differ from the first paper, as in torchvision: the
stride of a bottleneck is in its 3x3 (ResNet v1.5), and every shortcut that changes the shape is a 1x1 with batch norm.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence as Row
from functools import partial
from typing import Any

from ..autograd import Tensor
from ..nn import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential, init
from ..nn.fused import then_relu
from ..recompute import checkpoint
from .base import ConvNet, initialise
from .recipes import DEFAULT, cifar, imagenet
from .registry import register_family

PAPER = "He et al. 2016, Deep Residual Learning for Image Recognition"
RESNEXT = "Xie et al. 2017, Aggregated Residual Transformations for Deep Neural Networks"
WIDE = "Zagoruyko & Komodakis 2016, Wide Residual Networks"
IMAGE, SMALL = (1, 3, 224, 224), (1, 3, 32, 32)

conv1x1 = partial(Conv2d, kernel_size=1, bias=False)
conv3x3 = partial(Conv2d, kernel_size=3, bias=False)


class Block(Module):
    """relu(branch(x) + shortcut(x)); with memory_efficient, what is inside is computed again in backward."""

    expansion = 1                                    # output channels for each of the layer's width
    downsample: Module | None
    memory_efficient = False

    def branch(self, x: Tensor) -> Tensor:
        """What the block adds, before the norm that ends the branch."""
        raise NotImplementedError

    def _whole(self, x):
        y = self.branch(x)
        return then_relu(self.last_norm, self.relu, y, x if self.downsample is None else self.downsample(x))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, expansion * width, H/stride, W/stride)"""
        return checkpoint(self._whole, x) if self.memory_efficient and self.training else self._whole(x)


class BasicBlock(Block):
    """Two 3x3 convolutions (figure 2)."""

    def __init__(self, c_in: int, planes: int, stride: int = 1, downsample: Module | None = None, groups: int = 1,
                 base_width: int = 64, dilation: int = 1, norm_layer: Callable[..., Module] = BatchNorm2d):
        if groups != 1 or base_width != 64 or dilation != 1:
            raise ValueError(f"BasicBlock: groups={groups}, base_width={base_width}, dilation={dilation}: only "
                             "Bottleneck has these, as in resnet50")
        self.conv1, self.bn1 = conv3x3(c_in, planes, stride=stride, padding=1), norm_layer(planes)
        self.relu = ReLU()
        self.conv2, self.bn2 = conv3x3(planes, planes, padding=1), norm_layer(planes)
        self.downsample = downsample

    def branch(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, planes, H/stride, W/stride)"""
        return self.conv2(then_relu(self.bn1, self.relu, self.conv1(x)))

    @property
    def last_norm(self) -> Module:
        """The norm that ends the branch."""
        return self.bn2


class Bottleneck(Block):
    """1x1 to fewer channels, 3x3 among them, 1x1 to more (figure 5); the 3x3 in groups makes it a ResNeXt block."""

    expansion = 4

    def __init__(self, c_in: int, planes: int, stride: int = 1, downsample: Module | None = None, groups: int = 1,
                 base_width: int = 64, dilation: int = 1, norm_layer: Callable[..., Module] = BatchNorm2d):
        width = int(planes * base_width / 64) * groups
        self.conv1, self.bn1 = conv1x1(c_in, width), norm_layer(width)
        self.conv2 = conv3x3(width, width, stride=stride, padding=dilation, dilation=dilation, groups=groups)
        self.bn2 = norm_layer(width)
        self.conv3, self.bn3 = conv1x1(width, planes * self.expansion), norm_layer(planes * self.expansion)
        self.relu = ReLU()
        self.downsample = downsample

    def branch(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, 4 * planes, H/stride, W/stride)"""
        x = then_relu(self.bn1, self.relu, self.conv1(x))
        x = then_relu(self.bn2, self.relu, self.conv2(x))
        return self.conv3(x)

    @property
    def last_norm(self) -> Module:
        """The norm that ends the branch."""
        return self.bn3


def stage(block: type[Block], c_in: int, planes: int, blocks: int, stride: int, dilations: Row[int] = (1, 1),
          norm_layer: Callable[..., Module] = BatchNorm2d, **options: Any) -> Sequential:
    """The blocks of one layer of the table: the first one changes the shape; dilations: its own, and the others'."""
    c_out, downsample = planes * block.expansion, None
    if stride != 1 or c_in != c_out:
        downsample = Sequential(conv1x1(c_in, c_out, stride=stride), norm_layer(c_out))
    first = block(c_in, planes, stride, downsample, dilation=dilations[0], norm_layer=norm_layer, **options)
    return Sequential(first, *(block(c_out, planes, dilation=dilations[1], norm_layer=norm_layer, **options)
                               for _ in range(blocks - 1)))


def resnet(block: type[Block], layers: Row[int], num_classes: int = 1000, in_channels: int = 3,
           zero_init_residual: bool = False, groups: int = 1, width_per_group: int = 64,
           replace_stride_with_dilation: Row[bool] | None = None, norm_layer: Callable[..., Module] | None = None,
           small_stem: bool = False, memory_efficient: bool = False) -> Module:
    """torchvision's ResNet of a row of the table, for images of any size.

    layers                        how many blocks each layer has
    zero_init_residual            every block starts as its shortcut (Goyal et al. 2017, section 5.1)
    groups, width_per_group       of the 3x3 convolutions, for width 64 (Bottleneck only)
    replace_stride_with_dilation  for each layer from the second: keep the resolution, dilate the kernels
    small_stem                    a 3x3 convolution instead of 7x7 and pool: for images of 32x32
    memory_efficient              keep only the input of every block for backward, and compute the rest again

    Raises ValueError for options the block does not have.
    """
    norm_layer = norm_layer or BatchNorm2d
    dilate = [False] * (len(layers) - 1) if replace_stride_with_dilation is None else list(replace_stride_with_dilation)
    if len(dilate) != len(layers) - 1:
        raise ValueError(f"resnet: replace_stride_with_dilation={replace_stride_with_dilation} must have "
                         f"{len(layers) - 1} entries, one for each layer from the second")
    stem = {"conv1": conv3x3(in_channels, 64, padding=1) if small_stem else
            Conv2d(in_channels, 64, 7, 2, 3, bias=False), "bn1": norm_layer(64), "relu": ReLU()}
    if not small_stem:
        stem["maxpool"] = MaxPool2d(3, 2, 1)
    body, c, dilation = {}, 64, 1
    for i, (blocks, dilated) in enumerate(zip(layers, [False, *dilate])):
        stride = 2 if i and not dilated else 1
        before, dilation = dilation, dilation * (2 if dilated else 1)
        body[f"layer{i + 1}"] = stage(block, c, 64 << i, blocks, stride, (before, dilation), norm_layer,
                                      groups=groups, base_width=width_per_group)
        c = (64 << i) * block.expansion
    model = ConvNet(stem, body, {"avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "fc": Linear(c, num_classes)})
    initialise(model, lambda w: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"))
    for m in model.modules():
        if isinstance(m, Block):
            m.memory_efficient = memory_efficient
            if zero_init_residual:
                init.zeros_(m.last_norm.weight)
    return model


N50, N101 = (3, 4, 6, 3), (3, 4, 23, 3)              # the blocks of ResNet-50 and ResNet-101
register_family(resnet, {
    "resnet18": {"block": BasicBlock, "layers": (2, 2, 2, 2)},                                      # 11 689 512
    "resnet34": {"block": BasicBlock, "layers": N50},                                             # 21 797 672
    "resnet50": {"block": Bottleneck, "layers": N50},                                             # 25 557 032
    "resnet101": {"block": Bottleneck, "layers": N101},                                             # 44 549 160
    "resnet152": {"block": Bottleneck, "layers": (3, 8, 36, 3)},                                    # 60 192 808
}, PAPER, 2015, IMAGE, {"default": DEFAULT, "paper": imagenet()})
register_family(resnet, {
    "resnext50_32x4d": {"block": Bottleneck, "layers": N50, "groups": 32, "width_per_group": 4},  # 25 028 904
    "resnext101_32x8d": {"block": Bottleneck, "layers": N101, "groups": 32, "width_per_group": 8},  # 88 791 336
    "resnext101_64x4d": {"block": Bottleneck, "layers": N101, "groups": 64, "width_per_group": 4},  # 83 455 272
}, RESNEXT, 2016, IMAGE, {"default": DEFAULT, "paper": imagenet()})
register_family(resnet, {
    "wide_resnet50_2": {"block": Bottleneck, "layers": N50, "width_per_group": 128},              # 68 883 240
    "wide_resnet101_2": {"block": Bottleneck, "layers": N101, "width_per_group": 128},              # 126 886 696
}, WIDE, 2016, IMAGE, {"default": DEFAULT, "paper": imagenet()})
# The ResNeXts of section 5.3, for CIFAR: three layers of three blocks.
register_family(resnet, {
    f"resnext29_{groups}x64d_cifar": {"block": Bottleneck, "layers": (3, 3, 3), "groups": groups, "small_stem": True,
                                      "num_classes": 10} for groups in (8, 16)      # 34 426 698, 68 155 210
}, RESNEXT, 2016, SMALL, {"default": DEFAULT, "paper": cifar(weight_decay=5e-4, epochs=300)})
