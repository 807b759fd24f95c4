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

from distmnist.core.hooks import EveryOf
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


def commit_hook(
    commits: Commits,
    cluster: Cluster,
    variables: Mapping[str, tf.Variable],
    start: Progress,
    intervals: tuple[int, ...],
) -> EveryOf:
    """Commits the start; returns the hook that commits, and checks the membership.

    Args:
        commits: receive the commits.
        cluster: of the run.
        variables: all variables of the run, by name.
        start: progress at the start of training.
        intervals: steps between commits, and between checkpoints: an elastic job never
            rolls back past a checkpoint.
    """

    def commit(progress: Progress) -> None:
        commits.take(progress, cluster.size, variables)
        cluster.check_host_updates()  # whether ranks have joined or left

    commits.take(start, cluster.size, variables)
    return EveryOf(intervals, commit)
