"""Layer norm and group norm over channels-last memory.

    memory      x (N, R, C): images, pixels, channels
    statistics  of each channel of each image, in float64; NumPy joins them to those of groups: N x C numbers
    parallel    over blocks of about 16 Ki numbers, whatever the number of threads.  A block fits the cache, and its
                sums are joined in a fixed order: the same bits on any number of threads.

                  C            sums of one block,
              +-------+        in float64              joined in order
    R, of one | block |   -->   s, q  (2, C)  --+
    image     +-------+                         |
              | block |   -->   s, q  (2, C)  --+-->   mean, variance (N, C)
              +-------+                         |
              | block |   -->   s, q  (2, C)  --+
              +-------+

A block's squares are summed around its first row, q = sum (x - x_first)^2.  That is a number of the same channel, so
the sums are of the size of the spread, not of the mean, and no digits are lost (Chan, Golub & LeVeque 1983, sections
2-3).  Every forward is then y = (x - centre) * scale + shift, every backward gx = p*g + q*(x - centre) + s, with one
number of each per image and channel.
"""
import math

import numpy as np

from .threads import inside, mine, parallel

__all__ = ["layer_norm", "layer_norm_backward", "group_norm", "group_norm_backward"]
BLOCK = 16384
PART = 1024                                          # numbers that are added up in their own dtype
LANES = 64


def _rows(x):
    """(N, C, ...) -> (N, R, C) in memory, R the product of the rest."""
    last = np.ascontiguousarray(x.transpose(0, *range(2, x.ndim), 1))
    return last.reshape(x.shape[0], math.prod(x.shape[2:]), x.shape[1])


def batch_rows(x):
    """(N, C, ...) -> (1, N*R, C): all images as one."""
    return _rows(x).reshape(1, x.shape[0] * math.prod(x.shape[2:]), x.shape[1])


