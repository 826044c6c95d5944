"""Pooling: one number for each window, its largest or its mean.  Forwards and backwards.

    x (N, C, H, W) --window--> y (N, C, OH, OW)

Padding counts as -inf for the maximum.  For the average it counts as zeros, or (count_include_pad=False) not at all;
what a ceil_mode window reaches beyond the padding never counts.  Adaptive windows are floor(i*H/OH) ..
ceil((i+1)*H/OH), so they may overlap, and repeat when the output is the larger.  Max-pooling remembers where the maxima
were, as the flat index y*W + x, and its gradient goes there; a window that meets no pixel (a dilated one can) is -inf,
its index -1.
"""
from ..geometry import Window
from ._xp import array_module

__all__ = ["max_pool2d", "max_pool2d_backward", "max_pool2d_gather", "avg_pool2d", "avg_pool2d_backward",
           "adaptive_avg_pool2d", "adaptive_avg_pool2d_backward", "adaptive_max_pool2d"]


def _taps(win):
    """For each tap of the window: the rows and columns of the input it meets, and which outputs it serves there."""
    for i in range(win.KH):
        ys, oy = _inside(i * win.DH - win.PH, win.SH, win.OH, win.H)
        for j in range(win.KW):
            xs, ox = _inside(j * win.DW - win.PW, win.SW, win.OW, win.W)
            if ys and xs:
                yield ys, xs, oy, ox


