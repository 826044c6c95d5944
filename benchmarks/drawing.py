"""Plots, where matplotlib is installed."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable


def draw(path: Path, size: tuple[float, float], paint: Callable[[Any], None]) -> None:
    """Write what `paint` does to a figure of `size` inches; without matplotlib, say so."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        print(f"no {path.name}: {error}; it needs matplotlib: pip install matplotlib", file=sys.stderr)
        return
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    paint(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
