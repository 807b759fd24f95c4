"""SGD, wrapped by Horovod: the tutorial's `training`, for any number of workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow.compat.v1 import train as v1

from distmnist.core.config import Config
from distmnist.core.progress import Progress, Ramp
from distmnist.distributed.cluster import Cluster
from distmnist.optim import schedules
from distmnist.optim.gradients import dense, warn_of_unused


class DistributedSgd:
    """SGD on gradients averaged over all ranks.

    Attributes:
        slots: the optimizer's own variables by name: the momentum of each trained
            variable, if there is any.
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
        # Adasum compares the gradients of each variable, so they must stay apart.
        self._is_flat = cluster.size > 1 and not config.use_adasum
        # Horovod wraps a v1 optimizer: its wrapper of Keras optimizers predates Keras
        # 3, which comes with TensorFlow 2.18, and averages nothing there.
        if config.momentum:
            sgd = (_FlatMomentum if self._is_flat else _Momentum)(
                self.learning_rate, config.momentum
            )
        else:
            sgd = (_FlatSgd if self._is_flat else _Sgd)(self.learning_rate)
        sgd.variable_names = list(variables)
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
            The gradients, averaged over all ranks, in the form of `zero_gradients`.
        """
        gradients = self._sgd.compute_gradients(loss, self._variables)
        self._sgd.apply_gradients(gradients, self._step)
        return [gradient for gradient, _ in gradients]

    def zero_gradients(self) -> list[tf.Tensor]:
        """Returns zeros in the form of the gradients that `minimize` returns."""
        if self._is_flat:
            return [tf.zeros(sum(v.shape.num_elements() for v in self._variables))]
        return [tf.zeros(v.shape) for v in self._variables]


class _Dense:
    """Makes all gradients dense; `variable_names` are for its warning."""

    variable_names: list[str]

    def compute_gradients(self, *args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        pairs = super().compute_gradients(*args, **kwargs)  # type: ignore[misc]
        gradients, variables = zip(*pairs)
        warn_of_unused(gradients, self.variable_names)
        return list(zip(dense(gradients, variables), variables))


class _Flat(_Dense):
    """Concatenates the gradients to one vector between their computation and use.

    Horovod sends one tensor as it lies in memory; several it copies into a buffer and
    back, on a thread that competes with those that compute.
    """

    def compute_gradients(self, *args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        pairs = super().compute_gradients(*args, **kwargs)
        gradients, self._variables = zip(*pairs)
        flat = tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0)
        return [(flat, self._variables[0])]  # the variable lends its name only

    def apply_gradients(
        self, grads_and_vars: list[tuple[Any, Any]], *args: Any, **kwargs: Any
    ) -> Any:
        ((flat, _),) = grads_and_vars
        parts = tf.split(flat, [v.shape.num_elements() for v in self._variables])
        gradients = [tf.reshape(p, v.shape) for p, v in zip(parts, self._variables)]
        pairs = zip(gradients, self._variables)
        apply = super().apply_gradients  # type: ignore[misc]
        return apply(pairs, *args, **kwargs)


class _Sgd(_Dense, v1.GradientDescentOptimizer):  # type: ignore[misc]
    pass


class _Momentum(_Dense, v1.MomentumOptimizer):  # type: ignore[misc]
    pass


class _FlatSgd(_Flat, v1.GradientDescentOptimizer):  # type: ignore[misc]
    pass


class _FlatMomentum(_Flat, v1.MomentumOptimizer):  # type: ignore[misc]
    pass
