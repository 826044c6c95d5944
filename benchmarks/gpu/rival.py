"""PyTorch beside us, where it is installed and sees the GPU: the same clocks and graphs, by its own means."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..timing import host_clock, installed
from .device import timed
from .work import Work


def missing(work: Work) -> bool:
    """Whether there is no PyTorch to compare with on the device; a row says why."""
    why = None
    if work.settings.device != "cuda":
        why = f"PyTorch does not run on {work.settings.device}"
    elif not installed("torch"):
        why = "PyTorch is not installed"
    else:
        import torch
        why = None if torch.cuda.is_available() else f"PyTorch {torch.__version__} finds no GPU"
    if why:
        work.row("torch", left_out=why)
    return why is not None


class Torch:
    """PyTorch on a device, "cuda", or "cpu" to try it out; its convolutions search for their fastest algorithm."""

    def __init__(self, device: str = "cuda"):
        import torch
        self.torch, self.name, self.real = torch, device, device == "cuda"
        torch.backends.cudnn.benchmark = True
        self.clock = self._event_clock if self.real else host_clock

    def precision(self, mode: str) -> Any:
        """Choose how float32 is multiplied, and the dtype that goes with the mode."""
        exact = mode == "highest"
        self.torch.backends.cuda.matmul.allow_tf32 = self.torch.backends.cudnn.allow_tf32 = not exact
        return self.torch.bfloat16 if mode == "bfloat16" else self.torch.float32

    def random(self, shape: Sequence[int], dtype: Any = None, last: bool = False) -> Any:
        """Normal numbers, images in channels-last memory if asked."""
        x = self.torch.randn(tuple(shape), device=self.name).to(dtype or self.torch.float32)
        return x.to(memory_format=self.torch.channels_last) if last and x.ndim == 4 else x

    def _event_clock(self, work: Callable[[], Any]) -> float:
        start, stop = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop)

    def time(self, call: Callable[[], Any], seconds: float, calls: int = 1) -> dict[str, float]:
        """As Device.time."""
        return timed(call, seconds, calls, self.clock)

    def repeated(self, loop: Callable[[], Any], warmup: int = 3) -> tuple[Callable[[], Any], str]:
        """As Device.repeated, of one function: torch.cuda.CUDAGraph's way."""
        cuda = self.torch.cuda
        if not self.real:
            return loop, "eager"
        try:
            side = cuda.Stream()
            side.wait_stream(cuda.current_stream())
            with cuda.stream(side):
                for _ in range(warmup):
                    loop()
            cuda.current_stream().wait_stream(side)
            graph = cuda.CUDAGraph()
            with cuda.graph(graph):
                kept = loop()
        except RuntimeError as error:
            cuda.synchronize()
            return loop, f"eager ({error})"[:120]

        def replay(kept=kept):
            graph.replay()
        return replay, "graph"

    def sets(self, nbytes: float) -> int:
        """As Device.sets."""
        if not self.real:
            return 2
        cache = getattr(self.torch.cuda.get_device_properties(0), "L2_cache_size", 64 << 20)
        return int(min(64, max(2, -(-3 * cache // max(1, nbytes)))))

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.real:
            self.torch.cuda.synchronize()

    def empty(self) -> None:
        """Give back what no tensor holds."""
        if self.real:
            self.torch.cuda.empty_cache()
