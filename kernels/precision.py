"""How exactly float32 matrices are multiplied where there are tensor cores; the CPU always computes in float32.

    "highest"   as float32 does
    "high"      factors rounded to tf32: 10 bits of fraction, float32's range
    "medium"    factors rounded to bfloat16: 7 bits of fraction, float32's range

Sums are float32 in all.
"""
from __future__ import annotations

PRECISIONS = ("highest", "high", "medium")
_chosen = PRECISIONS[0]


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