def like(y, x):
    """The way back: (N, R, C) or (1, N*R, C) -> x's shape."""
    last = y.reshape(x.shape[0], *x.shape[2:], x.shape[1])
    return last.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def block_rows(C):
    return max(1, BLOCK // max(1, C))


# ---------------------------------------------------------------------------------------- the three loops

@parallel
def _block_sums(thread, g, x, x0, squares, step, sums):
    """For each block of `step` rows sum g and sum g*(x - x0), or with `squares` sum (x - x0) and sum (x - x0)^2.

    g and x (N, R, C), x0 (N, B, C), sums (N, B, 2, C)
    """
    N, B, C = x0.shape
    for task in mine(thread, N * B):
        n, b = task // B, task % B
        total, product, zero = sums[n, b, 0], sums[n, b, 1], x0[n, b]
        for c in range(C):
            total[c] = product[c] = 0
        for r in range(b * step, min(x.shape[1], b * step + step)):
            if squares:
                for c in range(C):
                    d = x[n, r, c] - zero[c]
                    total[c] += d
                    product[c] += d * d
            else:
                for c in range(C):
                    total[c] += g[n, r, c]
                    product[c] += g[n, r, c] * (x[n, r, c] - zero[c])


@parallel
def _scale_shift(thread, x, coefficients, step, y):
    """y = (x - centre) * scale + shift, coefficients = centre, scale, shift: (3, N, C)"""
    N, R, C = x.shape
    B = (R + step - 1) // step
    for task in mine(thread, N * B):
        n, b = task // B, task % B
        centre, scale, shift = coefficients[0, n], coefficients[1, n], coefficients[2, n]
        for r in range(b * step, min(R, b * step + step)):
            for c in range(C):
                y[n, r, c] = (x[n, r, c] - centre[c]) * scale[c] + shift[c]


@parallel
def _combine(thread, g, x, coefficients, step, gx):
    """gx = p*g + q*(x - centre) + s, coefficients = centre, p, q, s: (4, N, C)"""
    N, R, C = x.shape
    B = (R + step - 1) // step
    for task in mine(thread, N * B):
        n, b = task // B, task % B
        centre, p, q, s = coefficients[0, n], coefficients[1, n], coefficients[2, n], coefficients[3, n]
        for r in range(b * step, min(R, b * step + step)):
            for c in range(C):
                gx[n, r, c] = p[c] * g[n, r, c] + (q[c] * (x[n, r, c] - centre[c]) + s[c])


def _wide(x):
    """(N, R, C) -> (N, R/k, k*C): where channels are few, k rows side by side make the inner loops long."""
    N, R, C = x.shape
    k = math.gcd(R, 1 << max(1, LANES // max(1, C)).bit_length() - 1)
    return x.reshape(N, R // k, k * C), k


def _moments(x):
    """Mean and sum (x - mean)^2 of each channel of each image, (N, C), in float64; 0 of nothing."""
    wide, k = _wide(x)
    R, step = wide.shape[1], block_rows(wide.shape[2])
    first = wide[:, ::step].astype(np.float64, order="C")                             # (N, B, k*C)
    sums = np.empty((*first.shape[:2], 2, first.shape[2]))
    _block_sums(wide, wide, first, True, step, sums)
    counts = np.minimum(step, R - np.arange(0, R, step))[:, None]                     # (B, 1)
    offset = sums[:, :, 0] / counts                                                   # block mean - first
    parts = len(x), len(counts) * k, x.shape[2]
    means, squares = (first + offset).reshape(parts), (sums[:, :, 1] - offset * sums[:, :, 0]).reshape(parts)
    counts = np.repeat(counts, k, 0)                                                  # (B*k, 1)
    mean = (means * counts).sum(1) / max(1, x.shape[1])
    return mean, (squares + counts * (means - mean[:, None]) ** 2).sum(1)


def _sums(g, x, centre):
    """Of each channel of each image sum g and sum g*(x - centre), (N, C) each, in float64."""
    (g, _), (x, k) = _wide(g), _wide(x)
    (N, R, C), step = x.shape, block_rows(x.shape[2])
    x0 = np.tile(centre.astype(np.float64)[:, None], (1, -(-R // step), k))           # (N, B, C)
    sums = np.empty((N, x0.shape[1], 2, C))
    _block_sums(g, x, x0, False, step, sums)
    return sums.sum(1).reshape(N, 2, k, C // k).sum(2).swapaxes(0, 1)


def _normalised(x, mean, rstd, weight, bias):
    """x (N, R, C), mean and rstd (N, C) in float64.  What rounding takes off the mean is made good in the shift."""
    centre, scale = mean.astype(x.dtype), rstd if weight is None else rstd * weight
    shift = (centre - mean) * scale + (0 if bias is None else bias)
    y, (wide, k) = np.empty_like(x), _wide(x)
    coefficients = np.tile(np.stack([centre, scale, shift]).astype(x.dtype), k)
    _scale_shift(wide, coefficients, block_rows(wide.shape[2]), y.reshape(wide.shape))
    return y


def _gradients(g, x, *coefficients):
    gx, (wide, k) = np.empty_like(x), _wide(x)
    coefficients = np.tile(np.stack(coefficients).astype(x.dtype), k)
    _combine(g.reshape(wide.shape), wide, coefficients, block_rows(wide.shape[2]), gx.reshape(wide.shape))
    return gx


def _rstd(var, eps):
    return 1 / np.sqrt(var.astype(np.float64) + eps)


def _weight(weight, C):
    return np.ones(C) if weight is None else weight.astype(np.float64)


# ---------------------------------------------------------------------------------------- group norm

def _of_groups(v, G):
    """Sums over the channels of each group: (N, C) -> (N, G)"""
    return v.reshape(len(v), G, v.shape[1] // G).sum(2)


def _to_channels(v, C):
    """(N, G) -> (N, C)"""
    return np.repeat(v, C // v.shape[1], 1)


def group_norm(x, num_groups, weight, bias, eps):
    rows = _rows(x)
    (_, R, C), G = rows.shape, num_groups
    n = max(1, R * C // G)
    means, squares = _moments(rows)                                                  # (N, C)
    mean = _of_groups(means, G) * R / n
    var = _of_groups(squares + R * (means - _to_channels(mean, C)) ** 2, G) / n      # (N, G)
    rstd = _rstd(var, eps)
    y = _normalised(rows, _to_channels(mean, C), _to_channels(rstd, C), weight, bias)
    return like(y, x), mean.astype(x.dtype), rstd.astype(x.dtype)


def group_norm_backward(g, x, mean, rstd, num_groups, weight):
    grows, rows = _rows(g), _rows(x)
    (_, R, C), G = rows.shape, num_groups
    centre, rstd, w = _to_channels(mean, C), _to_channels(rstd.astype(np.float64), C), _weight(weight, C)
    sums, products = _sums(grows, rows, centre)                                      # (N, C)
    products = products * rstd
    share = rstd / max(1, R * C // G)
    q = -share * rstd * _to_channels(_of_groups(w * products, G), C)
    s = -share * _to_channels(_of_groups(w * sums, G), C)
    gx = _gradients(grows, rows, centre, rstd * w, q, s)
    return like(gx, x), products.sum(0).astype(x.dtype), sums.sum(0).astype(x.dtype)


# ---------------------------------------------------------------------------------------- layer norm

@inside(fastmath={"reassoc", "contract", "nsz"})
def _part_sums(a, a0, b, b0, zero):
    """sum (a - a0) and sum (a - a0)*(b - b0) of two lines, in their dtype, in as many lanes as the processor has."""
    total, product = zero, zero
    for i in range(len(a)):
        total += a[i] - a0
        product += (a[i] - a0) * (b[i] - b0)
    return total, product


@inside
def _line_sums(a, a0, b, b0, zero):
    """The same of long lines: PART numbers at a time, joined in float64."""
    total, product = 0.0, 0.0
    for start in range(0, len(a), PART):
        s, p = _part_sums(a[start:start + PART], a0, b[start:start + PART], b0, zero)
        total += s
        product += p
    return total, product


@inside
def _wide_sums(a, a0):
    """sum (a - a0) and sum (a - a0)^2 of a line, in float64: of numbers whose squares leave float32's range."""
    total, squares = 0.0, 0.0
    for i in range(len(a)):
        d = np.float64(a[i]) - a0
        total += d
        squares += d * d
    return total, squares


@inside
def _normalise_line(x, centre, rest, scale, weight, bias, y):
    for i in range(len(y)):
        y[i] = ((x[i] - centre) - rest) * scale * weight[i] + bias[i]


@parallel
def _layer_norm(thread, x, weight, bias, eps, step, y, mean, rstd):
    M, D = x.shape
    for block in mine(thread, (M + step - 1) // step):
        number = x.dtype.type
        for m in range(block * step, min(M, block * step + step)):
            row = x[m]
            first = row[0]                                       # as in the blocks above: no digits lost
            total, squares = _line_sums(row, first, row, first, number(0))
            if not math.isfinite(squares):
                total, squares = _wide_sums(row, first)
            centre = first + total / D
            mean[m], rstd[m] = centre, 1 / math.sqrt((squares - total * total / D) / D + eps)
            _normalise_line(row, mean[m], number(centre - mean[m]), rstd[m], weight, bias, y[m])


@inside
def _weigh(g, x, centre, scale, weight, gw, gweight):
    """gw = g * weight, and g * xhat is added to gweight."""
    for i in range(len(gw)):
        gw[i] = g[i] * weight[i]
        gweight[i] += g[i] * ((x[i] - centre) * scale)


@inside
def _add(g, gbias):
    for i in range(len(gbias)):
        gbias[i] += g[i]


@inside
def _centred(gw, x, centre, scale, p, q, gx):
    for i in range(len(gx)):
        gx[i] = scale * (gw[i] - p - (x[i] - centre) * q)


@parallel
def _layer_norm_gradients(thread, g, x, mean, rstd, weight, step, gx, sums):
    """gx, and of each block of rows sum g*xhat and sum g: (B, 2, D)."""
    M, D = x.shape
    for block in mine(thread, len(sums)):
        number, gweight, gbias, gw = x.dtype.type, sums[block, 0], sums[block, 1], np.empty(D, x.dtype)
        gweight[:] = 0
        gbias[:] = 0
        for m in range(block * step, min(M, block * step + step)):
            _weigh(g[m], x[m], mean[m], rstd[m], weight, gw, gweight)
            _add(g[m], gbias)
            total, product = _line_sums(gw, number(0), x[m], mean[m], number(0))
            scale = np.float64(rstd[m])
            _centred(gw, x[m], mean[m], rstd[m], number(total / D), number(product * scale * scale / D), gx[m])


def _affine(values, D, dtype, default):
    return np.full(D, default, dtype) if values is None else np.ascontiguousarray(values, dtype)


def layer_norm(x, weight, bias, eps):
    x = np.ascontiguousarray(x)
    M, D = x.shape
    y, mean, rstd = np.empty_like(x), np.empty(M, x.dtype), np.empty(M, x.dtype)
    _layer_norm(x, _affine(weight, D, x.dtype, 1), _affine(bias, D, x.dtype, 0), float(eps), block_rows(D), y, mean,
                rstd)
    return y, mean, rstd


def layer_norm_backward(g, x, mean, rstd, weight):
    g, x, mean, rstd = map(np.ascontiguousarray, (g, x, mean, rstd))
    (M, D), step = x.shape, block_rows(x.shape[1])
    gx, sums = np.empty_like(x), np.empty((-(-M // step), 2, D), x.dtype)
    _layer_norm_gradients(g, x, mean, rstd, _affine(weight, D, x.dtype, 1), step, gx, sums)
    gweight, gbias = sums.sum(0, dtype=np.float64).astype(x.dtype)
    return gx, gweight, gbias
