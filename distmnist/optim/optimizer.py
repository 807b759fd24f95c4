"""The optimizer, wrapped by Horovod: the tutorial's `training`, for N workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf
from tensorflow.compat.v1 import train as v1

from distmnist.core import arrays
from distmnist.core.config import Config
from distmnist.core.progress import Progress
from distmnist.distributed import devices
from distmnist.distributed.cluster import Cluster
from distmnist.optim import buckets, schedules
from distmnist.optim.gradients import dense, warn_of_unused
from distmnist.optim.sgd import Sgd


class UpdateRule(Protocol):
    """How averaged gradients change the variables: `sgd.Sgd`, or `KerasRule`."""

    @property
    def slots(self) -> Mapping[str, tf.Variable]:
        """Its own variables by name, such as momentum; they exist from the start."""

    def resume(self, step: int) -> None:
        """Continues after so many steps."""

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Takes one step, in the graph.

        Args:
            gradients: averaged over all ranks, in the order of the variables.
        """


class DistributedOptimizer:
    """An optimizer on gradients that are averaged over all ranks.

    Attributes:
        slots: the optimizer's own variables by name.
        step: completed steps, int64 scalar.
        buckets: number of buckets that gradients are sent in, at most.
    """

    def __init__(
        self,
        config: Config,
        cluster: Cluster,
        variables: Mapping[str, tf.Variable],
        train_size: int = 0,
    ):
        """Creates the slots.

        Args:
            config: learning rate, optimizer, and how gradients are combined.
            cluster: combines the gradients.
            variables: trainable variables by name.
            train_size: examples of the training split; only a schedule in epochs uses
                it.

        Raises:
            UserError: an optimizer of the user's own cannot be used.
        """
        self._schedule = schedules.Schedule(config, cluster.size, train_size)
        self._variables = list(variables.values())
        self.step = tf.Variable(0, dtype=tf.int64, name="global_step")
        num_bytes = sum(map(arrays.num_bytes, self._variables))
        self.buckets = 1
        if cluster.size > 1:
            self.buckets = buckets.count(config, num_bytes, devices.has_gpu())
        self._rule = _create_rule(config, variables, self.learning_rate)
        self.slots = self._rule.slots
        # Adasum compares the gradients of each variable, so they must stay apart.
        in_buckets = cluster.size > 1 and not config.use_adasum
        wrapped = (_InBuckets if in_buckets else _Dense)(
            self._rule, list(variables), config.clip_gradient_norm
        )
        wrapped.buckets = self.buckets
        self._optimizer = cluster.distribute(
            wrapped, config.fp16_allreduce, config.use_adasum
        )

    def resume(self, progress: Progress) -> None:
        """Continues the learning rate schedule; must precede the first step.

        Args:
            progress: progress of the run.
        """
        self.step.assign(progress.step)
        self._rule.resume(progress.step)
        self._schedule.resume(progress)

    def learning_rate(self) -> tf.Tensor:
        """Returns the learning rate of the next step, float32 scalar."""
        return self._schedule(self.step)

    def minimize(self, loss: tf.Tensor) -> list[tf.Tensor]:
        """Takes one step, in the graph.

        Args:
            loss: of this rank's batch, float32 scalar.

        Returns:
            The gradients, averaged over all ranks, in the form that they were sent in,
            before they are clipped.
        """
        pairs = self._optimizer.compute_gradients(loss, self._variables)
        self._optimizer.apply_gradients(pairs, self.step)
        gradients = [gradient for gradient, _ in pairs]
        self._sent = [gradient.shape for gradient in gradients]
        return gradients

    def send(self) -> list[tf.Tensor]:
        """Averages what has the gradients' shapes, in the graph, once they are traced.

        Returns:
            The averages, of no meaning.
        """
        zeros = [tf.zeros(shape) for shape in self._sent]
        return list(self._optimizer._allreduce_grads(zeros, None))


def _create_rule(
    config: Config, variables: Mapping[str, tf.Variable], learning_rate: Any
) -> UpdateRule:
    if config.optimizer == "sgd":
        return Sgd(config, variables, learning_rate)
    from distmnist.optim.keras_rule import KerasRule

    return KerasRule(config, variables, learning_rate)


class _Dense(v1.Optimizer):  # type: ignore[misc]
    """Computes gradients, and applies their average by an update rule.

    Horovod wraps a v1 optimizer: its wrapper of Keras' optimizers predates Keras 3, and
    averages nothing there.
    """

    buckets: int  # at most

    def __init__(self, rule: UpdateRule, names: list[str], largest_norm: float):
        super().__init__(use_locking=False, name="Optimizer")
        self._rule = rule
        self._names = names  # of the variables, for a warning
        self._largest_norm = largest_norm

    def compute_gradients(self, *args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        pairs = super().compute_gradients(*args, **kwargs)
        gradients, variables = zip(*pairs)
        warn_of_unused(gradients, self._names)
        return list(zip(dense(gradients, variables), variables))

    def apply_gradients(
        self,
        grads_and_vars: list[tuple[Any, Any]],
        global_step: tf.Variable,
        name: str | None = None,
    ) -> None:
        gradients = [gradient for gradient, _ in grads_and_vars]
        if self._largest_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._largest_norm)
        self._rule.apply(gradients)
        global_step.assign_add(1)


class _InBuckets(_Dense):
    """Concatenates the gradients of each bucket between their computation and use.

    Horovod sends one tensor as it lies in memory; several it copies into a buffer and
    back, on a thread that competes with those that compute.
    """

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
        self,
        grads_and_vars: list[tuple[Any, Any]],
        global_step: tf.Variable,
        name: str | None = None,
    ) -> None:
        pairs: dict[int, tuple[Any, Any]] = {}
        for (flat, _), bucket in zip(grads_and_vars, self._members):
            variables = [self._variables[i] for i in bucket]
            parts = tf.split(flat, [_size(v) for v in variables])
            for i, part, variable in zip(bucket, parts, variables):
                pairs[i] = (tf.reshape(part, variable.shape), variable)
        super().apply_gradients([pairs[i] for i in sorted(pairs)], global_step)


def _size(variable: tf.Variable) -> int:
    size: int = variable.shape.num_elements()
    return size
