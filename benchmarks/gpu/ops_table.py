"""Which kernels are timed on which shapes, by stage "ops" (ops.py) and by PyTorch (ops_torch.py) alike."""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

CONVOLUTIONS = [                      # label, N, C, H, O, K, stride, padding, groups
    ("3x3 64@56", 256, 64, 56, 64, 3, 1, 1, 1),                      # ResNet-50
    ("3x3 128@28", 256, 128, 28, 128, 3, 1, 1, 1),
    ("3x3 256@14", 256, 256, 14, 256, 3, 1, 1, 1),
    ("3x3 512@7", 256, 512, 7, 512, 3, 1, 1, 1),
    ("3x3 s2 128@56", 256, 128, 56, 128, 3, 2, 1, 1),
    ("1x1 64-256@56", 256, 64, 56, 256, 1, 1, 0, 1),
    ("1x1 1024-256@14", 256, 1024, 14, 256, 1, 1, 0, 1),
    ("1x1 s2 512-1024@28", 256, 512, 28, 1024, 1, 2, 0, 1),
    ("7x7 s2 3-64@224", 256, 3, 224, 64, 7, 2, 3, 1),
    ("3x3 128-256@56", 64, 128, 56, 256, 3, 1, 1, 1),                # VGG
    ("3x3 g32 128@56", 128, 128, 56, 128, 3, 1, 1, 32),              # ResNeXt-50
    ("3x3 g32 512@14", 128, 512, 14, 512, 3, 1, 1, 32),
    ("dw7x7 96@56", 128, 96, 56, 96, 7, 1, 3, 96),                   # ConvNeXt
    ("dw7x7 384@14", 128, 384, 14, 384, 7, 1, 3, 384),
]
PASSES = ("conv2d", "conv2d_input", "conv2d_weight")
MAPS = {                              # kernel: how often it moves the map (its input) at least; 3x3 s2 makes a quarter
    "batch_norm": 3, "batch_norm_eval": 2, "batch_norm_relu": 4, "batch_norm_relu_backward": 8, "relu": 2,
    "relu_backward": 3, "max_pool2d": 1 + 1 / 4, "max_pool2d_backward": 1 + 1 / 4, "avg_pool2d": 1 + 1 / 4,
    "adaptive_avg_pool2d": 1, "group_norm": 3, "dropout": 2,
}
ROWS = {"layer_norm": 2, "softmax": 2, "cross_entropy": 2, "cross_entropy_backward": 2}
UPDATES = {"sgd_update": 5, "adam_update": 7}
MAP, ROW, UPDATE = (128, 64, 112), (32_768, 1000), (160, 160_000)      # N C H; rows and columns; arrays and their sizes
SIZES = {"highest": 4, "high": 4, "bfloat16": 2}
INDEX = 8                                                              # bytes of a max-pooling's index


class Op(NamedTuple):
    """A kernel on a shape: its name, what it computes on, float32's precision or bfloat16, and its least work."""

    label: str
    kernel: str
    shape: tuple[int, ...]
    mode: str
    last: bool
    flops: float
    bytes: float

    @property
    def item(self) -> str:
        """The name of its row."""
        return f"{self.label} {self.mode}{' channels-last' * self.last}"


def table(tiny: bool = False) -> Iterator[Op]:
    """Everything, what matters most first.  tiny: a few small shapes."""
    yield from _convolutions("high", True, tiny)
    yield from _memory_bound("highest", True, tiny)
    yield from _convolutions("bfloat16", True, tiny)
    yield from _memory_bound("bfloat16", True, tiny)
    yield from _convolutions("highest", True, tiny)
    yield from _convolutions("high", False, tiny)
    yield from _memory_bound("highest", False, tiny)


def _convolutions(mode, last, tiny):
    chosen = [_small(row) for row in CONVOLUTIONS if row[0] in ("3x3 64@56", "1x1 64-256@56", "3x3 g32 128@56",
                                                                "dw7x7 96@56")] if tiny else CONVOLUTIONS
    for label, *shape in chosen:
        N, C, H, O, K, S, P, G = shape
        OH = (H + 2 * P - K) // S + 1
        outputs, weights = N * O * OH * OH, O * C // G * K * K
        for kernel in PASSES:
            yield Op(f"{kernel} {label}", kernel, tuple(shape), mode, last, 2.0 * outputs * K * K * C // G,
                     SIZES[mode] * float(N * C * H * H + weights + outputs))


def _small(row):
    label, N, C, H, O, K, S, P, G = row
    groups = 1 if G == 1 else 8 if G == C else 2
    return label, 1, 8, 8, 8, K, S, P, groups


def _memory_bound(mode, last, tiny):
    (N, C, H), (M, D), (arrays, size) = ((2, 8, 6), (4, 40), (3, 50)) if tiny else (MAP, ROW, UPDATE)
    narrow = mode == "bfloat16"
    for kernel, moved in MAPS.items():
        if not (narrow and kernel in ("dropout", "group_norm")):       # computed in float32 copies
            extra = INDEX * N * C * H * H / 4 if kernel.startswith("max_pool2d") else 0
            yield Op(kernel, kernel, (N, C, H), mode, last, 0.0, SIZES[mode] * moved * N * C * H * H + extra)
    if last and not narrow:                                            # these have but one layout
        for kernel, moved in ROWS.items():
            yield Op(kernel, kernel, (M, D), mode, last, 0.0, 4.0 * moved * M * D)
        for kernel, moved in UPDATES.items():
            yield Op(kernel, kernel, (arrays, size), mode, last, 0.0, 4.0 * moved * arrays * size)
