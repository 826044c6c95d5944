"""How fast is each kernel, against what the machine can do?

    python -m benchmarks.kernels [PATTERN] [--seconds 0.5] [--out FILE]

Every kernel on the shapes of a ResNet, float32: milliseconds (median, quartiles), GFLOP/s for those bound by
arithmetic, GB/s (bytes that must be read and written, each once) for those bound by memory.  The limits, measured
in the same run, come first: a large matrix product by the machine's BLAS, and a copy of the activations' size.
"""
from __future__ import annotations

import argparse
import os
import sys
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np

import tinycnn  # noqa: F401  (makes tinycnn.kernels importable from a checkout)

from .timing import machine, sample, spread

cpu = import_module("tinycnn.kernels.cpu")
window = import_module("tinycnn.kernels.geometry").window


class Row(NamedTuple):
    """A kernel on a shape: what to call, and how many FLOPs and bytes it cannot do without."""
    name: str
    call: Callable
    flops: float
    bytes: float


def array(*shape: int) -> np.ndarray:
    """Random float32 in channels-last memory when it has four dimensions."""
    a = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if len(shape) == 4 else a


CONVOLUTIONS = [                      # label, N, C, H, O, K, stride, padding, groups
    ("3x3 64@56", 8, 64, 56, 64, 3, 1, 1, 1),
    ("3x3 128@28", 8, 128, 28, 128, 3, 1, 1, 1),
    ("3x3 256@14", 8, 256, 14, 256, 3, 1, 1, 1),
    ("3x3 512@7", 8, 512, 7, 512, 3, 1, 1, 1),
    ("3x3 s2 64-128@56", 8, 64, 56, 128, 3, 2, 1, 1),
    ("1x1 256-64@56", 8, 256, 56, 64, 1, 1, 0, 1),
    ("7x7 s2 3-64@224", 8, 3, 224, 64, 7, 2, 3, 1),
    ("5x5 1-6@28 b256", 256, 1, 28, 6, 5, 1, 2, 1),
    ("3x3 g32 128@56", 8, 128, 56, 128, 3, 1, 1, 32),
    ("dw7x7 96@24", 8, 96, 24, 96, 7, 1, 3, 96),
]


