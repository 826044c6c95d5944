"""A group of processes with a GPU each, by NCCL; they meet at an address, by CuPy's own small server.

Sums and broadcasts are told to the current stream: the host does not wait for them.
"""
from __future__ import annotations

from typing import Any

import cupy
from cupy.cuda import nccl


class Group:
    """The processes that meet at host:port; this one takes the GPU of its rank, counted within the machine.

    Raises RuntimeError if CuPy was built or installed without NCCL.
    """

    def __init__(self, rank: int, size: int, host: str, port: int):
        if not nccl.available:
            raise RuntimeError("distributed.init: CuPy finds no NCCL: pip install nvidia-nccl-cu12 (or -cu13)")
        from cupyx.distributed import init_process_group
        self.rank, self.size = rank, size
        cupy.cuda.Device(rank % cupy.cuda.runtime.getDeviceCount()).use()
        self._group = init_process_group(size, rank, backend="nccl", host=host, port=port)

    def all_reduce(self, array: Any, op: str) -> None:
        """sum, prod, max or min over the ranks, in place; C order."""
        self._group.all_reduce(array, array, op)

    def broadcast(self, array: Any, root: int) -> None:
        """What the rank root has, in place; C order."""
        self._group.broadcast(array, root)

    def barrier(self) -> None:
        """Wait for all."""
        self._group.barrier()
