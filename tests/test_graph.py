"""t.graph(): every op and every flow is drawn, nothing overlaps, and what is written is whole and harmless."""
import html
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinycnn as tc
from tinycnn import nn
from tinycnn.cli import main
from tinycnn.graph import boxes, draw, layout, page
from tinycnn.graph.boxes import Box

SVG = "{http://www.w3.org/2000/svg}"


class Residual(nn.Module):
    def __init__(self):
        self.conv, self.act = nn.Conv2d(2, 2, 3, padding=1), nn.Tanh()

    def forward(self, x):
        return self.act(self.act(self.conv(x)) + x)          # one layer, called twice


def traced(model=None):
    model = model or nn.Sequential({"stem": nn.Conv2d(1, 2, 1), "body": nn.Sequential(Residual(), Residual())})
    with tc.autograd.record_lines():
        return model(tc.ones((1, 1, 4, 4))).sum()


def every(box):
    return [box, *(b for m in box.members for b in every(m))]


def keys(picture):
    return [g.get("data-key") for g in ET.fromstring(picture).iter(f"{SVG}g")]


# ---------------------------------------------------------------------------------------- boxes

def test_every_op_has_its_box_and_layers_are_groups_one_for_each_call():
    root = tc.autograd.graph(traced()).root
    assert [b.title for b in root.members] == ["leaf", "Sequential", "sum", "output"]
    body = root.members[1].members[1]
    assert (body.title, body.lines, [b.title for b in body.members]) == ("body", ["Sequential"], ["body.0", "body.1"])
    block = body.members[0]
    assert [b.title for b in block.members] == ["conv2d_output", "tanh", "add", "tanh"]
    assert [b.lines for b in block.members] == [["conv · Conv2d", "2×2×3×3"], ["act · Tanh"], [], ["act · Tanh"]]
    assert block.lines == ["Residual"]


def flows(root):
    """What flows from where to where, by the keys of ops and leaves: from the links of the groups."""
    return {(s.key, t.key) for group in every(root) for a, t, s in group.links if t is not None and not t.members}


def test_every_flow_is_drawn_and_none_other():
    y = traced()
    root = tc.autograd.graph(y).root
    of = {id(b.tensor): b for b in every(root) if b.kind in ("op", "leaf")}
    expected = {(of[id(p)].key, b.key) for b in every(root) if b.kind == "op" for p in b.tensor._node.parents
                if p is not None and id(p) in of}
    assert flows(root) == expected | {(of[id(y)].key, root.members[-1].key)}
    for group in every(root):                        # a layout needs an order
        place = {m: i for i, m in enumerate(group.members)}
        assert all(a is None or b is None or place[a] < place[b] for a, b, _ in group.links)


def test_without_lines_there_are_no_groups():
    x, w = tc.ones(2, requires_grad=True), tc.ones(2)
    graph = (x * w + x).sum().graph()
    assert [b.kind for b in graph.root.members] == ["leaf", "leaf", "op", "op", "op", "output"]
    assert graph.depth == 0 and graph.ops == 3


def test_a_long_chain_is_cut_into_runs_without_recursion():
    y = x = tc.ones(1, requires_grad=True)
    for _ in range(10_000):
        y = y + 1
    graph = y.graph()
    assert graph.ops == 10_000 and graph.depth == 1
    assert all(len(b.members) <= boxes.MOST for b in every(graph.root))
    assert len(keys(graph.svg())) == len(graph.root.members) <= boxes.MOST and x.is_leaf


def test_several_outputs_a_leaf_a_freed_graph_and_a_gradient():
    x = tc.ones(2, requires_grad=True)
    y, z = x * 2, x * 3
    assert [b.kind for b in tc.autograd.graph(y, z).root.members] == ["leaf", "op", "op", "output", "output"]
    assert [b.kind for b in x.graph().root.members] == ["output"] and ET.fromstring(x.graph().svg()) is not None
    (g,) = tc.grad((y * y).sum(), x, create_graph=True)
    assert g.graph().ops > 2
    y = y.sum()
    y.backward()
    assert [b.kind for b in y.graph().root.members] == ["op", "output"] and "freed by backward()" in y.graph().svg()


# ---------------------------------------------------------------------------------------- layout

@st.composite
def dags(draw):
    n = draw(st.integers(0, 14))
    pairs = [(a, b) for b in range(n) for a in range(b)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=25)) if pairs else []
    return draw(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 40)), min_size=n, max_size=n)), edges


@settings(deadline=None, max_examples=100, derandomize=True)
@given(dags())
def test_boxes_do_not_overlap_and_lines_lead_down(dag):
    sizes, edges = dag
    found = layout.layered(sizes, edges)
    rectangles = [(x - w / 2, y, x + w / 2, y + h) for (x, y), (w, h) in zip(found.centres, sizes)]
    for i, a in enumerate(rectangles):
        assert a[0] >= -1e-6 and a[2] <= found.width + 1e-6 and a[1] >= 0 and a[3] <= found.height + 1e-6
        for b in rectangles[:i]:
            assert a[0] >= b[2] - 1e-6 or b[0] >= a[2] - 1e-6 or a[1] >= b[3] - 1e-6 or b[1] >= a[3] - 1e-6
    assert set(found.routes) == set(edges)
    for (a, b), points in found.routes.items():
        assert points[0] == (found.centres[a][0], rectangles[a][3]) and points[-1] == found.centres[b]
        assert all(p[1] <= q[1] for p, q in zip(points, points[1:])) and points[0][1] < points[-1][1]
        for x, y in points[1:-1]:                    # past boxes, not through them
            assert not any(l < x - 1e-6 and x + 1e-6 < r and t < y < bottom for l, t, r, bottom in rectangles)


