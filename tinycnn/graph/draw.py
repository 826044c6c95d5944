"""Boxes as SVG.  A group is laid out by itself and then placed as one box in the group around it; where a line crosses
the border of an open group, the inside and the outside meet at a port.
"""
from __future__ import annotations

import re
from html import escape
from typing import Callable, NamedTuple

from .boxes import Box, size_text
from .layout import layered

STYLES = {                                           # family of ops: fill, line
    "conv": ("#dbeafe", "#2563eb"), "linear": ("#e0e7ff", "#4f46e5"), "linalg": ("#e0e7ff", "#4f46e5"),
    "norm": ("#ede9fe", "#7c3aed"), "activation": ("#fef3c7", "#b45309"), "softmax": ("#fef3c7", "#b45309"),
    "pool": ("#ccfbf1", "#0f766e"), "loss": ("#fee2e2", "#b91c1c"), "margin": ("#fee2e2", "#b91c1c"),
    "basic": ("#f1f5f9", "#475569"), "math": ("#f1f5f9", "#475569"), "reduce": ("#ffedd5", "#c2410c"),
    "shape": ("#f5f5f4", "#78716c"), "index": ("#f5f5f4", "#78716c"), "image": ("#cffafe", "#0e7490"),
    "dropout": ("#fae8ff", "#a21caf"), "leaf": ("#dcfce7", "#15803d"), "output": ("#1e293b", "#1e293b"),
    "group": ("#ffffff", "#64748b"), "port": ("#ffffff", "#94a3b8"), "other": ("#fdf2f8", "#be185d"),
}
MARGIN, HEAD, PAD = 16.0, 24.0, 14.0                 # around the picture; of an open group's title; inside a group

CSS = """\
.g text{font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;font-size:11px;\
fill:#475569;text-anchor:middle}
.g .t{font-size:13px;font-weight:600;fill:#0f172a}
.g .o .t,.g .o text{fill:#f8fafc}
.g .h{text-anchor:start;font-weight:600;fill:#334155}
.g .s{text-anchor:start;font-size:10px;fill:#64748b}
.g .e{fill:none;stroke:#94a3b8;stroke-width:1.4}
"""


class _Picture(NamedTuple):
    """A group laid out: its size, where lines come in and go out (x, by origin), and how it is drawn at (x, y)."""

    width: float
    height: float
    entries: dict[Box, float]
    exits: dict[Box, float]
    draw: Callable[[float, float, list[str]], None]


def svg(group: Box, depth: int, describe: Callable[[Box], str] | None = None) -> str:
    """The picture of a group, its groups opened `depth` deep.  describe: gives each box's tooltip."""
    picture = _placed(group, depth, True, describe or (lambda box: ""))
    width, height, out = picture.width + 2 * MARGIN, picture.height + 2 * MARGIN, []
    picture.draw(MARGIN, MARGIN, out)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" class="g" viewBox="0 0 {_n(width)} {_n(height)}" '
            f'width="{_n(width)}" height="{_n(height)}"><style>{CSS}</style>'
            f'<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0 0.8 8 4 0 7.2z" fill="#94a3b8"/></marker></defs>'
            f'<rect width="100%" height="100%" fill="#fff"/>{"".join(out)}</svg>')


def shown(group: Box, depth: int) -> int:
    """How many boxes that picture has."""
    return sum(shown(m, depth - 1) if m.members and depth > 0 else 1 for m in group.members)


def text(s: str) -> str:
    """s for XML: escaped, and without the characters that XML has no place for."""
    return escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", s))


# ---------------------------------------------------------------------------------------- laying out

def _placed(group, depth, outermost, describe):
    """The picture of a group's members; the outermost shows what it is connected with, others end at their border."""
    sources = list(dict.fromkeys(origin for a, b, origin in group.links if a is None))
    results = list(dict.fromkeys(origin for a, b, origin in group.links if b is None))
    inner = {m: _placed(m, depth - 1, False, describe) for m in group.members if m.members and depth > 0}
    elements = [*(("in", s) for s in sources), *(("", m) for m in group.members), *(("out", s) for s in results)]
    number = {e: i for i, e in enumerate(elements)}
    sizes = [_port_size(e, outermost) if e[0] else _size(e[1], inner) for e in elements]
    notes = ["" if e[0] or e[1] in inner else _note(e[1]) for e in elements]
    rooms = [(max(w, 2 * (10 + 5.8 * len(note))), h) for (w, h), note in zip(sizes, notes)]
    lines = list(dict.fromkeys(
        (("in", s) if a is None else ("", a), ("out", s) if b is None else ("", b),
         s if a is None or a in inner or b in inner else a) for a, b, s in group.links))
    placed = layered(rooms, [(number[a], number[b]) for a, b, _ in lines], len(sources), len(results))
    x = {e: placed.centres[i][0] for e, i in number.items()}
    width, border = placed.width, 0.0
    if not outermost:                                # what comes in, comes in straight
        middle = x["in", sources[0]] if len(sources) == 1 else width / 2
        half = max(middle, width - middle, 3.4 * len(_heading(group)) + 12 - PAD) + PAD
        width, border = 2 * half, half - middle

    def draw(left, top, out):
        top += 0 if outermost else HEAD
        left += border
        noted = set()
        for a, b, origin in lines:
            points = [(left + px, top + py) for px, py in placed.routes[number[a], number[b]]]
            points[0] = _end(points[0], a, origin, inner, "exits")
            points[-1] = _end(points[-1], b, origin, inner, "entries")
            if b[0] and not outermost:               # on to the border
                points[-1] = points[-1][0], points[-1][1] + PAD / 2
            out.append(_line(points, "" if b[0] and not outermost else ' marker-end="url(#arrow)"'))
            if notes[number[a]] and a not in noted:
                noted.add(a)
                out.append(f'<text class="s" x="{_n(points[0][0] + 6)}" y="{_n(points[0][1] + 13)}">'
                           f'{notes[number[a]]}</text>')
        for e, i in number.items():
            px, py = placed.centres[i]
            if not e[0]:
                _draw_box(e[1], left + px, top + py, sizes[i], inner.get(e[1]), describe, out)
            elif outermost:
                _draw_port(e, left + px, top + py, sizes[i], out)
    return _Picture(width, placed.height + (0 if outermost else HEAD + PAD / 2),
                    {s: border + x["in", s] for s in sources}, {s: border + x["out", s] for s in results}, draw)


