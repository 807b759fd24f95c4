"""Several processes that an MPI launcher started: the control plane over mpi4py.

The only module that imports mpi4py.
"""

from __future__ import annotations

import array
import sys
import time
from collections.abc import Sequence
from typing import NoReturn, TypeVar, cast

from mpi4py import MPI  # starts MPI with support for threads; Horovod joins in

from distmnist.distributed.horovod import HorovodCluster

T = TypeVar("T")

_POLL_SECONDS = 0.05


class MpiCluster(HorovodCluster):
    """Several processes that an MPI launcher started."""

    def __init__(self) -> None:
        """Joins the other processes."""
        super().__init__()
        self._control = MPI.COMM_WORLD.Dup()
        self._heartbeats = MPI.COMM_WORLD.Dup()

    def allgather(self, value: T) -> list[T]:
        return self._control.allgather(value)

    def broadcast(self, value: T) -> T:
        return cast(T, self._control.bcast(value))

    def allreduce_max(self, values: Sequence[float]) -> list[float]:
        mine, maxima = array.array("d", values), array.array("d", values)
        self._control.Allreduce(mine, maxima, op=MPI.MAX)
        return list(maxima)

    def abort(self, status: int) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        self._control.Abort(status)
        raise AssertionError("MPI_Abort returned")

    def unresponsive_ranks(self, step: int, seconds: float) -> list[int]:
        silent = set(range(self.size)) - {self.rank}
        requests = [self._heartbeats.isend(step, rank) for rank in silent]
        end = time.monotonic() + seconds
        while silent and time.monotonic() < end:
            status = MPI.Status()
            if self._heartbeats.iprobe(status=status):
                if self._heartbeats.recv(source=status.source) >= step:
                    silent.discard(status.source)
            else:
                time.sleep(_POLL_SECONDS)
        del requests  # those to an unresponsive rank never complete
        return sorted(silent)
