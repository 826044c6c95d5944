"""Rows of ops/conv.py and ops/linear.py."""
import numpy as np

from ..backend import window
from . import case

_WIN = window((5, 4), (3, 2), (2, 1), (1, 0), (1, 2))                     # 5x4 -> 3x2, asymmetric in everything
_GROUPED = {"win": _WIN, "groups": 2}
_ROWS = np.array([[0, 2, 2], [1, 0, 2]])

CASES = [
    case("conv2d_output", (2, 4, 5, 4), (6, 2, 3, 2), (6,), **_GROUPED),
    case("conv2d_input", (2, 6, 3, 2), (6, 2, 3, 2), **_GROUPED),
    case("conv2d_weight", (2, 4, 5, 4), (2, 6, 3, 2), **_GROUPED),
    case("conv2d", (2, 3, 5, 4), (4, 3, 3, 2), (4,)),
    case("conv2d", (2, 3, 6, 5), (2, 3, 3, 3), stride=(2, 1), padding=(1, 2)),
    case("conv2d", (1, 2, 7, 6), (3, 2, 3, 2), (3,), padding=(2, 1), dilation=(2, 3)),
    case("conv2d", (1, 4, 4, 3), (6, 2, 3, 3), padding=1, groups=2),
    case("conv2d", (1, 3, 5, 4), (6, 1, 3, 3), (6,), stride=2, padding=1, groups=3),      # depthwise, 2 a channel
    case("conv2d", (2, 3, 4, 5), (4, 3, 1, 1)),
    case("conv2d", (2, 3, 4, 5), (4, 3, 1, 1), stride=2),
    case("conv2d", (3, 5, 4), (2, 3, 3, 2), (2,)),
    case("conv2d", (2, 2, 5, 4), (3, 2, 2, 3), padding="same"),
    case("conv2d", (1, 2, 5, 6), (3, 2, 4, 2), (3,), padding="same", dilation=(1, 2)),
    case("conv2d", (1, 2, 5, 4), (3, 2, 2, 3), padding="valid"),
    case("conv2d", (2, 1, 7, 2), (2, 1, 3, 1), stride=(3, 1)),                            # stride leaves a rest
    case("conv2d", (0, 2, 4, 4), (3, 2, 3, 3), (3,)),                                     # empty batch
    case("conv2d_relu_output", (2, 4, 5, 4), (6, 2, 3, 2), (6,), (2, 6, 3, 2), **_GROUPED),
    case("conv2d_relu", (2, 3, 5, 4), (4, 3, 3, 2), (4,)),
    case("conv2d_relu", (2, 3, 6, 5), (2, 3, 3, 3), stride=(2, 1), padding=1),
    case("conv2d_relu", (4, 4, 3), (6, 2, 3, 3), (6,), 1, 1, 1, 2, (6, 4, 3)),
    case("conv2d_relu", (2, 3, 4, 5), (4, 3, 1, 1), None, 1, 0, 1, 1, (4, 1, 5)),         # a residual that is broadcast
    case("conv1d", (2, 3, 7), (4, 3, 3), (4,), stride=2, padding=1),
    case("conv1d", (2, 4, 6), (4, 2, 2), padding="same", groups=2),
    case("conv1d", (2, 6), (3, 2, 3), dilation=2),
    case("conv_transpose2d", (2, 3, 3, 2), (3, 2, 3, 2), (2,)),
    case("conv_transpose2d", (1, 4, 3, 2), (4, 1, 3, 3), (2,), stride=(2, 3), padding=(1, 0), output_padding=(1, 2),
         groups=2),
    case("conv_transpose2d", (2, 3, 2), (2, 3, 2, 2), dilation=(2, 3), output_padding=1),
    case("conv_transpose1d", (2, 3, 4), (3, 2, 3), (2,), stride=2, padding=1, output_padding=1),
    case("conv_transpose1d", (2, 4), (2, 1, 3), groups=2),
    case("affine", (3, 4), (5, 4), (5,)),
    case("linear", (3, 4), (5, 4), (5,)),
    case("linear", (2, 3, 4), (5, 4)),
    case("linear", (4,), (5, 4), (5,)),
    case("linear", (2, 3, 4), (4,), ()),
    case("linear", (0, 4), (5, 4), (5,)),
    case("bilinear", (3, 2), (3, 4), (5, 2, 4), (5,)),
    case("bilinear", (2, 3, 2), (2, 3, 4), (5, 2, 4)),
    case("scaled_gradient", (2, 3), factor=1.0),
    case("embedding", _ROWS, (3, 4)),
    case("embedding", _ROWS, (3, 4), grads=0, padding_idx=-1),            # its gradient is not the derivative
]
