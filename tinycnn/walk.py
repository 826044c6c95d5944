"""The walk back through the graph that backward() and grad() share, from results to leaves.

          a * b = c,  c + a = y          order: a, b, c, y; the walk takes it from its end, so that

    y                gradient 1          each tensor is reached when all that use it have been, and its gradient,
    c                from y              summed up in `pending`, is finished
    b                from c
    a                from y and c

Hooks run on the finished gradient; each node is freed behind the walk, so that its arrays go as soon as they can.
A sum in `pending` is the walk's own array, to which further gradients are added in place.
"""
from __future__ import annotations

import numpy as np

from .methods import FUNCTIONS
from .recording import is_grad_enabled, set_grad_enabled


def like(g, t):
    """g in t's dtype."""
    return g if g.dtype == t.dtype else FUNCTIONS["to_dtype"](g, t.dtype)


def sweep(outputs, gradients, targets, keep_graph, create_graph, stop=False, shown=None):
    """Walk the graph back from `outputs`.  Returns {id: (tensor, gradient)} of the targets (None: of all leaves).

    stop   do not look behind the targets: the walk that goes on from there runs their hooks, on the whole gradient
    shown  a set, to which the ids of the arrays are added that hooks have seen, and may have kept
    """
    ends = {id(t) for t in targets} if targets is not None else None
    order = _topological(outputs, ends if stop else ())
    reaching = _reaching(order, ends)
    pending, found, shown = {}, {}, set() if shown is None else shown
    with set_grad_enabled(create_graph), np.errstate(all="ignore"):        # kernels of vjps make inf and nan, too
        for output, g in zip(outputs, gradients):
            _add(pending, output, g)
        while order:                                 # popping lets each activation go as soon as it has been used
            t = order.pop()
            g, _ = pending.pop(id(t), (None, False))
            if g is None:
                continue
            if stop and id(t) in ends:
                found[id(t)] = (t, g)
                continue
            if t._hooks:
                g = _hooked(t, g, shown)
            if id(t) in ends if ends is not None else t._node is None:
                found[id(t)] = (t, g)
            if t._node is not None:
                _step(t, g, reaching, pending)
                if not keep_graph:
                    t._node.free()
    return found


def _step(t, g, reaching, pending):
    """Hand the finished gradient `g` of `t` on to the inputs of the op that made it."""
    node = t._node
    parents = node.parents
    wanted = [p is not None and p.requires_grad and (reaching is None or id(p) in reaching) for p in parents]
    for i, (parent, w, pg) in enumerate(zip(parents, wanted, node.gradients(g, t, wanted))):
        if not w or pg is None:
            continue
        if pg.shape != parent.shape:
            raise RuntimeError(f"backward: the vjp of {node.name}() for input {i} returned shape {pg.shape}, "
                               f"the input has {parent.shape}")
        _add(pending, parent, like(pg, parent))


def _add(pending, t, g):
    """Add `g` to what is pending for `t`.  The first gradient may be shared (a + b hands on one to both): it stays."""
    total, own = pending.get(id(t), (None, False))
    if total is None:
        pending[id(t)] = g, False
    elif own and not is_grad_enabled():
        total._data += g._data
    else:
        pending[id(t)] = total + g, True


def _hooked(t, g, shown):
    """The gradient of `t` after its hooks."""
    for hook in list(t._hooks.values()):
        replaced = hook(g)
        after = g if replaced is None else replaced
        shown.update(id(a if a.base is None else a.base) for a in (g._data, after._data))
        g = after
    return g


def _topological(outputs, ends):
    """Every tensor behind `outputs`, inputs before results; iterative: depth is not bound by Python's recursion."""
    order, seen = [], set()
    stack = [(t, False) for t in outputs]
    while stack:
        t, done = stack.pop()
        if done:
            order.append(t)
        elif id(t) not in seen:
            seen.add(id(t))
            stack.append((t, True))
            if t._node is not None and id(t) not in ends:
                if t._node.vjps is None:
                    t._node.gradients(None, t, ())   # raises: the graph was freed
                stack += [(p, False) for p in t._node.parents if p is not None and p.requires_grad]
    return order


def _reaching(order, ends):
    """The ids of the tensors from which a target can be reached; None: all of them."""
    if ends is None:
        return None
    reaching = set()
    for t in order:                                  # inputs come first
        parents = t._node.parents if t._node is not None else ()
        if id(t) in ends or any(id(p) in reaching for p in parents):
            reaching.add(id(t))
    return reaching
