"""Recomputation: keep the inputs of a part of the net, and compute what is inside again when backward gets there.

    forward    x -> [conv -> norm -> relu -> conv -> norm] -> y        only x and y are kept
    backward   [...] once more, recorded this time, then back through it

With n blocks in sqrt(n) segments, about 2 sqrt(n) activations live at a time instead of n, for one more forward pass.
Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost (arXiv:1604.06174), section 4.

In the graph, one hub stands for the whole call, so that it is repeated once however many outputs are used:

    x, w, ... <-- hub <-- y0         y0, y1  hand their gradients to the hub, as one _Gradients
                     `--- y1         hub     repeats the call and goes back through it, for x, w, ...
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import random
from .autograd import Node, Tensor, enable_grad, is_grad_enabled, moment, replaying
from .backend import Varying, each_run, fingerprint
from .walk import sweep


def checkpoint(function: Callable[..., Any], *args: Any, preserve_rng_state: bool = True, **kwargs: Any) -> Any:
    """function(*args, **kwargs), without the graph behind the result: backward computes it once more.

    A model writes `x = checkpoint(self.block, x)` for `x = self.block(x)`.  The result is a tensor, or tuples, lists
    and dicts with tensors in them.  All tensors that the function uses get their gradients, arguments or not, of any
    order.  First derivatives have the same bits as without, unless a tensor is used several times inside and outside
    too: a sum of three or more may then be added up in another order.  Running statistics move once, hooks of tensors
    see what they would without; forward hooks of modules are called again.

    preserve_rng_state   dropout draws the same masks again, and the generator goes on as if it had not

    backward raises RuntimeError if an input was changed in place, or if the function does not repeat itself (a model
    switched to eval() in between, say), which it tells by the tensors used, the shapes of the results and, on the CPU,
    a sample of their values.  As torch.utils.checkpoint.checkpoint with use_reentrant=False.

    >>> w = Tensor([2.0], requires_grad=True)
    >>> checkpoint(lambda x: x * w * w, Tensor([3.0])).backward()
    >>> w.grad
    Tensor([12.], dtype=float32)
    """
    if not is_grad_enabled():
        return function(*args, **kwargs)
    call = _Call(function, args, kwargs, Varying(random.get_rng_state) if preserve_rng_state else None)
    outputs, made, inputs = call.run()
    if not made:
        return outputs
    hub = call.hub(made, inputs)
    replaced = {id(y): _output(i, y, hub) for i, y in enumerate(made)}
    return mapped(lambda t: replaced.get(id(t), t), outputs)


def checkpoint_sequential(functions: Sequence[Callable[[Any], Any]], segments: int, input: Any,
                          preserve_rng_state: bool = True) -> Any:
    """The functions (or layers of a Sequential) one after the other, all but the last of `segments` parts checkpointed.

    Raises ValueError unless 1 <= segments <= the number of functions.  As torch.utils.checkpoint_sequential.
    """
    functions = list(functions)
    if not 1 <= segments <= len(functions):
        raise ValueError(f"checkpoint_sequential: segments={segments} must lie in 1..{len(functions)}, the number of "
                         "functions")
    size = len(functions) // segments
    for start in range(0, size * (segments - 1), size):
        input = checkpoint(_chain(functions[start:start + size]), input, preserve_rng_state=preserve_rng_state)
    return _chain(functions[size * (segments - 1):])(input)


def _chain(functions):
    def run(x):
        for f in functions:
            x = f(x)
        return x
    return run


# ---------------------------------------------------------------------------------------- the hub and its outputs

class _Gradients:
    """The gradients of a call's outputs, by number: what arrives at the hub, where a Tensor would elsewhere."""

    shape, dtype = (), np.dtype(np.float32)          # the hub's

    def __init__(self, of: dict[int, Tensor]):
        self.of = of

    def __add__(self, other: _Gradients) -> _Gradients:
        return _Gradients({**self.of, **other.of})


def _output(i, y, hub):
    """Output i: y's values, with nothing behind it but the hub."""
    out = Tensor(y.data, requires_grad=True)
    out._node = Node("checkpoint", (hub,), (lambda g: _Gradients({i: g}),), out)
    return out


class _Call:
    """A call that can be repeated."""

    def __init__(self, function, args, kwargs, state):
        self.function, self.args, self.kwargs, self.state = function, args, kwargs, state

    def run(self):
        """What the function returns, the tensors in it that are new, and those from before that they depend on."""
        start = moment()
        outputs = self.function(*self.args, **self.kwargs)
        made = [t for t in _tensors(outputs) if t._node is not None and t._node.born > start]
        return outputs, made, _inputs(made, start)

    def hub(self, made, inputs):
        """The tensor through which backward gets from the outputs `made` to the inputs."""
        watched = [*inputs, *_tensors((self.args, self.kwargs))]
        values = _values(made)

        def gradients(g, wanted):
            found = self._again(g.of, watched[:len(inputs)], values)      # mentioning `watched` has them watched
            return [found[id(t)][1] if w and id(t) in found else None for t, w in zip(inputs, wanted)]
        hub = Tensor(np.zeros(_Gradients.shape, _Gradients.dtype), requires_grad=True)
        hub._node = Node("checkpoint", tuple(inputs), gradients, hub)
        return hub

    def _again(self, gradients, inputs, values):
        """{id: (input, gradient)}, from the gradients of the outputs, by number."""
        create_graph = is_grad_enabled()
        with enable_grad(), replaying(), _generator(self.state):
            _, made, used = self.run()
        if _values(made) != values or not {id(t) for t in used} <= {id(t) for t in inputs}:
            raise RuntimeError("backward: a function under checkpoint() did something else when it was computed again: "
                               "it must depend on nothing that changes in between (train() or eval(), parameters and "
                               "buffers, random numbers with preserve_rng_state=False)")
        return sweep([made[i] for i in gradients], list(gradients.values()), inputs, create_graph, create_graph,
                     stop=True)


def _inputs(made, start):
    """The tensors from before `start` that the tensors `made` were computed from.

    In the order in which the walk of backward, which takes the last parent first, would have come upon them: gradients
    outside are then summed in the same order as without checkpoint.
    """
    found, seen, stack = [], set(), list(made)
    while stack:
        t = stack.pop()
        if id(t) in seen:
            continue
        seen.add(id(t))
        if t._node is None or t._node.born < start:
            found.append(t)
        else:
            stack += [p for p in t._node.parents if p is not None and p.requires_grad]
    return found[::-1]


def _values(tensors):
    """What tells the outputs of one run from those of another."""
    return [(t.shape, t.dtype, fingerprint(t.data)) for t in tensors]


# ---------------------------------------------------------------------------------------- structures, random numbers

def mapped(f, value):
    """`value` with f(tensor) in place of each tensor, in tuples, lists and dicts of any depth."""
    if isinstance(value, Tensor):
        return f(value)
    if isinstance(value, dict):
        return {k: mapped(f, v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [mapped(f, v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)      # named tuples
    return value


def _tensors(value):
    """The tensors in tuples, lists and dicts, each once."""
    found = {}
    mapped(lambda t: found.setdefault(id(t), t), value)
    return list(found.values())


@contextmanager
def _generator(state: Any) -> Iterator[None]:
    """The random numbers of `state`; afterwards the generator goes on as if none had been drawn.  None: nothing."""
    if state is None:
        yield
        return
    now = Varying(random.get_rng_state)
    each_run(lambda: random.set_rng_state(state.value))
    try:
        yield
    finally:
        each_run(lambda: random.set_rng_state(now.value))
