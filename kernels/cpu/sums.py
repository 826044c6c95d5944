"""What each channel of a batch of images adds up to: the gradient of a bias.

    memory     x (N, C, ...) with its channels last is seen as lines of k pixels: (R, W), W = k*C, as in batch_norm.py
    parallel   over blocks of `rows` lines and `band` columns, which depend on the shapes alone

                   W = k*C                   each task              joined in order
                +------+------+
           rows | task | task |   -->   sums (W), float64  --+
                +------+------+                              +-->   (C)
           rows | task | task |   -->   sums (W), float64  --+
                +------+------+

A task adds up CHUNK lines at a time in the dtype of x, vector by vector, and joins these sums in float64.
bound by memory: reads x once.
"""
import numpy as np

from .batch_norm import CHUNK, lines_of, tasks_of
from .threads import inside, mine, parallel

__all__ = ["channel_sums"]


def channel_sums(g):
    if not g.size:
        return np.zeros(g.shape[1], g.dtype)
    lines, C = lines_of(g), g.shape[1]
    R, W = lines.shape
    rows, band = tasks_of(R, W)
    sums = np.empty((-(-R // rows), W))
    _sum_lines(lines, rows, band, sums)
    return sums.sum(0).reshape(W // C, C).sum(0).astype(g.dtype)


@inside
def _add(a, b, s):
    """Two lines at once: s is read and written half as often."""
    for w in range(len(s)):
        s[w] += a[w] + b[w]


@parallel
def _sum_lines(thread, x, rows, band, sums):
    R, W = x.shape
    across = (W + band - 1) // band
    for task in mine(thread, len(sums) * across):
        b, left = task // across, task % across * band
        right, last = min(W, left + band), min(R, b * rows + rows)
        total, s, nothing = sums[b, left:right], np.empty(right - left, x.dtype), np.zeros(right - left, x.dtype)
        total[:] = 0
        for start in range(b * rows, last, CHUNK):
            end = min(last, start + CHUNK)
            s[:] = 0
            for r in range(start, end, 2):
                _add(x[r, left:right], x[r + 1, left:right] if r + 1 < end else nothing, s)
            for w in range(len(s)):
                total[w] += s[w]
