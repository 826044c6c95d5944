"""Pictures of a run.  The only file that imports matplotlib, and only when a picture is drawn."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import numpy as np

from .history import History

MANY = 25                                            # classes from which cells are too small for numbers


def _figure(width: float, height: float) -> Any:
    """A figure of its own, drawn by Agg: needs no display, and touches no figure or setting of the caller's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def curves(history: History, path: str | Path) -> None:
    """Draw loss (left) and accuracy (right) of training and test over the epochs into the image file `path`."""
    figure = _figure(9, 3.6)
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy")):
        for part, style in (("train", "o--"), ("test", "o-")):
            values = history.column(f"{part}_{quantity}")
            if any(v is not None for v in values):
                axes.plot(history.column("epoch"), [np.nan if v is None else v for v in values], style,
                          markersize=3, label=part)
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def confusion(matrix: np.ndarray, classes: Sequence[str], path: str | Path) -> None:
    """Draw a confusion matrix (classes, classes), true class down, predicted class across, into `path`."""
    n = len(matrix)
    side = min(16.0, 2.5 + 0.45 * n)
    figure = _figure(side, side)
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", title=f"{np.trace(matrix) / max(matrix.sum(), 1):.2%} of "
             f"{matrix.sum()} right")
    if n <= MANY:
        axes.set_xticks(range(n), classes, rotation=90)
        axes.set_yticks(range(n), classes)
        for i, j in np.argwhere(matrix):
            axes.text(j, i, int(matrix[i, j]), ha="center", va="center", fontsize=8,
                      color="white" if share[i, j] > 0.5 else "black")
    figure.savefig(path, dpi=120)
