"""Several processes that an MPI launcher started: the control plane over mpi4py.

The only module that imports mpi4py.
"""

from __future__ import annotations

import array
import ctypes
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeVar, cast

import mpi4py

# It would wait for the other ranks without letting the watchdog's thread run.
mpi4py.rc.initialize = False

from mpi4py import MPI  # noqa: E402

from distmnist.core.errors import UserError  # noqa: E402
from distmnist.distributed import launchers  # noqa: E402
from distmnist.distributed.horovod import (  # noqa: E402
    HorovodCluster,
    lost_connection,
)
from distmnist.distributed.watchdog import Heartbeat  # noqa: E402

T = TypeVar("T")

_QUESTION, _ANSWER = 1, 2  # tags
# Whether MPI is to be finalized here: by the last cluster, if a process fits often.
_is_ours = False


class MpiCluster(HorovodCluster):
    """Several processes that an MPI launcher started."""

    def __init__(self, is_elastic: bool = False):
        """Joins the other processes.

        Args:
            is_elastic: must be False: MPI's ranks cannot join and leave.
        """
        if not MPI.Is_initialized():
            _initialize()
        super().__init__(is_elastic)
        self._control = MPI.COMM_WORLD.Dup()
        self._heartbeats = MPI.COMM_WORLD.Dup()
        self._sent: list[MPI.Request] = []
        self._answers: dict[int, Heartbeat] = {}

    @staticmethod
    def problem() -> str | None:
        return launchers.unjoinable(os.environ, MPI.get_vendor()[0])

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
        _library().MPI_Abort(_handle(MPI.COMM_WORLD), status)
        raise AssertionError("MPI_Abort returned")

    def explain(self, error: Exception) -> UserError | None:
        if isinstance(error, MPI.Exception):
            return lost_connection(str(error))
        return super().explain(error)

    def exchange_heartbeats(
        self, mine: Heartbeat, ask: bool
    ) -> Mapping[int, Heartbeat] | None:
        # Those to a frozen rank are sent, but may not complete.
        self._sent = [request for request in self._sent if not request.Test()]
        if ask:
            self._answers = {}
            for rank in set(range(self.size)) - {self.rank}:
                self._send(None, rank, _QUESTION)
        status = MPI.Status()
        while self._heartbeats.iprobe(status=status):
            source, tag = status.source, status.tag
            content = self._heartbeats.recv(source=source, tag=tag)
            if tag == _QUESTION:
                self._send(mine, source, _ANSWER)
            else:
                self._answers[source] = content
        return dict(self._answers)

    def _send(self, content: object, rank: int, tag: int) -> None:
        self._sent.append(self._heartbeats.isend(content, rank, tag))

    def shut_down(self) -> None:
        super().shut_down()
        if _is_ours and not MPI.Is_finalized():
            _library().MPI_Finalize()


def _initialize() -> None:
    """Initializes MPI with support for threads, while other Python threads run."""
    global _is_ours
    _is_ours = True
    provided = ctypes.c_int()
    _library().MPI_Init_thread(None, None, MPI.THREAD_MULTIPLE, ctypes.byref(provided))
    for communicator in (MPI.COMM_WORLD, MPI.COMM_SELF):  # as mpi4py does
        communicator.Set_errhandler(MPI.ERRORS_RETURN)


def _library() -> ctypes.CDLL:
    """Returns MPI's functions, which release the lock of Python's interpreter."""
    return ctypes.CDLL(MPI.__file__)


def _handle(communicator: MPI.Comm) -> ctypes.c_int | ctypes.c_void_p:
    """Returns the handle of a communicator: a pointer, or a number in MPICH."""
    number = MPI._sizeof(MPI.Comm) == ctypes.sizeof(ctypes.c_int)
    kind = ctypes.c_int if number else ctypes.c_void_p
    return kind.from_address(MPI._addressof(communicator))
