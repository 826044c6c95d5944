"""Rows of ops/pool.py."""
import numpy as np

from ..backend import window
from . import apart, case, positive

_WIN = window((5, 4), (3, 2), (2, 1), (1, 0))                             # 5x4 -> 3x3
_MEAN = {"win": _WIN, "count_include_pad": True, "divisor_override": None, "pad_after": (1, 0)}
_PLACES = np.array([[[[0, 3], [5, 5]], [[1, 2], [7, 0]]]])                # of 2x4 pixels, one twice

CASES = [
    case("pick_pooled", (1, 2, 2, 4), _PLACES),
    case("place_pooled", (1, 2, 2, 2), _PLACES, size=(2, 4)),
    case("mean_windows", (2, 2, 5, 4), **_MEAN),
    case("spread_windows", (2, 2, 3, 3), **_MEAN),
    case("mean_bins", (1, 2, 5, 4), output_size=(3, 6)),
    case("spread_bins", (1, 2, 3, 6), size=(5, 4)),
    case("max_pool2d", apart(2, 2, 4, 6), kernel_size=2),
    case("max_pool2d", apart(1, 2, 7, 5), kernel_size=(3, 2), stride=(2, 1), padding=(1, 0)),
    case("max_pool2d", apart(1, 2, 7, 6), kernel_size=3, stride=2, padding=1, ceil_mode=True),
    case("max_pool2d", apart(1, 1, 8, 7), kernel_size=(3, 2), stride=1, dilation=(2, 3)),
    case("max_pool2d", apart(2, 5, 4), kernel_size=3, stride=1, return_indices=True),
    case("max_pool1d", apart(2, 3, 7), kernel_size=3, stride=2, padding=1, ceil_mode=True, return_indices=True),
    case("max_pool1d", apart(3, 8), kernel_size=2, dilation=3),
    case("avg_pool2d", (2, 3, 6, 4), kernel_size=2),
    case("avg_pool2d", (1, 2, 7, 5), kernel_size=(3, 2), stride=(2, 1), padding=(1, 0)),
    case("avg_pool2d", (1, 2, 6, 7), kernel_size=3, stride=2, padding=1, ceil_mode=True),
    case("avg_pool2d", (1, 2, 6, 7), kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
    case("avg_pool2d", (2, 5, 4), kernel_size=(2, 3), stride=1, divisor_override=5),
    case("avg_pool1d", (2, 3, 7), kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
    case("avg_pool1d", (3, 8), kernel_size=2),
    case("adaptive_avg_pool2d", (2, 3, 5, 7), output_size=1),
    case("adaptive_avg_pool2d", (1, 2, 7, 5), output_size=(3, None)),
    case("adaptive_avg_pool2d", (2, 4, 3), output_size=(6, 2)),           # larger than the image
    case("adaptive_avg_pool1d", (2, 3, 7), output_size=3),
    case("adaptive_max_pool2d", apart(1, 2, 5, 6), output_size=(2, 4), return_indices=True),
    case("adaptive_max_pool2d", apart(2, 5, 4), output_size=(None, 3)),
    case("adaptive_max_pool2d", apart(1, 2, 6, 4), output_size=(2, 4)),  # bins of equal size
    case("adaptive_max_pool1d", apart(2, 3, 7), output_size=4),
    case("max_unpool2d", (1, 2, 2, 2), np.array([[[[0, 3], [8, 11]], [[5, 2], [13, 10]]]]), kernel_size=2),
    case("max_unpool2d", (1, 1, 2), np.array([[[4, 3]]]), kernel_size=2, output_size=(3, 4)),
    case("max_unpool1d", (1, 2, 2), np.array([[[0, 3], [1, 2]]]), kernel_size=2),
    case("lp_pool2d", positive(2, 2, 5, 4), norm_type=2, kernel_size=(2, 3)),
    case("lp_pool2d", apart(1, 2, 4, 4), norm_type=float("inf"), kernel_size=2, stride=1),
    case("lp_pool1d", positive(2, 3, 7), norm_type=3.0, kernel_size=3, stride=2, ceil_mode=True),
]
