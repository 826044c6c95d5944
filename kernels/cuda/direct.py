"""Convolution with few channels in a group: see direct.cu.  Images are taken, and given, in channels-last memory."""
from __future__ import annotations

from .arrays import dense, new, new_like, plain, wide
from .launch import launch

__all__ = ["conv2d", "conv2d_input", "conv2d_weight"]
FILE, ROW, TAPS, COLUMNS = "direct.cu", 4, 9, 32
PART = 512                                           # pixels that a block sums over, and how many elements all the
MOST = 1 << 22                                       # blocks' sums may have before there are fewer blocks


def conv2d(x, weight, bias, win, groups):
    """(N, C, H, W), (O, C/G, KH, KW), (O,) or None -> (N, O, OH, OW)"""
    y = new_like(x, x.shape[0], weight.shape[0], win.OH, win.OW, last=True)
    w = plain(weight.transpose(2, 3, 1, 0), x)                            # (KH, KW, C/G, O)
    _convolve(x, w, plain(bias, x), y, win, groups, False)
    return y


def conv2d_input(gy, weight, win, groups):
    """The gradient with respect to x: (N, O, OH, OW), (O, C/G, KH, KW) -> (N, C, H, W)"""
    gx = new_like(gy, gy.shape[0], groups * weight.shape[1], win.H, win.W, last=True)
    w = weight.reshape(groups, -1, *weight.shape[1:])                     # (G, O/G, C/G, KH, KW)
    w = plain(w.transpose(3, 4, 1, 0, 2), gy)                             # (KH, KW, O/G, G, C/G)
    _convolve(gy, w, None, gx, win, groups, True)
    return gx


def _convolve(x, w, bias, y, win, groups, back):
    N, O, RH, RW = y.shape
    Q = 4 if O // groups % 4 == 0 else 1
    threads = N * RH * -(-RW // ROW) * (O // Q)
    launch(FILE, "direct", y.dtype, threads,
           (dense(x, True), w, bias, dense(y, True), win, back, x.shape[1], O, groups, threads), variant=(str(Q),))


def conv2d_weight(x, gy, win, groups):
    """The gradient with respect to the weight: (N, C, H, W), (N, O, OH, OW) -> (O, C/G, KH, KW)"""
    (N, C), O = x.shape[:2], gy.shape[1]
    gw, pixels = new(x, O, C // groups, win.KH, win.KW), N * win.OH * win.OW
    pairs = gw.size // O                                                  # C/G * KH * KW
    most = max(1, min(-(-pixels // PART), MOST // gw.size))
    length = max(1, -(-pixels // most))
    parts = new(x, max(1, -(-pixels // length)), pairs, O, dtype=wide(x))
    launch(FILE, "direct_weight", x.dtype, gw.size,
           (dense(x, True), dense(gy, True, x), parts, win, C, O, groups, pixels, length),
           (-(-O // COLUMNS), -(-pairs // TAPS), parts.shape[0]))
    launch(FILE, "direct_parts", x.dtype, gw.size, (parts, gw, parts.shape[0], pairs, O), -(-gw.size // COLUMNS))
    return gw
