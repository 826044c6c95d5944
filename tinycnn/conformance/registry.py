"""Which entry of PyTorch's op_db is which function of tinycnn.

OPERATIONS are the 139 entries that convolutional networks need and that other engines were scored by.  BEYOND has the
other entries that there is a function for; op_db has hundreds more (linear algebra, FFT, attention, special functions),
and of the functions here the nuclear norm and scatter(reduce=), which are not offered (of the latter PyTorch has no
gradient, so that those samples are left out).
"""
from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any, NamedTuple


class Operation(NamedTuple):
    """One entry of op_db and its counterpart here."""
    op: str                                          # what it is called in a score: "conv2d", "pad.reflect"
    entry: str                                       # op_db's name of it
    variant: str                                     # op_db's variant_test_name
    function: str                                    # ours
    swapped: bool = False                            # op_db hands over the first two arguments the other way round
    constants: tuple[int | str, ...] = ()            # arguments, by place or name, that PyTorch has no gradient for
    random: bool = False                             # shapes and dtypes are compared: no two engines draw alike
    torn: bool = False                               # PyTorch's gradient at NaN depends on the place in the array
    rounding: float = 0.0                            # PyTorch's own relative error in float64, where it is large

    def find(self) -> Callable[..., Any] | None:
        """tinycnn's function, or None if it has none of that name."""
        from ..methods import FUNCTIONS
        from ..nn import functional
        if self.entry.startswith("nn.functional.") and hasattr(functional, self.function):
            return getattr(functional, self.function)
        return FUNCTIONS.get(self.function)


_FUNCTIONAL = """
    conv1d conv2d conv_transpose1d conv_transpose2d unfold linear bilinear
    max_pool1d max_pool2d avg_pool1d avg_pool2d
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d
    layer_norm group_norm local_response_norm rms_norm normalize
    relu leaky_relu gelu silu mish hardswish softplus softsign
    tanhshrink threshold logsigmoid prelu glu softmin
    mse_loss l1_loss smooth_l1_loss huber_loss kl_div pixel_shuffle pixel_unshuffle channel_shuffle one_hot
    pad.constant pad.reflect pad.replicate pad.circular interpolate.nearest interpolate.bilinear interpolate.area
""".split()
_TOP_LEVEL = """
    sigmoid tanh softmax log_softmax
    add sub mul div.no_rounding_mode pow matmul mm bmm
    neg exp log sqrt rsqrt abs square reciprocal sin cos erf sign log1p expm1
    sum mean amax amin prod var std logsumexp argmax argmin cumsum norm
    max.reduction_with_dim max.reduction_no_dim min.reduction_with_dim min.reduction_no_dim maximum minimum clamp
    reshape view permute transpose flatten squeeze unsqueeze expand broadcast_to cat stack split chunk flip roll tile
    repeat narrow index_select gather masked_fill tril triu outer eq gt
""".split()


def _operation(op: str, prefix: str = "") -> Operation:
    name, _, variant = op.partition(".")
    return Operation(op, prefix + name, variant, name)


OPERATIONS: dict[str, Operation] = {o.op: o for o in [
    *(_operation(op, "nn.functional.") for op in _FUNCTIONAL),
    # One gradient at NaN in the vectors that an array is cut into, another in what is left of it.
    *(_operation(op, "nn.functional.")._replace(torn=True) for op in (
        "relu6", "hardtanh", "softshrink", "hardshrink", "elu", "selu")),
    # Its gradient has 1/6 in single precision, whatever the dtype.
    Operation("hardsigmoid", "nn.functional.hardsigmoid", "", "hardsigmoid", rounding=1e-7),
    # Its gradient has alpha in single precision.
    Operation("celu", "nn.functional.celu", "", "celu", torn=True, rounding=1e-7),
    Operation("embedding", "nn.functional.embedding", "", "embedding", swapped=True),
    Operation("batch_norm", "nn.functional.batch_norm", "", "batch_norm", constants=(1, 2)),
    Operation("instance_norm", "nn.functional.instance_norm", "", "instance_norm",
              constants=(1, 2, "running_mean", "running_var")),
    Operation("cross_entropy", "nn.functional.cross_entropy", "", "cross_entropy", constants=("weight",)),
    Operation("nll_loss", "nn.functional.nll_loss", "", "nll_loss", constants=("weight",)),
    Operation("binary_cross_entropy", "nn.functional.binary_cross_entropy", "", "binary_cross_entropy",
              constants=("weight",)),
    Operation("binary_cross_entropy_with_logits", "nn.functional.binary_cross_entropy_with_logits", "",
              "binary_cross_entropy_with_logits", constants=("weight", "pos_weight")),
    *map(_operation, _TOP_LEVEL),
    Operation("where", "where", "", "where", swapped=True),
    Operation("einsum", "einsum", "", "einsum", swapped=True),
    Operation("getitem", "__getitem__", "", "getitem"),
]}


