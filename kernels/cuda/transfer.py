"""Batches on their way to the GPU: copied from page-locked memory, on a stream of their own.

    host             fill buffer 0   fill buffer 1   fill buffer 2 ...
    side stream                 copy 0          copy 1 ...
    compute stream                       step 0          step 1 ...

A batch's arrays are allocated on the compute stream, to which their memory returns: so the copy first waits for what
that stream had been told when they were allocated, and the step waits for the copy.  The host waits for neither.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import cupy
import cupyx

__all__ = ["prefetch"]


def prefetch(batches: Iterator[tuple]) -> Iterator[tuple]:
    """Tuples of the host's arrays as arrays of the device, each copied while the one before is used.

    The current stream at the time of next() is the one on which a batch may be used.
    """
    side, ahead = cupy.cuda.Stream(non_blocking=True), None
    locked: deque[tuple[Any, list]] = deque()        # (end of the copy, its page-locked memory), until it is over
    try:
        for batch in batches:
            following = _begin(batch, side, locked)
            if ahead is not None:
                yield _ready(*ahead)
            ahead = following
        if ahead is not None:
            yield _ready(*ahead)
    finally:                                         # also when the loop is left early
        side.synchronize()


def _begin(batch, side, locked):
    """Start to copy a batch: its arrays on the device, and the event that ends the copy."""
    while locked and locked[0][0].done:
        locked.popleft()
    arrays, buffers = [], []
    for values in batch:
        buffers.append(cupyx.empty_pinned(values.shape, values.dtype))
        buffers[-1][...] = values
        arrays.append(cupy.empty(values.shape, values.dtype))
    side.wait_event(cupy.cuda.get_current_stream().record(_event()))
    for array, buffer in zip(arrays, buffers):
        array.set(buffer, stream=side)
    copied = side.record(_event())
    locked.append((copied, buffers))
    return tuple(arrays), copied


def _ready(arrays, copied):
    """The arrays, on which the current stream may work once they are copied."""
    cupy.cuda.get_current_stream().wait_event(copied)
    return arrays


def _event():
    return cupy.cuda.Event(disable_timing=True)
