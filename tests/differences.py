"""Where results at special values differ from PyTorch's, and between kernels: which, how far, and why.

    ops, values, results    names, separated by spaces: every combination of them is meant.  Results are y0, y1, ...
                            (outputs) and g0, g1, ... (gradients of the inputs).
    how                     what must hold all the same:
        LOST    every finite number of ours agrees, and ours is inf or nan wherever PyTorch's is
        WIDE    ours agrees with what PyTorch computes in float64
        OURS    nothing: the reason says why ours is kept
"""
from typing import NamedTuple

LOST, WIDE, OURS = "LOST", "WIDE", "OURS"


class Difference(NamedTuple):
    ops: str
    values: str
    results: str
    how: str
    why: str

    def combinations(self):
        return {(op, value, result) for op in self.ops.split() for value in self.values.split()
                for result in self.results.split()}


ALWAYS = [Difference(*entry) for entry in [          # on any machine: one that is not needed fails the test
    # ------------------------------------------------------------------ PyTorch's formula leaves float32's range
    ("layer_norm", "huge", "y0 g0", WIDE, "PyTorch's variance overflows"),
    ("local_response_norm", "huge", "y0 g0", WIDE, "PyTorch's sum of squares overflows"),
    ("std", "denormal", "g0", WIDE, "PyTorch divides by the deviation before it multiplies by a number as small"),
    ("soft_margin_loss", "inf", "g0", OURS, "the slope of log(1 + exp(x)) is 1 far out; PyTorch's is inf / inf"),
    ("soft_margin_loss", "huge", "y0 g0", OURS, "the loss is the number itself there; PyTorch's exp overflows"),
    ("multi_margin_loss", "huge", "g0", OURS, "of equals the margin is left; PyTorch loses it in margin - 1e30"),
    ("logsumexp", "huge", "g0", OURS, "equals share the gradient; PyTorch takes log 2 for nothing beside 1e30"),
    # ------------------------------------------------------------------ both are lost, or ours spreads further
    ("einsum", "inf -inf", "g1", LOST, "the order of the products decides between nan and inf"),
    ("var", "inf -inf", "g0", LOST, "x - mean is summed, too, for the gradient's part through the mean"),
    ("max min", "nan", "g0", LOST, "nan equals nothing: no element takes the gradient; PyTorch gives it to the nan"),
    ("norm", "nan", "g0", LOST, "p = inf and -inf: the same"),
    ("interpolate", "nan inf -inf", "y0", LOST, "a line times a table of weights, most of them 0"),
    ("prod cumprod", "huge", "g0", LOST, "products of the others overflow, and 0 * inf is nan"),
    # ------------------------------------------------------------------ nan, infinity and 0
    ("prod cumprod", "nan inf -inf", "g0", OURS, "the product of the others is finite at the nan, and nan where the "
     "nan is among them even if a 0 is; PyTorch divides by the element"),
    ("pow", "-inf", "g0", OURS, "(-inf)^-0.5 is 0 by IEEE 754; PyTorch takes rsqrt, which is nan"),
    ("cross_entropy", "nan inf", "g0", OURS, "an ignored label's row has no gradient, says PyTorch's manual; its is "
     "0 * nan"),
    ("multi_margin_loss multilabel_margin_loss", "nan", "y0 g0", OURS, "PyTorch loses the nan: it compares with 0"),
    ("binary_cross_entropy", "zeros ties", "g1", OURS, "the slope of the loss with its logarithms cut off at -100, "
     "as PyTorch's manual has it; PyTorch's gradient is not cut off"),
    ("kl_div", "zeros", "g1", OURS, "0 log 0 is the constant 0; PyTorch's gradient of it is nan"),
    ("poisson_nll_loss", "zeros", "g1", OURS, "Stirling's formula is left out up to 1; PyTorch has 0 * log 0 of it"),
    # ------------------------------------------------------------------ equals, and inputs without elements
    ("topk", "zeros ties denormal huge tiny", "y1 g0", OURS, "of equals the first are taken; PyTorch names no rule"),
    ("adaptive_avg_pool2d adaptive_max_pool2d", "empty", "refused", OURS, "here the channels are empty, not the batch"),
]]

SOMETIMES = [Difference(*entry) for entry in [       # depends on the processor and on the kernels
    ("matmul mm bmm mv dot linear", "huge", "y0", LOST, "inf - inf, or an exact product added to inf: as the library "
     "multiplies"),
    ("einsum bilinear", "huge", "y0 g0 g1 g2", LOST, "the same"),
    ("conv1d conv2d conv_transpose1d conv_transpose2d", "huge", "y0", LOST, "the same"),
    ("conv1d conv2d conv_transpose1d conv_transpose2d", "nan inf -inf", "y0 g0", LOST,
     "bands and tiles of pixels are computed as one: a nan reaches all of them"),
    ("conv_transpose1d", "nan inf -inf", "g1", LOST, "the same"),
    ("batch_norm group_norm instance_norm", "inf -inf", "y0 g0", LOST, "the order of sums decides"),
    ("batch_norm", "huge", "y0", WIDE, "PyTorch's variance overflows"),
    ("group_norm instance_norm", "huge", "y0 g1", WIDE, "the same"),
    ("group_norm instance_norm", "huge", "g0", OURS, "PyTorch's is nan or 0; ours is of the size of 1e-30, and its "
     "factor 1/var underflows"),
    ("relu6 hardswish softshrink", "nan", "g0", OURS, "PyTorch's vectors and the elements left over treat nan "
     "differently"),
    ("normalize", "scalar", "g0", OURS, "0 but for rounding: a number by its own size"),
]]

KERNELS = {                                          # (op, value): where the CPU's kernels differ from the reference
    ("batch_norm", "huge"): "squares of 1e30 are summed in float32",
    ("batch_norm_relu", "huge"): "the same",
    ("batch_norm_relu", "-inf"): "what rounding took off the mean, 0, times a weight of -inf",
    ("instance_norm", "huge"): "in the gradient, of the size of 1e-30, the factor 1/var underflows",
}
