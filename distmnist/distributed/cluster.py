"""Process topology and collectives: the interface, and a cluster of one process.

Two planes:

* The data plane carries tensors: averaged gradients, broadcast variables, summed
  counts. It is Horovod's.
* The control plane carries small Python objects: flags, errors, names of checkpoints.
  Under an MPI launcher it is a communicator of mpi4py, so that the data plane never
  waits on Python; over Gloo, Horovod's object collectives serve.

`horovod.HorovodCluster` and `mpi.MpiCluster` implement them for several processes.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from distmnist.core import arrays
from distmnist.core.errors import InputError, UserError, on_all_ranks
from distmnist.distributed.watchdog import Heartbeat, list_ranks, watchdog

if TYPE_CHECKING:
    import tensorflow as tf

T = TypeVar("T")

_LAST_SECONDS = 10.0  # that rank 0 waits for the others before it ends


class Cluster:
    """A cluster of one: the base class, and all that a single process needs.

    Attributes:
        rank: index of this process among all, in [0, size).
        size: number of processes (the world size).
        local_rank: index of this process on its host.
        local_size: number of processes on this host.
        is_elastic: whether ranks may join and leave.
    """

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1
    is_elastic = False

    # Control plane.

    def allgather(self, value: T) -> list[T]:
        """Returns every rank's value, in the order of ranks."""
        return [value]

    def broadcast(self, value: T) -> T:
        """Returns rank 0's value."""
        return value

    def allreduce_max(self, values: Sequence[float]) -> list[float]:
        """Returns the element-wise maximum of all ranks' values."""
        return list(values)

    # Data plane.

    def distribute(self, optimizer: Any, fp16: bool, adasum: bool) -> Any:
        """Wraps an optimizer, so that it averages the gradients of all ranks.

        Args:
            optimizer: has the interface of `tf.compat.v1.train.Optimizer`.
            fp16: send gradients as float16.
            adasum: combine gradients by Adasum (Maleki et al. 2020, arXiv:2006.02924)
                instead: parallel gradients are averaged, orthogonal ones added.

        Raises:
            InputError: on all ranks, if the cluster does not support it.
        """
        return optimizer

    def broadcast_variables(
        self, variables: Sequence[tf.Variable], root: int = 0
    ) -> None:
        """Assigns the values of one rank on every rank."""

    def allreduce_mean(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns the mean of a tensor over all ranks."""
        return tensor

    def allreduce_sum(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns the sum of a tensor over all ranks."""
        return tensor

    def allgather_tensor(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns every rank's tensor, [size, *shape]; it has a gradient."""
        return tensor[None]

    # Membership.

    def run_elastic(self, job: Callable[[], T]) -> T:
        """Runs a job, and again each time that ranks join or leave.

        Args:
            job: runs on every rank; all collectives must be in it.

        Returns:
            The job's result.

        Raises:
            InputError: on all ranks, if the launcher is not elastic.
        """
        raise on_all_ranks(
            InputError(
                "flag --elastic: requires horovodrun with --min-np, --max-np and "
                "--host-discovery-script (see launch/elastic.sh)"
            )
        )

    def check_host_updates(self) -> None:
        """Restarts the job of `run_elastic` if the set of hosts has changed.

        All ranks must call it.
        """

    # Failures.

    def run_collectively(self, action: Callable[[], T]) -> T:
        """Runs an action on every rank; it succeeds on all or fails on all.

        No rank is left waiting in a collective for one that has failed.

        Args:
            action: must not use a collective itself.

        Returns:
            The action's result on this rank.

        Raises:
            UserError: on every rank the same, if the action raised one anywhere.
        """
        result, error = None, None
        try:
            with watchdog.own_work():
                result = action()
        except UserError as caught:
            error = caught
        hosts_and_errors = self.allgather((socket.gethostname(), error))
        failed = [rank for rank, (_, e) in enumerate(hosts_and_errors) if e]
        if not failed:
            return result  # type: ignore[return-value]
        host, error = hosts_and_errors[failed[0]]
        assert error is not None
        where = (
            "" if len(failed) == self.size else f" ({list_ranks(failed)}, on {host})"
        )
        raise on_all_ranks(type(error)(f"{error}{where}"))

    def run_on_root(self, action: Callable[[], T]) -> T:
        """Runs an action on rank 0; returns its result, or fails, on every rank.

        Args:
            action: must not use a collective itself; its result is sent to all ranks.

        Returns:
            Rank 0's result.

        Raises:
            UserError: on every rank, if the action raised one.
        """
        result = self.run_collectively(lambda: action() if self.rank == 0 else None)
        return self.broadcast(result)  # type: ignore[return-value]

    def assert_consistent(self, mine: Mapping[str, object], remedy: str) -> None:
        """Checks that all ranks have the same values.

        Args:
            mine: this rank's values by name; names that only some have are ignored.
            remedy: what the user can do about a difference.

        Raises:
            InputError: on every rank, if a value differs; it names the value and the
                ranks.
        """
        values = self.allgather(dict(mine))
        for name, expected in values[0].items():
            if not all(name in value for value in values):
                continue
            others = [r for r, value in enumerate(values) if value[name] != expected]
            if others:
                raise on_all_ranks(
                    InputError(
                        f"{name} differs between ranks: {expected} on rank 0, "
                        f"{values[others[0]][name]} on {list_ranks(others)}; {remedy}"
                    )
                )

    def assert_identical(self, variables: Mapping[str, tf.Variable]) -> None:
        """Checks that variables are bit-identical on all ranks; all must call it.

        Args:
            variables: variables by name.

        Raises:
            InputError: on every rank, if one differs; it names the variable.
        """
        if self.size == 1:
            return
        sums = {
            name: zlib.crc32(arrays.view(variable.read_value()).data)
            for name, variable in variables.items()
        }
        all_sums = self.allgather(sums)
        for name in sums:
            others = [r for r, s in enumerate(all_sums) if s[name] != all_sums[0][name]]
            if others:
                raise on_all_ranks(
                    InputError(
                        f"variable {name} of {list_ranks(others)} differs from rank "
                        "0's: what it is set to in the network depends on the rank's "
                        "own examples; compute it of those of all ranks, with "
                        "Network.mean_over_ranks"
                    )
                )

    def fail(self, error: UserError) -> NoReturn:
        """Ends the job with an error, which is printed once.

        Args:
            error: printed on standard error; gives the exit status.
        """
        if not error.on_all_ranks:
            # The other ranks do not know of it, and may wait for this one.
            where = f" (rank {self.rank} on {socket.gethostname()})"
            print_error(f"{error}{where * (self.size > 1)}")
            self.abort(error.exit_status)
        if self.rank == 0:
            print_error(str(error))
            if self.size > 1:
                # All that is to be written is, and a rank that is lost never arrives.
                ending = threading.Timer(_LAST_SECONDS, os._exit, [error.exit_status])
                ending.daemon = True
                ending.start()
        self.allgather(None)  # launchers end the job at the first exit
        sys.exit(error.exit_status)

    def abort(self, status: int) -> NoReturn:
        """Ends this process, and with it the job, without waiting for other ranks."""
        sys.exit(status)

    def exchange_heartbeats(
        self, mine: Heartbeat, ask: bool
    ) -> Mapping[int, Heartbeat] | None:
        """Answers the ranks that have asked for a heartbeat; never waits.

        Called by the watchdog's thread, every second.

        Args:
            mine: this rank's heartbeat.
            ask: ask all ranks for theirs, and forget earlier answers.

        Returns:
            The other ranks' answers so far; None if they cannot be asked.
        """
        return None

    def shut_down(self) -> None:
        """Disconnects from the other ranks, and waits for them, before the exit."""

    def explain(self, error: Exception) -> UserError | None:
        """Returns the user-facing error for a lost connection; None for any other."""
        return None


def print_error(message: str) -> None:
    """Prints a line to standard error in one write: launchers insert tags between."""
    line = message.replace("\n", " ")  # which a value given by the user may contain
    sys.stderr.write(f"distmnist: {line}\n")
    sys.stderr.flush()
