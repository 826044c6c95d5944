"""What is drawn: a box for each op and leaf, in groups, one for each call of a layer.

Ops are recorded one after the other, and so a call of a layer is a run of ops that follow one another.  Groups made of
runs never depend on each other in a circle, even where one layer is called in several places, and each can be laid out
as a graph of its own.  Too many boxes in one group are cut into runs, too: no picture has more than MOST.
"""
from __future__ import annotations

from math import ceil, sqrt
from typing import Any, Sequence

from ..autograd import OPS, Tensor

MOST = 120                                           # boxes in one group


class Box:
    """An op, a leaf, the result, or a group of boxes.

    kind     "op", "leaf", "output" or "group"
    title    its first line;  lines  those below
    family   what it is coloured by: the module of its op, or "leaf", "output", "group"
    tensor   what an op made or a leaf is
    members  of a group, inputs before what is computed from them
    links    of a group, what flows in it: (source, target, origin), members or None for outside, and the op or leaf
             that made it
    parent   the group it is in
    """

    def __init__(self, kind: str, title: str, lines: Sequence[str] = (), family: str = "", tensor: Tensor | None = None,
                 members: list[Box] | None = None):
        self.kind, self.title, self.lines, self.family, self.tensor = kind, title, [*lines], family or kind, tensor
        self.members, self.links, self.parent = members or [], {}, None     # a dict as an ordered set
        self.key = ""

    def within(self) -> list[Box]:
        """The groups it is in, outermost first, and itself."""
        chain, box = [], self
        while box is not None:
            chain.append(box)
            box = box.parent
        return chain[::-1]


def size_text(shape: tuple[int, ...]) -> str:
    """(8, 3, 32, 32) -> 8×3×32×32"""
    return "×".join(map(str, shape)) if shape else "scalar"


def build(outputs: Sequence[Tensor]) -> Box:
    """The group of all boxes behind the outputs."""
    ops, leaves = _reached(outputs)
    boxes = {id(t): _op_box(t) for t in ops}
    root = Box("group", "graph", members=_runs([(boxes[id(t)], _layers(t)) for t in ops], 0))
    ends = [Box("output", "output", [size_text(t.shape)], tensor=t) for t in outputs]
    root.members += ends
    _adopt(root)
    flows = [(p, boxes[id(t)]) for t in ops for p in t._node.parents if p is not None and id(p) in boxes]
    taken = _taken(ops, boxes)
    for t in leaves:
        if users := taken.get(id(t)):
            boxes[id(t)] = Box("leaf", "leaf", [size_text(t.shape)], tensor=t)
            _insert(boxes[id(t)], users)
            flows += [(t, user) for user in users]
    flows += [(t, end) for t, end in zip(outputs, ends) if id(t) in boxes]
    _cut(root)
    for t, target in flows:
        _link(boxes[id(t)], target)
    for i, box in enumerate(_all(root)):
        box.key = f"b{i}"
    return root


def _reached(outputs):
    """The results of ops behind the outputs, in the order they were computed, and the leaves."""
    stack, seen = list(outputs), {}
    while stack:
        t = stack.pop()
        if id(t) not in seen:
            seen[id(t)] = t
            stack += [p for p in t._node.parents if p is not None] if t._node is not None else []
    ops = sorted((t for t in seen.values() if t._node is not None), key=lambda t: t._node.born)
    return ops, [t for t in seen.values() if t._node is None]


def _layers(t):
    caller = getattr(t._node, "caller", None)
    return caller.layers if caller else ()


def _op_box(t):
    op = OPS.get(t._node.name)
    weights = [size_text(p.shape) for p in _folded(t) if p.requires_grad and p.ndim > 1]
    return Box("op", t._node.name, weights, op.__module__.rpartition(".")[2] if op is not None else "other", t)


def _folded(t):
    """The leaves that are told in the op's own box: its parameters, which are what a layer adds to its first input."""
    return [p for p in t._node.parents[1:] if p is not None and p._node is None] if _layers(t) else []


def _taken(ops, boxes):
    """{id of a leaf: the boxes of the ops that have an arrow from it}."""
    taken: dict[int, list[Box]] = {}
    for t in ops:
        folded = {id(p) for p in _folded(t)}
        for p in t._node.parents:
            if p is not None and p._node is None and id(p) not in folded:
                taken.setdefault(id(p), []).append(boxes[id(t)])
    return taken


# ---------------------------------------------------------------------------------------- groups

def _runs(ops, depth):
    """Boxes (box, layers) as members of a group: neighbours in the same layer at this depth become a group."""
    members, i = [], 0
    while i < len(ops):
        box, layers = ops[i]
        end = i + 1
        if len(layers) > depth:
            while end < len(ops) and ops[end][1][:depth + 1] == layers[:depth + 1]:
                end += 1
            members += _group(_runs(ops[i:end], depth + 1), *layers[depth])
        else:
            members.append(box)
        i = end
    return members


def _group(members, path, kind):
    """Members in a group; a single one stays itself, and an op is told which layer it is."""
    short = _short(path)
    if len(members) > 1:
        return [Box("group", short or kind, [kind] if path else [], members=members)]
    if members[0].kind == "op" and path:
        members[0].lines.insert(0, f"{short} · {kind}")
    return members


def _short(path):
    """The end of a layer's path: its last part, with the one before if that is a number."""
    parts = path.split(".")
    return ".".join(parts[-2:] if parts[-1].isdigit() else parts[-1:])


def _adopt(group):
    for m in group.members:
        m.parent = group
        _adopt(m)


def _insert(leaf, users):
    """Put a leaf outside of all groups, in front of the first that uses it."""
    leaf.parent, first = users[0].within()[:2]
    leaf.parent.members.insert(leaf.parent.members.index(first), leaf)


def _cut(group):
    """Cut members into runs until there are at most MOST."""
    while len(group.members) > MOST:
        size = max(2, min(MOST, ceil(sqrt(len(group.members)))))
        runs = [group.members[i:i + size] for i in range(0, len(group.members), size)]
        group.members = [Box("group", f"{i * size + 1} to {i * size + len(run)}", members=run)
                         for i, run in enumerate(runs)]
        for run in group.members:
            run.parent = group
            for m in run.members:
                m.parent = run
    for m in group.members:
        _cut(m)


def _link(source, target):
    """Enter what flows from a box to another into every group it crosses."""
    a, b = source.within(), target.within()
    depth = 0
    while a[depth] is b[depth]:
        depth += 1
    a[depth - 1].links[a[depth], b[depth], source] = None
    for group, member in zip(a[depth:], a[depth + 1:]):
        group.links[member, None, source] = None
    for group, member in zip(b[depth:], b[depth + 1:]):
        group.links[None, member, source] = None


def _all(root) -> list[Any]:
    """Every box, groups before their members."""
    found, stack = [], [root]
    while stack:
        box = stack.pop()
        found.append(box)
        stack += reversed(box.members)
    return found
