"""Recomputation: keep the inputs of a part of the net, and compute what is inside again when backward gets there.

    forward    x -> [conv -> norm -> relu -> conv -> norm] -> y        only x and y are kept
    backward   [...] once more, recorded this time, then back through it

With n blocks in sqrt(n) segments, about 2 sqrt(n) activations live at a time instead of n, for one more forward pass.
Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost (arXiv:1604.06174), section 4.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from . import random
from .autograd import Node, Tensor, _sweep, _topological, alias, enable_grad, is_grad_enabled, replaying


def checkpoint(function: Callable[..., Any], *args: Any, preserve_rng_state: bool = True, **kwargs: Any) -> Any:
    """function(*args, **kwargs), of which only the tensors among args are kept: backward computes it once more.

    The result is a tensor, or a tuple or list with tensors (recomputed once for each of those that are used).
    Parameters that the function uses get their gradients; another tensor with a graph behind it must be one of args.
    Gradients have the same bits as without, of any order; dropout repeats its masks (preserve_rng_state), running
    statistics move once.  As torch.utils.checkpoint.checkpoint, use_reentrant=False.
    """
    if not is_grad_enabled():
        return function(*args, **kwargs)
    state = random.get_rng_state() if preserve_rng_state else None
    segment = _Segment(function, args, kwargs, state)
    outputs, leaves = segment.first()
    made = [segment.joined(i, y, leaves) if isinstance(y, Tensor) and y.requires_grad else y
            for i, y in enumerate(_listed(outputs))]
    return type(outputs)(made) if isinstance(outputs, (tuple, list)) else made[0]


def checkpoint_sequential(functions: Sequence[Callable[[Any], Any]], segments: int, input: Any) -> Any:
    """The functions (or layers of a Sequential) one after the other, all but the last of `segments` parts checkpointed.

    Raises ValueError unless 1 <= segments <= the number of functions.  As torch.utils.checkpoint_sequential.
    """
    functions = list(functions)
    if not 1 <= segments <= len(functions):
        raise ValueError(f"checkpoint_sequential: segments={segments} must lie in 1..{len(functions)}, the number of "
                         "functions")
    size = len(functions) // segments
    for start in range(0, size * (segments - 1), size):
        input = checkpoint(_chain(functions[start:start + size]), input)
    return _chain(functions[size * (segments - 1):])(input)


def _chain(functions):
    def run(x):
        for f in functions:
            x = f(x)
        return x
    return run


class _Segment:
    """A call that can be repeated."""

    def __init__(self, function, args, kwargs, state):
        self.function, self.args, self.kwargs, self.state = function, args, kwargs, state
        self.inputs = [a for a in args if isinstance(a, Tensor) and a.requires_grad]

    def first(self):
        """The outputs, and the parameters they depend on; the graph that shows these is dropped at once."""
        aliases = {id(t): alias(t) for t in self.inputs}
        outputs = self._run(aliases)
        ends = {id(a) for a in aliases.values()}
        tensors = [y for y in _listed(outputs) if isinstance(y, Tensor) and y.requires_grad]
        leaves = [t for t in _topological(tensors, ends) if t._node is None and t.requires_grad]
        return outputs, leaves

    def _run(self, aliases):
        return self.function(*(aliases.get(id(a), a) for a in self.args), **self.kwargs)

    def joined(self, i, y, leaves):
        """Output i as a tensor whose backward repeats the call."""
        inputs = self.inputs

        def gradients(g, wanted):                    # mentions inputs and leaves: they are watched for changes
            targets = [*inputs, *leaves]
            found = self._again(i, g, inputs, leaves)
            return [found.get(id(t)) if w else None for t, w in zip(targets, wanted)]
        out = Tensor(y.data, requires_grad=True)
        out._node = Node("checkpoint", (*inputs, *leaves), gradients, out)
        return out

    def _again(self, i, g, inputs, leaves):
        """{id: gradient} of the inputs and leaves."""
        create_graph = is_grad_enabled()
        with enable_grad(), replaying(), _generator(self.state):
            aliases = {id(t): alias(t) for t in inputs}
            y = _listed(self._run(aliases))[i]
        ends = [*aliases.values(), *leaves]
        found = _sweep([y], [g], ends, create_graph, create_graph, stop=True)
        own = {id(a): key for key, a in aliases.items()}
        return {own.get(key, key): gradient for key, (_, gradient) in found.items()}


def _listed(outputs):
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


@contextmanager
def _generator(state: Any) -> Iterator[None]:
    """The random numbers of `state`; afterwards the generator goes on as if none had been drawn.  None: nothing."""
    if state is None:
        yield
        return
    now = random.get_rng_state()
    random.set_rng_state(state)
    try:
        yield
    finally:
        random.set_rng_state(now)
