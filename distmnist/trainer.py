"""The training loop.  What distribution adds to it is marked [1] to [5]."""

from __future__ import annotations

import contextlib
import math
import time

import tensorflow as tf
from absl import logging

from distmnist.checkpoint import manager
from distmnist.core.config import Config
from distmnist.core.errors import RunError, on_all_ranks
from distmnist.core.hooks import Every, EveryStop, Hook
from distmnist.core.progress import Progress
from distmnist.data import loading, sampler
from distmnist.data.datasets import Dataset
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.elastic import Commits
from distmnist.distributed.preemption import PreemptionHook, Signals
from distmnist.distributed.watchdog import Watchdog
from distmnist.metrics import console
from distmnist.metrics.evaluator import Evaluator
from distmnist.metrics.profiler import Profiler
from distmnist.metrics.types import Precision, Run, Writer
from distmnist.metrics.writers import create_writer, step_log
from distmnist.models import model, registry
from distmnist.optim import optimizer


def train(
    config: Config,
    cluster: Cluster,
    signals: Signals | None = None,
    commits: Commits | None = None,
) -> dict[str, Precision]:
    """Trains and evaluates; all ranks must call it.

    Args:
        config: what to train, on what, and where to write; the same on all ranks.
        cluster: the ranks.
        signals: end the training with a checkpoint; None: end it as they always do.
        commits: of an elastic job; it continues from the newest.

    Returns:
        The final precision of each split, the same on every rank.

    Raises:
        UserError: bad input, a full disk, a loss that is not finite, or a signal.
    """
    return Trainer(config, cluster, loading.load(config, cluster)).run(signals, commits)


