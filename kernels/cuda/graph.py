"""Captured graphs and memory on device "cuda", by CuPy.

Arrays of a captured step lie in a pool of memory of their own, which nothing else is given: a replay writes over the
same addresses again.  The steps before the capture run in that pool, too, so that the capture finds room in it.
"""
from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from weakref import WeakSet

import cupy
from cupy.cuda.memory_hook import MemoryHook

from .transfer import prefetch

__all__ = ["Session", "empty_cache", "is_available", "max_memory_allocated", "memory_allocated", "prefetch",
           "reset_peak_memory_stats", "synchronize"]

_sessions: WeakSet = WeakSet()


class Graph:
    """What was captured, with the memory it works in."""

    def __init__(self, graph: Any, session: Session):
        self._graph, self._session = graph, session

    def launch(self) -> None:
        """Run it once more, on the current stream."""
        self._graph.launch()


class Session:
    """`with` block on a stream and in a pool of memory of its own; the pool lives as long as the graphs captured in it.

    On entry and exit the host waits for the device, so that work before, in and after the block is in order.
    """

    def __init__(self) -> None:
        if not is_available():
            raise RuntimeError("device 'cuda': CuPy finds no GPU or no driver: use device='cuda-emu' to run the CUDA "
                               "kernels on the CPU")
        self.pool, self._stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
        self._entered = ExitStack()
        _sessions.add(self)

    def __enter__(self):
        synchronize()
        self._entered.enter_context(self._stream)
        self._entered.enter_context(cupy.cuda.using_allocator(self.pool.malloc))
        return self

    def __exit__(self, *exception):
        self._entered.close()
        synchronize()

    def record(self, function: Callable[[], Any]) -> tuple[Graph, Any]:
        """Capture function(): the graph, and what the function returned."""
        self._stream.begin_capture()
        try:
            result = function()
        except BaseException:
            self._break_off()
            raise
        return Graph(self._stream.end_capture(), self), result

    def _break_off(self):
        """Close the capture: CUDA answers with an error if it was invalidated, as by reading a value."""
        try:
            self._stream.end_capture()
        except cupy.cuda.runtime.CUDARuntimeError:
            pass


def is_available() -> bool:
    """Whether there is a GPU and a driver."""
    return cupy.cuda.is_available()


def synchronize() -> None:
    """Wait until the device has done all it was told."""
    cupy.cuda.Device().synchronize()


def empty_cache() -> None:
    """Give memory that is kept for later arrays back to the device."""
    cupy.get_default_memory_pool().free_all_blocks()


def memory_allocated() -> int:
    """Bytes in arrays, those of captured graphs included."""
    return cupy.get_default_memory_pool().used_bytes() + sum(s.pool.used_bytes() for s in _sessions)


class _Peak(MemoryHook):
    """Follows what is allocated and freed by the thread that entered it."""

    name = "tinycnn: the most memory in use"

    def __init__(self) -> None:
        self.now = self.peak = memory_allocated()

    def malloc_postprocess(self, **event: Any) -> None:
        """Called by CuPy after an allocation."""
        self.now += event["mem_size"]
        self.peak = max(self.peak, self.now)

    def free_postprocess(self, **event: Any) -> None:
        """Called by CuPy after memory was given back to a pool."""
        self.now -= event["mem_size"]


_peak: _Peak | None = None


def reset_peak_memory_stats() -> None:
    """Start counting the peak anew, in this thread."""
    global _peak
    if _peak is None:
        _peak = _Peak()
        _peak.__enter__()
    _peak.now = _peak.peak = memory_allocated()


def max_memory_allocated() -> int:
    """The most bytes in arrays since reset_peak_memory_stats().

    Raises RuntimeError if that was never called: CuPy keeps no peak.
    """
    if _peak is None:
        raise RuntimeError("max_memory_allocated: call reset_peak_memory_stats() first, from when on the peak is kept")
    return max(_peak.peak, memory_allocated())