_FUNCTIONAL_TOO = """
    softmin.with_dtype cosine_similarity pairwise_distance pad.replicate_negative
    interpolate.nearest-exact interpolate.linear interpolate.bicubic interpolate.trilinear
    margin_ranking_loss multilabel_margin_loss multilabel_soft_margin_loss triplet_margin_loss
    cosine_embedding_loss gaussian_nll_loss hinge_embedding_loss poisson_nll_loss
    max_unpool1d.grad max_unpool2d.grad feature_alpha_dropout.without_train
""".split()
_TOP_LEVEL_TOO = """
    arange linspace linspace.tensor_overload zeros zeros_like new_zeros ones ones_like new_ones full full_like new_full
    eye clone contiguous bool double float int long
    ne ge le lt equal isclose allclose isfinite isinf isnan
    logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_not
    ceil floor trunc round round.decimals_0 round.decimals_3 round.decimals_neg_3 log2 log10 tan lerp nan_to_num
    remainder floor_divide div.trunc_rounding div.floor_rounding max.binary min.binary
    dot mv trace diag diagonal cumprod all any count_nonzero std.unbiased var.unbiased norm.fro norm.inf
    softmax.with_dtype log_softmax.with_dtype topk sort argsort
    select masked_select nonzero scatter scatter_add take_along_dim repeat_interleave
    reshape_as view_as expand_as unflatten unbind movedim squeeze.multiple split.list_args t
    meshgrid.variadic_tensors meshgrid.list_of_tensors
""".split()
BEYOND: dict[str, Operation] = {o.op: o for o in [
    *(_operation(op, "nn.functional.") for op in _FUNCTIONAL_TOO),
    # Their other samples have indices twice; PyTorch's gradient then counts a value that was overwritten.
    Operation("max_unpool1d", "nn.functional.max_unpool1d", "", "max_unpool1d", constants=(0,)),
    Operation("max_unpool2d", "nn.functional.max_unpool2d", "", "max_unpool2d", constants=(0,)),
    Operation("soft_margin_loss", "nn.functional.soft_margin_loss", "", "soft_margin_loss", constants=(1,)),
    Operation("multi_margin_loss", "nn.functional.multi_margin_loss", "", "multi_margin_loss", constants=("weight",)),
    # Rounds twice: float64 to float32 to float16.
    Operation("half", "half", "", "half", rounding=1e-3),
    *map(_operation, _TOP_LEVEL_TOO),
    *(_operation(op, "nn.functional.")._replace(random=True) for op in (
        "dropout", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout.with_train", "rrelu")),
    *(_operation(op)._replace(random=True) for op in (
        "randn", "randn_like", "rand_like", "randint", "empty", "empty_like")),
]}


def matching(pattern: str = "*", beyond: bool = False) -> list[Operation]:
    """The operations whose name matches one of the patterns, joined by commas: "conv*,pad.*".

    beyond   also of BEYOND

    Raises ValueError for a pattern that none matches.
    """
    patterns, known = pattern.split(","), OPERATIONS | (BEYOND if beyond else {})
    for one in patterns:
        if not any(fnmatch(op, one) for op in known):
            raise ValueError(f"conformance: no operation matches {one!r}; there are {len(known)}, such as conv2d, "
                             f"pad.reflect and max.reduction_with_dim{'' if beyond else '; more with --all'}")
    return [o for op, o in known.items() if any(fnmatch(op, one) for one in patterns)]
