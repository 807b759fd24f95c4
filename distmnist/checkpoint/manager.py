"""The checkpoint manager: saves a run and restores it; rank 0 reads and writes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from distmnist.checkpoint import format, identity, model_card, rollback
from distmnist.core import arrays, resuming
from distmnist.core.config import Config
from distmnist.core.errors import InputError, RunError
from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.data.dataset import Dataset
from distmnist.distributed.cluster import Cluster
from distmnist.metrics.best import BestMetric
from distmnist.metrics.types import SplitResult

_LARGE = 2**26  # bytes that are written at once, rather than copied for later
_MOST_IN_FLIGHT = 2


class CheckpointManager:
    """Saves a run, and restores it; all ranks call its methods.

    Training continues while a checkpoint is written: it waits only for a copy of the
    variables, and for previous writes, so that two at most are in flight (the best one
    may be that of the same step). Large variables are not copied but written at once,
    to the page cache, which takes no longer; training continues while they reach the
    disk. As a context manager, it waits for the last one at the end, and releases the
    run directory.
    """

    def __init__(
        self,
        config: Config,
        cluster: Cluster,
        dataset: Dataset,
        variables: Mapping[str, tf.Variable],
        own_network: bool = False,
    ):
        """Reads and writes nothing yet.

        Args:
            config: run configuration.
            cluster: the ranks.
            dataset: data set of the run.
            variables: what is saved and restored, by name.
            own_network: whether the network is another than --model names.
        """
        self._config = config
        self._cluster = cluster
        self._variables = variables
        self._directory = RunDirectory(config.log_dir)
        self._metadata = identity.of_run(config, cluster, dataset, own_network)
        has_classes = dataset.spec.num_classes is not None
        self._metric = BestMetric.of_run(config, has_classes)
        self._best = -math.inf  # signed value of that metric in the best checkpoint
        self._saved = -1  # step of the newest checkpoint
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._in_flight: list[concurrent.futures.Future[None]] = []

    def __enter__(self) -> CheckpointManager:
        """Acquires nothing yet: `restore` does."""
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Waits for the last checkpoint, and releases the run directory."""
        try:
            self.wait()
        except RunError as second:
            if error is None:
                raise
            logging.error("%s", second)  # the first error propagates
        finally:
            self._thread.shutdown()
            self._directory.release()

    def save(self, progress: Progress) -> None:
        """Starts to write a checkpoint, unless this step has one.

        Args:
            progress: training progress.

        Raises:
            RunError: on rank 0, if this one or the previous cannot be written; nothing
                of it is left.
        """
        if self._cluster.rank == 0 and progress.step != self._saved:
            self._start(self._directory, progress, {}, self._config.keep_checkpoints)
            self._saved = progress.step

    def save_best(self, progress: Progress, validation: SplitResult) -> None:
        """Starts to write a checkpoint to `best`, if it is better than the one there.

        Args:
            progress: training progress.
            validation: result of the validation split at this step.

        Raises:
            InputError: on rank 0, if there is no metric of the name in --best_metric.
            RunError: as `save` does.
        """
        if self._cluster.rank != 0:
            return
        value = self._metric.of(validation)
        if value > self._best:
            self._best = value
            more = {
                "validation": {
                    "num_examples": validation.num_examples,
                    "metrics": dict(validation.metrics),
                }
            }
            self._start(self._directory.best, progress, more, 1)

    def write_card(
        self, progress: Progress, results: Mapping[str, SplitResult]
    ) -> None:
        """Writes the model card, on rank 0; see `model_card.write`."""
        if self._cluster.rank != 0:
            return
        metrics = {split: result.metrics for split, result in results.items()}
        metadata = {**self._metadata, **_position(progress)}
        model_card.write(self._directory, metadata, metrics)

    def wait(self) -> None:
        """Waits until everything is written.

        Raises:
            RunError: on rank 0, if it cannot be.
        """
        self._wait_for_all_but(0)

    def _wait_for_all_but(self, count: int) -> None:
        """Waits until no more than so many checkpoints are being written."""
        while len(self._in_flight) > count:
            self._in_flight.pop(0).result()

    def _start(
        self,
        directory: RunDirectory,
        progress: Progress,
        more: Mapping[str, Any],
        keep: int,
    ) -> None:
        self._wait_for_all_but(_MOST_IN_FLIGHT - 1)
        self._directory.assert_in_place()
        values = {name: v.read_value() for name, v in self._variables.items()}
        is_large = sum(map(arrays.num_bytes, values.values())) > _LARGE
        if not is_large:  # a later step would copy the tensors, one by one
            values = {name: value.numpy() for name, value in values.items()}
        for name, value in values.items():
            if not np.isfinite(arrays.view(value)).all():
                raise RunError(
                    f"{name} is no longer finite at step {progress.step}, and is not "
                    "saved; "
                    f"{resuming.how_to_continue(flags='a lower --learning_rate')}"
                )
        metadata = {
            **self._metadata,
            **_position(progress),
            **more,
        }
        path = directory.checkpoint(progress.step)
        if is_large:
            self._create(directory)
            format.write_hidden(path, values, metadata)
            values.clear()

        def write_and_prune() -> None:
            if is_large:
                format.publish(path)
            else:
                self._create(directory)
                format.write(path, values, metadata)
            self._directory.assert_in_place()
            _prune(directory, progress.step, keep)

        self._in_flight.append(self._thread.submit(write_and_prune))

    def _create(self, directory: RunDirectory) -> None:
        """Creates the directory of the best checkpoint, if it is that one."""
        try:
            if directory is not self._directory:
                directory.path.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{directory.path}: cannot be created ({error.strerror}); "
                f"{resuming.how_to_continue()}"
            ) from None

    def restore(self, committed: Progress | None = None) -> Progress | None:
        """Prepares the run directory, and restores its newest checkpoint.

        Logs are truncated to the checkpoint's step: later steps are logged again.

        Args:
            committed: progress whose variables ranks have in memory, so that only the
                directory is prepared.

        Returns:
            The restored progress, on all ranks, while rank 0 alone has its variables;
            None if there is no checkpoint.

        Raises:
            InputError: on all ranks, if the directory cannot be written to or is in
                use, no checkpoint can be read, or it was created with a different
                configuration.
        """
        resuming.restarted = self._config.restart
        return self._cluster.run_on_root(lambda: self._restore(committed))

    def _restore(self, committed: Progress | None) -> Progress | None:
        config, directory = self._config, self._directory
        directory.prepare(config.restart and not committed, config.lock_seconds)
        try:
            found = None
            if not committed:
                advice = "give another --log_dir, or --restart to start from scratch"
                found = format.latest(directory, advice)
                if not found and rollback.has_results(directory):
                    directory.archive("It has no checkpoint")
        except OSError as error:
            raise InputError(
                f"flag --log_dir={self._config.log_dir}: cannot be read "
                f"({error.strerror}); choose another directory"
            ) from None
        with contextlib.suppress(InputError):  # a damaged best one is replaced
            best = format.latest(directory.best)
            if best and best.metadata.validation:
                value = best.metadata.validation.metric(self._metric.name)
                if value is not None:  # else it was chosen by another metric
                    self._best = self._metric.sign * value
                _prune(directory.best, best.metadata.progress.step, 1)
        if committed:
            self._roll_back_logs(committed)
            return committed
        if found is None:
            self._roll_back_logs(Progress(-1, -1))
            return None
        identity.check(found.path, self._metadata, found.metadata)
        found.restore(self._variables)
        found.close()
        restored = found.metadata.progress
        self._saved = restored.step
        if found.metadata.size != self._cluster.size:
            restored = restored._replace(ramp=None)
        self._roll_back_logs(restored)
        # The process may have been killed between writing this one and pruning.
        _prune(directory, restored.step, self._config.keep_checkpoints)
        logging.info("Resuming from checkpoint %s", found.path)
        return restored

    def _roll_back_logs(self, progress: Progress) -> None:
        try:
            rollback.roll_back(self._directory, progress)
        except (OSError, tf.errors.OpError) as error:
            raise InputError(
                f"flag --log_dir={self._config.log_dir}: the logs cannot be truncated "
                f"to step {progress.step} ({error}); make them writable, or "
                "choose another directory"
            ) from None


def _position(progress: Progress) -> dict[str, Any]:
    """Returns what the metadata say of the progress."""
    return {
        "step": progress.step,
        "consumed": progress.consumed,
        "ramp": progress.ramp,
    }


def _prune(directory: RunDirectory, step: int, keep: int) -> None:
    """Deletes the checkpoints up to a step, except for the newest of them.

    Args:
        directory: of the checkpoints.
        step: later ones are kept, too.
        keep: number of those up to it that are kept, at least 1.
    """
    try:
        older = [number for number in directory.checkpoint_steps() if number <= step]
        for number in older[keep:]:
            format.delete(directory.checkpoint(number))
    except OSError as error:
        logging.warning(
            "%s: older checkpoints cannot be deleted (%s)",
            directory.path,
            error.strerror,
        )
