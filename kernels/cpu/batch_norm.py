"""Batch norm, alone or with what follows it in a net, relu(batch_norm(x) + residual), in two passes over memory.

    memory      x (N, C, ...) with its channels last is seen as lines of k pixels: (R, W), W = k*C.  k > 1 makes the
                inner loops long where channels are few; column w holds channel w % C.
    parallel    over tasks of `rows` lines and `band` columns, which depend on the shapes alone

    pass 1      W = k*C                sums of a task          joined in order
                +------+------+        (2, W), float64         of tasks, columns
           rows | task | task |   -->   s, q  --+
                +------+------+                 +-->   mean, variance (C)   -->   y = (x - centre)*scale + shift
           rows | task | task |   -->   s, q  --+                                 pass 2, the same tasks
                +------+------+

A task adds up CHUNK lines at a time in the dtype of x, vector by vector, and joins these sums in float64.  Forwards
they are taken around the chunk's first line f, s = sum (x - f) and q = sum (x - f)^2: f is one of the numbers itself,
so these are of the size of the spread, not of the mean, and no digits are lost (Chan, Golub & LeVeque 1983, sections
2-3).  All chunks are then moved to the same zero, the first line of all.

bytes: the forward reads x twice and writes y, the backward reads g and x (and y, behind a relu) twice and writes gx.
"""
import math

import numpy as np

from .activation import pass_on
from .norm import batch_rows, like
from .threads import inside, mine, parallel

__all__ = ["batch_norm", "batch_norm_backward", "batch_norm_eval", "batch_norm_eval_backward",
           "batch_norm_relu", "batch_norm_relu_backward", "batch_norm_relu_eval", "batch_norm_relu_eval_backward"]
CHUNK = 64                                           # lines whose sums stay in the dtype of x
BAND = 1024                                          # columns of a task: its sums stay in the first-level cache
TASKS = 64                                           # at most, one below the other; a multiple of 4


