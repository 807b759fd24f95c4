"""The console: the tutorial's lines, the progress bar, and the log of start and end.

The tutorial's lines go to standard output, everything else to standard error.
"""

from __future__ import annotations

import shlex
import socket
import sys
from collections import Counter
from collections.abc import Mapping

from absl import logging
from tqdm import tqdm

from distmnist.core.config import Config
from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.distributed import devices
from distmnist.metrics.types import (
    Evaluation,
    MetricWriter,
    Run,
    SplitResult,
    TrainMetrics,
)
from distmnist.optim import schedules

_TITLES = {
    "train": "Training Data Eval:",
    "validation": "Validation Data Eval:",
    "test": "Test Data Eval:",
}

# Programs that use a run, with its directory in the braces.
_NEXT = (
    "python -m distmnist.evaluate --log_dir={}",
    "python -m distmnist.report --log_dir={}",
    "python -m distmnist.predict --log_dir={} FILE",
    "tensorboard --logdir {}",
)


class ConsoleWriter(MetricWriter):
    """Writes to standard output, in the format of the tutorial."""

    def train(self, metrics: TrainMetrics) -> None:
        """Prints the line of a step."""
        step, loss, seconds = metrics.step, metrics.loss, metrics.sec_per_step
        write(f"Step {step}: loss = {loss:.2f} ({seconds:.3f} sec)\n")

    def evaluation(self, progress: Progress, evaluation: Evaluation) -> None:
        """Prints the accuracy of each split."""
        print_results(evaluation.results)


def print_results(results: Mapping[str, SplitResult]) -> None:
    """Prints the accuracy of each split, in the format of the tutorial.

    Args:
        results: result by name of the split.
    """
    for split, result in results.items():
        write(
            f"{_TITLES[split]}\n"
            f"  Num examples: {result.num_examples}  "
            f"Num correct: {result.num_correct}  "
            f"Precision @ 1: {result.accuracy:0.04f}\n"
        )


def write(text: str) -> None:
    """Writes to standard output in one piece, however many ranks share it."""
    sys.stdout.write(text)
    sys.stdout.flush()


def progress_bar(run: Run) -> ProgressBar | None:
    """Returns the progress bar of a run.

    Args:
        run: the run.

    Returns:
        None unless this is rank 0, and standard error is a terminal or the
        configuration asks for a progress bar.
    """
    wanted = run.config.progress
    if wanted is None:
        wanted = sys.stderr.isatty()
    return ProgressBar(run) if run.cluster.rank == 0 and wanted else None


class ProgressBar:
    """A progress bar below the lines, hidden while they are written.

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
        self._bar = tqdm(
            initial=run.start.step,
            total=run.last_step,
            bar_format="{percentage:3.0f}% |{bar}| step {n_fmt}/{total_fmt}{postfix}, "
            "{remaining} left",
            dynamic_ncols=True,
            mininterval=0,
            miniters=1,  # otherwise tqdm skips some of the few updates
            leave=False,
        )

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
            self._bar.close()


def log_start(run: Run) -> None:
    """Logs the configuration of the run; all ranks must call it.

    Args:
        run: the run.
    """
    config, size = run.config, run.cluster.size
    hosts = Counter(run.cluster.allgather(socket.gethostname()))
    logging.info(
        "Workers: %d (%s), each on %s",
        size,
        ", ".join(f"{count} on {host}" for host, count in hosts.items()),
        devices.device(),
    )
    logging.info(
        "Global batch size: %d (%d per worker), learning rate %.4g%s",
        config.examples_per_step * size,
        config.examples_per_step,
        float(schedules.learning_rate(config, size, config.warmup_steps)),
        f" after {config.warmup_steps} steps" if config.warmup_steps else "",
    )
    logging.info(
        "Steps: %d to %d, %s; run directory %s",
        run.start.step,
        run.last_step,
        "resumed" if run.start.step else "from scratch",
        config.log_dir,
    )


def log_nothing_left(config: Config, last_step: int) -> None:
    """Logs that a run is complete already.

    Args:
        config: run configuration.
        last_step: its last step.
    """
    logging.warning(
        "Nothing left to train: the run in %s has completed step %d; for another run, "
        "give another --log_dir, or --restart",
        config.log_dir,
        last_step,
    )


def log_end(run: Run, end: Progress, results: Mapping[str, SplitResult]) -> None:
    """Logs the results of a run, and the programs that use it.

    Args:
        run: the run.
        end: progress at the end of training.
        results: final result by name of the split.
    """
    speed = (end.consumed - run.start.consumed) / end.seconds
    steps = end.step - run.start.step
    logging.info(
        "Done: %d steps in %.1f s, %s examples/s", steps, end.seconds, f"{speed:,.0f}"
    )
    values = ", ".join(
        f"{name} {result.accuracy:.4f}" for name, result in results.items()
    )
    logging.info("Accuracy: %s", values)
    log_dir = run.config.log_dir
    logging.info("Checkpoint: %s", RunDirectory(log_dir).checkpoint(end.step))
    for command in _NEXT:
        logging.info("Next: %s", command.format(shlex.quote(log_dir)))
