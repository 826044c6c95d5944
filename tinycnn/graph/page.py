"""The graph as one HTML file: every view of it, what explain() says of each op, and the script to look around."""
from __future__ import annotations

import json

from ..explain import explain
from .boxes import Box
from .draw import shown, svg, text

LARGEST = 1500                                       # boxes in one view


def describe(box: Box) -> str:
    """What is told of a box: explain()'s text, or how many boxes are in a group."""
    if box.tensor is not None:
        return str(explain(box.tensor))
    return "\n".join([f"{box.title}: {' '.join(box.lines)}".removesuffix(": "), f"{shown(box, 99)} boxes inside"])


def page(root: Box, depth: int, easy: int) -> str:
    """The page: the root opened from 0 to `depth` deep, first `easy`, and every group by itself."""
    views, told, stack = {}, {}, [root]
    for d in range(depth + 1):
        if d == easy or shown(root, d) <= LARGEST:
            views[f"{root.key}/{d}"] = svg(root, d)
    while stack:
        box = stack.pop()
        told[box.key] = {"text": describe(box), "title": box.title, "up": box.parent.key if box.parent else None}
        if box.members and box is not root:
            views[box.key] = svg(box, 1 if shown(box, 1) <= 40 else 0)
        stack += box.members
    templates = "".join(f'<template data-view="{key}">{picture}</template>' for key, picture in views.items())
    data = json.dumps({"root": root.key, "first": easy, "boxes": told}).replace("<", "\\u003c")
    name = text(next((m.title for m in root.members if m.members), "graph"))
    return PAGE.replace("@NAME@", name).replace("@DATA@", data).replace("@VIEWS@", templates)


PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>@NAME@</title><style>
*{box-sizing:border-box}
body{margin:0;height:100vh;display:grid;grid:44px 1fr/1fr min(420px,38vw);color:#0f172a;
font:13px/1.45 ui-sans-serif,system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}
header{grid-column:1/3;display:flex;gap:6px;align-items:center;padding:0 14px;border-bottom:1px solid #e2e8f0}
header span{color:#64748b}
button{font:inherit;border:1px solid #cbd5e1;background:#fff;border-radius:6px;padding:3px 9px;cursor:pointer}
button:hover{background:#f1f5f9} button.on{background:#1e293b;color:#fff;border-color:#1e293b}
#path{flex:1;display:flex;gap:4px;align-items:center;overflow:hidden;white-space:nowrap}
#stage{overflow:hidden;cursor:grab;background:#fff} #stage:active{cursor:grabbing}
#stage svg{display:block;transform-origin:0 0;overflow:visible}
#stage .b{cursor:pointer} #stage .b.on>rect{stroke-width:2.5}
aside{border-left:1px solid #e2e8f0;padding:14px;overflow:auto;background:#f8fafc}
pre{margin:0;white-space:pre-wrap;font:12px/1.5 ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
</style></head><body>
<header><div id="path"></div><span id="depths"></span><button id="fit">fit</button></header>
<div id="stage"></div><aside><pre id="told">Click a box to read what it computes, a group to look inside.
Drag to move, turn the wheel to zoom.</pre></aside>
@VIEWS@<script type="application/json" id="data">@DATA@</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [stage, told, path, depths] = ["stage", "told", "path", "depths"].map(id => document.getElementById(id));
const views = Object.fromEntries([...document.querySelectorAll("template")].map(t => [t.dataset.view, t]));
let depth = data.first, at = {x: 0, y: 0, k: 1}, moved = false;

function move() {
  stage.firstChild.style.transform = `translate(${at.x}px,${at.y}px) scale(${at.k})`;
}
function fit() {
  const box = stage.firstChild.viewBox.baseVal, w = stage.clientWidth, h = stage.clientHeight;
  const k = Math.min(1.25, Math.max(Math.min(w / box.width, h / box.height), Math.min(0.55, w / box.width)));
  at = {k, x: Math.max(0, (w - k * box.width) / 2), y: Math.max(0, (h - k * box.height) / 2)};
  move();
}
function button(label, act, on) {
  const b = document.createElement("button");
  b.textContent = label; b.onclick = act; b.classList.toggle("on", on);
  return b;
}
function show(key) {
  const root = key === data.root;
  stage.replaceChildren(views[root ? `${key}/${depth}` : key].content.firstChild.cloneNode(true));
  const ways = [];
  for (let k = key; k; k = data.boxes[k].up) ways.unshift(k);
  path.replaceChildren(...ways.map(k => button(data.boxes[k].title, () => show(k), k === key)));
  const open = Object.keys(views).filter(v => v.startsWith(data.root + "/")).map(v => +v.split("/")[1]);
  depths.replaceChildren(...(root && open.length > 1 ? ["open: ", ...open.map(
    d => button(d, () => { depth = d; show(key); }, d === depth))] : []));
  history.replaceState(null, "", "#" + key);
  fit();
}
stage.addEventListener("click", e => {
  const b = !moved && e.target.closest(".b");
  if (!b) return;
  stage.querySelectorAll(".on").forEach(o => o.classList.remove("on"));
  b.classList.add("on");
  told.textContent = data.boxes[b.dataset.key].text;
  if (views[b.dataset.key]) show(b.dataset.key);
});
stage.addEventListener("mouseover", e => {
  const b = e.target.closest(".b");
  if (!b || b.querySelector(":scope>title")) return;
  const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
  title.textContent = data.boxes[b.dataset.key].text;
  b.prepend(title);
});
stage.addEventListener("pointerdown", e => {
  const x = e.clientX - at.x, y = e.clientY - at.y, from = [e.clientX, e.clientY];
  moved = false;
  const drag = f => {
    moved = moved || Math.hypot(f.clientX - from[0], f.clientY - from[1]) > 4;
    at.x = f.clientX - x; at.y = f.clientY - y;
    if (moved) move();
  };
  const drop = () => {
    removeEventListener("pointermove", drag);
    removeEventListener("pointerup", drop);
  };
  addEventListener("pointermove", drag);
  addEventListener("pointerup", drop);
});
stage.addEventListener("wheel", e => {
  e.preventDefault();
  const r = stage.getBoundingClientRect(), f = Math.exp(-e.deltaY * 0.0015), k = Math.min(8, Math.max(0.02, at.k * f));
  const x = e.clientX - r.left, y = e.clientY - r.top;
  at = {k, x: x - (x - at.x) * k / at.k, y: y - (y - at.y) * k / at.k};
  move();
}, {passive: false});
addEventListener("keydown", e => {
  const up = data.boxes[(location.hash || "#" + data.root).slice(1)].up;
  if (e.key === "Escape" && up) show(up);
});
document.getElementById("fit").onclick = fit;
show(views[location.hash.slice(1)] ? location.hash.slice(1) : data.root);
</script></body></html>
"""
