"""Who am I among the workers, and the collectives between them.

The only module that imports Horovod or mpi4py.  Two planes:

* The data plane is Horovod's: averaged gradients, broadcast variables, summed
  counts.
* The control plane carries small Python objects: flags, failures, names of
  checkpoints.  Under an MPI launcher it is a communicator of mpi4py's, so that
  Horovod's data plane never waits on Python; over Gloo, Horovod's object
  collectives do.

A process that no launcher started is a cluster of one, and needs neither.
"""

from __future__ import annotations

import array
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from distmnist.core.errors import InputError, RunError, UserError, on_all_ranks
from distmnist.distributed import process

if TYPE_CHECKING:
    import tensorflow as tf

T = TypeVar("T")

# What launchers tell their ranks: size, rank, local rank, local size.
_LAUNCHERS = (
    (  # Open MPI
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    (  # horovodrun --gloo
        "HOROVOD_SIZE",
        "HOROVOD_RANK",
        "HOROVOD_LOCAL_RANK",
        "HOROVOD_LOCAL_SIZE",
    ),
    ("PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),  # MPICH, Intel MPI
    (  # srun
        "SLURM_STEP_NUM_TASKS",
        "SLURM_PROCID",
        "SLURM_LOCALID",
        "SLURM_STEP_TASKS_PER_NODE",
    ),
)


class Cluster:
    """A cluster of one: the base class, and all that a single process needs.

    Attributes:
        rank: index of this process among all, in [0, size).
        size: number of processes (the world size).
        local_rank: index of this process on its host.
        local_size: number of processes on this host.
        is_elastic: whether the launcher lets ranks come and go.
    """

    rank = 0
    size = 1
    local_rank = 0
    local_size = 1
    is_elastic = False

    # The control plane.

    def allgather(self, value: T) -> list[T]:
        """Returns every rank's value, in the order of ranks."""
        return [value]

    def broadcast(self, value: T) -> T:
        """Returns rank 0's value."""
        return value

    def maxima(self, values: Sequence[float]) -> list[float]:
        """Returns the greatest of all ranks' values, one by one."""
        return list(values)

    # The data plane.

    def distribute(self, optimizer: Any, fp16: bool, adasum: bool) -> Any:
        """Wraps an optimizer, so that it averages the gradients of all ranks.

        Args:
            optimizer: of the interface of `tf.compat.v1.train.Optimizer`.
            fp16: send them as float16.
            adasum: combine them by Adasum (Maleki et al. 2020, arXiv:2006.02924)
                instead: parallel gradients are averaged, orthogonal ones added.

        Raises:
            InputError: on all ranks, if they can't do that.
        """
        return optimizer

    def broadcast_variables(
        self, variables: Sequence[tf.Variable], root: int = 0
    ) -> None:
        """Gives every rank the values of one."""

    def mean(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns the mean of a tensor over all ranks."""
        return tensor

    def sum(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns the sum of a tensor over all ranks."""
        return tensor

    # Membership.

    def elastic(self, job: Callable[[], T]) -> T:
        """Runs a job, and again each time that ranks come or go.

        Args:
            job: what to run on every rank; all collectives must be in it.

        Returns:
            What the job returned, once it did.

        Raises:
            InputError: on all ranks, if the launcher is not elastic.
        """
        raise on_all_ranks(
            InputError(
                "flag --elastic: needs horovodrun with --min-np, --max-np and "
                "--host-discovery-script (see launch/elastic.sh)"
            )
        )

    def meet_newcomers(self) -> None:
        """Has `elastic` run its job again, if the launcher knows of other ranks now.

        All ranks must call it.
        """

    # Failures.

    def together(self, action: Callable[[], T]) -> T:
        """Runs an action on every rank; it succeeds on all or fails on all.

        Nobody is left waiting in a collective for a rank that has failed.

        Args:
            action: what to run; it must not use a collective itself.

        Returns:
            What the action returned on this rank.

        Raises:
            UserError: on every rank the same, if the action raised one anywhere.
        """
        result, error = None, None
        try:
            result = action()
        except UserError as caught:
            error = caught
        hosts_and_errors = self.allgather((socket.gethostname(), error))
        failed = [rank for rank, (_, e) in enumerate(hosts_and_errors) if e]
        if not failed:
            return result  # type: ignore[return-value]
        host, error = hosts_and_errors[failed[0]]
        assert error is not None
        where = "" if len(failed) == self.size else f" ({_ranks(failed)}, on {host})"
        raise on_all_ranks(type(error)(f"{error}{where}"))

    def agree(self, mine: Mapping[str, object], remedy: str) -> None:
        """Checks that all ranks have the same values.

        Args:
            mine: this rank's values, by their names; the same names on all ranks.
            remedy: what the user is to do about a difference.

        Raises:
            InputError: on every rank, if a value differs; it names what differs,
                the values and the ranks.
        """
        values = self.allgather(dict(mine))
        for name, expected in values[0].items():
            others = [r for r, value in enumerate(values) if value[name] != expected]
            if others:
                raise on_all_ranks(
                    InputError(
                        f"{name} differs between ranks: {expected} on rank 0, "
                        f"{values[others[0]][name]} on {_ranks(others)}; {remedy}"
                    )
                )

    def fail(self, error: UserError) -> NoReturn:
        """Ends this process, and with it the job, telling the user once.

        Args:
            error: why.
        """
        if not error.on_all_ranks:
            # The others know nothing of it yet, and may wait for this rank.
            where = f" (rank {self.rank} on {socket.gethostname()})"
            _tell(f"{error}{where * (self.size > 1)}")
            self.abort(error.exit_status)
        if self.rank == 0:
            _tell(str(error))
        self.allgather(None)  # launchers end the job at the first exit
        sys.exit(error.exit_status)

    def abort(self, status: int) -> NoReturn:
        """Ends this process, and with it the job, waiting for nobody."""
        sys.exit(status)

    def silent_ranks(self, step: int, seconds: float) -> list[int]:
        """Returns the ranks that give no sign of life, where that can be known.

        Args:
            step: completed steps; a sign from before it is an old one.
            seconds: to wait for one; a thread of every rank calls this meanwhile.
        """
        return []

    def explain(self, error: Exception) -> UserError | None:
        """Returns what an error means to the user, if it is that a rank is gone."""
        return None


class _HorovodCluster(Cluster):
    """Several processes, joined by Horovod."""

    def __init__(self) -> None:
        with process.hidden("sklearn", "matplotlib"), process.for_good():
            import horovod.tensorflow as hvd

        hvd.init()
        self._hvd = hvd
        self.is_elastic = _launched_elastic()
        self._find_places()

    def _find_places(self) -> None:
        hvd = self._hvd
        self.rank, self.size = hvd.rank(), hvd.size()
        self.local_rank, self.local_size = hvd.local_rank(), hvd.local_size()

    def allgather(self, value: T) -> list[T]:
        # The name must be the same on all ranks, whatever the value's type is.
        return list(self._hvd.allgather_object(value, name="control"))

    def broadcast(self, value: T) -> T:
        result: T = self._hvd.broadcast_object(value, name="control")
        return result

    def maxima(self, values: Sequence[float]) -> list[float]:
        import numpy as np

        highest = self._hvd.allreduce(
            np.array(values, np.float64), op=self._hvd.Max, name="maxima"
        )
        return [float(value) for value in highest]

    def distribute(self, optimizer: Any, fp16: bool, adasum: bool) -> Any:
        compression = self._hvd.Compression.fp16 if fp16 else self._hvd.Compression.none
        if adasum:
            return self._adasum(optimizer, compression)
        import tensorflow as tf

        # Made outside a graph, it would have its Python converted by AutoGraph, which
        # takes seconds and changes nothing.
        with tf.Graph().as_default():
            return self._hvd.DistributedOptimizer(optimizer, compression=compression)

    def _adasum(self, optimizer: Any, compression: Any) -> Any:
        """Wraps an optimizer as `distribute` does, for Adasum.

        Horovod's own wrapper for Adasum hands the gradients on without combining
        them, where TensorFlow has resource variables.
        """
        if self.size & (self.size - 1) or not self._hvd.mpi_enabled():
            raise on_all_ranks(
                InputError(
                    "flag --use_adasum: needs MPI, and 2, 4, 8, ... ranks; there are "
                    f"{self.size}, over {'MPI' if self._hvd.mpi_enabled() else 'Gloo'}"
                )
            )
        compute_gradients = optimizer.compute_gradients

        def combine(*args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
            gradients, variables = zip(*compute_gradients(*args, **kwargs))
            combined = [
                self._hvd.allreduce(g, op=self._hvd.Adasum, compression=compression)
                for g in gradients
            ]
            return list(zip(combined, variables))

        optimizer.compute_gradients = combine
        return optimizer

    def broadcast_variables(
        self, variables: Sequence[tf.Variable], root: int = 0
    ) -> None:
        self._hvd.broadcast_variables(variables, root_rank=root)

    def mean(self, tensor: tf.Tensor) -> tf.Tensor:
        return self._allreduce(tensor, self._hvd.Average)

    def sum(self, tensor: tf.Tensor) -> tf.Tensor:
        return self._allreduce(tensor, self._hvd.Sum)

    def _allreduce(self, tensor: tf.Tensor, op: Any) -> tf.Tensor:
        import tensorflow as tf

        # AutoGraph would convert all of Horovod's Python, for a second, to no effect.
        allreduce = tf.autograph.experimental.do_not_convert(self._hvd.allreduce)
        return allreduce(tensor, op=op)

    def elastic(self, job: Callable[[], T]) -> T:
        if not self.is_elastic:
            return super().elastic(job)
        from horovod.common.elastic import State

        class Membership(State):  # type: ignore[misc]
            """Horovod's, but for the state: the job itself brings that to all."""

            def save(self) -> None: ...

            def restore(self) -> None: ...

            def sync(self) -> None: ...

        self._membership = Membership(self._hvd.broadcast_object, self._hvd.rank)

        @self._hvd.elastic.run
        def run(_: Membership) -> T:
            self._find_places()
            return job()

        result: T = run(self._membership)
        return result

    def meet_newcomers(self) -> None:
        self._membership.check_host_updates()

    def abort(self, status: int) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # Horovod's own exit would wait for the other ranks

    def explain(self, error: Exception) -> UserError | None:
        # TensorFlow hands Horovod's errors on as its own.
        if "Horovod" not in f"{type(error)} {error}":
            return None
        reason = str(error).strip().splitlines()[-1]
        return RunError(
            f"lost the other ranks ({reason[:200]}); the last checkpoint is good: "
            "start again with the same flags to continue"
        )


class _MpiCluster(_HorovodCluster):
    """Several processes that an MPI launcher started."""

    def __init__(self) -> None:
        # MPI starts here, with support for threads; Horovod joins in.
        from mpi4py import MPI

        super().__init__()
        self._mpi = MPI
        self._comm = MPI.COMM_WORLD.Dup()
        self._life = MPI.COMM_WORLD.Dup()

    def allgather(self, value: T) -> list[T]:
        return self._comm.allgather(value)

    def broadcast(self, value: T) -> T:
        return cast(T, self._comm.bcast(value))

    def maxima(self, values: Sequence[float]) -> list[float]:
        mine, highest = array.array("d", values), array.array("d", values)
        self._comm.Allreduce(mine, highest, op=self._mpi.MAX)
        return list(highest)

    def abort(self, status: int) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        self._comm.Abort(status)
        raise AssertionError("MPI_Abort returned")

    def silent_ranks(self, step: int, seconds: float) -> list[int]:
        silent = set(range(self.size)) - {self.rank}
        signs = [self._life.isend(step, rank) for rank in silent]
        end = time.monotonic() + seconds
        while silent and time.monotonic() < end:
            status = self._mpi.Status()
            if self._life.iprobe(status=status):
                if self._life.recv(source=status.source) >= step:
                    silent.discard(status.source)
            else:
                time.sleep(0.05)
        del signs  # those to a silent rank never arrive
        return sorted(silent)


def connect(stall_seconds: float = 600) -> Cluster:
    """Joins the workers that the launcher started along with this process.

    Args:
        stall_seconds: how long ranks may wait for one that does not come to a
            collective.

    Raises:
        InputError: several ranks were launched, but they can't find each other;
            only rank 0 raises it, the others exit.
    """
    size, rank, local_rank, local_size = _launched()
    elastic = _launched_elastic()
    process.prepare_environment(
        local_rank, local_size, stall_seconds, elastic, one_host=local_size == size
    )
    if size == 1 and not elastic:
        return Cluster()
    try:
        over_mpi = "HOROVOD_GLOO_RENDEZVOUS_ADDR" not in os.environ
        process.import_tensorflow()
        cluster = _MpiCluster() if over_mpi else _HorovodCluster()
        if cluster.size == size or elastic:
            return cluster
        problem = (
            f"a launcher started {size} ranks, but Horovod sees {cluster.size}: use "
            "the mpirun or horovodrun of the environment that Horovod was built in"
        )
    except ImportError as error:
        problem = (
            f"a launcher started {size} ranks, which takes Horovod and mpi4py, and "
            f"they can't be imported ({error}): run launch/setup.sh, or start one "
            "process without a launcher"
        )
    if rank == 0:
        raise InputError(problem)
    sys.exit(InputError.exit_status)


def _launched_elastic() -> bool:
    """Tells whether ranks may come and go."""
    return os.environ.get("HOROVOD_ELASTIC") == "1"


def _launched() -> tuple[int, int, int, int]:
    """Returns size, rank, local rank and local size, as the launcher tells them."""
    for names in _LAUNCHERS:
        told = [os.environ.get(name, "") for name in names]
        if told[0].isdigit() and told[1].isdigit():
            # Who tells nothing of hosts is taken to have started all on one.
            defaults = (told[0], told[1], told[1], told[0])
            size, rank, local_rank, local_size = (
                int(value if value.isdigit() else default)
                for value, default in zip(told, defaults)
            )
            return size, rank, local_rank, local_size
    return 1, 0, 0, 1


def _ranks(ranks: Sequence[int]) -> str:
    """Returns "rank 3", or "ranks 1, 2, 3 and 60 more"."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    listed = ", ".join(map(str, ranks[:8]))
    more = f" and {len(ranks) - 8} more" if len(ranks) > 8 else ""
    return f"ranks {listed}{more}"


def _tell(message: str) -> None:
    """Writes a line to standard error, in one piece: launchers put tags between."""
    sys.stderr.write(f"distmnist: {message}\n")
    sys.stderr.flush()
