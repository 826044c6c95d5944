"""Normalisation.  At first order batch, layer, group and response norm run fused kernels, forwards and backwards; with
create_graph they differentiate the same function composed of simple ops (`_standardized`), exact at every order.
"""
from __future__ import annotations

from math import prod

import numpy as np

from ..autograd import Tensor, is_grad_enabled, is_replaying, op, through
from ..backend import Window, kernels
from ..dtypes import finfo, sixteen_bits
from ..methods import function
from .activation import relu_gradient
from .arguments import as_tensor, check_dtypes
from .basic import add, div, mul, reshape, sub, sum_to
from .math import clamp, pow, rsqrt
from .pool import mean_windows
from .reduce import norm


def _standardized(x, shape, eps):
    """x with mean 0 and variance 1 over the dimensions that are 1 in `shape`: (x - mean) / sqrt(var + eps)."""
    n = x.numel() / prod(shape)
    centred = sub(x, div(sum_to(x, shape), n))
    var = div(sum_to(mul(centred, centred), shape), n)
    return mul(centred, rsqrt(add(var, eps)))


def _vjp(saved, bias, fused, composed, sum_shape, skip):
    """The joint vjp of a normalisation.

    saved      the tensors (or None) that the gradients of input and weight depend on: input, weight, ...
    fused      arrays (g, *saved) -> gradients of input, weight and bias, by a kernel
    composed   the function of `saved` composed of ops, without bias
    sum_shape  what g is summed down to for the gradient of bias
    skip       how many parameters there are between input and weight, none of them differentiable
    """
    bias_shape = None if bias is None else bias.shape

    def vjp(g, wanted):
        if is_grad_enabled():
            gx, gweight = through(composed, saved, g)[:2]
            gbias = None if bias_shape is None else reshape(sum_to(g, sum_shape), bias_shape)
        else:
            gx, gweight, gbias = map(Tensor, fused(g.data, *map(_array, saved)))
        return [gx, *[None] * skip, gweight, gbias]
    return vjp


def _array(t):
    return None if t is None else t.data


def _flat(t):
    return None if t is None else t.data.reshape(-1)


def _per_channel(weight, ndim):
    """(C,) -> (1, C, 1, ..., 1)"""
    return reshape(weight, (1, -1, *(1,) * (ndim - 2)))


def _scaled(y, weight):
    return y if weight is None else mul(y, _per_channel(weight, y.ndim))


# ---------------------------------------------------------------------------------------- batch norm

