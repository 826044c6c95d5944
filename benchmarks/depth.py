"""Why do 110 layers need batch norm and shortcuts?

    python -m benchmarks.depth [--depth 110] [--seed 0] [--data-dir DIR] [--out DIR]

Six nets of the same shape, untrained; one batch of 8 images forward and back.  For each net the norm of the gradient of
the cross-entropy by the weights of the first and of the last convolution, how far apart the logits of different images
lie, the largest logit, and what is wrong.  A net can learn if the first layer's gradient is about the last one's, and
if images can be told apart.  What one sees:

    sigmoid, plain          nothing of the gradient reaches the first layers: a sigmoid's slope is at most 1/4
    ReLU, plain             the layers' own init halves and halves again what passes, forward and back: nothing arrives
    ReLU, plain, He         gradients keep their size, yet all images give the same logits (to a thousandth)
    + batch norm            images stay apart, but the gradient grows on its way back, a millionfold
    + shortcuts             the maps double in variance block by block, and logits go beyond a million
    + both                  each branch is as large as its norm says, the sum grows slowly, the gradient fits

Architecture: He et al. 2016, Deep Residual Learning (arXiv:1512.03385), section 4.2: 3x3 convolutions, a stem of 16
channels and three stages of 16, 32 and 64 channels, shortcuts of option A.  Init: He et al. 2015 (arXiv:1502.01852),
equation 14.  Batch norm: Ioffe & Szegedy 2015 (arXiv:1502.03167).  That batch norm without shortcuts explodes: Yang et
al. 2019, A Mean Field Theory of Batch Normalization (arXiv:1902.08129).

--data-dir  the folder of CIFAR-10's binary files; without, the images are standard normal noise
--out       write depth.png (gradient norm against layer) and depth.json there
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinycnn as tc
from tinycnn.data import load_dataset
from tinycnn.models.base import initialise
from tinycnn.models.resnet_cifar import ZeroPadShortcut
from tinycnn.nn import BatchNorm2d, Conv2d, Identity, Linear, Module, Sequential, functional as F, init

from .drawing import draw

ACTIVATIONS = {"relu": F.relu, "sigmoid": F.sigmoid}
IMAGES = 8


class Case(NamedTuple):
    """What a net is made of; he=False leaves weights as the layers fill them."""
    label: str
    activation: str = "relu"
    norm: bool = False
    shortcut: bool = False
    he: bool = True


CASES = (
    Case("sigmoid, plain, He", activation="sigmoid"),
    Case("ReLU, plain, layers' own init", he=False),
    Case("ReLU, plain, He"),
    Case("ReLU, batch norm, He", norm=True),
    Case("ReLU, shortcuts, He", shortcut=True),
    Case("ReLU, batch norm, shortcuts, He", norm=True, shortcut=True),
)


class Block(Module):
    """Two convolutions, with or without norms and a shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int, case: Case):
        self.conv1, self.norm1 = _conv(c_in, c_out, stride, case)
        self.conv2, self.norm2 = _conv(c_out, c_out, 1, case)
        same = stride == 1 and c_in == c_out
        self.shortcut = (Identity() if same else ZeroPadShortcut(c_in, c_out, stride)) if case.shortcut else None
        self.activation = ACTIVATIONS[case.activation]

    def forward(self, x: tc.Tensor) -> tc.Tensor:
        """(N, c_in, H, W) -> (N, c_out, H/stride, W/stride)"""
        y = self.norm2(self.conv2(self.activation(self.norm1(self.conv1(x)))))
        return self.activation(y if self.shortcut is None else y + self.shortcut(x))


