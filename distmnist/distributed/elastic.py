"""Elastic training: continues when ranks join or leave; a layer around the loop.

`horovodrun` starts and ends the ranks of an elastic job; Horovod notices, and connects
those that exist. Then every rank runs the whole job again, which continues from the
newest commit: a copy of the variables in the memory of each rank, and the progress.
The data order is a function of the examples consumed, so each example still comes once
an epoch, except for those since the commit, which are trained on again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from distmnist.core.hooks import Every
from distmnist.core.progress import Progress
from distmnist.distributed.cluster import Cluster


class Commit(NamedTuple):
    """The newest commit of any rank.

    Attributes:
        progress: training progress; None if there is no commit.
        size: number of ranks when it was taken.
        root: a rank whose variables have its values.
    """

    progress: Progress | None = None
    size: int = 0
    root: int = 0


class Commits:
    """Copies of the variables in this rank's memory, for an elastic job."""

    def __init__(self) -> None:
        """Has no commit yet."""
        self._progress: Progress | None = None
        self._values: dict[str, tf.Tensor] = {}
        self._size = 0

    def newest(self, cluster: Cluster) -> Commit:
        """Returns the newest commit of any rank; all ranks must call it."""
        commits = cluster.allgather((self._progress, self._size))
        steps = [progress.step if progress else -1 for progress, _ in commits]
        root = steps.index(max(steps))
        return Commit(*commits[root], root)

    def restore(self, variables: Mapping[str, tf.Variable]) -> None:
        """Assigns the values of this rank's commit, if it has one.

        Args:
            variables: of the same network, by name.
        """
        for name, value in self._values.items():
            variables[name].assign(value)

    def take(
        self, progress: Progress, size: int, variables: Mapping[str, tf.Variable]
    ) -> None:
        """Commits: copies the variables.

        Args:
            progress: training progress.
            size: number of ranks.
            variables: all variables of the run, by name.
        """
        values = {name: tf.identity(v) for name, v in variables.items()}
        self._progress, self._values, self._size = progress, values, size


class CommitHook:
    """Commits every so many steps, and then checks for membership changes."""

    def __init__(
        self,
        commits: Commits,
        cluster: Cluster,
        variables: Mapping[str, tf.Variable],
        start: Progress,
        intervals: tuple[int, ...],
    ):
        """Commits the start.

        Args:
            commits: receive the commits.
            cluster: of the run.
            variables: all variables of the run, by name.
            start: progress at the start of training.
            intervals: steps between commits, and between checkpoints: an elastic job
                never rolls back past a checkpoint.
        """
        self._commits = commits
        self._cluster = cluster
        self._variables = variables
        self._schedules = [Every(interval, self) for interval in intervals]
        commits.take(start, cluster.size, variables)

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the next step of any of the intervals."""
        return min(every.next_step(step, last_step) for every in self._schedules)

    def is_due(self, step: int, last_step: int) -> bool:
        """Returns whether any of the intervals ends at this step."""
        return any(every.is_due(step, last_step) for every in self._schedules)

    def __call__(self, progress: Progress) -> None:
        """Commits, and checks whether ranks have joined or left."""
        self._commits.take(progress, self._cluster.size, self._variables)
        self._cluster.check_host_updates()
