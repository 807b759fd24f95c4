"""What a person sees: the tutorial's lines, a progress bar, a banner, a summary.

The lines go to standard output, all else to standard error.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

from absl import logging
from tqdm import tqdm

from distmnist.core.hooks import EveryStop, Hook
from distmnist.core.progress import Progress
from distmnist.distributed import process
from distmnist.metrics.types import (
    Evaluation,
    Precision,
    Run,
    TrainMetrics,
    Writer,
)
from distmnist.optim import optimizer

_TITLES = {
    "train": "Training Data Eval:",
    "validation": "Validation Data Eval:",
    "test": "Test Data Eval:",
}


# What to do with a run, whose log directory comes in the braces.
_NEXT = (
    "python -m distmnist.evaluate --log_dir={}",
    "python -m distmnist.report --log_dir={}",
    "python -m distmnist.predict --log_dir={} digit.png",
    "tensorboard --logdir {}",
)


class Console(Writer):
    """Standard output, in the tutorial's words."""

    def train(self, metrics: TrainMetrics) -> None:
        """Prints the line of a step."""
        step, loss, seconds = metrics.step, metrics.loss, metrics.sec_per_step
        write(f"Step {step}: loss = {loss:.2f} ({seconds:.3f} sec)\n")

    def evaluation(self, step: int, evaluation: Evaluation) -> None:
        """Prints the precision of each split."""
        tell_precision(evaluation.results)


def tell_precision(results: Mapping[str, Precision]) -> None:
    """Prints the precision of each split, by its name."""
    for split, result in results.items():
        write(
            f"{_TITLES[split]}\n"
            f"  Num examples: {result.num_examples}  "
            f"Num correct: {result.num_correct}  "
            f"Precision @ 1: {result.value:0.04f}\n"
        )


def write(text: str) -> None:
    """Writes to standard output in one piece, however many ranks share it."""
    sys.stdout.write(text)
    sys.stdout.flush()


def watch(run: Run, tasks: Sequence[Hook]) -> list[Hook]:
    """Tells what is about to run, and shows how far it is, if rank 0 is to.

    All ranks must call it.

    Args:
        run: the run.
        tasks: of the run.

    Returns:
        The tasks; on rank 0, between those that hide and draw a progress bar, where
        standard error is a terminal or `progress` asks for it.
    """
    _tell_start(run)
    wanted = run.config.progress
    if wanted is None:
        wanted = sys.stderr.isatty()
    if run.cluster.rank != 0 or not wanted:
        return list(tasks)
    bar = _Bar(run)
    return [EveryStop(bar.hide), *tasks, EveryStop(bar.draw)]


class _Bar:
    """A progress bar below the lines, gone while they are written.

    It makes the loop stop nowhere: ranks stop twice a second to look for signals.
    """

    def __init__(self, run: Run):
        self._run = run
        self._before = run.start
        self._bar = tqdm(
            initial=run.start.step,
            total=run.last_step,
            bar_format="{percentage:3.0f}% |{bar}| step {n_fmt}/{total_fmt}{postfix}, "
            "{remaining} left",
            dynamic_ncols=True,
            mininterval=0,
            miniters=1,  # else some of the few calls draw nothing
            leave=False,
        )

    def hide(self, progress: Progress) -> None:
        """Makes room for other lines."""
        self._bar.clear()

    def draw(self, progress: Progress) -> None:
        """Shows how far the run is."""
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
            self._bar.close()


def _tell_start(run: Run) -> None:
    """Tells what is about to run; all ranks must call it."""
    config, size = run.config, run.cluster.size
    hosts = Counter(run.cluster.allgather(socket.gethostname()))
    logging.info(
        "Workers: %d (%s), each on %s",
        size,
        ", ".join(f"{count} on {host}" for host, count in hosts.items()),
        process.device(),
    )
    logging.info(
        "A step: %d examples (%d a worker), learning rate %.4g%s",
        config.step_size * size,
        config.step_size,
        float(optimizer.learning_rate(config, size, config.warmup_steps)),
        f" after {config.warmup_steps} steps" if config.warmup_steps else "",
    )
    logging.info(
        "Steps: %d to %d, %s; all is written to %s",
        run.start.step,
        run.last_step,
        "resumed" if run.start.step else "from the start",
        config.log_dir,
    )


def tell_end(run: Run, end: Progress, results: Mapping[str, Precision]) -> None:
    """Tells what came of a run, and what to do with it.

    Args:
        run: that has ended.
        end: how far it is.
        results: final precision, by name of the split.
    """
    speed = (end.consumed - run.start.consumed) / end.seconds
    steps = end.step - run.start.step
    logging.info(
        "Done: %d steps in %.1f s, %s examples/s", steps, end.seconds, f"{speed:,.0f}"
    )
    told = ", ".join(f"{name} {result.value:.4f}" for name, result in results.items())
    logging.info("Precision @ 1: %s", told)
    log_dir = run.config.log_dir
    logging.info("Checkpoint: %s", f"{os.path.join(log_dir, 'model.ckpt')}-{end.step}")
    for command in _NEXT:
        logging.info("Next: %s", command.format(shlex.quote(log_dir)))
