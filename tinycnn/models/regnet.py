"""AnyNet and RegNet: a family of nets, and the line through its widths that good ones lie on.

Radosavovic et al., Designing Network Design Spaces, CVPR 2020 (arXiv:2003.13678), figures 3 and 4, section 3; Zhang
et al., Dive into Deep Learning, section 8.8 (the book's).

    part            output              AnyNet
    stem            w0 x 112 x 112      3x3, stride 2, norm, ReLU
    block1          w1 x 56 x 56        d1 blocks of width w1, the first with stride 2
    block2          w2 x 28 x 28        d2
    block3          w3 x 14 x 14        d3
    block4          w4 x 7 x 7          d4
    head            classes             average, linear

A block is relu(x + 1x1(3x3 in groups of g channels(1x1 to b w channels(x)))); in a RegNetY squeeze and excitation
follows the 3x3.  These are the 17 free parameters of AnyNetX: w0 and, for each block, d, w, b, g.  A RegNet has six:
its j-th block has the width u_j = w_0 + w_a j (equation 2), rounded to a power of w_m times w_0 (equation 3, 4) and
to a multiple of 8; equal widths make a stage.

    regnet         x 200mf   400mf   600mf   800mf   1.6gf   3.2gf   4gf    6.4gf   8gf     12gf    16gf    32gf
    depth          13        22      16      16      18      25      23     17      23      19      22      23
    w_0            24        24      48      56      80      88      96     184     80      168     216     320
    w_a            36.44     24.48   36.97   35.73   34.01   26.31   38.65  60.83   49.56   73.36   55.59   69.86
    w_m            2.49      2.54    2.24    2.28    2.25    2.25    2.43   2.07    2.88    2.37    2.1     2.0
    g              8         16      24      16      24      48      40     56      120     112     128     168
"""
from __future__ import annotations

from collections.abc import Sequence as Row
from itertools import groupby
from math import log, sqrt
from typing import NamedTuple

from ..autograd import Tensor
from ..nn import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Linear,
    Module,
    ReLU,
    Sequential,
    init,
)
from ..nn.fused import then_relu
from .base import ConvNet, initialise
from .blocks import ConvNormActivation, SqueezeExcitation, make_divisible
from .recipes import DEFAULT, book, imagenet
from .registry import register_family
from .resnet import IMAGE

PAPER = "Radosavovic et al. 2020, Designing Network Design Spaces"


class Block(Module):
    """The bottleneck block of figure 4, with squeeze and excitation if se_ratio."""

    def __init__(self, c_in: int, c_out: int, stride: int, group_width: int, bottleneck_multiplier: float,
                 se_ratio: float | None):
        wide = round(c_out * bottleneck_multiplier)
        if wide % group_width:
            raise ValueError(f"regnet block: its 3x3 convolution has {wide} channels, not a multiple of the group "
                             f"width {group_width}: change the width or bottleneck_multiplier")
        self.proj = None
        if stride != 1 or c_in != c_out:
            self.proj = ConvNormActivation(c_in, c_out, 1, stride, activation=None)
        excited = {"se": SqueezeExcitation(wide, round(se_ratio * c_in))} if se_ratio else {}
        self.f = Sequential({"a": ConvNormActivation(c_in, wide, 1),
                             "b": ConvNormActivation(wide, wide, 3, stride, groups=wide // group_width),
                             **excited,
                             "c": ConvNormActivation(wide, c_out, 1, activation=None)})
        self.activation = ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H/stride, W/stride)"""
        return then_relu(self.f, self.activation, x, x if self.proj is None else self.proj(x))


def anynet(depths: Row[int] = (1, 2, 7, 12), widths: Row[int] = (32, 64, 160, 400),
           group_widths: Row[int] | int = 16, bottleneck_multipliers: Row[float] | float = 1.0, stem_width: int = 32,
           strides: Row[int] | int = 2, se_ratio: float | None = None, num_classes: int = 1000,
           in_channels: int = 3) -> Module:
    """A net of the AnyNet space, for images of any size; without arguments it is regnet_x_400mf.

    depths, widths, group_widths, bottleneck_multipliers, strides   of each stage; one number: of all
    stem_width   channels of the stem
    se_ratio     squeeze channels as a share of a block's input; None: no squeeze and excitation

    Raises ValueError for lists of different lengths and widths that group widths do not divide.
    """
    n = len(depths)
    stages = list(zip(depths, widths, *(v if isinstance(v, (list, tuple)) else (v,) * n
                                        for v in (group_widths, bottleneck_multipliers, strides))))
    if len(stages) != n or len(widths) != n:
        raise ValueError(f"anynet: depths={tuple(depths)} and widths={tuple(widths)} must be of one length, and so "
                         "must group_widths, bottleneck_multipliers and strides, unless they are numbers")
    trunk, c = {}, stem_width
    for i, (depth, width, group, bottleneck, stride) in enumerate(stages, 1):
        trunk[f"block{i}"] = Sequential({
            f"block{i}-{k}": Block(width if k else c, width, 1 if k else stride, group, bottleneck, se_ratio)
            for k in range(depth)})
        c = width
    model = ConvNet({"stem": ConvNormActivation(in_channels, stem_width, 3, 2)}, {"trunk_output": Sequential(trunk)},
                    {"avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "fc": Linear(c, num_classes)})
    initialise(model, _by_outputs, lambda w: init.normal_(w, 0.0, 0.01))
    init.zeros_(model.fc.bias)
    return model


def _by_outputs(weight):
    """He et al.'s deviation with all outputs as fan, whatever the groups."""
    init.normal_(weight, 0.0, sqrt(2 / (weight.shape[0] * weight.shape[2] * weight.shape[3])))


