"""Losses: each applies the function of functional.py of the same name to (input, target) or (input1, input2, target).

reduction is "mean", "sum" or "none" everywhere.
"""
from __future__ import annotations

from typing import Any

from .. import functional as F
from .base import Layer

__all__ = ["BCELoss", "BCEWithLogitsLoss", "CosineEmbeddingLoss", "CosineSimilarity", "CrossEntropyLoss",
           "GaussianNLLLoss", "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "MarginRankingLoss",
           "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss", "NLLLoss", "PairwiseDistance",
           "PoissonNLLLoss", "SmoothL1Loss", "SoftMarginLoss", "TripletMarginLoss"]


class _Loss(Layer):
    """A loss; weights of classes are buffers, so that they move with the module and are saved."""

    shown = ()

    def __post_init__(self) -> None:
        for name in ("weight", "pos_weight"):
            if name in self.options():
                self.register_buffer(name, vars(self).pop(name))


class CrossEntropyLoss(_Loss):
    """-log softmax(input)[target]; see functional.cross_entropy.  As torch.nn.CrossEntropyLoss."""

    function = staticmethod(F.cross_entropy)
    weight: Any = None
    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0


class NLLLoss(_Loss):
    """-input[target] for log-probabilities; see functional.nll_loss.  As torch.nn.NLLLoss."""

    function = staticmethod(F.nll_loss)
    weight: Any = None
    ignore_index: int = -100
    reduction: str = "mean"


class MSELoss(_Loss):
    """(input - target)^2; see functional.mse_loss.  As torch.nn.MSELoss."""

    function = staticmethod(F.mse_loss)
    reduction: str = "mean"


class L1Loss(_Loss):
    """|input - target|; see functional.l1_loss.  As torch.nn.L1Loss."""

    function = staticmethod(F.l1_loss)
    reduction: str = "mean"


class SmoothL1Loss(_Loss):
    """Squares within beta, absolute values beyond; see functional.smooth_l1_loss.  As torch.nn.SmoothL1Loss."""

    function = staticmethod(F.smooth_l1_loss)
    reduction: str = "mean"
    beta: float = 1.0


class HuberLoss(_Loss):
    """Squares within delta, delta times absolute values beyond; see functional.huber_loss.  As torch.nn.HuberLoss."""

    function = staticmethod(F.huber_loss)
    reduction: str = "mean"
    delta: float = 1.0


class BCELoss(_Loss):
    """Cross-entropy of probabilities of yes or no; see functional.binary_cross_entropy.  As torch.nn.BCELoss."""

    function = staticmethod(F.binary_cross_entropy)
    weight: Any = None
    reduction: str = "mean"


class BCEWithLogitsLoss(_Loss):
    """Cross-entropy of logits of yes or no; see functional.binary_cross_entropy_with_logits.

    As torch.nn.BCEWithLogitsLoss.
    """

    function = staticmethod(F.binary_cross_entropy_with_logits)
    weight: Any = None
    reduction: str = "mean"
    pos_weight: Any = None


class KLDivLoss(_Loss):
    """Divergence of log-probabilities from probabilities; see functional.kl_div.  As torch.nn.KLDivLoss."""

    function = staticmethod(F.kl_div)
    reduction: str = "mean"
    log_target: bool = False


class MarginRankingLoss(_Loss):
    """Which of two inputs is to be the larger; see functional.margin_ranking_loss.  As torch.nn.MarginRankingLoss."""

    function = staticmethod(F.margin_ranking_loss)
    margin: float = 0.0
    reduction: str = "mean"


class HingeEmbeddingLoss(_Loss):
    """Distances of like and unlike pairs; see functional.hinge_embedding_loss.  As torch.nn.HingeEmbeddingLoss."""

    function = staticmethod(F.hinge_embedding_loss)
    margin: float = 1.0
    reduction: str = "mean"


class CosineEmbeddingLoss(_Loss):
    """Angles of like and unlike pairs; see functional.cosine_embedding_loss.  As torch.nn.CosineEmbeddingLoss."""

    function = staticmethod(F.cosine_embedding_loss)
    margin: float = 0.0
    reduction: str = "mean"


class TripletMarginLoss(_Loss):
    """An anchor nearer to its like than to its unlike; see functional.triplet_margin_loss.

    As torch.nn.TripletMarginLoss.
    """

    function = staticmethod(F.triplet_margin_loss)
    margin: float = 1.0
    p: float = 2.0
    eps: float = 1e-6
    swap: bool = False
    reduction: str = "mean"


class SoftMarginLoss(_Loss):
    """log(1 + exp(-target * input)); see functional.soft_margin_loss.  As torch.nn.SoftMarginLoss."""

    function = staticmethod(F.soft_margin_loss)
    reduction: str = "mean"


class MultiMarginLoss(_Loss):
    """The hinge loss of several classes; see functional.multi_margin_loss.  As torch.nn.MultiMarginLoss."""

    function = staticmethod(F.multi_margin_loss)
    p: int = 1
    margin: float = 1.0
    weight: Any = None
    reduction: str = "mean"


class MultiLabelMarginLoss(_Loss):
    """The hinge loss of several classes at once; see functional.multilabel_margin_loss.

    As torch.nn.MultiLabelMarginLoss.
    """

    function = staticmethod(F.multilabel_margin_loss)
    reduction: str = "mean"


class MultiLabelSoftMarginLoss(_Loss):
    """Cross-entropy of several yes-or-no labels; see functional.multilabel_soft_margin_loss.

    As torch.nn.MultiLabelSoftMarginLoss.
    """

    function = staticmethod(F.multilabel_soft_margin_loss)
    weight: Any = None
    reduction: str = "mean"


class PoissonNLLLoss(_Loss):
    """-log of Poisson's distribution at the target; see functional.poisson_nll_loss.  As torch.nn.PoissonNLLLoss."""

    function = staticmethod(F.poisson_nll_loss)
    log_input: bool = True
    full: bool = False
    eps: float = 1e-8
    reduction: str = "mean"


class GaussianNLLLoss(_Loss):
    """-log of the normal distribution at the target: forward(input, target, var); see functional.gaussian_nll_loss.

    As torch.nn.GaussianNLLLoss.
    """

    function = staticmethod(F.gaussian_nll_loss)
    full: bool = False
    eps: float = 1e-6
    reduction: str = "mean"


class CosineSimilarity(Layer):
    """The cosine of the angle between input1 and input2 along dim; see functional.cosine_similarity.

    As torch.nn.CosineSimilarity.
    """

    function = staticmethod(F.cosine_similarity)
    shown = ()
    dim: int = 1
    eps: float = 1e-8


class PairwiseDistance(Layer):
    """The p-norm of input1 - input2 along the last dimension; see functional.pairwise_distance.

    As torch.nn.PairwiseDistance.
    """

    function = staticmethod(F.pairwise_distance)
    shown = ()
    p: float = 2.0
    eps: float = 1e-6
    keepdim: bool = False
