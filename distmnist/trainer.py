"""START HERE: the training loop. What distribution adds to it is marked [1] to [5]."""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import tensorflow as tf
from absl import logging

from distmnist import run_hooks
from distmnist.checkpoint.manager import CheckpointManager
from distmnist.core import resuming, user_code
from distmnist.core.config import Config
from distmnist.core.errors import RunError, on_all_ranks
from distmnist.core.hooks import stops
from distmnist.core.progress import Progress
from distmnist.data.dataset import Dataset
from distmnist.data.pipeline import Block, Inputs
from distmnist.data.streaming import create_pipeline
from distmnist.data.tensors import to_tensors
from distmnist.distributed import software
from distmnist.distributed.cluster import Cluster
from distmnist.distributed.elastic import Commits
from distmnist.distributed.signals import Signals
from distmnist.distributed.watchdog import watchdog
from distmnist.metrics import breakdown, console
from distmnist.metrics.best import BestMetric
from distmnist.metrics.breakdown import Breakdown
from distmnist.metrics.early_stopping import EarlyStopping
from distmnist.metrics.evaluator import Evaluator
from distmnist.metrics.records import History
from distmnist.metrics.types import MetricWriter, Run, SplitResult
from distmnist.metrics.writer import create_writer
from distmnist.models import registry
from distmnist.optim import schedules
from distmnist.optim.accumulation import accumulated_loss
from distmnist.optim.moving_average import MovingAverage
from distmnist.optim.optimizer import DistributedOptimizer