def lines_of(x):
    """(N, C, ...) -> (R, k*C), k pixels beside each other."""
    pixels = batch_rows(x)[0]                                                        # (R*k, C)
    R, C = pixels.shape
    k = math.gcd(R, 1 << max(1, BAND // max(1, C)).bit_length() - 1)
    return pixels.reshape(R // k, k * C)


def tasks_of(R, W):
    """Lines and columns of a task."""
    tasks = max(1, min(TASKS, 4 * -(-R // (4 * CHUNK))))
    return max(1, -(-R // tasks)), -(-W // max(1, -(-W // BAND)))


# ---------------------------------------------------------------------------------------- the sums of a task
# What follows works on one line.  Few arrays in a loop: LLVM makes no vector code where it would have to compare more
# than a handful of addresses to see that what is written is not read elsewhere.

@inside
def _add_squares(a, b, first, s, q):
    """Two lines at once: s and q are read and written half as often."""
    for w in range(len(s)):
        da, db = a[w] - first[w], b[w] - first[w]
        s[w] += da + db
        q[w] += da * da + db * db


@inside
def _add_products(g, x, centre, s, p):
    for w in range(len(s)):
        s[w] += g[w]
        p[w] += g[w] * (x[w] - centre[w])


@inside
def _moments(x, low, high, left, right, zero, total, squares):
    """total and squares (right - left) = sum (x - zero) and sum (x - zero)^2 over the lines low .. high."""
    total[:] = 0
    squares[:] = 0
    s, q = np.empty(right - left, x.dtype), np.empty(right - left, x.dtype)
    for start in range(low, high, CHUNK):
        end, first = min(high, start + CHUNK), x[start, left:right]
        s[:] = 0
        q[:] = 0
        for r in range(start + 1, end, 2):           # of an odd one the neighbour is the first, which adds nothing
            _add_squares(x[r, left:right], x[r + 1 if r + 1 < end else start, left:right], first, s, q)
        n = end - start
        for w in range(len(s)):
            move = np.float64(first[w]) - zero[w]
            total[w] += s[w] + n * move
            squares[w] += q[w] + move * (2 * np.float64(s[w]) + n * move)


@inside
def _products(g, y, x, kept, masked, keep, low, high, left, right, centre, total, products):
    """total and products (right - left) = sum g and sum g*(x - centre) over the lines low .. high.

    masked: g does not count where y <= 0; keep: what counts is written to kept
    """
    total[:] = 0
    products[:] = 0
    s, p, buffer = np.empty(right - left, x.dtype), np.empty(right - left, x.dtype), np.empty(right - left, x.dtype)
    for start in range(low, high, CHUNK):
        s[:] = 0
        p[:] = 0
        for r in range(start, min(high, start + CHUNK)):
            counted = g[r, left:right]
            if masked:
                counted = kept[r, left:right] if keep else buffer
                pass_on(g[r, left:right], y[r, left:right], x.dtype.type(0), counted)
            _add_products(counted, x[r, left:right], centre, s, p)
        for w in range(len(s)):
            total[w] += s[w]
            products[w] += p[w]


@inside
def _join(sums, joined):
    """sums (B, 2, k*C) of tasks, columns -> joined (2, C) of channels, always in this order."""
    C = joined.shape[1]
    joined[:] = 0
    for b in range(len(sums)):
        for i in range(2):
            for left in range(0, sums.shape[2], C):
                part, total = sums[b, i, left:left + C], joined[i]
                for c in range(C):
                    total[c] += part[c]


@inside
def _repeat(lines, C):
    """Each line's first C numbers again and again, up to its end."""
    for i in range(len(lines)):
        for w in range(C, lines.shape[1]):
            lines[i, w] = lines[i, w - C]


# ---------------------------------------------------------------------------------------- forward

@parallel
def _sum_moments(thread, x, C, rows, band, sums):
    """sums (blocks of rows, 2, W): of each column, of its differences from the first number of its channel, the numbers
    and their squares."""
    R, W = x.shape
    across, zeros = (W + band - 1) // band, np.empty((1, W))
    zeros[0, :C] = x[0, :C]
    _repeat(zeros, C)
    zero = zeros[0]
    for task in mine(thread, len(sums) * across):
        b, left = task // across, task % across * band
        right = min(W, left + band)
        _moments(x, b * rows, min(R, b * rows + rows), left, right, zero[left:right], sums[b, 0, left:right],
                 sums[b, 1, left:right])


@inside
def _find_statistics(x, sums, statistics):
    """statistics (2, C): mean and variance."""
    C = statistics.shape[1]
    n = x.size // C
    _join(sums, statistics)
    for c in range(C):
        s = statistics[0, c] / n
        statistics[1, c] = statistics[1, c] / n - s * s
        statistics[0, c] = x[0, c] + s


@parallel
def _normalise(thread, x, sums, statistics, weight, bias, eps, residual, add, least, rows, band, y):
    """y = max(least, batch norm of x, + residual with `add`).  The statistics are given, or if there are sums written:
    each thread works them out, which takes less time than waiting for one that does."""
    R, W = x.shape
    C, across = len(weight), (W + band - 1) // band
    known = statistics
    if len(sums):
        known = np.empty_like(statistics)
        _find_statistics(x, sums, known)
        if thread[0] == 0:
            statistics[:] = known
    lines = np.empty((3, W), x.dtype)                # centre, scale and shift of each column
    for c in range(C):
        mean, scale = known[0, c], weight[c] / math.sqrt(known[1, c] + eps)
        lines[0, c], lines[1, c] = mean, scale
        lines[2, c] = bias[c] + (np.float64(lines[0, c]) - mean) * scale     # what rounding takes off the mean
    _repeat(lines, C)
    for task in mine(thread, (R + rows - 1) // rows * across):
        b, left = task // across, task % across * band
        right = min(W, left + band)
        centre, scale, shift = lines[0, left:right], lines[1, left:right], lines[2, left:right]
        for r in range(b * rows, min(R, b * rows + rows)):
            if add:
                _scale_shift_add(x[r, left:right], residual[r, left:right], centre, scale, shift, least,
                                 y[r, left:right])
            else:
                _scale_shift(x[r, left:right], centre, scale, shift, least, y[r, left:right])


@inside
def _scale_shift(x, centre, scale, shift, least, y):
    for w in range(len(y)):
        v = (x[w] - centre[w]) * scale[w] + shift[w]
        y[w] = least if v < least else v             # nan is not below


@inside
def _scale_shift_add(x, residual, centre, scale, shift, least, y):
    for w in range(len(y)):
        v = (x[w] - centre[w]) * scale[w] + shift[w] + residual[w]
        y[w] = least if v < least else v


def _run_forward(x, statistics, weight, bias, eps, relu, residual):
    """y, and statistics (2, C): the given ones, or if they are None the batch's."""
    lines, C, dtype = lines_of(x), x.shape[1], x.dtype
    R, W = lines.shape
    rows, band = tasks_of(R, W)
    y, added = np.empty_like(lines), lines if residual is None else batch_rows(residual).reshape(R, W)
    sums = np.empty((0 if statistics is not None or not x.size else -(-R // rows), 2, W))
    if len(sums):
        _sum_moments(lines, C, rows, band, sums)
    if statistics is None:
        statistics = np.zeros((2, C))
    if x.size:
        _normalise(lines, sums, statistics, _parameter(weight, C, dtype, 1), _parameter(bias, C, dtype, 0), float(eps),
                   added, residual is not None, dtype.type(0 if relu else -np.inf), rows, band, y)
    return like(y, x), statistics


def _parameter(values, C, dtype, default):
    return np.full(C, default, dtype) if values is None else np.ascontiguousarray(values, dtype)


def _fitted(x, weight, bias, eps, relu, residual):
    y, statistics = _run_forward(x, None, weight, bias, eps, relu, residual)
    mean, var = statistics.astype(x.dtype)
    return y, mean, var


def batch_norm(x, weight, bias, eps):
    return _fitted(x, weight, bias, eps, False, None)


def batch_norm_relu(x, weight, bias, eps, residual):
    return _fitted(x, weight, bias, eps, True, residual)


def batch_norm_eval(x, mean, var, weight, bias, eps):
    return _run_forward(x, np.array([mean, var], np.float64), weight, bias, eps, False, None)[0]


def batch_norm_relu_eval(x, mean, var, weight, bias, eps, residual):
    return _run_forward(x, np.array([mean, var], np.float64), weight, bias, eps, True, residual)[0]


# ---------------------------------------------------------------------------------------- backward

@parallel
def _sum_products(thread, g, y, x, mean, masked, keep, rows, band, sums, kept):
    """sums (blocks of rows, 2, W): of each column, of g and of g * (x - mean); masked, keep: as in _add_products."""
    R, W = x.shape
    across, centre = (W + band - 1) // band, np.empty((1, W), x.dtype)
    for c in range(len(mean)):
        centre[0, c] = mean[c]
    _repeat(centre, len(mean))
    for task in mine(thread, len(sums) * across):
        b, left = task // across, task % across * band
        right = min(W, left + band)
        _products(g, y, x, kept, masked, keep, b * rows, min(R, b * rows + rows), left, right, centre[0, left:right],
                  sums[b, 0, left:right], sums[b, 1, left:right])


@inside
def _find_coefficients(sums, mean, var, weight, eps, share, gparameters, lines):
    """lines (4, W): centre, p, q, s of each column, as in _combine; gparameters (2, C): gweight and gbias.

    share: by how much each number moves the statistics, 1/n, or 0 where they are constants
    """
    C = len(mean)
    joined = np.empty((2, C))
    _join(sums, joined)
    for c in range(C):
        rstd = 1 / math.sqrt(var[c] + eps)
        gparameters[0, c], gparameters[1, c] = joined[1, c] * rstd, joined[0, c]
        lines[0, c], lines[1, c] = mean[c], weight[c] * rstd
        lines[2, c] = -share * weight[c] * rstd * rstd * rstd * joined[1, c]
        lines[3, c] = -share * weight[c] * rstd * joined[0, c]
    _repeat(lines, C)


@parallel
def _gradients(thread, g, y, x, mean, var, weight, eps, share, sums, masked, keep, rows, band, kept, gparameters, gx):
    """gx, and of thread 0 gparameters; each thread works the coefficients out, as in `_normalise`."""
    R, W = x.shape
    across, lines, found = (W + band - 1) // band, np.empty((4, W), x.dtype), np.empty_like(gparameters)
    _find_coefficients(sums, mean, var, weight, eps, share, found, lines)
    if thread[0] == 0:
        gparameters[:] = found
    for task in mine(thread, (R + rows - 1) // rows * across):
        b, left = task // across, task % across * band
        right = min(W, left + band)
        centre, p, q, s = lines[0, left:right], lines[1, left:right], lines[2, left:right], lines[3, left:right]
        buffer = np.empty(right - left, x.dtype)
        for r in range(b * rows, min(R, b * rows + rows)):
            counted = g[r, left:right]
            if keep:
                counted = kept[r, left:right]
            elif masked:
                counted = buffer
                pass_on(g[r, left:right], y[r, left:right], x.dtype.type(0), buffer)
            _combine(counted, x[r, left:right], centre, p, q, s, gx[r, left:right])


@inside
def _combine(g, x, centre, p, q, s, gx):
    for w in range(len(gx)):
        gx[w] = p[w] * g[w] + (q[w] * (x[w] - centre[w]) + s[w])


def _run_backward(g, y, x, mean, var, weight, eps, residual, share):
    """gx, gweight, gbias, gresidual; y: the output of the relu behind, or None for no relu."""
    lines, C, dtype = lines_of(x), x.shape[1], x.dtype
    R, W = lines.shape
    rows, band = tasks_of(R, W)
    gs = batch_rows(g).reshape(R, W)
    ys = gs if y is None else batch_rows(y).reshape(R, W)
    gx, sums, gparameters = np.empty_like(lines), np.empty((-(-R // rows), 2, W)), np.zeros((2, C), dtype)
    kept, masked = np.empty_like(lines) if residual else gx, y is not None
    if x.size:
        mean, var = np.ascontiguousarray(mean), np.ascontiguousarray(var)
        _sum_products(gs, ys, lines, mean, masked, residual, rows, band, sums, kept)
        _gradients(gs, ys, lines, mean, var, _parameter(weight, C, dtype, 1), float(eps), float(share), sums, masked,
                   residual, rows, band, kept, gparameters, gx)
    return like(gx, x), *gparameters, like(kept, x) if residual else None


def _share(x):
    return 1 / max(1, x.size // max(1, x.shape[1]))


def batch_norm_backward(g, x, mean, var, weight, eps):
    return _run_backward(g, None, x, mean, var, weight, eps, False, _share(x))[:3]


def batch_norm_eval_backward(g, x, mean, var, weight, eps):
    return _run_backward(g, None, x, mean, var, weight, eps, False, 0)[:3]


def batch_norm_relu_backward(g, y, x, mean, var, weight, eps, residual):
    return _run_backward(g, y, x, mean, var, weight, eps, residual, _share(x))


def batch_norm_relu_eval_backward(g, y, x, mean, var, weight, eps, residual):
    return _run_backward(g, y, x, mean, var, weight, eps, residual, 0)
