"""Normalisation: subtract a mean, divide by a standard deviation, scale and shift.

What differs is over which elements the mean is taken, for x of shape (N, C, *rest):

    batch norm      one mean per channel, over N and rest       Ioffe & Szegedy 2015, algorithm 1
    layer norm      one mean per row of (M, D)                   Ba et al. 2016, equation 4
    group norm      one mean per image and group of channels     Wu & He 2018, equation 1
    response norm   no mean: divide by the neighbouring channels' squares   Krizhevsky et al. 2012, section 3.3

With xhat = (x - mean) / std over m elements, the gradient is the same for all:

    gx = weight/std * (g - mean(g) - xhat * mean(g * xhat)),  gweight = sum(g * xhat),  gbias = sum(g)

Statistics and sums are taken in float64, whatever x is: normalised numbers near 1000 keep their digits.
"""
from ._xp import array_module
from .activation import relu, relu_backward

__all__ = ["batch_norm", "batch_norm_backward", "batch_norm_eval", "batch_norm_eval_backward",
           "batch_norm_relu", "batch_norm_relu_backward", "batch_norm_relu_eval", "batch_norm_relu_eval_backward",
           "layer_norm", "layer_norm_backward", "group_norm", "group_norm_backward",
           "local_response_norm", "local_response_norm_backward"]


def _moments(x, axes):
    """x - mean, mean and biased variance over `axes`, kept as sizes of 1, all in float64; mean 0 of nothing."""
    mean = _mean(x, axes)
    centred = x - mean
    return centred, mean, _mean(centred * centred, axes)


