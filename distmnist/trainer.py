"""START HERE: the training loop. What distribution adds to it is marked [1] to [5]."""

from __future__ import annotations

import contextlib
import math
import time

import tensorflow as tf
from absl import logging

from distmnist.checkpoint.manager import CheckpointManager
from distmnist.core.config import Config
from distmnist.core.errors import RunError, on_all_ranks
from distmnist.core.hooks import Every, EveryStop, Hook, stops
from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.data.dataset import Dataset
from distmnist.data.pipeline import Block, InputPipeline
from distmnist.data.tensors import to_tensors
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.elastic import CommitHook, Commits
from distmnist.distributed.preemption import PreemptionHook, Signals
from distmnist.distributed.watchdog import Watchdog
from distmnist.metrics import console, progress_bar
from distmnist.metrics.evaluator import Evaluator
from distmnist.metrics.profiler import Profiler
from distmnist.metrics.step_timer import StepTimer
from distmnist.metrics.types import MetricWriter, Run, SplitResult
from distmnist.metrics.writer import create_writer
from distmnist.models import losses, registry
from distmnist.optim import schedules
from distmnist.optim.accumulation import accumulated_loss
from distmnist.optim.optimizer import DistributedSgd


class Trainer:
    """Trains one network on all ranks of a cluster.

    Attributes:
        network: trained network, the same on all ranks.
        variables: all that training changes, by name: the network's variables and the
            optimizer's. With the progress, all that a checkpoint must hold.
        pipeline: this rank's input.
        progress: training progress.
    """

    def __init__(self, config: Config, cluster: Cluster, dataset: Dataset):
        """Builds the network; all ranks must call it, with the same arguments.

        Args:
            config: run configuration.
            cluster: the ranks.
            dataset: training data set.
        """
        self._config = config
        self._cluster = cluster
        self._dataset = dataset
        self._splits = to_tensors(dataset.splits)
        self.progress = Progress(step=0, consumed=0)
        self.network = registry.create(config.model, config, dataset.spec)
        named = self.network.named_variables
        self._weights = {k: v for k, v in named.items() if v.trainable}
        # [1] Horovod wraps SGD: it averages the gradients of all ranks, and the
        # learning rate is scaled by their number.
        self._optimizer = DistributedSgd(config, cluster, self._weights)
        self.variables = {**named, **self._optimizer.slots}
        # [2] The input is sharded: each rank reads its slice of every global batch.
        self.pipeline = InputPipeline(
            self._splits["train"],
            config.examples_per_step,
            config.seed,
            cluster.rank,
            cluster.size,
        )
        compiled = tf.function(self._batch_loss, jit_compile=True)
        self._loss = compiled if config.xla else self._batch_loss
        # One graph for any number of steps.
        self._train_steps = tf.function(
            self._take_steps,
            input_signature=(
                tf.TensorSpec([None, config.examples_per_step], tf.int32),
                tf.TensorSpec([], tf.int64),
            ),
        )

    def run(
        self, signals: Signals | None = None, commits: Commits | None = None
    ) -> dict[str, SplitResult]:
        """Trains from the newest checkpoint, or from scratch, to the last step.

        Args:
            signals: preempt the run, with a checkpoint; None: signals are not handled.
            commits: of an elastic job; it continues from the newest.

        Returns:
            The final result of each split, the same on every rank.

        Raises:
            UserError: bad input, a full disk, a loss that is not finite, or a signal.
        """
        config, cluster = self._config, self._cluster
        with CheckpointManager(
            config, cluster, self._dataset, self.variables
        ) as manager:
            self._restore(manager, commits)
            # [3] Rank 0 alone writes; the writer of the other ranks does nothing.
            writer = create_writer(config, cluster, self.progress.step)
            if cluster.rank == 0 and self.progress.step == 0:
                writer.graph(self._graph())
            evaluator = Evaluator(
                self._splits, self.network, cluster, self._dataset.spec, writer
            )
            start, last_step = self.progress, self._last_step()
            if start.step >= last_step:
                console.log_nothing_left(config, start.step)
                return evaluator.evaluate()
            run = Run(config, cluster, self._dataset.train.size, start, last_step)
            console.log_start(run)
            watchdog = Watchdog(cluster, config.stall_seconds)
            hooks = self._hooks(
                run, manager, writer, evaluator, watchdog, signals, commits
            )
            with watchdog, signals.deferred() if signals else contextlib.nullcontext():
                loop_stops = stops(hooks, start.step, last_step)
                for block in self.pipeline.blocks(start.step, loop_stops):
                    self.progress = self.train_block(block)
                    for hook in hooks:
                        if hook.is_due(self.progress.step, last_step):
                            hook(self.progress)
                writer.close()
                manager.wait()
            console.log_end(run, self.progress, evaluator.results)
        return evaluator.results

    def _restore(self, manager: CheckpointManager, commits: Commits | None) -> None:
        """Continues from the newest commit of an elastic job, or checkpoint, if any."""
        config, cluster, root = self._config, self._cluster, 0
        committed = None
        if commits:
            committed, old_size, root = commits.newest(cluster)
            if committed and old_size != cluster.size:
                ramp = schedules.resize_ramp(config, old_size, committed)
                committed = committed._replace(ramp=ramp)
                if cluster.rank == 0:
                    logging.warning(
                        "%d ranks instead of %d: continuing from step %d",
                        *(cluster.size, old_size, committed.step),
                    )
        self.progress = manager.restore(committed) or self.progress
        if commits:
            commits.restore(self.variables)
        # [4] All ranks start with the variables of rank 0, or of the rank that has the
        # newest commit.
        cluster.broadcast_variables(list(self.variables.values()), root)
        self._optimizer.resume(self.progress)
        self.pipeline.consumed = self.progress.consumed

    def _hooks(
        self,
        run: Run,
        manager: CheckpointManager,
        writer: MetricWriter,
        evaluator: Evaluator,
        watchdog: Watchdog,
        signals: Signals | None,
        commits: Commits | None,
    ) -> list[Hook]:
        """Returns the hooks in the order in which they run at a stop.

        The progress bar is hidden while others print. The best checkpoint needs the
        evaluation. A commit comes before the checkpoint of its step, which an elastic
        job never rolls back past. Preemption may end the run, so it comes after
        everything that its step asks for.
        """
        config, cluster = self._config, self._cluster
        timer = StepTimer(run, writer)
        bar = progress_bar.create(run)

        def save_best(progress: Progress) -> None:
            manager.save_best(progress, evaluator.results["validation"])

        def save_and_wait(progress: Progress) -> None:
            manager.save(progress)
            manager.wait()

        hooks: list[Hook | None] = [
            EveryStop(bar.hide) if bar else None,
            EveryStop(watchdog.heartbeat),
            EveryStop(timer.measure),
            Every(config.log_every, timer.write),
            Every(config.eval_every, evaluator),
            Every(config.eval_every, save_best),
            CommitHook(
                commits,
                cluster,
                self.variables,
                run.start,
                (config.commit_steps, config.checkpoint_every),
            )
            if commits
            else None,
            Every(config.checkpoint_every, manager.save),
            Profiler(config.profile, RunDirectory(config.log_dir), cluster.rank)
            if config.profile
            else None,
            PreemptionHook(
                cluster, signals, config.steps_per_call, run.start, save_and_wait
            ),
            EveryStop(bar.draw) if bar else None,
        ]
        return [hook for hook in hooks if hook is not None]

    def train_block(self, block: Block) -> Progress:
        """Takes the steps of a block, in one call of the graph.

        Args:
            block: this rank's input.

        Returns:
            The progress after them.

        Raises:
            RunError: on all ranks, if the loss is no longer finite.
        """
        before, begin = self.progress, time.perf_counter()
        step = before.step + block.num_steps
        outputs = self._train_steps(block.indices, block.position)
        loss, gradient_norm = outputs.numpy().tolist()
        if not math.isfinite(loss):
            raise on_all_ranks(
                RunError(
                    f"the loss is {loss} at step {step}; continue from the last "
                    "checkpoint with a lower --learning_rate"
                )
            )
        return Progress(
            step,
            block.consumed,
            loss,
            before.seconds + time.perf_counter() - begin,
            before.ramp,
            gradient_norm,
        )

    def _take_steps(self, indices: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """Takes optimizer steps, in the graph.

        Args:
            indices: examples of each step, int32 [steps, batch].
            position: of the first of them in the stream, int64 scalar.

        Returns:
            The loss of the last global batch, before its step, and the norm of its
            gradient; float32 [2].
        """
        loss, gradients = tf.constant(0.0), self._optimizer.zero_gradients()
        for step in tf.range(tf.shape(indices, tf.int64)[0]):
            loss = self._step_loss(
                tf.gather(indices, step), position + step * self.pipeline.stride
            )
            gradients = self._optimizer.minimize(loss)
        # [5] Logged metrics are averaged over all ranks.
        return self._cluster.allreduce_mean(
            tf.stack([loss, tf.linalg.global_norm(gradients)])
        )

    def _step_loss(self, indices: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """Returns the loss of this rank's examples of a step."""
        passes, size = self._config.backward_passes_per_step, self._config.batch_size
        if passes == 1:
            return self._loss(indices, position)
        batches = tf.reshape(indices, [passes, size])
        return accumulated_loss(
            lambda i: self._loss(tf.gather(batches, i), position + i * size),
            passes,
            list(self._weights.values()),
        )

    def _batch_loss(self, indices: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """Returns the loss of a batch of examples."""
        features, targets = self.pipeline.read(indices)
        return losses.loss(self.network(features, position), targets)

    def _graph(self) -> tf.Graph:
        """Returns the graph of the network and its loss, for TensorBoard."""
        batch = tf.TensorSpec([self._config.examples_per_step], tf.int32)
        position = tf.TensorSpec([], tf.int64)
        loss = tf.function(self._batch_loss)
        return loss.get_concrete_function(batch, position).graph

    def _last_step(self) -> int:
        """Returns the step to train to."""
        config, done = self._config, self.progress
        if config.num_epochs is None:
            return config.max_steps
        examples = math.ceil(config.num_epochs * self._dataset.train.size)
        remaining = max(0, examples - done.consumed)
        return done.step + math.ceil(remaining / self.pipeline.stride)
