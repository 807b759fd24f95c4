"""Weights & Biases. Its environment variables configure it: WANDB_MODE and so on."""

from __future__ import annotations

import os
from collections.abc import Sequence

from distmnist.tracking.tracker import Description, Point

_PROJECT = "distmnist"  # unless WANDB_PROJECT is set


class WandbTracker:
    """A run of Weights & Biases; see `Tracker`."""

    def __init__(self, description: Description, run: str):
        """Creates or continues the run; its files are in the run directory."""
        import wandb

        settings = wandb.Settings(
            # All that is printed is ours, and the directory need not be a repository.
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=description.name,
            id=run or None,
            resume="allow",
            dir=str(description.directory),
            config={**description.config, **description.software},
            settings=settings,
        )
        # Steps of its own may only rise; a run that is continued may repeat some.
        self._run.define_metric("*", step_metric="step")
        self.run = self._run.id
        self.where = self._run.dir if self._run.offline else self._run.url or ""

    def log(self, points: Sequence[Point]) -> None:
        """Publishes points."""
        for point in points:
            self._run.log({"step": point.step, **point.values})

    def end(self, finished: bool) -> None:
        """Sends what is buffered, and ends the run, which may be continued."""
        self._run.finish(exit_code=0 if finished else 1)
