"""Learning rate schedules: decay, scaling with the number of workers, warm-up."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from distmnist.core.config import Config
from distmnist.core.progress import Progress, Ramp

# Fewest steps in which the learning rate follows a change of the number of ranks.
_RAMP_STEPS = 100


class Schedule:
    """The learning rate of each step.

    N workers average the gradients of N batches, so a step may be N times as large
    (linear scaling), once the first steps are over (warm-up). Both are from Goyal et
    al. 2017, "Accurate, Large Minibatch SGD", sections 2.1 and 2.2.

    The decay is a function of the completed steps, or of the consumed examples where it
    is given in epochs, so that it is at the same place when the number of workers has
    changed. It begins with the first step; in the warm-up the rate rises linearly from
    the per-worker rate to that of the decay.
    """

    def __init__(self, config: Config, size: int, train_size: int = 0):
        """Begins at the first step.

        Args:
            config: learning rate, scaling, warm-up and decay.
            size: number of workers.
            train_size: examples of the training split; for a decay in epochs.
        """
        self._config = config
        # Adasum itself decides how far orthogonal gradients add up.
        batches = 1 if config.use_adasum else size * config.backward_passes_per_step
        factors = {"linear": batches, "sqrt": math.sqrt(batches), "none": 1}
        self._scale = factors[config.lr_scaling]
        self._examples_per_step = size * config.examples_per_step
        self._train_size = train_size
        self.resume(Progress(step=0, consumed=0))

    def resume(self, progress: Progress) -> None:
        """Continues a run; what is in a graph already knows no ramp.

        Args:
            progress: completed steps and consumed examples, and the active ramp, which
                replaces the warm-up.
        """
        # TensorFlow would keep every Python integer.
        self._begin = np.int64(progress.step), np.int64(progress.consumed)
        config = self._config
        warmup = Ramp(0, config.learning_rate, config.warmup_steps)
        self._ramp = progress.ramp or warmup

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the learning rate of a step, float32 scalar.

        Args:
            step: completed steps, an integer scalar.
        """
        final = self._decayed(step)
        ramp = self._ramp
        if not ramp.steps:
            return final
        fraction = tf.cast(step - ramp.begin, tf.float32) / ramp.steps
        return ramp.rate + (final - ramp.rate) * tf.minimum(fraction, 1.0)

    def _decayed(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the scaled learning rate of a step, without warm-up."""
        config = self._config
        rate = config.learning_rate * self._scale
        if config.lr_schedule == "constant":
            return tf.constant(rate, tf.float32)
        # In float64, lest a step beyond 2^24 counts as its neighbour.
        done = self._fraction(tf.cast(step, tf.int64))
        factor = {
            "step": lambda: config.lr_decay_rate ** self._drops(done),
            "exponential": lambda: config.lr_decay_rate**done,
            "cosine": lambda: (1 + tf.cos(math.pi * done)) / 2,
            "linear": lambda: 1 - done,
            "polynomial": lambda: (1 - done) ** config.lr_power,
        }[config.lr_schedule]()
        least = config.lr_min * self._scale
        if config.lr_schedule in ("step", "exponential"):
            decayed = tf.maximum(rate * factor, least)
        else:
            decayed = least + (rate - least) * factor
        return tf.cast(decayed, tf.float32)

    def _fraction(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the fraction of the decay that is over, float64, at most 1."""
        length, unit = self._config.decay_length
        done = step
        if unit == "epochs":
            length *= self._train_size
            begin, consumed = self._begin
            done = consumed + (step - begin) * self._examples_per_step
        return tf.minimum(tf.cast(done, tf.float64) / length, 1.0)

    def _drops(self, done: tf.Tensor) -> tf.Tensor:
        """Returns how many drops are over, float64."""
        drops = tf.constant(self._config.lr_drops, tf.float64)
        return tf.reduce_sum(tf.cast(done >= drops, tf.float64))


def resize_ramp(
    config: Config, old_size: int, progress: Progress, train_size: int = 0
) -> Ramp:
    """Returns the ramp from the learning rate of another number of workers.

    Args:
        config: of the run.
        old_size: number of workers before.
        progress: progress at which the number changes.
        train_size: examples of the training split; for a decay in epochs.
    """
    schedule = Schedule(config, old_size, train_size)
    schedule.resume(progress)
    rate = schedule(tf.constant(progress.step, tf.int64))
    return Ramp(progress.step, float(rate), max(_RAMP_STEPS, config.warmup_steps))
