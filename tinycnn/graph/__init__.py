"""Pictures of the graph behind a tensor, without any other program: `t.graph().save("net.html")`.

    boxes.py    what is drawn: a box for each op and leaf, in a group for each call of a layer
    layout.py   where it goes: layers, crossings, places
    draw.py     the lines and boxes, as SVG
    page.py     an HTML page to look around in: pan, zoom, open groups, read what each op does

Layers are known of ops that ran inside `autograd.record_lines()`.  Nothing here is loaded before it is used.
"""
from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Sequence

from ..methods import function

if TYPE_CHECKING:
    from ..autograd import Tensor

SEEN_AT_ONCE = 90                                    # boxes in a picture that are easy to look at


class Graph:
    """The graph behind tensors, to be drawn.  In a notebook it shows itself.

    root    the outermost group (see boxes.Box)
    ops     how many ops there are
    depth   how deep groups can be opened
    """

    def __init__(self, outputs: Sequence[Tensor]):
        from .boxes import build
        self.root = build(outputs)
        self.ops, self.depth = _ops(self.root), _depth(self.root)

    def svg(self, depth: int | None = None) -> str:
        """One picture, with groups opened `depth` deep (0: none); by default as deep as it is easy to look at."""
        from .draw import svg
        from .page import describe
        return svg(self.root, self._easy() if depth is None else depth, describe)

    def html(self) -> str:
        """A page on its own: pan and zoom, a click opens a group or tells what explain() says of an op."""
        from .page import page
        return page(self.root, self.depth, self._easy())

    def save(self, path: str | Path, depth: int | None = None) -> None:
        """Write the picture (.svg) or the page (.html), whole or not at all.  Raises ValueError for another ending."""
        from ..io import write_atomically
        kind = Path(path).suffix.lower()
        if kind not in (".svg", ".html"):
            raise ValueError(f"graph: {path} must end in .svg or .html, which say what is written")
        write_atomically(path, (self.svg(depth) if kind == ".svg" else self.html()).encode())

    def _easy(self):
        """The largest depth at which few enough boxes are seen at once."""
        from .draw import shown
        return max((d for d in range(self.depth + 1) if shown(self.root, d) <= SEEN_AT_ONCE), default=0)

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_html_(self) -> str:
        return (f'<iframe srcdoc="{escape(self.html())}" style="width:100%;height:640px;border:1px solid #cbd5e1">'
                "</iframe>")


def _ops(group):
    return sum(_ops(m) if m.members else m.kind == "op" for m in group.members)


def _depth(group):
    """How many groups lie in one another below it."""
    return max((1 + _depth(m) for m in group.members if m.members), default=0)


@function
def graph(input, *more):
    """The graph behind a tensor, or several, as a picture.  Returns a Graph: svg(), html(), save(path)."""
    return Graph([input, *more])
