"""The GPU itself: is there one, wait for it, its memory, and a training step as one launch.

    step = tc.cuda.capture(train_step, images, labels)       # train_step(images, labels) -> loss, written as ever
    for images, labels in loader:
        loss = step(images, labels)                          # one launch instead of hundreds

A captured graph repeats the kernels of one run, in the memory of that run; what the host does in between is not
repeated, but for random seeds, step counts and schedules, which are worked out for each run (kernels/capture.py).
"""
from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .autograd import Tensor, as_array
from .backend import copy_in, device_of, is_readable, record, runtime, to_device
from .recompute import mapped

__all__ = ["capture", "empty_cache", "is_available", "max_memory_allocated", "memory_allocated",
           "reset_peak_memory_stats", "synchronize"]
_HERE = Path(__file__).parent


def is_available() -> bool:
    """Whether device "cuda" can be used: CuPy, a driver and a GPU.  As torch.cuda.is_available."""
    try:
        return runtime("cuda").is_available()
    except RuntimeError:
        return False


def synchronize(device: str = "cuda") -> None:
    """Wait until the device has done all it was told.  Raises RuntimeError without one.  As torch.cuda.synchronize."""
    runtime(device).synchronize()


def memory_allocated(device: str = "cuda") -> int:
    """Bytes that arrays hold on the device.  As torch.cuda.memory_allocated."""
    return runtime(device).memory_allocated()


def max_memory_allocated(device: str = "cuda") -> int:
    """The most bytes that arrays held since reset_peak_memory_stats().  As torch.cuda.max_memory_allocated.

    Raises RuntimeError on "cuda" if that was never called: CuPy keeps no peak, so it is kept from then on, for
    allocations of the thread that called it.
    """
    return runtime(device).max_memory_allocated()


def reset_peak_memory_stats(device: str = "cuda") -> None:
    """Start counting the peak of memory anew.  As torch.cuda.reset_peak_memory_stats."""
    runtime(device).reset_peak_memory_stats()


def empty_cache(device: str = "cuda") -> None:
    """Give memory that no array holds back to the device.  As torch.cuda.empty_cache."""
    runtime(device).empty_cache()


# ---------------------------------------------------------------------------------------- graphs

def capture(step: Callable[..., Any], *example_inputs: Any, warmup: int = 2, device: str | None = None) -> Captured:
    """step(*example_inputs), captured as one graph: a function that takes such inputs and launches it.

    step             what to repeat: forward, backward and optimizer.step(), say, or a forward pass under no_grad();
                     arrays and tensors that it returns (also in tuples, lists and dicts) are returned by every replay,
                     in the same memory: copy what is to outlive the next one
    example_inputs   arrays or tensors on any device, of the shapes and dtypes of all later inputs
    warmup           how often the step is run before it is captured.  These are real steps, on the example inputs: they
                     train.  The first makes gradients' and optimizers' memory, so it takes at least one
    device           where the step runs; by default where the inputs are

    A replay has the bits of an eager step.  Dropout draws new seeds, optimizers count steps and read the learning rate
    that their group has then, schedules stepped in it go on; other Python in the step ran once, when it was captured.
    Parameters, optimizer state and anything else the step uses must stay the same arrays: load states before.

    Raises RuntimeError for device "cpu", and if the step reads a value on the host (float(loss), .item(), .numpy(), a
    branch on values), naming the line; ValueError for warmup < 1 and, later, for inputs of other shapes or dtypes.
    """
    if warmup < 1:
        raise ValueError(f"capture: warmup must be at least 1, got {warmup}: the first step makes memory that replays "
                         "must find")
    arrays = [as_array(a) for a in example_inputs]
    where = device or next((device_of(a) for a in arrays if not is_readable(a)), "cpu")
    with runtime(where).Session() as session:
        inputs = [to_device(a, where).copy() for a in arrays]
        for _ in range(warmup):
            step(*map(Tensor, inputs))
        try:
            graph, outputs = record(session, lambda: step(*map(Tensor, inputs)))
        except Exception as error:
            raise RuntimeError(f"capture: {_place(error)}: {error}.  A captured step may not read values (float(loss), "
                               ".item(), .numpy(), `if` on a tensor) or bring in arrays of the host: return the "
                               "tensors and read them after the replay") from error
    return Captured(step, graph, inputs, mapped(Tensor.detach, outputs))


def _place(error):
    """The last line of the traceback that is not the engine's own."""
    frames = [f for f in traceback.extract_tb(error.__traceback__)
              if _HERE not in Path(f.filename).parents and _HERE.parent / "kernels" not in Path(f.filename).parents]
    last = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}:{last.lineno}, {linecache.getline(last.filename, last.lineno).strip()!r}"


class Captured:
    """A captured step; see `capture`.  Calling it copies the inputs to where the graph finds them and launches it."""

    def __init__(self, step: Callable[..., Any], graph: Any, inputs: list[Any], outputs: Any):
        self._step = step                            # keeps parameters and the like, which the graph writes over
        self._graph, self._inputs, self._outputs = graph, inputs, outputs

    def __call__(self, *inputs: Any) -> Any:
        """Run the step on these inputs.  Raises ValueError unless they are as the examples."""
        arrays = [as_array(a) for a in inputs]
        if len(arrays) != len(self._inputs):
            raise ValueError(f"a captured step of {len(self._inputs)} inputs got {len(arrays)}")
        for i, (given, kept) in enumerate(zip(arrays, self._inputs)):
            if given.shape != kept.shape or given.dtype != kept.dtype:
                raise ValueError(f"a captured step: input {i} has shape {given.shape} and dtype {given.dtype}, it was "
                                 f"captured for {kept.shape} and {kept.dtype}: capture it again for others (a last, "
                                 "smaller batch: drop_last=True, or run it eagerly)")
        for given, kept in zip(arrays, self._inputs):
            if is_readable(given):
                copy_in(kept, given)
            else:
                kept[...] = given
        self._graph.replay()
        mapped(_rewritten, self._outputs)
        return self._outputs


def _rewritten(t):
    """Its values have changed: graphs that saved it will notice."""
    t._version += 1
    return t
