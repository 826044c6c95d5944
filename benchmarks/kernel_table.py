"""Which kernels are timed, on which shapes, and what they cannot do without: the rows of benchmarks.kernels."""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tinycnn.backend import window


class Kernel(NamedTuple):
    """A method of benchmarks.kernel_calls with its arguments; FLOPs, and bytes read and written, each once."""
    name: str
    method: str
    args: tuple
    flops: int
    bytes: int


CONVOLUTIONS = (                      # label, N, C, H, O, K, stride, padding, groups
    ("3x3 64@56", 8, 64, 56, 64, 3, 1, 1, 1),
    ("3x3 128@28", 8, 128, 28, 128, 3, 1, 1, 1),
    ("3x3 256@14", 8, 256, 14, 256, 3, 1, 1, 1),
    ("3x3 512@7", 8, 512, 7, 512, 3, 1, 1, 1),
    ("3x3 64@24 b32", 32, 64, 24, 64, 3, 1, 1, 1),
    ("3x3 512@3 b32", 32, 512, 3, 512, 3, 1, 1, 1),
    ("3x3 s2 64-128@56", 8, 64, 56, 128, 3, 2, 1, 1),
    ("3x3 32@112", 8, 32, 112, 32, 3, 1, 1, 1),
    ("1x1 256-64@56", 8, 256, 56, 64, 1, 1, 0, 1),
    ("1x1 64-256@56", 8, 64, 56, 256, 1, 1, 0, 1),
    ("1x1 1024-512@14", 8, 1024, 14, 512, 1, 1, 0, 1),
    ("7x7 s2 3-64@224", 8, 3, 224, 64, 7, 2, 3, 1),
    ("11x11 s4 1-96@224 b16", 16, 1, 224, 96, 11, 4, 1, 1),
    ("5x5 1-6@28 b256", 256, 1, 28, 6, 5, 1, 2, 1),
    ("5x5 96-256@26 b16", 16, 96, 26, 256, 5, 1, 2, 1),
    ("3x3 g32 128@24", 8, 128, 24, 128, 3, 1, 1, 32),
    ("3x3 g32 128@56", 8, 128, 56, 128, 3, 1, 1, 32),
    ("3x3 g32 256@12", 8, 256, 12, 256, 3, 1, 1, 32),
    ("3x3 g32 512@6", 8, 512, 6, 512, 3, 1, 1, 32),
    ("3x3 g10 160@12 b16", 16, 160, 12, 160, 3, 1, 1, 10),
    ("dw7x7 96@24", 8, 96, 24, 96, 7, 1, 3, 96),
    ("dw7x7 384@6", 8, 384, 6, 384, 7, 1, 3, 384),
    ("dw3x3 96@56", 8, 96, 56, 96, 3, 1, 1, 96),
)
LINEAR = ((16, 6400, 4096), (16, 4096, 4096), (256, 400, 120), (4608, 96, 384), (4608, 384, 96), (1024, 1024, 1024))
MAPS = (("64@56", (8, 64, 56, 56)), ("64@112", (8, 64, 112, 112)))
MAX_POOLS = (                         # label, shape, K, stride, padding
    ("3x3 s2 64@56", (8, 64, 56, 56), 3, 2, 1),
    ("3x3 s2 64@112", (8, 64, 112, 112), 3, 2, 1),
    ("3x3 s1 480@12 b16", (16, 480, 12, 12), 3, 1, 1),
    ("2x2 s2 64@112", (8, 64, 112, 112), 2, 2, 0),
)
PARAMETERS = 11_500_000


def kernels() -> Iterator[Kernel]:
    """All rows."""
    yield from _convolutions()
    yield from _linear()
    yield from _pools()
    yield from _norms()
    yield from _activations()
    yield from _losses_and_optimizers()


def _convolutions():
    for label, N, C, H, O, K, S, P, G in CONVOLUTIONS:
        out = window((H, H), K, S, P).OH ** 2 * N * O
        flops, size = 2 * out * K * K * C // G, 4 * (N * C * H * H + O * C // G * K * K + out)
        for method in ("conv2d", "conv2d_input", "conv2d_weight"):
            if C > 3 or method != "conv2d_input":    # nobody asks for an image's gradient
                yield Kernel(f"{method} {label}", method, (N, C, H, O, K, S, P, G), flops, size)


