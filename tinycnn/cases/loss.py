"""Rows of ops/loss.py.  Weights of classes are no differentiable inputs: tests/test_losses.py."""
import numpy as np

from . import case, positive, unit

_LABELS = np.array([2, 0, 3])
_IMAGE = np.array([[[0, 2], [1, 1]], [[2, 1], [0, 0]]])
_SIGNS = np.array([[1, -1, 1], [-1, 1, -1]])

CASES = [
    case("cross_entropy_rows", (3, 4), _LABELS, None, 0, 0.2),
    case("cross_entropy", (3, 4), _LABELS),
    case("cross_entropy", (3, 4), _LABELS, reduction="none", label_smoothing=0.1),
    case("cross_entropy", (3, 4), _LABELS, reduction="sum", ignore_index=0),
    case("cross_entropy", (3, 4), _LABELS, ignore_index=0, label_smoothing=0.3),
    case("cross_entropy", (2, 3, 2, 2), _IMAGE),
    case("cross_entropy", (4,), np.array(1)),
    case("cross_entropy", (3, 4), positive(3, 4)),
    case("cross_entropy", (2, 3, 2), positive(2, 3, 2), reduction="none", label_smoothing=0.1),
    case("nll_loss", (3, 4), _LABELS),
    case("nll_loss", (3, 4), _LABELS, reduction="none", ignore_index=3),
    case("nll_loss", (2, 3, 2, 2), _IMAGE, reduction="sum"),
    case("mse_loss", (2, 3), (2, 3)),
    case("mse_loss", (2, 3), (2, 3), reduction="none"),
    case("l1_loss", (2, 3), (2, 3), reduction="sum"),
    case("huber_loss", (2, 3), (2, 3), delta=0.8),
    case("smooth_l1_loss", (2, 3), (2, 3)),
    case("smooth_l1_loss", (2, 3), (2, 3), reduction="none", beta=0.0),
    case("log_likelihood", unit(2, 3), unit(2, 3)),
    case("binary_cross_entropy", unit(2, 3), unit(2, 3)),
    case("binary_cross_entropy_with_logits", (2, 3), unit(2, 3), reduction="none"),
    case("kl_div", (2, 3), positive(2, 3), reduction="batchmean"),
    case("kl_div", (2, 3), (2, 3), log_target=True, reduction="sum"),
]
