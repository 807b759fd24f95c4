"""The progress bar, on a terminal or in a notebook."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from tqdm import tqdm

from distmnist.core.progress import Progress
from distmnist.metrics.types import Run

_OPTIONS = {
    "bar_format": "{percentage:3.0f}% |{bar}| step {n_fmt}/{total_fmt}{postfix}, "
    "{remaining} left",
    "dynamic_ncols": True,
    "mininterval": 0,
    "miniters": 1,  # otherwise tqdm skips some of the few updates
}


def create(run: Run) -> ProgressBar | None:
    """Returns the progress bar of a run.

    Args:
        run: the run.

    Returns:
        None unless this is rank 0, and standard error is a terminal, or this is a
        notebook with ipywidgets, or the configuration asks for a progress bar.
    """
    in_notebook = _in_notebook()
    wanted = run.config.progress
    if wanted is None:
        wanted = in_notebook or sys.stderr.isatty()
    if run.cluster.rank != 0 or not wanted:
        return None
    return NotebookProgressBar(run) if in_notebook else ProgressBar(run)


def _in_notebook() -> bool:
    """Returns whether this is a notebook that can show widgets.

    `tqdm.auto` is not asked: it warns where ipywidgets is missing.
    """
    ipython = sys.modules.get("IPython")  # a notebook has imported it
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel") and bool(importlib.util.find_spec("ipywidgets"))


class ProgressBar:
    """A progress bar below the lines of a terminal, hidden while they are written.

    Its methods are hooks. It makes the loop stop nowhere: ranks stop twice a second to
    vote on preemption.
    """

    def __init__(self, run: Run):
        """Shows an empty bar.

        Args:
            run: the run.
        """
        self._run = run
        self._before = run.start
        self._bar = self._create(initial=run.start.step, total=run.last_step)

    def _create(self, **steps: int) -> Any:
        return tqdm(**_OPTIONS, **steps, leave=False)

    def hide(self, progress: Progress) -> None:
        """Clears the bar, for other lines."""
        self._bar.clear()

    def draw(self, progress: Progress) -> None:
        """Draws the bar."""
        before, self._before = self._before, progress
        seconds = progress.seconds - before.seconds
        speed = (progress.consumed - before.consumed) / seconds
        self._bar.set_postfix_str(
            f"epoch {progress.consumed / self._run.num_examples:.2f}, "
            f"loss {progress.loss:.2f}, {speed:,.0f} examples/s",
            refresh=False,
        )
        self._bar.update(progress.step - before.step)
        if progress.step == self._run.last_step:
            self._close()

    def _close(self) -> None:
        self._bar.close()


class NotebookProgressBar(ProgressBar):
    """A progress bar in the output of a notebook's cell, where it stays."""

    def _create(self, **steps: int) -> Any:
        from IPython import display
        from tqdm.notebook import tqdm as notebook_tqdm

        bar = notebook_tqdm(**_OPTIONS, **steps, display=False)
        show: Any = display.display  # it has no type hints
        self._output = show(bar.container, display_id=True)
        return bar

    def _close(self) -> None:
        super()._close()
        # As text, which is what the saved notebook shows, it would still be empty.
        self._output.update(self._bar.container)