class Stages(NamedTuple):
    """What the line through the widths comes to."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    group_widths: tuple[int, ...]


def quantized_linear(depth: int, w_0: int, w_a: float, w_m: float, group_width: int,
                     bottleneck_multiplier: float = 1.0, nearest: bool = False) -> Stages:
    """The stages of a RegNet (equations 2 to 4): a line, rounded.

    Widths then become multiples of the group width: the nearest ones, as the authors' code does it, or as
    torchvision's, which goes up where the nearest lies more than a tenth below (x_400mf, y_800mf, y_8gf differ).

    Raises ValueError for w_0 that is no positive multiple of 8, w_a < 0 or w_m <= 1.

    >>> quantized_linear(22, 24, 24.48, 2.54, 16)
    Stages(depths=(1, 2, 7, 12), widths=(32, 64, 160, 400), group_widths=(16, 16, 16, 16))
    """
    if w_0 <= 0 or w_0 % 8 or w_a < 0 or w_m <= 1:
        raise ValueError(f"regnet: w_0={w_0} must be a positive multiple of 8, w_a={w_a} at least 0 and w_m={w_m} "
                         "above 1")
    line = [w_0 + w_a * j for j in range(depth)]                                         # u_j
    powers = [round(log(u / w_0) / log(w_m)) for u in line]                              # s_j
    rounded = [8 * round(w_0 * w_m ** s / 8) for s in powers]                            # w_j
    widths, depths = zip(*((w, len(list(same))) for w, same in groupby(rounded)))
    groups = [min(group_width, int(w * bottleneck_multiplier)) for w in widths]
    fit = round_to if nearest else make_divisible
    fitting = [fit(int(w * bottleneck_multiplier), g) for w, g in zip(widths, groups)]
    return Stages(depths, tuple(int(w / bottleneck_multiplier) for w in fitting), tuple(groups))


def round_to(v: int, divisor: int) -> int:
    """The multiple of divisor nearest to v."""
    return divisor * round(v / divisor)


def regnet(depth: int, w_0: int, w_a: float, w_m: float, group_width: int, bottleneck_multiplier: float = 1.0,
           se_ratio: float | None = None, stem_width: int = 32, num_classes: int = 1000, in_channels: int = 3,
           nearest: bool = False) -> Module:
    """torchvision's RegNet of a column of the table, for images of any size.  RegNetY: se_ratio 0.25.

    The 4gf nets, which torchvision has not, are rounded as the authors' (nearest, see quantized_linear).
    """
    stages = quantized_linear(depth, w_0, w_a, w_m, group_width, bottleneck_multiplier, nearest)
    return anynet(*stages, bottleneck_multiplier, stem_width, 2, se_ratio, num_classes, in_channels)


class BookBlock(Module):
    """The book's ResNeXt block (its figure 8.6.5): groups of `group_width` channels, and biases everywhere."""

    def __init__(self, c_in: int, c_out: int, group_width: int, bot_mul: float, stride: int):
        wide = round(c_out * bot_mul)
        self.conv1 = Conv2d(c_in, wide, 1)
        self.conv2 = Conv2d(wide, wide, 3, stride, 1, groups=wide // group_width)
        self.conv3 = Conv2d(wide, c_out, 1)
        self.bn1, self.bn2, self.bn3 = BatchNorm2d(wide), BatchNorm2d(wide), BatchNorm2d(c_out)
        self.conv4 = Conv2d(c_in, c_out, 1, stride) if stride != 1 else None
        self.bn4 = BatchNorm2d(c_out) if stride != 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) -> (N, c_out, H/stride, W/stride)"""
        y = then_relu(self.bn1, None, self.conv1(x))
        y = self.conv3(then_relu(self.bn2, None, self.conv2(y)))
        return then_relu(self.bn3, None, y, x if self.conv4 is None else self.bn4(self.conv4(x)))


def anynet_d2l(arch: Row[tuple] = ((4, 32, 16, 1), (6, 80, 16, 1)), stem_channels: int = 32, num_classes: int = 10,
               in_channels: int = 1, xavier_init: bool = False) -> Module:
    """The book's AnyNet; arch: (depth, channels, group width, bottleneck multiplier) of each stage.

    What the book calls `groups` is the width of a group, as in RegNetX32's 16.  xavier_init: as the book means it;
    see alexnet_d2l for why its second edition trains without.
    """
    stem = Sequential(Conv2d(in_channels, stem_channels, 3, 2, 1), BatchNorm2d(stem_channels), ReLU())
    body, c = {}, stem_channels
    for i, (depth, channels, group_width, bot_mul) in enumerate(arch, 1):
        body[f"stage{i}"] = Sequential(*(BookBlock(channels if k else c, channels, group_width, bot_mul, 1 if k else 2)
                                         for k in range(depth)))
        c = channels
    head = {"head": Sequential(AdaptiveAvgPool2d(1), Flatten(), Linear(c, num_classes))}
    model = ConvNet({"0": stem}, body, head)
    return initialise(model, init.xavier_uniform_, init.xavier_uniform_) if xavier_init else model


def _rows(letter, columns, se_ratio):
    """The table's columns by name."""
    keys = ("depth", "w_0", "w_a", "w_m", "group_width")
    return {f"regnet_{letter}_{size}": {**dict(zip(keys, column)), "se_ratio": se_ratio, "nearest": size == "4gf"}
            for size, column in columns.items()}


