"""Who called an op: the line outside the engine, and the layers it ran in.

Finding out means walking up the stack, some microseconds for each op.  So it is only done inside `record_lines()` and
in anomaly mode: these put another function into the place of Node.__init__, and the last to leave puts the old one
back.  Outside nothing is recorded and nothing is asked.
"""
from __future__ import annotations

import sys
from contextlib import ContextDecorator
from functools import lru_cache
from linecache import getline
from pathlib import Path
from typing import NamedTuple

from .recording import Node

_HERE = Path(__file__).parent
_plain = Node.__init__
_users = 0                                           # how many want the callers recorded


class Caller(NamedTuple):
    """Where an op was called.

    file, line  the innermost line outside of the engine; None and 0 where there is none
    layers      (path, class name) of each layer it ran in, outermost first; the outermost's path is ""
    """

    file: str | None
    line: int
    layers: tuple[tuple[str, str], ...] = ()

    @property
    def layer(self) -> str:
        """Path of the innermost layer in the outermost, or its class where that has none; "" outside of layers."""
        return self.layers[-1][0] or self.layers[-1][1] if self.layers else ""

    @property
    def code(self) -> str:
        """What stands in the line, if the file can be read."""
        return getline(self.file, self.line).strip() if self.file else ""

    def __str__(self) -> str:
        return f"{short_path(self.file)}:{self.line}: {self.code}" if self.file else ""


def short_path(file: str) -> Path:
    """The path of a file; for those of the package itself from its folder on."""
    path = Path(file)
    return path.relative_to(_HERE.parent) if path.is_relative_to(_HERE) else path


class record_lines(ContextDecorator):
    """`with` block or decorator in which every recorded op notes the line and the layers that called it.

    Tensor.explain() and Tensor.graph() show them.  For the whole process; off, it costs nothing.

    >>> import tinycnn as tc
    >>> with tc.autograd.record_lines():
    ...     y = tc.tensor([2.0], requires_grad=True) * 3
    >>> y.explain().caller.line
    2
    """

    def __enter__(self) -> None:
        want(1)

    def __exit__(self, *exception: object) -> None:
        want(-1)


def want(more: int) -> None:
    """Count those that want callers recorded: as long as there are any, they are."""
    global _users
    _users += more
    Node.__init__ = _located if _users else _plain   # type: ignore[method-assign]


def _located(node, name, parents, vjps, output):
    _plain(node, name, parents, vjps, output)
    node.caller = find_caller()


@lru_cache(maxsize=None)
def _is_engine(filename):
    """Whether the lines of a file say nothing of who wanted an op."""
    path = Path(filename)
    return path.parent == _HERE or path.is_relative_to(_HERE / "ops") or path.is_relative_to(_HERE / "nn")


def find_caller() -> Caller:
    """The caller of the op that is being computed, two frames up."""
    frame, file, line, modules = sys._getframe(2), None, 0, []
    while frame is not None:
        if file is None and not _is_engine(frame.f_code.co_filename):
            file, line = frame.f_code.co_filename, frame.f_lineno
        if frame.f_code.co_name == "__call__" and hasattr(me := frame.f_locals.get("self"), "named_modules"):
            modules.append(me)
        frame = frame.f_back
    if not modules:
        return Caller(file, line)
    paths = {id(m): path for path, m in modules[-1].named_modules()}
    return Caller(file, line, tuple((paths.get(id(m), ""), type(m).__name__) for m in reversed(modules)))