def _inside(first, step, count, size):
    """Slices of input and output positions for first + step*o, o < count, that lie in 0 .. size-1."""
    low = max(0, -(first // step)) if first < 0 else 0
    high = min(count, (size - 1 - first) // step + 1)
    if low >= high:
        return None, None
    return slice(first + low * step, first + (high - 1) * step + 1, step), slice(low, high)


def max_pool2d(x, win):
    """The largest of each window and its index y*W + x: the first of equals; the last NaN, if there is one.

    The indices may be of any integer dtype that holds them.
    """
    xp, (N, C) = array_module(x), x.shape[:2]
    low = -xp.inf if x.dtype.kind == "f" else xp.iinfo(x.dtype).min
    best = xp.full((N, C, win.OH, win.OW), low, x.dtype)
    where = xp.full(best.shape, -1, "int64")
    plane = xp.arange(win.H * win.W).reshape(win.H, win.W)
    for ys, xs, oy, ox in _taps(win):
        value, kept, at = x[:, :, ys, xs], best[:, :, oy, ox], where[:, :, oy, ox]
        wins = (value > kept) | (value != value) | (at < 0)
        xp.copyto(kept, value, where=wins)
        xp.copyto(at, xp.broadcast_to(plane[ys, xs], at.shape), where=wins)
    return best, where


def max_pool2d_backward(g, indices, size, win=None):
    """Add every g to the cell its maximum came from: (N, C, OH, OW) -> (N, C, H, W); adjoint of the gather.

    win  the Window whose cells the indices are, if it is known: then a kernel can gather, and need not look far
    """
    xp, (N, C), (H, W) = array_module(g), g.shape[:2], size
    gx = xp.zeros((N * C, H * W), g.dtype)
    planes = xp.arange(N * C).reshape(N, C, 1, 1)
    met = indices >= 0
    xp.add.at(gx, (xp.broadcast_to(planes, g.shape)[met], indices[met]), g[met])
    return gx.reshape(N, C, H, W)


def max_pool2d_gather(x, indices):
    """The cells at `indices` of each plane, 0 for index -1: (N, C, H, W), (N, C, OH, OW) -> (N, C, OH, OW)"""
    xp, (N, C, H, W) = array_module(x), x.shape
    planes = xp.arange(N * C).reshape(N, C, 1, 1)
    picked = x.reshape(N * C, H * W)[planes, indices]
    return xp.where(indices >= 0, picked, x.dtype.type(0))


def window_divisors(xp, win, count_include_pad, divisor_override, pad_after, dtype):
    """(OH, OW): by how much each window's sum is divided."""
    if divisor_override is not None:
        return xp.full((win.OH, win.OW), divisor_override, dtype)

    def lengths(n, k, s, p, o, after):
        start = xp.arange(o) * s - p
        if count_include_pad:
            return xp.minimum(start + k, n + after) - start
        return xp.maximum(xp.minimum(start + k, n) - xp.maximum(start, 0), 1)    # a window of padding alone: 0 / 1
    rows = lengths(win.H, win.KH, win.SH, win.PH, win.OH, pad_after[0])
    columns = lengths(win.W, win.KW, win.SW, win.PW, win.OW, pad_after[1])
    return (rows[:, None] * columns).astype(dtype)


def avg_pool2d(x, win, count_include_pad, divisor_override, pad_after):
    """The mean of each window."""
    xp = array_module(x)
    total = xp.zeros((*x.shape[:2], win.OH, win.OW), x.dtype)
    for ys, xs, oy, ox in _taps(win):
        total[:, :, oy, ox] += x[:, :, ys, xs]
    divisors = window_divisors(xp, win, count_include_pad, divisor_override, pad_after, x.dtype)
    return total / divisors if x.dtype.kind == "f" else xp.trunc(total / divisors).astype(x.dtype)


def avg_pool2d_backward(g, win, count_include_pad, divisor_override, pad_after):
    """Spread every g evenly over its window: the adjoint of `avg_pool2d`."""
    xp = array_module(g)
    share = g / window_divisors(xp, win, count_include_pad, divisor_override, pad_after, g.dtype)
    gx = xp.zeros((*g.shape[:2], win.H, win.W), g.dtype)
    for ys, xs, oy, ox in _taps(win):
        gx[:, :, ys, xs] += share[:, :, oy, ox]
    return gx


def _adaptive(size, output_size):
    """The windows (output row, output column, rows, columns) of an adaptive pool."""
    (H, W), (OH, OW) = size, output_size
    for oy in range(OH):
        for ox in range(OW):
            yield oy, ox, slice(oy * H // OH, -(-(oy + 1) * H // OH)), slice(ox * W // OW, -(-(ox + 1) * W // OW))


def adaptive_avg_pool2d(x, output_size):
    """The mean of each of OH x OW windows that cover the image."""
    y = array_module(x).empty((*x.shape[:2], *output_size), x.dtype)
    for oy, ox, rows, columns in _adaptive(x.shape[2:], output_size):
        y[:, :, oy, ox] = x[:, :, rows, columns].mean((2, 3))
    return y


def adaptive_avg_pool2d_backward(g, size):
    """Spread every g evenly over its window: the adjoint of `adaptive_avg_pool2d`."""
    gx = array_module(g).zeros((*g.shape[:2], *size), g.dtype)
    for oy, ox, rows, columns in _adaptive(size, g.shape[2:]):
        count = (rows.stop - rows.start) * (columns.stop - columns.start)
        gx[:, :, rows, columns] += (g[:, :, oy, ox] / count)[:, :, None, None]
    return gx


def adaptive_max_pool2d(x, output_size):
    """The largest of each of OH x OW windows that cover the image, and its index; ties and NaN as `max_pool2d`."""
    xp, (N, C, H, W) = array_module(x), x.shape
    y = xp.empty((N, C, *output_size), x.dtype)
    where = xp.empty(y.shape, "int64")
    for oy, ox, rows, columns in _adaptive((H, W), output_size):
        size = rows.stop - rows.start, columns.stop - columns.start
        tile = Window(H, W, *size, 1, 1, -rows.start, -columns.start, 1, 1, 1, 1)
        best, at = max_pool2d(x, tile)
        y[:, :, oy, ox], where[:, :, oy, ox] = best[:, :, 0, 0], at[:, :, 0, 0]
    return y, where
