"""Goes on when ranks come and go: a layer around the training loop.

`horovodrun` starts and ends the ranks of an elastic job; Horovod notices, and joins
those that there are.  Then every rank runs the whole job again, which continues from
the newest commit: a copy of the variables in the memory of each rank, and how far the
run was.  The data order is a function of the examples consumed, so each example still
comes once an epoch, but for those after the commit, which come again.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
from absl import logging

from distmnist.core.config import Config
from distmnist.core.hooks import Every
from distmnist.core.progress import Progress, Ramp
from distmnist.distributed.cluster import Cluster
from distmnist.optim import optimizer

# Steps in which the learning rate follows a change of the number of ranks, at least.
_RAMP_STEPS = 100


class Commits:
    """What an elastic job goes back to."""

    def __init__(self) -> None:
        """Has nothing yet."""
        self._progress: Progress | None = None
        self._values: dict[str, tf.Tensor] = {}
        self._size = 0

    def newest(self, config: Config, cluster: Cluster) -> tuple[Progress | None, int]:
        """Returns the newest commit of any rank; all ranks must call it.

        Args:
            config: of the run.
            cluster: those that there are now.

        Returns:
            How far it is, with a ramp of the learning rate if the number of ranks
            is another now, or None if there is none; and a rank that has it.
        """
        commits = cluster.allgather((self._progress, self._size))
        steps = [progress.step if progress else -1 for progress, _ in commits]
        holder = steps.index(max(steps))
        progress, size = commits[holder]
        if progress and size != cluster.size:
            rate = optimizer.learning_rate(config, size, progress.step, progress.ramp)
            steps_of_ramp = max(_RAMP_STEPS, config.warmup_steps)
            ramp = Ramp(progress.step, float(rate), steps_of_ramp)
            progress = progress._replace(ramp=ramp)
            if cluster.rank == 0:
                logging.warning(
                    "%d ranks instead of %d: going on from step %d",
                    *(cluster.size, size, progress.step),
                )
        return progress, holder

    def restore(self, variables: Mapping[str, tf.Variable]) -> None:
        """Gives variables the values of this rank's commit, if it has one."""
        for name, value in self._values.items():
            variables[name].assign(value)

    def task(
        self,
        config: Config,
        cluster: Cluster,
        variables: Mapping[str, tf.Variable],
        start: Progress,
    ) -> CommitHook:
        """Returns what commits, after having committed the start."""
        task = CommitHook(self, config, cluster, variables)
        self.take(start, cluster.size, variables)
        return task

    def take(
        self, progress: Progress, size: int, variables: Mapping[str, tf.Variable]
    ) -> None:
        """Commits: keeps a copy of the variables."""
        values = {name: tf.identity(v) for name, v in variables.items()}
        self._progress, self._values, self._size = progress, values, size


class CommitHook:
    """Commits every so many steps, and then lets newcomers in."""

    def __init__(
        self,
        commits: Commits,
        config: Config,
        cluster: Cluster,
        variables: Mapping[str, tf.Variable],
    ):
        """Commits nothing yet.

        Args:
            commits: take what is committed.
            config: of the run.
            cluster: of the run.
            variables: of the run, by name.
        """
        self._commits = commits
        self._cluster = cluster
        self._variables = variables
        # Every checkpoint is a commit too: an elastic job never goes back behind it.
        self._moments = [
            Every(interval, self)
            for interval in (config.commit_steps, config.checkpoint_every)
        ]

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the first step after `step` that is committed."""
        return min(moment.next_step(step, last_step) for moment in self._moments)

    def is_due(self, step: int, last_step: int) -> bool:
        """Tells whether this step is committed."""
        return any(moment.is_due(step, last_step) for moment in self._moments)

    def __call__(self, progress: Progress) -> None:
        """Commits; all ranks must call it."""
        self._commits.take(progress, self._cluster.size, self._variables)
        self._cluster.meet_newcomers()
