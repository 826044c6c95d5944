"""Captured graphs and memory on device "cuda-emu": what cuda/graph.py is for a GPU.

A capture puts what the device is told onto a tape; a replay runs the tape, as one launch, in the memory of the capture.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .device import asarray, install
from .memory import counts, in_use, stream

__all__ = ["Session", "empty_cache", "is_available", "max_memory_allocated", "memory_allocated", "prefetch",
           "reset_peak_memory_stats", "synchronize"]


class Graph:
    """What was captured."""

    def __init__(self, tape: list[Callable[[], Any]], held: list[Any]):
        self._tape, self._held = tape, held

    def launch(self) -> None:
        """Run it once more."""
        counts["launches"] += 1
        for act in self._tape:
            act()


class Session:
    """`with` block whose arrays stay allocated as long as the graphs captured in it, as in a private pool of memory."""

    def __enter__(self):
        self._before, stream.held = stream.held, []
        return self

    def __exit__(self, *exception):
        stream.held = self._before

    def record(self, function: Callable[[], Any]) -> tuple[Graph, Any]:
        """Capture function(): the graph, and what the function returned."""
        stream.tape = tape = []
        try:
            result = function()
        finally:
            stream.tape = None
        return Graph(tape, stream.held), result


def prefetch(batches: Iterator[tuple]) -> Iterator[tuple]:
    """Tuples of the host's arrays as arrays of the device, each copied before the one before is used."""
    ahead = None
    for batch in batches:
        copied = tuple(asarray(array) for array in batch)
        if ahead is not None:
            yield ahead
        ahead = copied
    if ahead is not None:
        yield ahead


def is_available() -> bool:
    """Whether kernels can be compiled here."""
    try:
        install()
    except RuntimeError:
        return False
    return True


def synchronize() -> None:
    """Nothing to wait for."""


def memory_allocated() -> int:
    """Bytes in arrays."""
    return in_use["now"]


def max_memory_allocated() -> int:
    """The most bytes that were in arrays since reset_peak_memory_stats()."""
    return in_use["peak"]


def reset_peak_memory_stats() -> None:
    """Start counting the peak anew."""
    in_use["peak"] = in_use["now"]


def empty_cache() -> None:
    """Nothing is cached."""
