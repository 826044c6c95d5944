"""A group of processes on the CPU, by mpi4py."""
from __future__ import annotations

import numpy as np
from mpi4py import MPI

_OPS = {"sum": MPI.SUM, "prod": MPI.PROD, "max": MPI.MAX, "min": MPI.MIN}


class Group:
    """The processes that mpiexec started."""

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()

    def all_reduce(self, array: np.ndarray, op: str) -> None:
        """sum, prod, max or min over the ranks, in place; C order."""
        self._comm.Allreduce(MPI.IN_PLACE, array, op=_OPS[op])

    def broadcast(self, array: np.ndarray, root: int) -> None:
        """What the rank root has, in place; C order."""
        self._comm.Bcast(array, root=root)

    def barrier(self) -> None:
        """Wait for all."""
        self._comm.Barrier()
