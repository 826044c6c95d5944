"""What is recorded while ops run: whether anything is (a mode of each thread), and the nodes of the graph.

A Node stands behind the result of an op: its name, its inputs, and a vjp for each.  It also keeps a stamp of every
array that its vjps will need, so that backward() can tell when one has been written over in the meantime.
"""
from __future__ import annotations

import threading
from contextlib import ContextDecorator, contextmanager
from itertools import count
from typing import Any, Callable, Iterator, Sequence

from .backend import fingerprint
from .methods import TensorMethods

# ---------------------------------------------------------------------------------------- recording or not

class _Mode(threading.local):
    recording = True
    replaying = False


_mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether ops of this thread leave a graph behind.  As torch.is_grad_enabled."""
    return _mode.recording


class _Recording(ContextDecorator):
    """`with` block or decorator that switches recording for the current thread and switches it back."""

    def __init__(self, mode: bool):
        self._wanted, self._before = mode, []

    def __enter__(self):
        self._before.append(_mode.recording)
        _mode.recording = self._wanted

    def __exit__(self, *exception):
        _mode.recording = self._before.pop()

    def _recreate_cm(self):
        return _Recording(self._wanted)


def no_grad() -> ContextDecorator:
    """Switch recording off, as a `with` block or a decorator; per thread.  As torch.no_grad."""
    return _Recording(False)


def enable_grad() -> ContextDecorator:
    """Switch recording on, as a `with` block or a decorator; per thread.  As torch.enable_grad."""
    return _Recording(True)


def set_grad_enabled(mode: bool) -> ContextDecorator:
    """Switch recording on or off, as a `with` block or a decorator; per thread.  As torch.set_grad_enabled."""
    return _Recording(bool(mode))


def is_replaying() -> bool:
    """Whether this thread repeats a forward pass (see recompute.py): running statistics have had the batch already."""
    return _mode.replaying


@contextmanager
def replaying() -> Iterator[None]:
    """`with` block that repeats a forward pass."""
    before, _mode.replaying = _mode.replaying, True
    try:
        yield
    finally:
        _mode.replaying = before


# ---------------------------------------------------------------------------------------- the graph

_moments = count()


def moment() -> int:
    """A number larger than the `born` of every node there is: it tells what is recorded later from what was before."""
    return next(_moments)


class Node:
    """How a tensor came to be: the op's name, its inputs, the vjp of each, and when (see `moment`)."""

    __slots__ = ("name", "parents", "vjps", "saved", "output", "born", "caller")

    def __init__(self, name, parents, vjps, output):
        self.name, self.parents, self.vjps, self.born = name, parents, vjps, moment()
        functions = (vjps,) if callable(vjps) else vjps
        mentioned = {id(t): t for f in functions if f is not None for t in _mentioned(f)}
        self.saved = [(t, t._version, fingerprint(t._data)) for t in mentioned.values()]
        # The output is stamped but not held: holding it would be a reference cycle.
        uses_output = any(f is not None and _takes_output(f, callable(vjps)) for f in functions)
        self.output = (output._version, fingerprint(output._data)) if uses_output else None

    def gradients(self, g: Any, y: Any, wanted: list[bool]) -> Sequence[Any]:
        """The gradients of the inputs for the gradient `g` of the output `y`; None where not wanted."""
        if self.vjps is None:
            raise RuntimeError(f"backward: the graph behind {self.name}() (shape {y.shape}) was freed by an earlier "
                               "backward(); pass retain_graph=True to that call, or compute the output again")
        self._check_unchanged(y)
        if callable(self.vjps):
            return self.vjps(g, wanted, y) if _takes_output(self.vjps, True) else self.vjps(g, wanted)
        return [(f(g, y) if _takes_output(f) else f(g)) if w and f is not None else None
                for f, w in zip(self.vjps, wanted)]

    def _check_unchanged(self, y):
        stamped = [*self.saved, (y, *self.output)] if self.output else self.saved
        for t, version, content in stamped:
            if t._version != version or fingerprint(t._data) != content:
                what = "the output" if t is y else "an input"
                how = f"version {t._version}, saved at {version}" if t._version != version else "its values differ"
                raise RuntimeError(
                    f"backward: {what} of {self.name}() (shape {t.shape}, {t.dtype}) was changed in place after it was "
                    f"saved ({how}): the gradient would be wrong; change a copy (x = x + 1 instead of x += 1, "
                    "x.clone()), or call backward() first")

    def free(self):
        self.parents, self.vjps, self.saved, self.output = (), None, (), None


def _mentioned(vjp):
    """The tensors a vjp keeps alive: what its closure mentions."""
    for cell in vjp.__closure__ or ():
        try:
            value = cell.cell_contents
        except ValueError:                           # a name the op has not bound yet
            continue
        for v in value if type(value) in (tuple, list) else (value,):
            if isinstance(v, TensorMethods):
                yield v


def _takes_output(vjp, joint=False):
    """Whether it is vjp(g, y), or a joint vjp(g, wanted, y)."""
    return vjp.__code__.co_argcount == 2 + joint


class HookHandle:
    """Returned by register_hook: remove() takes the hook off again."""

    _next = 0

    def __init__(self, hooks: dict, hook: Callable):
        self._hooks, self._id = hooks, HookHandle._next
        HookHandle._next += 1
        hooks[self._id] = hook

    def remove(self) -> None:
        """Take the hook off; a second call does nothing."""
        self._hooks.pop(self._id, None)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.remove()