@op
def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """weight * (input - mean) / sqrt(var + eps) + bias, with one mean and variance for each channel.

    input     (N, C) or (N, C, ...)
    running_mean, running_var, weight, bias   (C,) each, or None
    training  True: mean and variance of this batch; where given, running_mean and running_var move towards them, in
              place, running_var towards the unbiased variance (over n - 1):  running += momentum * (now - running)
              False: mean and variance are running_mean and running_var

    Raises ValueError if the shapes do not fit, if statistics are missing, or for training with one value per channel.
    As torch.nn.functional.batch_norm.  Ioffe and Szegedy (2015), arXiv:1502.03167, algorithms 1 and 2.
    """
    if input.shape == (0,):                          # torch's exception: nothing to normalise
        return input.data, (lambda g: g,)
    k, w, b = kernels(input.data), _array(weight), _array(bias)
    _check_channels("batch_norm", input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if training:
        _check_batch("batch_norm", input)
        y, *now = k.batch_norm(input.data, w, b, eps)
        _update_running(running_mean, running_var, *now, momentum, input.numel() // input.shape[1])
        return y, _vjp((input, weight), bias, lambda g, x, w: k.batch_norm_backward(g, x, *now, w, eps),
                       _composed(input, True, eps), _channel_shape(input), 2)
    _check_running("batch_norm", running_mean, running_var)
    y = k.batch_norm_eval(input.data, running_mean.data, running_var.data, w, b, eps)
    return y, _vjp((input, weight, running_mean, running_var), bias,
                   lambda g, x, w, mean, var: k.batch_norm_eval_backward(g, x, mean, var, w, eps),
                   _composed(input, False, eps), _channel_shape(input), 2)


@op
def batch_norm_relu(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5,
                    residual=None):
    """relu(batch_norm(input, ...) + residual): what ends a layer or a residual block, in one pass over memory.

    residual   of input's shape and dtype, or None: nothing is added

    Other arguments and errors as batch_norm; ValueError for a residual of another shape.
    """
    _check_channels("batch_norm_relu", input, running_mean=running_mean, running_var=running_var, weight=weight,
                    bias=bias)
    check_dtypes("batch_norm_relu", input, residual=residual)
    some = residual is not None
    if some and residual.shape != input.shape:
        raise ValueError(f"batch_norm_relu: residual has shape {residual.shape}, input {input.shape}: they must be the "
                         "same")
    k, options = kernels(input.data), (_array(weight), _array(bias), eps, _array(residual))
    if training:
        _check_batch("batch_norm_relu", input)
        y, *now = k.batch_norm_relu(input.data, *options)
        _update_running(running_mean, running_var, *now, momentum, input.numel() // input.shape[1])
        return y, _relu_vjp((input, weight), bias, some,
                            lambda g, y, x, w: k.batch_norm_relu_backward(g, y, x, *now, w, eps, some),
                            _composed(input, True, eps), _channel_shape(input))
    _check_running("batch_norm_relu", running_mean, running_var)
    y = k.batch_norm_relu_eval(input.data, running_mean.data, running_var.data, *options)
    return y, _relu_vjp((input, weight, running_mean, running_var), bias, some, lambda g, y, x, w, mean, var:
                        k.batch_norm_relu_eval_backward(g, y, x, mean, var, w, eps, some),
                        _composed(input, False, eps), _channel_shape(input))


def _composed(input, training, eps):
    """batch_norm without bias as a function of x and weight (and running statistics), composed of ops."""
    ndim, shape = input.ndim, _channel_shape(input)

    def by_batch(x, w):
        return _scaled(_standardized(x, shape, eps), w)

    def by_running(x, w, mean, var):
        return _scaled(mul(sub(x, _per_channel(mean, ndim)), _per_channel(rsqrt(add(var, eps)), ndim)), w)
    return by_batch if training else by_running


def _channel_shape(input):
    """(1, C, 1, ..., 1)"""
    return (1, input.shape[1], *(1,) * (input.ndim - 2))


def _relu_vjp(saved, bias, some, fused, composed, sum_shape):
    """The joint vjp of batch_norm_relu: that of batch_norm behind the gradient of relu; some: with a residual."""
    behind = _vjp(saved, bias, None, composed, sum_shape, 2)

    def vjp(g, wanted, y):
        if is_grad_enabled():
            g = relu_gradient(g, y.detach())
            gradients, gresidual = behind(g, wanted), g
        else:
            gx, gweight, gbias, kept = fused(g.data, y.data, *map(_array, saved))
            gradients = [Tensor(gx), None, None, Tensor(gweight), Tensor(gbias)]
            gresidual = Tensor(kept) if some else None
        return [*gradients, None, None, None, gresidual]
    return vjp


def _check_channels(name, input, **per_channel):
    half = sixteen_bits(input.dtype)                 # its statistics and parameters may, and should, be float32
    check_dtypes(name, input, **{k: t for k, t in per_channel.items() if not (half and _is_float32(t))})
    if input.ndim < 2:
        raise ValueError(f"{name}: expected input (N, C, ...), got shape {input.shape}: unsqueeze it")
    for what, t in per_channel.items():
        if t is not None and t.shape != (input.shape[1],):
            raise ValueError(f"{name}: {what} has shape {t.shape}, input {input.shape} has {input.shape[1]} channels "
                             f"(dimension 1): {what} must be ({input.shape[1]},)")


def _is_float32(t):
    return t is not None and t.dtype == np.float32


def _check_running(name, running_mean, running_var):
    if running_mean is None or running_var is None:
        raise ValueError(f"{name}: without training=True it needs running_mean and running_var: pass both, or train")


def _check_batch(name, x):
    if x.numel() == x.shape[1]:
        raise ValueError(f"{name}: input {x.shape} has one value per channel: its variance is 0 and training on it "
                         "would learn nothing; use a batch of at least 2 (drop_last=True drops a last batch of 1), or "
                         "eval() for a single image")


def _update_running(running_mean, running_var, mean, var, momentum, n):
    """running += momentum * (now - running), in place, with the unbiased variance; not in a repeated forward pass."""
    if is_replaying():
        return
    kept = [None if t is None else t.data for t in (running_mean, running_var)]
    given = [a for a in kept if a is not None]
    if given:
        kernels(given[0]).running_update(kept, [mean, var], momentum, n / max(1, n - 1))
    for t in (running_mean, running_var):
        if t is not None:
            t._version += 1


@function
def instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True,
                  momentum=0.1, eps=1e-5):
    """weight * (input - mean) / sqrt(var + eps) + bias, with one mean and variance for each image and channel.

    input   (N, C, ...)
    use_input_stats   as batch_norm's training; running statistics move towards the mean over the batch of each
                      image's own

    Other arguments and errors as batch_norm.  As torch.nn.functional.instance_norm.  Ulyanov et al. (2016),
    arXiv:1607.08022, equation 4.
    """
    input, running_mean, running_var, weight, bias = map(as_tensor, (input, running_mean, running_var, weight, bias))
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    _check_channels("instance_norm", input, running_mean=running_mean, running_var=running_var, weight=weight,
                    bias=bias)
    n = prod(input.shape[2:])
    if n == 1:
        raise ValueError(f"instance_norm: input {input.shape} has one value per image and channel: its variance is 0; "
                         "it needs more than 1 pixel")
    y = group_norm(input, input.shape[1], weight, bias, eps)
    if running_mean is not None or running_var is not None:
        x, axes = input.data, tuple(range(2, input.ndim))
        _update_running(running_mean, running_var, x.mean(axes).mean(0), x.var(axes).mean(0), momentum, n)
    return y


# ---------------------------------------------------------------------------------------- layer, group, rms norm

@op
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """weight * (input - mean) / sqrt(var + eps) + bias, mean and variance over the last dimensions.

    input   (..., *normalized_shape);  weight, bias   of normalized_shape, or None

    Raises ValueError if the shapes do not fit.  As torch.nn.functional.layer_norm.  Ba et al. (2016), arXiv:1607.06450,
    equation 4.
    """
    shape, D = _normalized("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    x, k, lead = input.data, kernels(input.data), input.shape[:input.ndim - len(shape)]
    rows, kept = (prod(lead), D), (*lead, *(1,) * len(shape))             # one mean per row
    y, mean, rstd = k.layer_norm(x.reshape(rows), _flat(weight), _flat(bias), eps)

    def fused(g, x, w):
        weight = None if w is None else w.reshape(D)
        gx, gweight, gbias = k.layer_norm_backward(g.reshape(rows), x.reshape(rows), mean, rstd, weight)
        return gx.reshape(x.shape), gweight.reshape(shape), gbias.reshape(shape)

    def composed(x, w):
        y = _standardized(x, kept, eps)
        return y if w is None else mul(y, w)
    return y.reshape(x.shape), _vjp((input, weight), bias, fused, composed, shape, 1)


@op
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """weight * (input - mean) / sqrt(var + eps) + bias, mean and variance over each image's groups of channels.

    input   (N, C, ...);  num_groups   divides C;  weight, bias   (C,) or None

    Raises ValueError if num_groups does not divide C or the shapes do not fit.  As torch.nn.functional.group_norm.
    Wu and He (2018), arXiv:1803.08494, equations 1 to 7.
    """
    _check_channels("group_norm", input, weight=weight, bias=bias)
    x, k, C = input.data, kernels(input.data), input.shape[1]
    if num_groups < 1 or C % num_groups:
        raise ValueError(f"group_norm: num_groups={num_groups} does not divide the {C} channels of input {x.shape}: "
                         "choose a divisor")
    y, mean, rstd = k.group_norm(x, num_groups, _array(weight), _array(bias), eps)
    shape, grouped = x.shape, (x.shape[0], num_groups, C // num_groups * prod(x.shape[2:]))

    def composed(x, w):
        standard = _standardized(reshape(x, grouped), (*grouped[:2], 1), eps)
        return _scaled(reshape(standard, shape), w)
    return y, _vjp((input, weight), bias,
                   lambda g, x, w: k.group_norm_backward(g, x, mean, rstd, num_groups, w),
                   composed, (1, C, *(1,) * (x.ndim - 2)), 1)


@function
def rms_norm(input, normalized_shape, weight=None, eps=None):
    """weight * input / sqrt(mean(input^2) + eps), the mean over the last dimensions.

    Arguments and errors as layer_norm; eps: by default the dtype's machine epsilon.  As torch.nn.functional.rms_norm.
    Zhang and Sennrich (2019), arXiv:1910.07467, equation 4.
    """
    input, weight = as_tensor(input), as_tensor(weight)
    shape, D = _normalized("rms_norm", input, normalized_shape, weight=weight)
    kept = (*input.shape[:input.ndim - len(shape)], *(1,) * len(shape))   # one mean per row
    eps = float(finfo(input.dtype).eps) if eps is None else eps
    y = mul(input, rsqrt(add(div(sum_to(mul(input, input), kept), D), eps)))
    return y if weight is None else mul(y, weight)


def _normalized(name, input, normalized_shape, **parameters):
    """normalized_shape as a tuple, and how many elements it has; checked."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(int(n) for n in normalized_shape)
    check_dtypes(name, input, **parameters)
    if not shape or input.shape[-len(shape):] != shape:
        raise ValueError(f"{name}: normalized_shape {shape} must be the last sizes of input {input.shape}, and not "
                         f"empty: use normalized_shape={input.shape[-max(1, len(shape)):]}")
    for what, t in parameters.items():
        if t is not None and t.shape != shape:
            raise ValueError(f"{name}: {what} has shape {t.shape}, it must have that of normalized_shape, {shape}")
    return shape, prod(shape)


# ---------------------------------------------------------------------------------------- response norm, unit vectors

@op
def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    """input / (k + alpha/size * the sum of squares over `size` neighbouring channels)^beta.

    input   (N, C, L) or with more dimensions

    Raises ValueError for fewer dimensions or size < 1.  As torch.nn.functional.local_response_norm.  Krizhevsky et al.
    (2012), section 3.3 (there alpha is not divided by size).
    """
    check_dtypes("local_response_norm", input)
    if input.ndim < 3 or size < 1:
        raise ValueError(f"local_response_norm: expected input (N, C, L, ...) and size >= 1, got {input.shape} and "
                         f"size={size}")
    kernel, options = kernels(input.data), (size, alpha, beta, k)

    def composed(x):
        N, C, L = x.shape[0], x.shape[1], prod(x.shape[2:])
        win = Window(C, L, size, 1, 1, 1, size // 2, 0, 1, 1, C, L)       # a column of channels at each pixel
        squares = reshape(mul(x, x), (N, 1, C, L))
        means = reshape(mean_windows(squares, win, True, size, (size - 1 - size // 2, 0)), x.shape)
        return mul(x, pow(add(mul(means, alpha), k), -beta))

    def vjp(g):
        if is_grad_enabled():
            return through(composed, [input], g)[0]
        return Tensor(kernel.local_response_norm_backward(g.data, input.data, *options))
    return kernel.local_response_norm(input.data, *options), (vjp,)


@function
def normalize(input, p=2.0, dim=1, eps=1e-12):
    """input / max(its p-norm along `dim`, eps): vectors of length 1.  As torch.nn.functional.normalize."""
    input = as_tensor(input)
    return div(input, clamp(norm(input, p, dim, keepdim=True), min=eps))