def _mean(x, axes):
    total = x.sum(axes, dtype="float64", keepdims=True)
    return total / max(1, x.size // max(1, total.size))


def _per_channel(v, x):
    """(C,) -> (1, C, 1, ...) to broadcast against x (N, C, ...); None -> None."""
    return v if v is None else v.reshape(1, -1, *[1] * (x.ndim - 2))


def _affine(xhat, weight, bias, dtype):
    y = xhat if weight is None else xhat * weight
    return (y if bias is None else y + bias).astype(dtype)


def _parameter_sums(g, xhat, axes):
    """gweight and gbias: the sums of g * xhat and g, as arrays of g's dtype."""
    return (g * xhat).sum(axes, dtype="float64").astype(g.dtype), g.sum(axes, dtype="float64").astype(g.dtype)


def _centred_gradient(g, xhat, axes):
    """g - mean(g) - xhat * mean(g * xhat): what is left of g once the statistics follow x."""
    return g - _mean(g, axes) - xhat * _mean(g * xhat, axes)


def _channel_axes(x):
    return (0, *range(2, x.ndim))


def batch_norm(x, weight, bias, eps):
    """Normalise every channel of (N, C, ...) by its own batch.  Returns y, mean (C,), biased variance (C,)."""
    centred, mean, var = _moments(x, _channel_axes(x))
    xhat = centred / array_module(x).sqrt(var + eps)
    y = _affine(xhat, _per_channel(weight, x), _per_channel(bias, x), x.dtype)
    return y, mean.reshape(-1).astype(x.dtype), var.reshape(-1).astype(x.dtype)


def _xhat(x, mean, var, eps):
    """(x - mean) / std and 1 / std in float64, for statistics (C,)."""
    rstd = 1 / array_module(x).sqrt(_per_channel(var, x).astype("float64") + eps)
    return (x - _per_channel(mean, x).astype("float64")) * rstd, rstd


def batch_norm_backward(g, x, mean, var, weight, eps):
    """Gradients (gx, gweight, gbias) of `batch_norm` for mean and var it returned."""
    axes, (xhat, rstd) = _channel_axes(x), _xhat(x, mean, var, eps)
    gx = _affine(_centred_gradient(g, xhat, axes) * rstd, _per_channel(weight, x), None, x.dtype)
    return gx, *_parameter_sums(g, xhat, axes)


def batch_norm_eval(x, mean, var, weight, bias, eps):
    """Normalise every channel of (N, C, ...) by given statistics (C,)."""
    return _affine(_xhat(x, mean, var, eps)[0], _per_channel(weight, x), _per_channel(bias, x), x.dtype)


def batch_norm_eval_backward(g, x, mean, var, weight, eps):
    """Gradients (gx, gweight, gbias) of `batch_norm_eval`; the statistics are constants."""
    xhat, rstd = _xhat(x, mean, var, eps)
    return _affine(g * rstd, _per_channel(weight, x), None, x.dtype), *_parameter_sums(g, xhat, _channel_axes(x))


def batch_norm_relu(x, weight, bias, eps, residual):
    """relu(batch_norm(x) + residual), residual like x or None.  Returns y, mean (C,), biased variance (C,)."""
    y, mean, var = batch_norm(x, weight, bias, eps)
    return relu(y if residual is None else y + residual), mean, var


def batch_norm_relu_backward(g, y, x, mean, var, weight, eps, residual):
    """Gradients (gx, gweight, gbias, gresidual) of `batch_norm_relu` for y, mean and var it returned.

    residual  whether there was one: otherwise gresidual is None
    """
    g = relu_backward(g, y)
    return *batch_norm_backward(g, x, mean, var, weight, eps), g if residual else None


def batch_norm_relu_eval(x, mean, var, weight, bias, eps, residual):
    """relu(batch_norm_eval(x) + residual), residual like x or None."""
    y = batch_norm_eval(x, mean, var, weight, bias, eps)
    return relu(y if residual is None else y + residual)


def batch_norm_relu_eval_backward(g, y, x, mean, var, weight, eps, residual):
    """Gradients (gx, gweight, gbias, gresidual) of `batch_norm_relu_eval` for its y; the statistics are constants.

    residual  whether there was one: otherwise gresidual is None
    """
    g = relu_backward(g, y)
    return *batch_norm_eval_backward(g, x, mean, var, weight, eps), g if residual else None


def layer_norm(x, weight, bias, eps):
    """Normalise every row of (M, D).  Returns y, mean (M,), 1/std (M,)."""
    centred, mean, var = _moments(x, 1)
    rstd = 1 / array_module(x).sqrt(var + eps)
    return _affine(centred * rstd, weight, bias, x.dtype), mean[:, 0].astype(x.dtype), rstd[:, 0].astype(x.dtype)


def layer_norm_backward(g, x, mean, rstd, weight):
    """Gradients (gx, gweight, gbias) of `layer_norm`."""
    rstd = rstd[:, None].astype("float64")
    xhat = (x - mean[:, None].astype("float64")) * rstd
    gx = rstd * _centred_gradient(_affine(g, weight, None, "float64"), xhat, 1)
    return gx.astype(x.dtype), *_parameter_sums(g, xhat, 0)


def _grouped(x, num_groups):
    """(N, C, ...) -> (N, G, C/G * rest)"""
    size = 1
    for n in x.shape[1:]:
        size *= n
    return x.reshape(x.shape[0], num_groups, size // num_groups)


def group_norm(x, num_groups, weight, bias, eps):
    """Normalise every image's groups of channels.  Returns y, mean (N, G), 1/std (N, G)."""
    centred, mean, var = _moments(_grouped(x, num_groups), 2)
    rstd = 1 / array_module(x).sqrt(var + eps)
    y = _affine((centred * rstd).reshape(x.shape), _per_channel(weight, x), _per_channel(bias, x), x.dtype)
    return y, mean[:, :, 0].astype(x.dtype), rstd[:, :, 0].astype(x.dtype)


def group_norm_backward(g, x, mean, rstd, num_groups, weight):
    """Gradients (gx, gweight, gbias) of `group_norm`."""
    rstd = rstd[:, :, None].astype("float64")
    xhat = (_grouped(x, num_groups) - mean[:, :, None].astype("float64")) * rstd
    gw = _grouped(_affine(g, _per_channel(weight, x), None, "float64"), num_groups)
    gx = rstd * _centred_gradient(gw, xhat, 2)
    return gx.reshape(x.shape).astype(x.dtype), *_parameter_sums(g, xhat.reshape(x.shape), _channel_axes(x))


def _neighbours(x, before, after):
    """For each channel the sum of x over the channels c-before .. c+after, missing ones counted as zero."""
    C, out = x.shape[1], array_module(x).zeros_like(x)
    for d in range(-before, after + 1):
        if abs(d) < C:
            out[:, max(0, -d):C - max(0, d)] += x[:, max(0, d):C - max(0, -d)]
    return out


def local_response_norm(x, size, alpha, beta, k):
    """y = x / (k + alpha/size * sum of x^2 over `size` neighbouring channels)^beta"""
    wide = x.astype("float64")
    return (wide * _response_base(wide, size, alpha, k) ** -beta).astype(x.dtype)


def _response_base(x, size, alpha, k):
    return k + alpha / size * _neighbours(x * x, size // 2, (size - 1) // 2)


def local_response_norm_backward(g, x, size, alpha, beta, k):
    """Gradient of `local_response_norm`: its own factor, and each neighbour's share."""
    wide = x.astype("float64")
    base = _response_base(wide, size, alpha, k)
    shared = _neighbours(g * wide * base ** (-beta - 1), (size - 1) // 2, size // 2)
    return (g * base ** -beta - 2 * alpha * beta / size * wide * shared).astype(x.dtype)