class DeepNet(Module):
    """He et al.'s net of 6n + 2 layers for 3x32x32, of the kind that `case` tells."""

    def __init__(self, depth: int, case: Case):
        n = (depth - 2) // 6
        self.conv, self.norm = _conv(3, 16, 1, case)
        self.activation = ACTIVATIONS[case.activation]
        widths = [16, *(c for c in (16, 32, 64) for _ in range(n))]
        self.blocks = Sequential(*(Block(c_in, c_out, c_out // c_in, case) for c_in, c_out in zip(widths, widths[1:])))
        self.linear = Linear(64, 10)
        if case.he:
            initialise(self, init.kaiming_normal_, zero_bias=True)

    def forward(self, x: tc.Tensor) -> tc.Tensor:
        """(N, 3, 32, 32) -> logits (N, 10)"""
        x = self.blocks(self.activation(self.norm(self.conv(x))))
        return self.linear(x.mean((2, 3)))


def _conv(c_in, c_out, stride, case):
    """A convolution and its norm, which has a bias of its own."""
    return (Conv2d(c_in, c_out, 3, stride, 1, bias=not case.norm), BatchNorm2d(c_out) if case.norm else Identity())


class Finding(NamedTuple):
    """What a net does with a batch; spread: standard deviation over the images, mean over the classes."""
    label: str
    gradients: list[float]                           # norm for each convolution, the first one first
    spread: float
    largest: float                                   # absolute value of a logit
    diagnosis: str


def measure(case: Case, depth: int, seed: int, images: np.ndarray, labels: np.ndarray) -> Finding:
    """One forward and backward pass of a fresh net."""
    tc.manual_seed(seed)
    net = DeepNet(depth, case)
    logits = net(tc.Tensor(images))
    F.cross_entropy(logits, labels).backward()
    gradients = [_norm(m.weight.grad.numpy()) for m in net.modules() if isinstance(m, Conv2d)]
    values = logits.detach().numpy().astype(np.float64)
    spread, largest = float(values.std(0).mean()), float(np.abs(values).max())
    return Finding(case.label, gradients, spread, largest, diagnose(gradients, spread, largest))


def _norm(a):
    """In double precision: the squares of float32 may over- or underflow."""
    return float(np.linalg.norm(a.astype(np.float64)))


def diagnose(gradients: list[float], spread: float, largest: float) -> str:
    """The first that holds: a logit beyond 1000; the first gradient below a millionth of the last; logits of different
    images closer than 0.01; the first gradient beyond 1000 times the last.
    """
    first, last = gradients[0], gradients[-1]
    if not largest <= 1e3:                           # so that NaN counts
        return "explodes forward"
    if first <= 1e-6 * last:
        return "vanishes"
    if spread < 1e-2:
        return "inputs indistinguishable"
    return "healthy" if first <= 1e3 * last else "explodes backward"


def batch(data_dir: Path | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(8, 3, 32, 32) float32 and (8,) int64: the first test images of CIFAR-10, or noise."""
    rng = np.random.default_rng(seed)
    if data_dir is not None:
        test = load_dataset("cifar10", data_dir)[1]
        return test.batch(np.arange(IMAGES), rng)
    return rng.standard_normal((IMAGES, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, IMAGES)


def findings(depth: int = 110, seed: int = 0, data_dir: Path | None = None) -> list[Finding]:
    """The six cases, on the same images.  Raises ValueError for a depth that is not 6n + 2."""
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth={depth} must be 6n + 2: 8, 14, 20, ..., 110")
    images, labels = batch(data_dir, seed)
    return [measure(case, depth, seed, images, labels) for case in CASES]


def table(found: list[Finding]) -> str:
    """A line for each net under a heading."""
    lines = [f"{'':32} {'gradient of conv':^17}  {'spread of':>9} {'largest':>8}",
             f"{'net':32} {'first':>8} {'last':>8}  {'logits':>9} {'logit':>8}  diagnosis"]
    lines += [f"{f.label:32} {f.gradients[0]:8.1e} {f.gradients[-1]:8.1e}  {f.spread:9.1e} {f.largest:8.1e}  "
              f"{f.diagnosis}" for f in found]
    return "\n".join(lines)


def plot(found: list[Finding], depth: int, figure: Any) -> None:
    """Gradient norm against layer."""
    axes = figure.add_subplot()
    for f in found:
        layers = np.arange(1, len(f.gradients) + 1)
        axes.semilogy(layers, np.maximum(f.gradients, FLOOR), label=f"{f.label}: {f.diagnosis}", linewidth=1.5)
    healthy = [f.label for f in found if f.diagnosis == "healthy"]
    title = "only batch norm with shortcuts is fit to learn" if healthy == [CASES[-1].label] else \
        f"fit to learn: {'; '.join(healthy) or 'none'}"
    axes.set(title=f"{depth} layers, untrained: {title}", xlabel="convolution, from the images to the logits",
             ylabel=f"norm of its gradient (at least {FLOOR:.0e} drawn)", ylim=(FLOOR / 3, None))
    axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small",
                  frameon=False)


FLOOR = 1e-12                                        # of the drawing: zero has no logarithm


def write(found: list[Finding], depth: int, seed: int, data: str, folder: Path) -> None:
    """depth.json and, where matplotlib is installed, depth.png."""
    folder.mkdir(parents=True, exist_ok=True)
    nets = [{**f._asdict(), "gradients": [_short(g) for g in f.gradients], "spread": _short(f.spread),
             "largest": _short(f.largest)} for f in found]
    text = ",\n".join("  " + json.dumps(net) for net in nets)
    head = json.dumps({"depth": depth, "seed": seed, "images": data})[:-1]
    (folder / "depth.json").write_text(f"{head},\n \"nets\": [\n{text}\n]}}\n", encoding="utf-8")
    draw(folder / "depth.png", (9, 5), lambda figure: plot(found, depth, figure))


def _short(value):
    """Three digits, as the others differ between processors; None for what JSON has no number for."""
    return float(f"{value:.3g}") if np.isfinite(value) else None


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=110, help="6n + 2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, help="folder of CIFAR-10")
    parser.add_argument("--out", type=Path, help="folder for depth.png and depth.json")
    args = parser.parse_args(argv)
    try:
        found = findings(args.depth, args.seed, args.data_dir)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(table(found))
    if args.out:
        write(found, args.depth, args.seed, "CIFAR-10" if args.data_dir else "noise", args.out)


if __name__ == "__main__":
    main()
