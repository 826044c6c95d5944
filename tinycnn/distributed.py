"""Training by several processes: the same model in each, another part of the data, gradients averaged between steps.

    tc.distributed.init("cuda")                      # by RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, as torchrun does
    shard = tc.distributed.get_rank(), tc.distributed.get_world_size()
    for images, labels in tc.data.DataLoader(train_set, 64, shuffle=True, shard=shard, device="cuda"):
        ...
        loss.backward()
        tc.distributed.average_gradients(model)
        optimizer.step()

A group of one rank needs nothing.  On a GPU the ranks talk by NCCL (kernels/cuda/group.py), on the CPU by mpi4py
(`mpiexec -n 2 python train.py`), which knows rank and size itself.
"""
from __future__ import annotations

import os
from collections import defaultdict
from typing import Any

import numpy as np

from .autograd import Tensor, no_grad
from .backend import array_module, process_group
from .dtypes import is_floating, sixteen_bits

__all__ = ["all_reduce", "average_gradients", "barrier", "broadcast", "get_rank", "get_world_size", "init"]
BUCKET = 1 << 22                                     # elements that are sent at once: 16 MiB of float32
OPS = ("sum", "avg", "prod", "max", "min")


class _Alone:
    """A group of one rank."""

    rank, size = 0, 1

    def all_reduce(self, array: Any, op: str) -> None:
        """The sum over one rank is there already, and so are the others."""

    def broadcast(self, array: Any, root: int) -> None:
        """It has what the only rank has."""

    def barrier(self) -> None:
        """Nobody to wait for."""


_group: Any = _Alone()


def init(device: str = "cpu") -> None:
    """Join the group that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT describe; without them, be alone.

    Raises ValueError for values that make no group, RuntimeError if a package or a device for it is missing.
    """
    global _group
    values = {name: os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"),
                                                                         ("MASTER_PORT", "13333"))}
    if not all(v.isdigit() for v in values.values()) or not int(values["RANK"]) < int(values["WORLD_SIZE"]):
        raise ValueError(f"distributed.init: RANK must be a whole number below WORLD_SIZE and MASTER_PORT one, got "
                         f"{values}")
    rank, size, port = map(int, values.values())
    made = process_group(device, rank, size, os.environ.get("MASTER_ADDR", "127.0.0.1"), port)
    _group = _Alone() if made is None else made


def get_rank() -> int:
    """Which of the processes this is.  As torch.distributed.get_rank."""
    return _group.rank


def get_world_size() -> int:
    """How many processes there are.  As torch.distributed.get_world_size."""
    return _group.size


def barrier() -> None:
    """Wait for all ranks.  As torch.distributed.barrier."""
    _group.barrier()


def all_reduce(tensor: Tensor, op: str = "sum") -> Tensor:
    """The ranks' tensors combined, in place: op is "sum", "avg", "prod", "max" or "min".

    Floats of 16 bits are combined in float32.  Raises ValueError for another op, TypeError for booleans and for the
    average of integers.  As torch.distributed.all_reduce.
    """
    if op not in OPS:
        raise ValueError(f"all_reduce: op must be one of {', '.join(OPS)}, got {op!r}")
    if op == "avg" and not is_floating(tensor.dtype):
        raise TypeError(f"all_reduce: the average of {tensor.dtype} is no {tensor.dtype}: convert first (x.float())")
    return _sent("all_reduce", tensor, lambda array: _reduce(array, op))


def broadcast(tensor: Tensor, src: int = 0) -> Tensor:
    """The tensor of rank src, in place.  Raises ValueError for no such rank.  As torch.distributed.broadcast."""
    if not 0 <= src < _group.size:
        raise ValueError(f"broadcast: src must be a rank, 0..{_group.size - 1}, got {src}")
    return _sent("broadcast", tensor, lambda array: _group.broadcast(array, src))


def average_gradients(model: Any) -> None:
    """Replace every gradient by its mean over the ranks; gradients of a dtype go together, in buckets.

    Every rank must have gradients for the same parameters.
    """
    alike = defaultdict(list)
    for p in model.parameters():
        if p.grad is not None:
            alike[p.grad.dtype].append(p.grad)
    for grads in alike.values():
        for bucket in _buckets(grads):
            _average(bucket)


def _buckets(grads):
    """The gradients in lists of at most BUCKET elements, or of one."""
    bucket, size = [], 0
    for g in grads:
        if bucket and size + g.numel() > BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(g)
        size += g.numel()
    yield bucket


def _average(grads):
    flat = array_module(grads[0].data).concatenate([_wide(g.data).reshape(-1) for g in grads])       # (all elements,)
    _reduce(flat, "avg")
    start = 0
    for g in grads:
        g.data[...] = flat[start:start + g.numel()].reshape(g.shape)
        g._version += 1
        start += g.numel()


def _reduce(array, op):
    _group.all_reduce(array, "sum" if op == "avg" else op)
    if op == "avg":
        array /= array.dtype.type(_group.size)


def _wide(array):
    """Floats of 16 bits in float32: sums lose nothing, and MPI knows no others."""
    return array.astype(np.float32) if sixteen_bits(array.dtype) else array


def _sent(name, tensor, act):
    """Let act change a tensor's memory, by way of a copy if that is not in C order or not of a dtype to send."""
    if tensor.dtype == bool:
        raise TypeError(f"{name}: booleans cannot be sent: convert first (x.int())")
    with no_grad():
        array = array_module(tensor.data).ascontiguousarray(_wide(tensor.data))
        act(array)
        if array is not tensor.data:
            tensor.data[...] = array.reshape(tensor.shape)
        tensor._version += 1
    return tensor
