"""What stages do with a device: move arrays, time calls, repeat them as a graph; by CuPy, and by the emulator."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from tinycnn import backend

from ..timing import host_clock, sample, spread


class Device:
    """A device by its name, "cuda" or "cuda-emu".  tiny: nothing is timed more often than it must be."""

    def __init__(self, name: str, tiny: bool = False):
        self.tiny, self.name, self.xp, self.runtime = tiny, name, backend.module_of(name), backend.runtime(name)
        if not self.runtime.is_available():
            raise RuntimeError(f"device {name!r} is not there: no GPU, or no driver")
        self.real = name == "cuda"
        self.clock = _event_clock(self.xp) if self.real else host_clock

    # ------------------------------------------------------------------------------------ arrays

    def put(self, value: Any, last: bool = False) -> Any:
        """Arrays of the host (also in lists) on the device, those of images in channels-last memory if asked."""
        if isinstance(value, list):
            return [self.put(v, last) for v in value]
        if not isinstance(value, np.ndarray):
            return value
        if not last or value.ndim < 3:
            return self.xp.asarray(np.ascontiguousarray(value))
        laid = self.xp.asarray(np.ascontiguousarray(np.moveaxis(value, 1, -1)))       # (N, ..., C)
        return laid.transpose(0, laid.ndim - 1, *range(1, laid.ndim - 1))

    def get(self, value: Any) -> Any:
        """Arrays of the device (also in tuples) on the host."""
        if isinstance(value, tuple):
            return tuple(map(self.get, value))
        return backend.to_numpy(value) if hasattr(value, "strides") else value

    def random(self, shape: Sequence[int], dtype: Any = "float32", last: bool = False, seed: int = 0) -> Any:
        """Normal numbers; a million of them, repeated: drawing all on the host would take longer than the kernels."""
        shape = tuple(shape)
        laid = (shape[0], *shape[2:], shape[1]) if last and len(shape) > 2 else shape
        size = int(np.prod(laid))
        block = np.random.default_rng(seed).standard_normal(min(size, 1 << 20)).astype("float32").astype(dtype)
        array = self.xp.tile(self.xp.asarray(block), -(-size // block.size))[:size].reshape(laid).copy()
        return array if laid == shape else array.transpose(0, len(shape) - 1, *range(1, len(shape) - 1))

    @contextmanager
    def poisoned(self, again: bool = False) -> Iterator[None]:
        """New arrays are full of NaN, or, `again`, of other numbers and the threads' order is another."""
        with ExitStack() as stack:
            if self.real:
                stack.enter_context(self.xp.cuda.using_allocator(_poisoning(self.xp, 0x42 if again else 0xff)))
            elif again:                              # the emulator's are always full of NaN
                build, device = (import_module(f"tinycnn.kernels.emulator.{name}") for name in ("build", "device"))
                stack.enter_context(device.schedule(build.SCHEDULES[2]))
            yield
            self.runtime.synchronize()

    # ------------------------------------------------------------------------------------ time

    def time(self, call: Callable[[], Any], seconds: float, calls: int = 1) -> dict[str, float]:
        """Median and quartiles, in ms, of what `call` does `calls` times."""
        return timed(call, seconds, calls, self.clock, self.tiny)

    def sets(self, nbytes: float) -> int:
        """How many sets of so many bytes there have to be so that none is in the L2 cache when its turn comes."""
        if not self.real:
            return 2
        cache = self.xp.cuda.Device().attributes["L2CacheSize"]
        return int(min(64, max(2, -(-3 * cache // max(1, nbytes)))))

    def repeated(self, calls: Sequence[Callable[[], Any]]) -> tuple[Callable[[], Any], str]:
        """One launch of all calls as a captured graph, and "graph"; if they cannot be captured, a loop, and why."""
        def loop():
            return [call() for call in calls]
        loop()
        try:
            with self.runtime.Session() as session:
                loop()
                graph, kept = backend.record(session, loop)
        except Exception as error:
            return loop, f"eager ({type(error).__name__}: {error})"[:120]

        def replay(kept=kept):                       # the graph writes into the results: they stay
            graph.replay()
        return replay, "graph"

    def empty(self) -> None:
        """Give back what no array holds."""
        self.runtime.empty_cache()


def timed(call: Callable[[], Any], seconds: float, calls: int, clock: Callable, tiny: bool = False) -> dict[str, float]:
    """Median and quartiles in ms and the number of samples; two of them, without warming up, if tiny."""
    times = sample(call, 0, 2, clock, 0) if tiny else sample(call, seconds, 5, clock)
    mid, low, high = (round(t / calls, 6) for t in spread(times))
    return {"ms": mid, "low": low, "high": high, "samples": len(times)}


def _event_clock(cupy):
    """A clock of the device's own: milliseconds between two events around what a function launches."""
    def clock(work: Callable[[], Any]) -> float:
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        work()
        stop.record()
        stop.synchronize()
        return cupy.cuda.get_elapsed_time(start, stop)
    return clock


def _poisoning(cupy, byte):
    pool = cupy.get_default_memory_pool()

    def allocate(size: int) -> Any:
        memory = pool.malloc(size)
        if size:
            memory.memset_async(byte, size)
        return memory
    return allocate
