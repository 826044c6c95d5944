"""What the host does for a step that the device repeats: a graph of kernels, captured once and replayed as a whole.

A replay runs no Python of the step.  What the host has to do for each run is therefore noted down during the capture,
in order, and repeated before every replay; an eager run does the same things at the same places:

                     eager                          captured                       every replay
    each_run(f)      f() now                        noted down                     f()
    Varying(f)       f()'s values, now              noted down                     f()'s values, copied to their place
    constant(a)      a copy of a on the device      room for it, filled later      nothing

So a replayed run draws the same random seeds and counts the same steps as an eager one, and has the same bits.
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

__all__ = ["Varying", "constant", "copy_in", "each_run", "is_capturing", "record"]


class _Mode(threading.local):
    notes: Notes | None = None


_mode = _Mode()


class Notes:
    """What was noted down during a capture: `before` every replay, and the constants to be filled in after it."""

    def __init__(self) -> None:
        self.before: list[Callable[[], Any]] = []
        self.constants: list[tuple[Any, np.ndarray]] = []


class Recorded:
    """A captured graph with what the host does before each of its runs."""

    def __init__(self, graph: Any, notes: Notes):
        self._graph, self._notes = graph, notes
        for array, values in notes.constants:
            copy_in(array, values)

    def replay(self) -> None:
        """Run it once more: the host's part, then one launch.  Does not wait for the device."""
        for act in self._notes.before:
            act()
        self._graph.launch()


def record(session: Any, function: Callable[[], Any]) -> tuple[Recorded, Any]:
    """Capture function() in a device's session (cuda/graph.py, emulator/graph.py): the graph, and what was returned.

    Raises RuntimeError if this thread captures already, and whatever the function raises; no capture stays open.
    """
    if is_capturing():
        raise RuntimeError("a capture is going on already: a captured step cannot capture another")
    _mode.notes = notes = Notes()
    try:
        graph, result = session.record(function)
    finally:
        _mode.notes = None
    return Recorded(graph, notes), result


def is_capturing() -> bool:
    """Whether this thread's work for the device is being captured instead of done."""
    return _mode.notes is not None


def each_run(function: Callable[[], Any]) -> None:
    """Call the function for this run and, if it is captured, for each replay instead."""
    if _mode.notes is None:
        function()
    else:
        _mode.notes.before.append(function)


def _library(array):
    from .reference._xp import array_module          # late: the package of references takes a while to load
    return array_module(array)


def copy_in(array: Any, values: np.ndarray) -> None:
    """Copy the host's values into an array of the device, without waiting for it.  Same shape; dtypes are converted."""
    stream = _library(array).cuda.get_current_stream()
    array.set(np.ascontiguousarray(values, array.dtype).reshape(array.shape), stream=stream)


def constant(library: Any, values: np.ndarray) -> Any:
    """A copy of the host's values on the device of an array library, made without waiting."""
    if not is_capturing():
        return library.asarray(values)
    array = library.empty(values.shape, values.dtype)
    _mode.notes.constants.append((array, values))
    return array


class Varying:
    """Numbers that the host works out anew for every run, by a function without arguments.

    value    what the function returned for this run.  Raises RuntimeError in a capture: there is no run yet
    on(...)  the same on a device

    A Varying of one number converts to int, one of several can be unpacked, so that CPU kernels take plain numbers too.

    >>> seeds = iter([3, 4])
    >>> int(Varying(lambda: next(seeds)))
    3
    """

    def __init__(self, function: Callable[[], Any]):
        self._function, self._notes = function, _mode.notes
        self._arrays: dict[Any, tuple[Any, Callable]] = {}
        self._known, self._value = False, None
        each_run(self._renew)

    @classmethod
    def of(cls, value: Any) -> Varying:
        """A Varying as it is, other values as one that does not change."""
        return value if isinstance(value, cls) else cls(lambda: value)

    def _renew(self):
        self._value, self._known = self._function(), True
        for array, derive in self._arrays.values():
            copy_in(array, np.asarray(derive(self._value)))

    @property
    def value(self) -> Any:
        """What the function returned for this run."""
        if not self._known:
            raise RuntimeError("a number that changes with every run was read on the host while a run was captured")
        return self._value

    def __int__(self) -> int:
        return int(self.value)

    __index__ = __int__

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)

    def on(self, like: Any, dtype: Any, shape: tuple[int, ...], derive: Callable[[Any], Any] = np.asarray) -> Any:
        """derive(value) as an array of that shape and dtype on the device of `like`; replays fill it anew.

        derive   a function of a module: the array is made once for each
        """
        if self._notes is not _mode.notes:           # made outside of this capture: it stays what it is
            return constant(_library(like), np.asarray(derive(self.value), dtype).reshape(shape))
        xp = _library(like)
        key = xp.__name__, np.dtype(dtype), derive
        if key not in self._arrays:
            array = xp.asarray(np.asarray(derive(self._value), dtype).reshape(shape)) if self._known else \
                xp.empty(shape, dtype)
            self._arrays[key] = array, derive
        return self._arrays[key][0]
