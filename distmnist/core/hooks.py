"""Hooks: what the training loop does every k steps.

The loop, as pseudocode; everything in it runs on all ranks:

    hooks = [...]                                  # in the order of run_hooks.create
    for block in pipeline.blocks(step, stops(hooks, step, last_step)):
        progress = train_block(block)              # the steps up to the next stop
        for hook in hooks:
            if hook.is_due(progress.step, last_step):
                hook(progress)                     # may use collectives; may raise

    hook                    runs                            works on
    progress bar            at every stop                   rank 0
    watchdog's beat         at every stop                   all ranks
    step timer              at every stop; --log_every      rank 0 writes
    comparison of ranks     --eval_every, each checkpoint   all ranks
    evaluator               --eval_every                    all ranks; rank 0 writes;
                                                            may end the run early
    best checkpoint         --eval_every                    rank 0
    commit                  --commit_steps, each checkpoint all ranks, if elastic
    checkpoint              --checkpoint_every              rank 0
    profiler                --profile                       rank 0
    preemption              twice a second                  all ranks

Steps run inside the graph, without Python between them, so a hook sees the progress
only where the loop stops. A hook that must run at certain steps makes the loop stop
there (`Every`); one that runs wherever the loop stops adds no stop (`EveryStop`).

All ranks call the same hooks at the same steps, therefore a hook's schedule may depend
only on what all ranks share. A hook that works on rank 0 alone returns at once on the
others, and must not use a collective.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from distmnist.core.progress import Progress


class Hook(Protocol):
    """Runs between steps, on all ranks; see the module's pseudocode."""

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the first step after `step` at which the loop must stop for it.

        Args:
            step: completed steps, less than `last_step`.
            last_step: last step of the run.

        Returns:
            A step in (step, last_step].
        """

    def is_due(self, step: int, last_step: int) -> bool:
        """Returns whether the hook runs now, the loop having stopped after `step`."""

    def __call__(self, progress: Progress) -> None:
        """Runs the hook.

        Args:
            progress: training progress at this stop.

        Raises:
            UserError: ends the run.
        """


class Every(NamedTuple):
    """Calls a function every `interval` steps, and after the last step.

    Attributes:
        interval: in steps; 0: after the last step only.
        function: called on all ranks with the progress.
    """

    interval: int
    function: Callable[[Progress], None]

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the next multiple of the interval, or the last step."""
        if not self.interval:
            return last_step
        return min(last_step, (step // self.interval + 1) * self.interval)

    def is_due(self, step: int, last_step: int) -> bool:
        """Returns whether `step` is a multiple of the interval, or the last step."""
        return self.next_step(step - 1, last_step) == step

    def __call__(self, progress: Progress) -> None:
        """Calls the function."""
        self.function(progress)


class EveryOf(NamedTuple):
    """Calls a function at the multiples of any of several intervals.

    Attributes:
        intervals: in steps, as of `Every`.
        function: called on all ranks with the progress; once at each such step.
    """

    intervals: tuple[int, ...]
    function: Callable[[Progress], None]

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the next multiple of any of the intervals, or the last step."""
        return min(
            Every(interval, self.function).next_step(step, last_step)
            for interval in self.intervals
        )

    def is_due(self, step: int, last_step: int) -> bool:
        """Returns whether `step` is such a multiple, or the last step."""
        return self.next_step(step - 1, last_step) == step

    def __call__(self, progress: Progress) -> None:
        """Calls the function."""
        self.function(progress)


class EveryStop(NamedTuple):
    """Calls a function wherever the loop stops for another hook.

    Attributes:
        function: called on all ranks with the progress.
    """

    function: Callable[[Progress], None]

    def next_step(self, step: int, last_step: int) -> int:
        """Returns the last step: this hook adds no stop."""
        return last_step

    def is_due(self, step: int, last_step: int) -> bool:
        """Returns True."""
        return True

    def __call__(self, progress: Progress) -> None:
        """Calls the function."""
        self.function(progress)


def stops(hooks: Sequence[Hook], step: int, last_step: int) -> Iterator[int]:
    """Yields the steps after which the loop stops.

    They are computed lazily, because a hook may choose its next step when it runs.

    Args:
        hooks: all hooks of the run.
        step: completed steps.
        last_step: last step of the run.
    """
    while step < last_step:
        step = min(hook.next_step(step, last_step) for hook in hooks)
        yield step
