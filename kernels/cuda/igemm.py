"""Convolution on tensor cores, of float32 and of 16 bits: see igemm.cu.  Images are given in channels-last memory."""
from __future__ import annotations

from math import gcd
from typing import NamedTuple

from ..precision import PRECISIONS, get_float32_matmul_precision
from ..reference._xp import array_module
from .arrays import dense, new, plain
from .launch import launch, most_shared

__all__ = ["conv2d", "conv2d_input", "conv2d_weight"]
FILE, BM, BK, STAGES, THREADS = "igemm.cu", 128, 32, 3, 128
PIXELS = 24 * BM                                     # bytes of static shared memory
ENOUGH_BLOCKS = 264                                  # two for each multiprocessor of an H100


class Gather(NamedTuple):
    """Where patches come from and where results go: igemm.cu says what the numbers are."""

    JH: int
    JW: int
    TY: int
    TX: int
    YH: int
    YW: int
    TJ: int
    TI: int
    RY: int
    RX: int
    H: int
    W: int
    SJ: int
    SI: int
    dy: int
    dx: int
    DY: int
    DX: int
    ky: int
    kx: int
    KY: int
    KX: int
    KW: int
    taps: int


def conv2d(x, weight, bias, win, groups):
    """(N, C, H, W), (O, C/G, KH, KW), (O,) or None -> (N, O, OH, OW)"""
    w = plain(weight, x).reshape(groups, -1, *weight.shape[1:]).transpose(0, 1, 3, 4, 2)     # (G, O/G, KH, KW, C/G)
    y = new(x, x.shape[0], win.OH, win.OW, weight.shape[0])
    q = Gather(win.OH, win.OW, win.KH, win.KW, win.OH, win.OW, 1, 1, 0, 0, win.H, win.W, win.SH, win.SW, -win.PH,
               -win.PW, win.DH, win.DW, 0, 0, 1, 1, win.KW, win.KH * win.KW)
    _convolve(_padded(dense(x, True), groups), _padded(w), plain(bias, x), y, q, groups)
    return y.transpose(0, 3, 1, 2)


def conv2d_input(gy, weight, win, groups):
    """The gradient with respect to x: (N, O, OH, OW), (O, C/G, KH, KW) -> (N, C, H, W)"""
    w = plain(weight, gy).reshape(groups, -1, *weight.shape[1:]).transpose(0, 2, 3, 4, 1)    # (G, C/G, KH, KW, O/G)
    g, w = _padded(dense(gy, True), groups), _padded(w)
    gx = new(gy, gy.shape[0], win.H, win.W, groups * weight.shape[1])
    for RY in range(min(win.SH, win.H)):             # pixels RY, RY + SH, ... see the same rows of taps
        for RX in range(min(win.SW, win.W)):
            TY, ky, KY, dy, DY = _alike(RY, win.KH, win.SH, win.PH, win.DH)
            TX, kx, KX, dx, DX = _alike(RX, win.KW, win.SW, win.PW, win.DW)
            q = Gather(-(-(win.H - RY) // win.SH), -(-(win.W - RX) // win.SW), TY, TX, win.H, win.W, win.SH, win.SW, RY,
                       RX, win.OH, win.OW, 1, 1, dy, dx, DY, DX, ky, kx, KY, KX, win.KW, win.KH * win.KW)
            _convolve(g, w, None, gx, q, groups)
    return gx.transpose(0, 3, 1, 2)


def _alike(R, K, S, P, D):
    """The taps that met pixels R, R + S, ... along one axis: their number, the first and the step between them, and for
    pixel R the output that the first saw and the step to the next one's.
    """
    step = S // gcd(S, D)
    for k in range(min(step, K)):
        if (R + P - k * D) % S == 0:
            return len(range(k, K, step)), k, step, (R + P - k * D) // S, -(step * D // S)
    return 0, 0, 0, 0, 0


def _convolve(x, w, bias, y, q, groups):
    """x (N, H, W, G*C), w (G, O/G, KH, KW, C) -> y (N, YH, YW, O) where q says."""
    images, N, C, mode = x.shape[0], w.shape[1], w.shape[4], _mode(x)
    row = STAGES * (36 if mode < 2 else 40) * x.itemsize
    BN = 128 if N > 64 and (BM + 128) * row + PIXELS <= most_shared(x) else 64
    blocks = -(-images * q.JH * q.JW // BM), -(-N // BN), groups
    launch(FILE, "convolve", y.dtype, y.size, (x, w, bias, y, q, images, groups, C, N), blocks,
           threads=2 * BN if mode == 0 else THREADS, shared=(BM + BN) * row, variant=(str(mode), str(BN)))


def conv2d_weight(x, gy, win, groups):
    """The gradient with respect to the weight: (N, C, H, W), (N, O, OH, OW) -> (O, C/G, KH, KW)"""
    C, O, taps = x.shape[1] // groups, gy.shape[1], win.KH * win.KW
    gw = new(x, O, C, win.KH, win.KW)
    a, b = _padded(dense(gy, True, x), groups), _padded(dense(x, True), groups)
    M, K = a.shape[3] // groups, b.shape[3] // groups                     # channels, with those that were added
    steps = -(-gy.shape[0] * win.OH * win.OW // BK)
    tiles = -(-taps * K // 128), -(-M // 64)
    splits = max(1, min(steps // 8, ENOUGH_BLOCKS // (tiles[0] * tiles[1] * groups)))
    each = -(-steps // splits) if steps else 1
    splits = max(1, -(-steps // each))
    parts = new(x, splits, groups, M, taps * K, dtype="float32")
    launch(FILE, "convolve_weight", x.dtype, gw.size, (b, a, parts, win, x.shape[0], groups, K, M, each),
           (*tiles, groups * splits), threads=THREADS, shared=STAGES * BK * (72 + 136) * x.itemsize,
           variant=(str(_mode(x)),))
    if M * groups != O:                              # a group's last rows are of channels that were added
        parts = plain(parts[:, :, :O // groups])
    launch(FILE, "add_parts", x.dtype, gw.size, (parts, gw, splits, taps, K, C, O, gw.size))
    return gw


def _mode(x):
    return 3 if x.itemsize == 2 else PRECISIONS.index(get_float32_matmul_precision())


def _padded(x, groups=1):
    """x (..., G*C) in C order with zeros behind every group's channels, so that they are a multiple of 16 bytes."""
    C, unit = x.shape[-1] // groups, 16 // x.itemsize
    if C % unit == 0:
        return plain(x)
    padded = -(-C // unit) * unit
    wide = array_module(x).zeros((*x.shape[:-1], groups, padded), x.dtype)
    wide[..., :C] = x.reshape(*x.shape[:-1], groups, C)
    return wide.reshape(*x.shape[:-1], groups * padded)
