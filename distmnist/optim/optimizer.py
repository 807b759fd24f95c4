"""SGD, wrapped by Horovod: the tutorial's `training`, for any number of workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow.compat.v1 import train as v1

from distmnist.core import arrays
from distmnist.core.config import Config
from distmnist.core.progress import Progress, Ramp
from distmnist.distributed import devices
from distmnist.distributed.cluster import Cluster
from distmnist.optim import buckets, schedules
from distmnist.optim.gradients import dense, warn_of_unused


class DistributedSgd:
    """SGD on gradients averaged over all ranks.

    Attributes:
        slots: the optimizer's own variables by name: the momentum of each trained
            variable, if there is any.
        buckets: number of buckets that gradients are sent in, at most.
    """

    def __init__(
        self, config: Config, cluster: Cluster, variables: Mapping[str, tf.Variable]
    ):
        """Creates the slots.

        Args:
            config: learning rate, momentum, and how gradients are combined.
            cluster: combines the gradients.
            variables: trainable variables by name.
        """
        self._config = config
        self._size = cluster.size
        self._variables = list(variables.values())
        self._step = tf.Variable(0, dtype=tf.int64, name="global_step")
        self._ramp: Ramp | None = None
        num_bytes = sum(map(arrays.num_bytes, self._variables))
        self.buckets = 1
        if cluster.size > 1:
            self.buckets = buckets.count(config, num_bytes, devices.has_gpu())
        # Adasum compares the gradients of each variable, so they must stay apart.
        in_buckets = cluster.size > 1 and not config.use_adasum
        # Horovod wraps a v1 optimizer: its wrapper of Keras optimizers predates Keras
        # 3, and averages nothing there.
        if config.momentum:
            sgd = (_BucketsMomentum if in_buckets else _Momentum)(
                self.learning_rate, config.momentum
            )
        else:
            sgd = (_BucketsSgd if in_buckets else _Sgd)(self.learning_rate)
        sgd.variable_names = list(variables)
        if in_buckets:
            sgd.buckets = self.buckets
        # Otherwise the first step would create them, after a checkpoint is restored.
        sgd._create_slots(self._variables)
        self.slots = {
            f"{slot}/{name}": sgd.get_slot(variable, slot)
            for slot in sgd.get_slot_names()
            for name, variable in variables.items()
        }
        self._sgd = cluster.distribute(sgd, config.fp16_allreduce, config.use_adasum)

    def resume(self, progress: Progress) -> None:
        """Continues the learning rate schedule; must precede the first step.

        Args:
            progress: completed steps, and the active ramp.
        """
        self._step.assign(progress.step)
        self._ramp = progress.ramp

    def learning_rate(self) -> tf.Tensor:
        """Returns the learning rate of the next step, float32 scalar."""
        return schedules.learning_rate(self._config, self._size, self._step, self._ramp)

    def minimize(self, loss: tf.Tensor) -> list[tf.Tensor]:
        """Takes one step, in the graph.

        Args:
            loss: of this rank's batch, float32 scalar.

        Returns:
            The gradients, averaged over all ranks, in the form that they were sent in.
        """
        pairs = self._sgd.compute_gradients(loss, self._variables)
        self._sgd.apply_gradients(pairs, self._step)
        gradients = [gradient for gradient, _ in pairs]
        self._sent = [gradient.shape for gradient in gradients]
        return gradients

    def send(self) -> list[tf.Tensor]:
        """Averages what has the gradients' shapes, in the graph, once they are traced.

        Returns:
            The averages, of no meaning.
        """
        zeros = [tf.zeros(shape) for shape in self._sent]
        return list(self._sgd._allreduce_grads(zeros, None))


class _Dense:
    """Makes all gradients dense; `variable_names` are for its warning."""

    variable_names: list[str]

    def compute_gradients(self, *args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        pairs = super().compute_gradients(*args, **kwargs)  # type: ignore[misc]
        gradients, variables = zip(*pairs)
        warn_of_unused(gradients, self.variable_names)
        return list(zip(dense(gradients, variables), variables))


class _Buckets(_Dense):
    """Concatenates the gradients of each bucket between their computation and use.

    Horovod sends one tensor as it lies in memory; several it copies into a buffer and
    back, on a thread that competes with those that compute.
    """

    buckets: int  # at most

    def compute_gradients(self, *args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        pairs = super().compute_gradients(*args, **kwargs)
        gradients, self._variables = zip(*pairs)
        self._members = buckets.split(gradients, self.buckets)
        flat = (
            tf.concat([tf.reshape(gradients[i], [-1]) for i in bucket], axis=0)
            for bucket in self._members
        )
        # The variables lend their names only.
        return [(f, self._variables[b[0]]) for f, b in zip(flat, self._members)]

    def apply_gradients(
        self, grads_and_vars: list[tuple[Any, Any]], *args: Any, **kwargs: Any
    ) -> Any:
        pairs = []
        for (flat, _), bucket in zip(grads_and_vars, self._members):
            variables = [self._variables[i] for i in bucket]
            parts = tf.split(flat, [_size(v) for v in variables])
            pairs += [(tf.reshape(p, v.shape), v) for p, v in zip(parts, variables)]
        apply = super().apply_gradients  # type: ignore[misc]
        return apply(pairs, *args, **kwargs)


def _size(variable: tf.Variable) -> int:
    size: int = variable.shape.num_elements()
    return size


class _Sgd(_Dense, v1.GradientDescentOptimizer):  # type: ignore[misc]
    pass


class _Momentum(_Dense, v1.MomentumOptimizer):  # type: ignore[misc]
    pass


class _BucketsSgd(_Buckets, v1.GradientDescentOptimizer):  # type: ignore[misc]
    pass


class _BucketsMomentum(_Buckets, v1.MomentumOptimizer):  # type: ignore[misc]
    pass