class Trainer:
    """Trains one network on all ranks of a cluster.

    Attributes:
        network: what is trained, the same on all ranks.
        variables: all that training changes, by name: the network's variables, and
            the optimizer's.  With the progress, all that a checkpoint must hold.
        progress: how far it is.
    """

    def __init__(self, config: Config, cluster: Cluster, dataset: Dataset):
        """Builds the network; all ranks must call it, with the same arguments."""
        self._config = config
        self._cluster = cluster
        self._dataset = dataset
        self._splits = loading.to_tensors(dataset.splits)
        self.progress = Progress(step=0, consumed=0)
        self.network = registry.find(config.model)(config)
        named = self.network.named_variables
        self._trained = {k: v for k, v in named.items() if v.trainable}
        self._global_step = tf.Variable(0, dtype=tf.int64, name="global_step")
        # [1] Horovod wraps SGD, so that it averages the gradients of all ranks;
        # the learning rate grows with their number.
        self._optimizer, slots = optimizer.create(
            config, cluster, self._learning_rate, self._trained
        )
        self.variables = {**named, **slots}
        compiled = tf.function(self._batch_loss, jit_compile=True)
        self._loss = compiled if config.xla else self._batch_loss
        # One graph for any number of steps.
        signature = (
            tf.TensorSpec([None, config.step_size], tf.int32),
            tf.TensorSpec([], tf.int64),
        )
        self._steps = tf.function(self._train_steps, input_signature=signature)

    def run(
        self, signals: Signals | None = None, commits: Commits | None = None
    ) -> dict[str, Precision]:
        """Trains from the newest checkpoint, or from the start, to the last step.

        Args:
            signals: of this process, if it watches for any.
            commits: of an elastic job.

        Returns:
            The final precision of each split.
        """
        config, cluster = self._config, self._cluster
        with manager.Saver(config, cluster, self._dataset, self.variables) as saver:
            commit, holder = commits.newest(config, cluster) if commits else (None, 0)
            self.progress = saver.restore(commit) or self.progress
            if commits:
                commits.restore(self.variables)
            # [2] All ranks begin with the variables of rank 0, or of one that has
            # been there before.
            cluster.broadcast_variables(list(self.variables.values()), holder)
            self._global_step.assign(self.progress.step)
            # [3] Rank 0 alone writes; the writer of the others does nothing.
            writer = create_writer(config, cluster, self.progress.step)
            if cluster.rank == 0 and self.progress.step == 0:
                writer.graph(self._graph())
            evaluator = Evaluator(self._splits, self.network, cluster, writer)
            last_step = self._last_step()
            if self.progress.step >= last_step:
                logging.info("Nothing left to train: step %d is done", last_step)
                return evaluator.evaluate()
            size = self._dataset.train.size
            run = Run(config, cluster, size, self.progress, last_step)
            watchdog = Watchdog(cluster, config.stall_seconds)
            tasks = self._tasks(
                run, saver, writer, evaluator, watchdog, signals, commits
            )
            with watchdog, signals.deferred() if signals else contextlib.nullcontext():
                while (step := self.progress.step) < last_step:
                    stop = min(task.next_step(step, last_step) for task in tasks)
                    self.progress = self.train_to(stop)
                    for task in tasks:
                        if task.is_due(self.progress.step, last_step):
                            task(self.progress)
                writer.close()
                saver.wait()
            console.tell_end(run, self.progress, evaluator.results)
        return evaluator.results

    def _tasks(
        self,
        run: Run,
        saver: manager.Saver,
        writer: Writer,
        evaluator: Evaluator,
        watchdog: Watchdog,
        signals: Signals | None,
        commits: Commits | None,
    ) -> list[Hook]:
        """Returns what is done between steps, in its order."""
        config, cluster = self._config, self._cluster

        def save_best(progress: Progress) -> None:
            saver.save_best(progress, evaluator.results["validation"])

        def save_and_wait(progress: Progress) -> None:
            saver.save(progress)
            saver.wait()

        tasks: list[Hook] = [
            EveryStop(watchdog.beat),
            *step_log(run, writer),
            Every(config.eval_every, evaluator),
            Every(config.eval_every, save_best),
            Every(config.checkpoint_every, saver.save),
            PreemptionHook(
                cluster,
                signals,
                config.steps_per_call,
                commits is not None,
                run.start,
                save_and_wait,
            ),
        ]
        if commits:
            tasks.insert(
                -2, commits.task(config, cluster, self.variables, self.progress)
            )
        if config.profile:
            tasks.append(Profiler(config.profile, config.log_dir, cluster.rank))
        return console.watch(run, tasks)

    def train_to(self, step: int) -> Progress:
        """Trains up to a step, in one call of the graph.

        Raises:
            RunError: on all ranks, if the loss is no longer finite.
        """
        config, done = self._config, self.progress
        begin = time.perf_counter()
        # [4] Each rank takes its own slice of every global batch.
        indices = sampler.batches(
            config.seed,
            done.consumed,
            step - done.step,
            config.step_size,
            self._cluster.rank,
            self._cluster.size,
            self._dataset.train.size,
        )
        position = done.consumed + self._cluster.rank * config.step_size
        loss, gradient_norm = self._steps(indices, position).numpy().tolist()
        if not math.isfinite(loss):
            raise on_all_ranks(
                RunError(
                    f"the loss is {loss} at step {step}; the last checkpoint is good: "
                    "continue from it with a lower --learning_rate"
                )
            )
        return Progress(
            step,
            done.consumed + (step - done.step) * config.step_size * self._cluster.size,
            loss,
            done.seconds + time.perf_counter() - begin,
            done.ramp,
            gradient_norm,
        )

    def _train_steps(self, indices: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """Takes optimizer steps, in the graph.

        Args:
            indices: of the examples of each step, int32 [steps, batch].
            position: in the stream, of the first of them, int64 scalar.

        Returns:
            Of the last global batch, before its step: the loss, and the norm of its
            gradient; float32 [2].
        """
        stride = self._config.step_size * self._cluster.size
        loss = tf.constant(0.0)
        gradients = optimizer.zero_gradients(
            self._config, self._cluster, list(self._trained.values())
        )
        for step in tf.range(tf.shape(indices, tf.int64)[0]):
            # A network that takes no positions does not pay for them.
            loss, gradients = self._train_step(
                tf.gather(indices, step), position + step * stride
            )
        # [5] A figure that is told is one of all ranks.
        return self._cluster.mean(tf.stack([loss, tf.linalg.global_norm(gradients)]))

    def _learning_rate(self) -> tf.Tensor:
        """Returns the learning rate of the next step."""
        return optimizer.learning_rate(
            self._config, self._cluster.size, self._global_step, self.progress.ramp
        )

    def _train_step(
        self, indices: tf.Tensor, position: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Takes one step; returns this rank's loss, and the gradients of all ranks."""
        passes, size = self._config.backward_passes_per_step, self._config.batch_size
        weights = list(self._trained.values())
        if passes == 1:
            loss = self._loss(indices, position)
        else:
            batches = tf.reshape(indices, [passes, size])
            loss = optimizer.accumulated_loss(
                lambda i: self._loss(tf.gather(batches, i), position + i * size),
                passes,
                weights,
            )
        return loss, optimizer.minimize(
            self._optimizer, loss, weights, self._global_step
        )

    def _batch_loss(self, indices: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """Returns the loss of a batch of examples."""
        images, labels = self._splits["train"]
        images = model.scale_pixels(tf.gather(images, indices))
        logits = self.network(images, position)
        return model.loss(logits, tf.gather(labels, indices))

    def _graph(self) -> tf.Graph:
        """Returns the graph of the network and its loss, for TensorBoard."""
        batch = tf.TensorSpec([self._config.step_size], tf.int32)
        position = tf.TensorSpec([], tf.int64)
        loss = tf.function(self._batch_loss)
        return loss.get_concrete_function(batch, position).graph

    def _last_step(self) -> int:
        """Returns the step to train to."""
        config, done = self._config, self.progress
        if config.num_epochs is None:
            return config.max_steps
        examples = math.ceil(config.num_epochs * self._dataset.train.size)
        left = max(0, examples - done.consumed)
        return done.step + math.ceil(left / (config.step_size * self._cluster.size))