X = {
    "200mf": (13, 24, 36.44, 2.49, 8), "400mf": (22, 24, 24.48, 2.54, 16), "600mf": (16, 48, 36.97, 2.24, 24),
    "800mf": (16, 56, 35.73, 2.28, 16), "1_6gf": (18, 80, 34.01, 2.25, 24), "3_2gf": (25, 88, 26.31, 2.25, 48),
    "4gf": (23, 96, 38.65, 2.43, 40), "6_4gf": (17, 184, 60.83, 2.07, 56), "8gf": (23, 80, 49.56, 2.88, 120),
    "12gf": (19, 168, 73.36, 2.37, 112), "16gf": (22, 216, 55.59, 2.1, 128), "32gf": (23, 320, 69.86, 2.0, 168),
}
Y = {
    "200mf": (13, 24, 36.44, 2.49, 8), "400mf": (16, 48, 27.89, 2.09, 8), "600mf": (15, 48, 32.54, 2.32, 16),
    "800mf": (14, 56, 38.84, 2.4, 16), "1_6gf": (27, 48, 20.71, 2.65, 24), "3_2gf": (21, 80, 42.63, 2.66, 24),
    "4gf": (22, 96, 31.41, 2.24, 64), "6_4gf": (25, 112, 33.22, 2.27, 72), "8gf": (17, 192, 76.82, 2.19, 56),
    "12gf": (19, 168, 73.36, 2.37, 112), "16gf": (18, 200, 106.23, 2.48, 112), "32gf": (20, 232, 115.89, 2.53, 232),
    "128gf": (27, 456, 160.83, 2.52, 264),
}
PUBLISHED = {"default": DEFAULT, "paper": imagenet(0.8, weight_decay=5e-5, batch_size=1024, epochs=100,
                                                   schedule="cosine", warmup_epochs=5.0)}
register_family(regnet, {**_rows("x", X, None), **_rows("y", Y, 0.25)}, PAPER, 2020, IMAGE, PUBLISHED)
register_family(anynet, {"anynet": {}}, PAPER, 2020, IMAGE, PUBLISHED)
register_family(anynet_d2l, {"regnetx32_d2l": {}}, PAPER, 2020, (1, 1, 96, 96),        # 179 290
                {"default": DEFAULT, "book": book(0.05, 96)})