class Trainer:
    """Trains one network on all ranks of a cluster.

    Attributes:
        network: trained network, the same on all ranks.
        variables: all that training changes, by name: the network's variables and the
            optimizer's. With the progress, all that a checkpoint must hold.
        pipeline: this rank's input.
        progress: training progress.
        average: moving average of the network's variables, which is evaluated.
        history: metrics since the start of this process.
    """

    def __init__(
        self, config: Config, cluster: Cluster, dataset: Dataset, network: Any = None
    ):
        """Builds the network; all ranks must call it, with the same arguments.

        Args:
            config: run configuration.
            cluster: the ranks.
            dataset: training data set.
            network: replaces the one that --model names; see `models.registry.create`.

        Raises:
            UserError: the network does not support the data set.
        """
        self._config = config
        self._cluster = cluster
        self._dataset = dataset
        self._splits = to_tensors(dataset.splits)
        self._own_network = network is not None
        self.progress = Progress(step=0, consumed=0)
        self.history = History()
        self.network = cluster.run_collectively(
            lambda: registry.create(config, dataset.spec, cluster, network)
        )
        self._weights = self.network.trainable
        # [1] Horovod wraps the optimizer: it averages the gradients of all ranks, and
        # the learning rate is scaled by their number.
        self._optimizer = cluster.run_collectively(
            lambda: self._create_optimizer(cluster)
        )
        if cluster.size > 1:  # once the user's code is loaded
            names = (config.dataset, config.model, config.optimizer)
            modules = software.user_modules(*names)
            cluster.assert_consistent(modules, software.REMEDY)
        registry.assert_same_variables(self.network, cluster)
        self.average = MovingAverage(config.ema_decay, self.network.averaged)
        has_classes = dataset.spec.num_classes is not None
        metric = BestMetric.of_run(config, has_classes)
        self._early_stopping = EarlyStopping(config, metric)
        self.variables = {
            **self.network.named_variables,
            **self._optimizer.slots,
            **self.average.variables,
            **self._early_stopping.variables,
        }
        # [2] The input is sharded: each rank reads its slice of every global batch.
        self.pipeline = create_pipeline(
            self._splits["train"],
            dataset.spec,
            config.examples_per_step,
            config.seed,
            cluster.rank,
            cluster.size,
            dataset.augment,
            config.shuffle_block,
        )
        compiled = tf.function(self._batch_loss, jit_compile=True)
        self._loss = compiled if config.xla else self._batch_loss
        self._train_steps = self._in_graph()

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
        signals = signals or Signals()
        with CheckpointManager(
            config, cluster, self._dataset, self.variables, self._own_network
        ) as manager:
            patience = config.stall_seconds + config.lock_seconds
            with watchdog.phase("restoring a checkpoint", patience):
                self._restore(manager, commits)
            # [3] Rank 0 alone writes; the writer of the other ranks does nothing.
            with cluster.run_collectively(self._create_writer) as writer:
                return self._train(manager, writer, signals, commits)

    def _train(
        self,
        manager: CheckpointManager,
        writer: MetricWriter,
        signals: Signals,
        commits: Commits | None,
    ) -> dict[str, SplitResult]:
        """Trains from the progress so far to the last step; see `run`."""
        config, cluster = self._config, self._cluster
        with watchdog.phase("tracing the network"):
            evaluator = self._trace(writer)
        if cluster.rank == 0 and self.progress.step == 0:
            writer.graph(self._train_steps.get_concrete_function().graph)
        start = self.progress
        last_step = self.pipeline.last_step(
            config.max_steps, config.num_epochs, start.step
        )
        stopping = self._early_stopping
        if start.step >= last_step or stopping.is_over:
            console.log_nothing_left(config, start.step, stopping.is_over)
            with self.average.in_place():
                return evaluator.evaluate()
        run = Run(config, cluster, self._dataset.train.size, start, last_step)
        console.log_start(run)
        hooks = run_hooks.create(
            run,
            self.variables,
            manager,
            writer,
            evaluator,
            self.average,
            stopping,
            signals,
            commits,
            self._measure_step,
        )
        with watchdog.phase("training"), signals.deferred():
            loop_stops = stops(hooks, start.step, last_step)
            for block in self.pipeline.blocks(start.step, loop_stops):
                self.progress = self.train_block(block)
                for hook in hooks:
                    end = self.progress.step if stopping.is_over else last_step
                    if hook.is_due(self.progress.step, end):
                        hook(self.progress)
                if stopping.is_over:
                    break
            with watchdog.phase("saving"):
                with self.average.in_place():
                    writer.close()
                manager.write_card(self.progress, evaluator.results)
                manager.wait()
                cluster.allgather(None)  # a rank that is ended now would end rank 0
        console.log_end(run, self.progress, evaluator.results)
        return evaluator.results

    def _create_optimizer(self, cluster: Cluster) -> DistributedOptimizer:
        return DistributedOptimizer(
            self._config, cluster, self._weights, self._dataset.train.size
        )

    def _create_writer(self) -> MetricWriter:
        return create_writer(
            self._config, self._cluster, self.progress.step, self.history
        )

    def _trace(self, writer: MetricWriter) -> Evaluator:
        """Traces the network; errors in it are then known on all ranks."""

        def trace() -> Evaluator:
            with user_code.reported():
                self._train_steps.get_concrete_function()
                spec = self._dataset.spec
                return Evaluator(
                    self._splits, self.network, self._cluster, spec, writer
                )

        return self._cluster.run_collectively(trace)

    def _restore(self, manager: CheckpointManager, commits: Commits | None) -> None:
        """Continues from the newest commit of an elastic job, or checkpoint, if any."""
        config, cluster, root = self._config, self._cluster, 0
        committed = None
        if commits:
            committed, old_size, root = commits.newest(cluster)
            if committed and old_size != cluster.size:
                size = self._dataset.train.size
                ramp = schedules.resize_ramp(config, old_size, committed, size)
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
        outputs = self._train_steps(block.inputs, block.position)
        loss, gradient_norm = outputs.numpy().tolist()
        if not math.isfinite(loss):
            raise on_all_ranks(
                RunError(
                    f"the loss is {loss} at step {step}; "
                    f"{resuming.how_to_continue(flags='a lower --learning_rate')}"
                )
            )
        return Progress(
            step,
            block.consumed,
            loss,
            before.seconds + block.waited + time.perf_counter() - begin,
            before.ramp,
            gradient_norm,
        )

    def _in_graph(self) -> Any:
        """Returns `_take_steps` as one graph for any number of steps."""
        signature = (self.pipeline.signature, tf.TensorSpec([], tf.int64))
        return tf.function(self._take_steps, input_signature=signature)

    def _take_steps(self, inputs: Inputs, position: tf.Tensor) -> tf.Tensor:
        """Takes optimizer steps, in the graph.

        Args:
            inputs: of each step, [steps, batch, ...].
            position: of the first of them in the stream, int64 scalar.

        Returns:
            The loss of the last global batch, before its step, and the norm of its
            gradient; float32 [2].
        """
        loss, norm = tf.constant(0.0), tf.constant(0.0)
        steps = tf.shape(inputs[0], tf.int64)[0]
        for step in tf.range(steps):
            loss = self._step_loss(
                tuple(tf.gather(each, step) for each in inputs),
                position + step * self.pipeline.stride,
            )
            gradients = self._optimizer.minimize(loss)
            for average in self.network.statistics:
                average.assign(self._cluster.allreduce_mean(average))
            self.average.update(self._optimizer.step)
            if step == steps - 1:
                norm = tf.linalg.global_norm(gradients)
        # [5] Logged metrics are averaged over all ranks.
        return self._cluster.allreduce_mean(tf.stack([loss, norm]))

    def _step_loss(self, inputs: Inputs, position: tf.Tensor) -> tf.Tensor:
        """Returns the loss of this rank's examples of a step."""
        passes, size = self._config.backward_passes_per_step, self._config.batch_size
        if passes == 1:
            return self._loss(inputs, position)
        batches = [tf.reshape(each, [passes, size, *each.shape[1:]]) for each in inputs]
        # Gradients in a loop are there when it ends; those of the last batch are sent
        # one by one.
        in_loop = passes - 1 if self._optimizer.buckets > 1 else passes

        def loss(number: tf.Tensor) -> tf.Tensor:
            batch = tuple(tf.gather(each, number) for each in batches)
            return self._loss(batch, position + number * size)

        return accumulated_loss(loss, passes, list(self._weights.values()), in_loop)

    def _batch_loss(self, inputs: Inputs, position: tf.Tensor) -> tf.Tensor:
        """Returns the loss of a batch of examples."""
        with self.network.checked():
            features, targets = self.pipeline.read(inputs, position)
            return self.network.training_loss(features, targets, position)

    def _measure_step(self) -> Breakdown:
        """Measures what a step's time goes to; leaves everything as it was."""
        alone = copy.copy(self)  # the same without other ranks
        alone._cluster = Cluster()
        alone._optimizer = self._create_optimizer(alone._cluster)
        measured = breakdown.measure(
            self._config,
            self._cluster,
            self.variables,
            self.pipeline,
            (self._train_steps, alone._in_graph()),
            self._optimizer.send,
            self._batch_loss,
        )
        self._optimizer.resume(self.progress)
        return measured
