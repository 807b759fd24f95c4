"""Several processes, connected by Horovod: the data plane, and Gloo's control plane.

The only module that imports Horovod.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
import tensorflow as tf

from distmnist.core import arrays, resuming
from distmnist.core.errors import InputError, RunError, UserError, on_all_ranks
from distmnist.distributed import process
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.watchdog import watchdog

with process.blocked_imports("sklearn", "matplotlib"), process.frozen_gc():
    import horovod.tensorflow as hvd
    from horovod.common.elastic import State
    from horovod.common.exceptions import HorovodInternalError

T = TypeVar("T")

_ELASTIC_TIMEOUT = 600.0  # Horovod's default, in seconds
_BROADCAST_BYTES = 2**26  # of variables that are sent at once


class HorovodCluster(Cluster):
    """Several processes, connected by Horovod."""

    def __init__(self, is_elastic: bool = False):
        """Joins the other processes.

        Args:
            is_elastic: whether ranks may join and leave.
        """
        hvd.init()
        self.is_elastic = is_elastic
        self._membership = _Membership(hvd.broadcast_object, hvd.rank)
        self._update_topology()

    def _update_topology(self) -> None:
        self._traced = itertools.count()
        self.rank, self.size = hvd.rank(), hvd.size()
        self.local_rank, self.local_size = hvd.local_rank(), hvd.local_size()

    def allgather(self, value: T) -> list[T]:
        # The name must be the same on all ranks, whatever the value's type is.
        return list(hvd.allgather_object(value, name="control"))

    def broadcast(self, value: T) -> T:
        result: T = hvd.broadcast_object(value, name="control")
        return result

    @staticmethod
    def problem() -> str | None:
        """Returns why the processes cannot be joined; None: nothing is known."""
        return None

    def allreduce_max(self, values: Sequence[float]) -> list[float]:
        maxima = hvd.allreduce(np.array(values, np.float64), op=hvd.Max, name="maxima")
        return [float(value) for value in maxima]

    def distribute(self, optimizer: Any, fp16: bool, adasum: bool) -> Any:
        compression = hvd.Compression.fp16 if fp16 else hvd.Compression.none
        if adasum:
            return self._adasum(optimizer, compression)
        # Created outside a graph, its Python would be converted by AutoGraph, which
        # takes seconds and changes nothing.
        with tf.Graph().as_default():
            wrapped = hvd.DistributedOptimizer(optimizer, compression=compression)
        wrapped._allreduce_grads = lambda gradients, _: [
            self._allreduce(gradient, hvd.Average, compression)
            for gradient in gradients
        ]
        return wrapped

    def _adasum(self, optimizer: Any, compression: Any) -> Any:
        """Wraps an optimizer as `distribute` does, for Adasum.

        Horovod's own wrapper for Adasum passes the gradients on without combining
        them, where TensorFlow has resource variables.
        """
        if self.size & (self.size - 1) or not hvd.mpi_enabled():
            raise on_all_ranks(
                InputError(
                    "flag --use_adasum: requires MPI, and 2, 4, 8, ... ranks; there "
                    f"are {self.size}, over {'MPI' if hvd.mpi_enabled() else 'Gloo'}"
                )
            )
        compute_gradients = optimizer.compute_gradients

        def combine(gradients: Sequence[tf.Tensor], _: object) -> list[tf.Tensor]:
            return [self._allreduce(g, hvd.Adasum, compression) for g in gradients]

        def compute_and_combine(*args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
            gradients, variables = zip(*compute_gradients(*args, **kwargs))
            return list(zip(combine(gradients, variables), variables))

        optimizer._allreduce_grads = combine  # the name that Horovod's wrapper has
        optimizer.compute_gradients = compute_and_combine
        return optimizer

    def broadcast_variables(
        self, variables: Sequence[tf.Variable], root: int = 0
    ) -> None:
        def broadcast() -> None:
            # All at once would take the memory of all variables once more.
            assigned: list[tf.Operation]
            previous: list[tf.Operation]
            in_flight, assigned, previous = 0, [], []
            for number, variable in enumerate(variables):
                size = arrays.num_bytes(variable)
                if in_flight + size > _BROADCAST_BYTES:
                    in_flight, assigned, previous = 0, [], assigned
                in_flight += size
                # Numbered for the same reason as in _allreduce.
                name = f"HorovodBroadcast_{number}"
                with tf.control_dependencies(previous):
                    value = hvd.broadcast(variable, root, name, ignore_name_scope=True)
                assigned.append(variable.assign(value))

        # TensorFlow would warn of a function that is called once only.
        tf.function(broadcast, autograph=False).get_concrete_function()()

    def allreduce_mean(self, tensor: tf.Tensor) -> tf.Tensor:
        return self._allreduce(tensor, hvd.Average)

    def allreduce_sum(self, tensor: tf.Tensor) -> tf.Tensor:
        return self._allreduce(tensor, hvd.Sum)

    def _allreduce(
        self, tensor: tf.Tensor, op: Any, compression: Any = hvd.Compression.none
    ) -> tf.Tensor:
        """Reduces a tensor over all ranks, and its gradient in the same way.

        Horovod matches the ranks' tensors by names, which it takes from TensorFlow's.
        Those differ between ranks where one has created more Keras layers than another,
        such as one that was in an elastic job before the other joined: they would wait
        forever. What all ranks trace in the same order is numbered instead.
        """

        def reduce(tensor: tf.Tensor) -> tf.Tensor:
            eager = tf.executing_eagerly()
            name = None if eager else f"HorovodAllreduce_{next(self._traced)}"
            return hvd.allreduce(
                tensor,
                op=op,
                name=name,
                ignore_name_scope=True,
                compression=compression,
            )

        def reduce_with_gradient(tensor: tf.Tensor) -> Any:
            return reduce(tensor), reduce

        return tf.custom_gradient(reduce_with_gradient)(tensor)

    def allgather_tensor(self, tensor: tf.Tensor) -> tf.Tensor:
        # A sum with zeros is exact, and its gradient is one more allreduce, while that
        # of Horovod's allgather gathers the sizes as well.
        own = tf.one_hot(self.rank, self.size, dtype=tensor.dtype)
        return self.allreduce_sum(tf.tensordot(own, tensor, axes=0))

    def run_elastic(self, job: Callable[[], T]) -> T:
        if not self.is_elastic:
            return super().run_elastic(job)

        @hvd.elastic.run
        def run(_: _Membership) -> T:
            self._update_topology()
            try:
                with watchdog.phase("starting"):
                    return job()
            except tf.errors.UnknownError as error:
                # Horovod would drop it if it took it for another's, and return None.
                if self.explain(error) is None:
                    raise RuntimeError(str(error)) from error
                raise HorovodInternalError(str(error)) from error

        # Between two calls of the job, ranks may wait for hosts.
        patience = float(os.environ.get("HOROVOD_ELASTIC_TIMEOUT", _ELASTIC_TIMEOUT))
        with watchdog.phase("waiting for ranks to join", patience):
            result: T = run(self._membership)
        return result

    def check_host_updates(self) -> None:
        self._membership.check_host_updates()

    def abort(self, status: int) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # Horovod's own exit would wait for the other ranks

    def explain(self, error: Exception) -> UserError | None:
        # TensorFlow raises Horovod's errors as its own.
        if "Horovod" not in f"{type(error)} {error}":
            return None
        return lost_connection(str(error).strip().splitlines()[-1])

    def shut_down(self) -> None:
        # If one is frozen, the others must end with an error, for the launcher ends the
        # job at nothing else. Those that an elastic job has lost need not be here.
        with contextlib.suppress(Exception):
            self.allgather(None)
        watchdog.attach(None)
        hvd.shutdown()


def lost_connection(reason: str) -> UserError:
    """Returns the user-facing error for it.

    Args:
        reason: what the library says of it.
    """
    return RunError(
        f"lost connection to peer ranks ({reason[:200]}); {resuming.how_to_continue()}"
    )


class _Membership(State):  # type: ignore[misc]
    """Horovod's elastic state without content: the job itself restores all ranks."""

    def save(self) -> None: ...

    def restore(self) -> None: ...

    def sync(self) -> None: ...