def _size(box, inner):
    if box in inner:
        return inner[box].width, inner[box].height
    longest = max(7.6 * len(box.title), *(6.3 * len(line) for line in box.lines), 44)
    return longest + 22, 24 + 14 * len(box.lines)


def _note(box):
    """The shape of what leaves a box, if it is one tensor and not told inside."""
    made = {o for _, b, o in box.links if b is None} if box.kind == "group" else {box}
    return size_text(made.pop().tensor.shape) if len(made) == 1 and box.kind in ("op", "group") else ""


def _heading(group):
    return " · ".join([group.title, *group.lines])


def _port_size(e, outermost):
    return (6.3 * len(_port_text(e)) + 22, 22) if outermost else (0, 0)


def _port_text(e):
    side, box = e
    told = box.lines[0] if box.lines and box.kind == "op" else ""
    return ("from " if side == "in" else "hands on ") + box.title + (f" · {told}" if told else "")


def _end(point, element, origin, inner, side):
    """Where a line meets an element: an open group at its port."""
    picture = inner.get(element[1]) if not element[0] else None
    if picture is None:
        return point
    ports = getattr(picture, side)
    return (point[0] - picture.width / 2 + ports[origin], point[1]) if origin in ports else point


# ---------------------------------------------------------------------------------------- drawing

def _n(v):
    return f"{v:.1f}".removesuffix(".0")


def _line(points, arrow):
    """A line through points in pairs: curved from one layer to the next, straight through a layer."""
    path = f"M{_n(points[0][0])} {_n(points[0][1])}"
    for k in range(1, len(points), 2):
        (x0, y0), (x1, y1) = points[k - 1], points[k]
        if abs(x0 - x1) < 0.5:
            path += f"L{_n(x1)} {_n(y1)}"
        else:
            middle = _n((y0 + y1) / 2)
            path += f"C{_n(x0)} {middle} {_n(x1)} {middle} {_n(x1)} {_n(y1)}"
        if k + 1 < len(points):
            path += f"L{_n(points[k + 1][0])} {_n(points[k + 1][1])}"
    return f'<path class="e" d="{path}"{arrow}/>'


def _draw_box(box, x, y, size, picture, describe, out):
    (w, h), (fill, line) = size, STYLES.get(box.family, STYLES["other"])
    left = x - w / 2
    title = text(describe(box))
    out.append(f'<g data-key="{box.key}" class="b{" o" * (box.kind == "output")}">'
               + (f"<title>{title}</title>" if title else ""))
    if picture is not None:
        out.append(_rect(left, y, w, h, "#64748b", line, 8, ' fill-opacity="0.05" stroke-dasharray="4 3"'))
        out.append(f'<text class="h" x="{_n(left + 10)}" y="{_n(y + 16)}">{text(_heading(box))}</text></g>')
        picture.draw(x - picture.width / 2, y, out)
        return
    if box.kind == "group":
        out += [_rect(left + d, y + d, w, h, fill, line, 7) for d in (5, 2.5)]
    out.append(_rect(left, y, w, h, fill, line, h / 2 if box.kind in ("leaf", "output") else 7))
    out.append(f'<text class="t" x="{_n(x)}" y="{_n(y + 16)}">{text(box.title)}</text>')
    out += [f'<text x="{_n(x)}" y="{_n(y + 30 + 14 * i)}">{text(row)}</text>' for i, row in enumerate(box.lines)]
    out.append("</g>")


def _draw_port(e, x, y, size, out):
    (w, h), (fill, line) = size, STYLES["port"]
    out.append(_rect(x - w / 2, y, w, h, fill, line, h / 2, ' stroke-dasharray="3 3"')
               + f'<text x="{_n(x)}" y="{_n(y + 15)}">{text(_port_text(e))}</text>')


def _rect(x, y, w, h, fill, line, radius, more=""):
    return (f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" rx="{_n(radius)}" fill="{fill}" '
            f'stroke="{line}"{more}/>')
