"""The 139 operations that are scored: which entry of PyTorch's op_db is which function of tinycnn.

Left out of the list are op_db's entries that no convolutional network needs (linear algebra, FFT, attention, special
functions ...), and those that draw random numbers, which no two engines draw alike.
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


def matching(pattern: str = "*") -> list[Operation]:
    """The operations whose name matches one of the patterns, joined by commas: "conv*,pad.*".

    Raises ValueError for a pattern that none matches.
    """
    patterns = pattern.split(",")
    for one in patterns:
        if not any(fnmatch(op, one) for op in OPERATIONS):
            raise ValueError(f"conformance: no operation matches {one!r}; there are "
                             f"{len(OPERATIONS)}, such as conv2d, pad.reflect and max.reduction_with_dim")
    return [o for op, o in OPERATIONS.items() if any(fnmatch(op, one) for one in patterns)]