def convolutions():
    """conv2d and its two gradients."""
    for label, N, C, H, O, K, S, P, G in CONVOLUTIONS:
        win = window((H, H), K, S, P)
        x, w, gy = array(N, C, H, H), array(O, C // G, K, K).copy(), array(N, O, win.OH, win.OW)
        flops = 2 * gy.size * K * K * C // G
        size = x.nbytes + w.nbytes + gy.nbytes
        yield Row(f"conv2d {label}", lambda x=x, w=w, win=win, G=G: cpu.conv2d(x, w, None, win, G), flops, size)
        yield Row(f"conv2d_input {label}", lambda g=gy, w=w, win=win, G=G: cpu.conv2d_input(g, w, win, G), flops, size)
        yield Row(f"conv2d_weight {label}", lambda x=x, g=gy, win=win, G=G: cpu.conv2d_weight(x, g, win, G), flops,
                  size)


def products():
    """Matrix products of Linear layers, and im2col for its own sake."""
    for M, K, B in ((256, 400, 120), (32, 512, 1000), (1024, 1024, 1024)):
        a, b = array(M, K), array(K, B)
        yield Row(f"matmul {M}x{K}x{B}", lambda a=a, b=b: cpu.matmul(a, b), 2 * M * K * B, 4 * (M * K + K * B + M * B))
    x, win = array(8, 64, 56, 56), window(56, 3, 1, 1)
    cols = cpu.im2col(x, win)
    yield Row("im2col 3x3 64@56", lambda: cpu.im2col(x, win), 0, x.nbytes + cols.nbytes)
    yield Row("col2im 3x3 64@56", lambda: cpu.col2im(cols, win), 0, x.nbytes + cols.nbytes)


def memory_bound():
    """Pools, norms, losses, dropout and optimizers on 8x64x56x56 (6.4 MB)."""
    x, w, b = array(8, 64, 56, 56), array(64), array(64)
    n = x.nbytes
    y, mean, var = cpu.batch_norm(x, w, b, 1e-5)
    yield Row("batch_norm", lambda: cpu.batch_norm(x, w, b, 1e-5), 0, 3 * n)
    yield Row("batch_norm_backward", lambda: cpu.batch_norm_backward(y, x, mean, var, w, 1e-5), 0, 5 * n)
    yield Row("batch_norm_eval", lambda: cpu.batch_norm_eval(x, mean, var, w, b, 1e-5), 0, 2 * n)
    yield Row("group_norm 32", lambda: cpu.group_norm(x, 32, w, b, 1e-5), 0, 3 * n)
    rows, scale = array(8 * 56 * 56, 64), array(64)
    yield Row("layer_norm", lambda: cpu.layer_norm(rows, scale, scale, 1e-5), 0, 2 * n)
    yield Row("local_response_norm", lambda: cpu.local_response_norm(x, 5, 1e-4, 0.75, 1.0), 0, 2 * n)
    win = window(56, 3, 2, 1)
    out, indices = cpu.max_pool2d(x, win)
    yield Row("max_pool2d 3x3 s2", lambda: cpu.max_pool2d(x, win), 0, n + out.nbytes + indices.nbytes)
    yield Row("max_pool2d_backward", lambda: cpu.max_pool2d_backward(out, indices, (56, 56)), 0,
              n + out.nbytes + indices.nbytes)
    yield Row("avg_pool2d 3x3 s2", lambda: cpu.avg_pool2d(x, win, True, None, (1, 1)), 0, n + out.nbytes)
    yield Row("adaptive_avg_pool2d 1", lambda: cpu.adaptive_avg_pool2d(x, (1, 1)), 0, n)
    logits, labels = array(256, 1000), np.arange(256) % 1000
    yield Row("cross_entropy 256x1000", lambda: cpu.cross_entropy(logits, labels, None, -100, 0.0), 0,
              2 * logits.nbytes)
    yield Row("softmax 256x1000", lambda: cpu.softmax(logits), 0, 2 * logits.nbytes)
    yield Row("dropout", lambda: cpu.dropout(x, 0.5, 1), 0, 2 * n)
    p, g, m, v = (array(1 << 20) for _ in range(4))
    v = np.abs(v)
    sgd, adam = (1e-9, 0.9, 0, 0), (1e-9, 0.9, 0.999, 1e-8, 0, 1)
    yield Row("sgd_update momentum 1M", lambda: cpu.sgd_update([p], [g], [m], sgd, False, False, False), 0,
              5 * p.nbytes)
    yield Row("adam_update 1M", lambda: cpu.adam_update([p], [g], [m], [v], None, adam, False, False), 0, 7 * p.nbytes)


def limits() -> list[Row]:
    """What the machine can do: BLAS on a large product, NumPy's copy of an activation."""
    a, x = array(1024, 1024), array(8, 64, 56, 56)
    out = np.empty_like(x)
    return [Row("limit: BLAS 1024^3", lambda: a @ a, 2 * 1024 ** 3, 0),
            Row("limit: copy of 6.4 MB, 1 thread", lambda: np.copyto(out, x), 0, 2 * x.nbytes)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="*", help="only kernels whose name matches")
    parser.add_argument("--seconds", type=float, default=0.5, help="per kernel")
    parser.add_argument("--out", type=Path, help="write the table here too")
    args = parser.parse_args()
    lines = [f"# kernels, float32, {os.environ.get('NUMBA_NUM_THREADS', 'all')} threads: {machine()}",
             f"{'kernel':34} {'ms median':>10} {'quartiles':>19} {'GFLOP/s':>8} {'GB/s':>7}"]
    print("\n".join(lines), flush=True)
    for row in (*limits(), *convolutions(), *products(), *memory_bound()):
        if row.name.startswith("limit") or fnmatch(row.name, args.pattern):
            mid, low, high = spread(sample(row.call, args.seconds))
            rate = f"{row.flops / mid / 1e6:8.1f}" if row.flops else " " * 8
            flow = f"{row.bytes / mid / 1e6:7.1f}" if row.bytes else ""
            lines.append(f"{row.name:34} {mid:10.3f} {low:9.3f}-{high:<9.3f} {rate} {flow}")
            print(lines[-1], flush=True)
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