def _linear():
    for M, K, N in LINEAR:
        flops, size = 2 * M * K * N, 4 * (M * K + K * N + M * N)
        for method in ("linear", "linear_input", "linear_weight"):
            yield Kernel(f"{method} {M}x{K}-{N}", method, (M, K, N), flops, size)


def _pools():
    for label, (N, C, H, W), K, S, P in MAX_POOLS:
        before, after = 4 * N * C * H * W, 5 * N * C * window((H, W), K, S, P).OH ** 2       # a byte for an index
        yield Kernel(f"max_pool2d {label}", "max_pool2d", ((N, C, H, W), K, S, P), 0, before + after)
        yield Kernel(f"max_pool2d_backward {label}", "max_pool2d_backward", ((N, C, H, W), K, S, P), 0, before + after)
    for label, shape in (("6@28 b256", (256, 6, 28, 28)), ("128@24", (8, 128, 24, 24))):
        size = 5 * _count(shape)                     # 4 bytes, and a quarter of it again
        yield Kernel(f"avg_pool2d 2x2 {label}", "avg_pool2d", (shape,), 0, size)
        yield Kernel(f"avg_pool2d_backward 2x2 {label}", "avg_pool2d_backward", (shape,), 0, size)
    shape = (8, 512, 7, 7)
    yield Kernel("adaptive_avg_pool2d 512@7", "adaptive_avg_pool2d", (shape,), 0, 4 * _count(shape))
    yield Kernel("adaptive_avg_pool2d_backward 512@7", "adaptive_avg_pool2d_backward", (shape,), 0, 4 * _count(shape))


def _norms():
    for label, shape in MAPS:
        n = 4 * _count(shape)
        # Statistics must be known before the first result: what is read twice counts twice.
        for method, maps in (("batch_norm", 3), ("batch_norm_relu", 3), ("batch_norm_add_relu", 4),
                             ("batch_norm_eval", 2), ("batch_norm_backward", 5), ("batch_norm_relu_backward", 5),
                             ("batch_norm_add_relu_backward", 6)):
            yield Kernel(f"{method} {label}", method, (shape,), 0, maps * n)
    for M, D in ((4608, 96), (288, 384)):
        yield Kernel(f"layer_norm {M}x{D}", "layer_norm", (M, D), 0, 2 * 4 * M * D)
        yield Kernel(f"layer_norm_backward {M}x{D}", "layer_norm_backward", (M, D), 0, 3 * 4 * M * D)
    label, shape = MAPS[0]
    yield Kernel(f"group_norm 32 {label}", "group_norm", (shape,), 0, 3 * 4 * _count(shape))
    yield Kernel(f"group_norm_backward 32 {label}", "group_norm_backward", (shape,), 0, 5 * 4 * _count(shape))


def _activations():
    for method, label, shape in (("relu", *MAPS[0]), ("gelu", "384@24", (8, 384, 24, 24)),
                                 ("sigmoid", "6@28 b256", (256, 6, 28, 28)), ("tanh", "6@28 b256", (256, 6, 28, 28))):
        yield Kernel(f"{method} {label}", method, (shape,), 0, 2 * 4 * _count(shape))
        yield Kernel(f"{method}_backward {label}", f"{method}_backward", (shape,), 0, 3 * 4 * _count(shape))
    yield Kernel(f"dropout {label}", "dropout", (shape,), 0, 2 * 4 * _count(shape))


def _losses_and_optimizers():
    M, C = 256, 1000
    for method in ("softmax", "log_softmax", "cross_entropy", "cross_entropy_backward"):
        yield Kernel(f"{method} {M}x{C}", method, (M, C), 0, 2 * 4 * M * C)
    for method, arrays in (("sgd_update", 5), ("adam_update", 7)):
        yield Kernel(f"{method} 11.5M in 130", method, (), 0, arrays * 4 * PARAMETERS)


def _count(shape):
    N, C, H, W = shape
    return N * C * H * W


def parameter_shapes() -> list[tuple[int, ...]]:
    """Of the optimizers' rows: few large and many small arrays, as a ResNet has them; PARAMETERS numbers."""
    large = [(512, 512, 3, 3)] * 4 + [(256, 256, 3, 3)] * 3
    rest = PARAMETERS - sum(a * b * c * d for a, b, c, d in large)
    return large + [(512,)] * 122 + [(rest - 122 * 512,)]
