"""Rows of ops/loss.py and ops/margin.py.  Weights of classes are no differentiable inputs: tests/test_losses.py."""
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
    case("cosine_similarity", (2, 3), (2, 3)),
    case("cosine_similarity", (2, 3, 2), (3, 1), dim=-2),
    case("pairwise_distance", (2, 3), (2, 3)),
    case("pairwise_distance", (2, 3), (3,), p=3.0, keepdim=True),
    case("triplet_margin_loss", (2, 3), (2, 3), (2, 3), margin=4.0),
    case("triplet_margin_loss", (3, 2), (3, 2), (3, 2), margin=4.0, p=3.0, swap=True, reduction="none"),
    case("cosine_embedding_loss", (3, 2), (3, 2), np.array([1, -1, 1]), margin=-0.9),
    case("hinge_embedding_loss", (2, 3), _SIGNS, reduction="sum"),
    case("margin_ranking_loss", (2, 3), (2, 3), _SIGNS, margin=0.7, reduction="none"),
    case("soft_margin_loss", (2, 3), _SIGNS),
    case("multi_margin_loss", (3, 4), _LABELS, reduction="none"),
    case("multi_margin_loss", (3, 4), _LABELS, p=2, margin=0.6),
    case("multilabel_margin_loss", (2, 4), np.array([[3, 0, -1, 2], [1, -1, 1, 3]]), reduction="none"),
    case("multilabel_soft_margin_loss", (2, 3), unit(2, 3)),
    case("gaussian_nll_loss", (2, 3), (2, 3), positive(2, 1), full=True),
    case("gaussian_nll_loss", (2, 3), (2, 3), positive(2, 3), reduction="sum"),
    case("gaussian_nll_loss", (2, 3), (2, 3), positive(2), reduction="none"),
    case("poisson_nll_loss", (2, 3), positive(2, 3)),
    case("poisson_nll_loss", positive(2, 3), positive(2, 3), log_input=False, full=True),
]