def test_crossings_that_need_not_be_are_undone():
    found = layout.layered([(50, 20)] * 6, [(0, 5), (1, 4), (2, 3)])
    x = [c[0] for c in found.centres]
    assert (x[0] - x[1]) * (x[5] - x[4]) > 0 and (x[1] - x[2]) * (x[4] - x[3]) > 0
    assert all(points[0][0] == pytest.approx(points[-1][0]) for points in found.routes.values())


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0.1, 9)), min_size=1, max_size=8))
def test_places_are_the_least_squares_ones(wishes):
    """Against the formula of isotonic regression: the largest, over starts, of the smallest weighted average."""
    wanted, weights = (np.array(v) for v in zip(*wishes))
    apart = np.arange(len(wanted)) * 10.0

    def average(i, j):
        return np.average((wanted - apart)[i:j + 1], weights=weights[i:j + 1])
    n = len(wanted)
    expected = [max(min(average(i, j) for j in range(k, n)) for i in range(k + 1)) for k in range(n)] + apart
    np.testing.assert_allclose(layout._fitted(wanted.tolist(), weights.tolist(), apart.tolist()), expected, atol=1e-9)


# ---------------------------------------------------------------------------------------- pictures and pages

def test_every_depth_shows_its_boxes():
    graph = tc.autograd.graph(traced())
    for depth in range(graph.depth + 1):
        picture = graph.svg(depth)
        assert len(keys(picture)) == len(set(keys(picture))) >= draw.shown(graph.root, depth)
    assert {b.key for b in every(graph.root)} - {graph.root.key} == set(keys(picture))
    assert "1×2×4×4" in picture and "input + alpha * other" in picture


def test_the_page_has_a_view_of_every_group_and_text_for_every_box():
    graph = tc.autograd.graph(traced())
    written = graph.html()
    data = json.loads(re.search(r'id="data">(.*?)</script>', written, re.S)[1])
    views = dict(re.findall(r'<template data-view="(.*?)">(.*?)</template>', written, re.S))
    assert set(data["boxes"]) == {b.key for b in every(graph.root)}
    assert {k for k in views if "/" not in k} == {b.key for b in every(graph.root) if b.members} - {graph.root.key}
    assert {k for k in views if "/" in k} == {f"{graph.root.key}/{d}" for d in range(graph.depth + 1)}
    for picture in views.values():
        assert set(keys(picture)) <= set(data["boxes"])
    assert all(box["text"] for box in data["boxes"].values()) and not data["boxes"][graph.root.key]["up"]
    assert set(re.findall(r"https?://[^\"']*", written)) == {"http://www.w3.org/2000/svg"}          # nothing is fetched


def test_what_users_write_cannot_leave_its_place():
    with tc.autograd.record_lines():
        y = tc.ones(1, requires_grad=True) * 2       # </script><script>alert(1)</script> & "quoted" ]]>
    written = y.graph().html()
    assert written.count("<script") == written.count("</script>") == 2
    assert "\\u003c/script>" in written and "</script><script>alert(1)" in ET.fromstring(y.graph().svg()).find(
        f".//{SVG}g[@data-key='b2']/{SVG}title").text
    assert 'srcdoc="&lt;!DOCTYPE html&gt;' in y.graph()._repr_html_() and y.graph()._repr_svg_().startswith("<svg")


@settings(deadline=None, max_examples=80, derandomize=True)
@given(st.text(), st.text(), st.text())
def test_any_text_gives_a_picture_that_can_be_read(title, line, told):
    inner = Box("group", "inner", [], members=[Box("op", line, [title], tensor=tc.ones(1))])
    root = Box("group", "root", members=[inner])
    texts = list(ET.fromstring(draw.svg(root, 1, lambda box: told)).itertext())
    for written in filter(None, (title, line, told)):
        kept = re.sub("\r\n?", "\n", html.unescape(draw.text(written)))   # as XML reads ends of lines
        assert kept in texts and len(html.unescape(draw.text(written))) == len(written)


def test_save_writes_the_kind_that_the_name_says(tmp_path):
    graph = traced().graph()
    graph.save(tmp_path / "a.svg", depth=0)
    graph.save(tmp_path / "a.html")
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == graph.svg(0)
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == graph.html()
    with pytest.raises(ValueError, match="must end in .svg or .html"):
        graph.save(tmp_path / "a.png")
    with pytest.raises(OSError, match="could not be written"):
        graph.save(tmp_path / "none" / "a.svg")


def test_a_view_too_large_to_look_at_is_left_out(monkeypatch):
    graph = traced().graph()
    monkeypatch.setattr(page, "LARGEST", 4)
    assert f"{graph.root.key}/0" in graph.html() and f"{graph.root.key}/2" not in page.page(graph.root, graph.depth, 1)


def test_the_command_line(tmp_path, capsys):
    out = tmp_path / "net.html"
    assert main(["graph", "lenet", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["ops"] == 12 and told["file"] == str(out) and out.read_text(encoding="utf-8").startswith("<!DOCTYPE")
    assert main(["graph", "resnet20_cifar", "--input", "2,3,16,16", "--training", "--out", str(tmp_path / "net.svg"),
                 "--depth", "1"]) == 0
    assert "2×64×4×4" in (tmp_path / "net.svg").read_text(encoding="utf-8")
    assert main(["graph", "lenet", "--out", str(tmp_path / "net.png")]) == 2
