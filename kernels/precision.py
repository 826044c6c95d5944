"""How exactly float32 is computed with.

Matrices, where there are tensor cores (the CPU always multiplies in float32):

    "highest"   as float32 does
    "high"      factors rounded to tf32: 10 bits of fraction, float32's range
    "medium"    factors rounded to bfloat16: 7 bits of fraction, float32's range

Sums are float32 in all.  Convolutions on the CPU:

    "high"      Winograd's F(4x4, 3x3) and F(2x2, 5x5) where they are fastest: errors up to 2e-5 of the largest result
    "highest"   without them: up to 3e-6
"""
from __future__ import annotations

PRECISIONS = ("highest", "high", "medium")
_chosen, _conv = "highest", "high"


def set_float32_matmul_precision(precision: str) -> None:
    """Choose how exactly matrix products and convolutions of float32 are computed on GPUs, in all threads.

    Raises ValueError unless it is "highest" (the default), "high" or "medium".  As torch.set_float32_matmul_precision,
    but for convolutions, too.
    """
    global _chosen
    if precision not in PRECISIONS:
        raise ValueError(f"set_float32_matmul_precision: expected one of {', '.join(map(repr, PRECISIONS))}, got "
                         f"{precision!r}")
    _chosen = precision


def get_float32_matmul_precision() -> str:
    """"highest", "high" or "medium".  As torch.get_float32_matmul_precision."""
    return _chosen


def set_float32_conv_precision(precision: str) -> None:
    """Choose how exactly convolutions of float32 are computed on CPUs, in all threads.

    "high" (the default) takes the fastest algorithm: errors up to 2e-5 of the largest result.  "highest" leaves out
    Winograd's F(4x4, 3x3) and F(2x2, 5x5): up to 3e-6, about 1.3 times slower.  Raises ValueError for anything else.
    """
    global _conv
    if precision not in PRECISIONS[:2]:
        raise ValueError(f'set_float32_conv_precision: expected "highest" or "high", got {precision!r}')
    _conv = precision


def get_float32_conv_precision() -> str:
    """"highest" or "high"."""
    return _conv
