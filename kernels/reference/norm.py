"""Normalisation: subtract a mean, divide by a standard deviation, scale and shift.

What differs is over which elements the mean is taken, for x of shape (N, C, *rest):

    batch norm      one mean per channel, over N and rest       Ioffe & Szegedy 2015, algorithm 1
    layer norm      one mean per row of (M, D)                   Ba et al. 2016, equation 4
    group norm      one mean per image and group of channels     Wu & He 2018, equation 1
    response norm   no mean: divide by the neighbouring channels' squares   Krizhevsky et al. 2012, section 3.3

With xhat = (x - mean) / std over m elements, the gradient is the same for all:

    gx = weight/std * (g - mean(g) - xhat * mean(g * xhat)),  gweight = sum(g * xhat),  gbias = sum(g)

Means and variances of float32 are summed in float64: the variance of numbers near 1000 keeps its digits.
"""
from ._xp import array_module

__all__ = ["batch_norm", "batch_norm_backward", "batch_norm_eval", "batch_norm_eval_backward",
           "layer_norm", "layer_norm_backward", "group_norm", "group_norm_backward",
           "local_response_norm", "local_response_norm_backward"]


def _moments(x, axes):
    """Mean and biased variance over `axes`, kept as sizes of 1, computed in float64."""
    mean = x.mean(axes, dtype="float64", keepdims=True)
    centred = x - mean
    return mean.astype(x.dtype), (centred * centred).mean(axes, keepdims=True).astype(x.dtype)


def _per_channel(v, x):
    """(C,) -> (1, C, 1, ...) to broadcast against x (N, C, ...)."""
    return v.reshape(1, -1, *[1] * (x.ndim - 2))


def _affine(xhat, weight, bias):
    y = xhat if weight is None else xhat * _per_channel(weight, xhat)
    return y if bias is None else y + _per_channel(bias, xhat)


def batch_norm(x, weight, bias, eps):
    """Normalise every channel of (N, C, ...) by its own batch.  Returns y, mean (C,), biased variance (C,)."""
    mean, var = _moments(x, (0, *range(2, x.ndim)))
    y = _affine((x - mean) / array_module(x).sqrt(var + x.dtype.type(eps)), weight, bias)
    return y, mean.reshape(-1), var.reshape(-1)


def batch_norm_backward(g, x, mean, var, weight, eps):
    """Gradients (gx, gweight, gbias) of `batch_norm` for mean and var it returned."""
    axes, n = (0, *range(2, x.ndim)), x.size // max(1, x.shape[1])
    rstd = 1 / array_module(x).sqrt(_per_channel(var, x) + x.dtype.type(eps))
    xhat = (x - _per_channel(mean, x)) * rstd
    gweight = (g * xhat).sum(axes, dtype="float64", keepdims=True).astype(x.dtype)
    gbias = g.sum(axes, dtype="float64", keepdims=True).astype(x.dtype)
    scale = rstd if weight is None else rstd * _per_channel(weight, x)
    gx = scale * (g - gbias / max(1, n) - xhat * (gweight / max(1, n)))
    return gx, gweight.reshape(-1), gbias.reshape(-1)


def batch_norm_eval(x, mean, var, weight, bias, eps):
    """Normalise every channel of (N, C, ...) by given statistics (C,)."""
    rstd = 1 / array_module(x).sqrt(_per_channel(var, x) + x.dtype.type(eps))
    return _affine((x - _per_channel(mean, x)) * rstd, weight, bias)


def batch_norm_eval_backward(g, x, mean, var, weight, eps):
    """Gradients (gx, gweight, gbias) of `batch_norm_eval`; the statistics are constants."""
    axes = (0, *range(2, x.ndim))
    rstd = 1 / array_module(x).sqrt(_per_channel(var, x) + x.dtype.type(eps))
    xhat = (x - _per_channel(mean, x)) * rstd
    gx = g * (rstd if weight is None else rstd * _per_channel(weight, x))
    return (gx, (g * xhat).sum(axes, dtype="float64").astype(x.dtype), g.sum(axes, dtype="float64").astype(x.dtype))


def layer_norm(x, weight, bias, eps):
    """Normalise every row of (M, D).  Returns y, mean (M,), 1/std (M,)."""
    mean, var = _moments(x, 1)
    rstd = 1 / array_module(x).sqrt(var + x.dtype.type(eps))
    y = (x - mean) * rstd
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias), mean[:, 0], rstd[:, 0]


def layer_norm_backward(g, x, mean, rstd, weight):
    """Gradients (gx, gweight, gbias) of `layer_norm`."""
    xhat = (x - mean[:, None]) * rstd[:, None]
    gw = g if weight is None else g * weight
    gx = rstd[:, None] * (gw - gw.mean(1, keepdims=True) - xhat * (gw * xhat).mean(1, keepdims=True))
    return gx, (g * xhat).sum(0, dtype="float64").astype(x.dtype), g.sum(0, dtype="float64").astype(x.dtype)


def group_norm(x, num_groups, weight, bias, eps):
    """Normalise every image's groups of channels.  Returns y, mean (N, G), 1/std (N, G)."""
    N, G = x.shape[0], num_groups
    grouped = x.reshape(N, G, x[0].size // G if N else 1)                 # (N, G, C/G * rest)
    mean, var = _moments(grouped, 2)
    rstd = 1 / array_module(x).sqrt(var + x.dtype.type(eps))
    y = ((grouped - mean) * rstd).reshape(x.shape)
    return _affine(y, weight, bias), mean[:, :, 0], rstd[:, :, 0]


def group_norm_backward(g, x, mean, rstd, num_groups, weight):
    """Gradients (gx, gweight, gbias) of `group_norm`."""
    N, G = x.shape[0], num_groups
    grouped = x.reshape(N, G, x[0].size // G if N else 1)                 # (N, G, C/G * rest)
    xhat = (grouped - mean[:, :, None]) * rstd[:, :, None]
    gw = (g if weight is None else g * _per_channel(weight, x)).reshape(grouped.shape)
    gx = rstd[:, :, None] * (gw - gw.mean(2, keepdims=True) - xhat * (gw * xhat).mean(2, keepdims=True))
    axes, xhat = (0, *range(2, x.ndim)), xhat.reshape(x.shape)
    return (gx.reshape(x.shape), (g * xhat).sum(axes, dtype="float64").astype(x.dtype),
            g.sum(axes, dtype="float64").astype(x.dtype))


def _neighbours(x, before, after):
    """For each channel the sum of x over the channels c-before .. c+after, missing ones counted as zero."""
    C, out = x.shape[1], array_module(x).zeros_like(x)
    for d in range(-before, after + 1):
        if abs(d) < C:
            out[:, max(0, -d):C - max(0, d)] += x[:, max(0, d):C - max(0, -d)]
    return out


def local_response_norm(x, size, alpha, beta, k):
    """y = x / (k + alpha/size * sum of x^2 over `size` neighbouring channels)^beta"""
    return x * (k + alpha / size * _neighbours(x * x, size // 2, (size - 1) // 2)) ** -beta


def local_response_norm_backward(g, x, size, alpha, beta, k):
    """Gradient of `local_response_norm`: its own factor, and each neighbour's share."""
    base = k + alpha / size * _neighbours(x * x, size // 2, (size - 1) // 2)
    shared = _neighbours(g * x * base ** (-beta - 1), (size - 1) // 2, size // 2)
    return g * base ** -beta - 2 * alpha * beta / size * x * shared
