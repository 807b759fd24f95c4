"""The console: the tutorial's lines, and the log of start and end.

The tutorial's lines go to standard output, everything else to standard error.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import sys
from collections import Counter
from collections.abc import Mapping

from absl import logging

from distmnist.core.config import Config
from distmnist.core.errors import RunError
from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.distributed import devices, launchers
from distmnist.metrics.types import (
    Evaluation,
    MetricWriter,
    Run,
    SplitResult,
    TrainMetrics,
)
from distmnist.optim.schedules import Schedule

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

    def __init__(self) -> None:
        """Writes nothing yet."""
        self._is_open = True

    def train(self, metrics: TrainMetrics) -> None:
        """Prints the line of a step."""
        step, loss, seconds = metrics.step, metrics.loss, metrics.sec_per_step
        self._write(f"Step {step}: loss = {loss:.2f} ({seconds:.3f} sec)\n")

    def evaluation(self, progress: Progress, evaluation: Evaluation) -> None:
        """Prints the metrics of each split."""
        self._write(_as_text(evaluation.results))

    def _write(self, text: str) -> None:
        """Writes; where standard output is gone, training goes on without it."""
        if not self._is_open:
            return
        try:
            write(text)
        except RunError as error:
            self._is_open = False
            logging.warning("%s; training continues without it", error)


def print_results(results: Mapping[str, SplitResult]) -> None:
    """Prints the metrics of each split: accuracy in the format of the tutorial.

    Args:
        results: result by name of the split.
    """
    write(_as_text(results))


def _as_text(results: Mapping[str, SplitResult]) -> str:
    """Returns the metrics of each split."""
    return "".join(f"{_TITLES[s]}\n{_lines(result)}" for s, result in results.items())


def _lines(result: SplitResult) -> str:
    """Returns the metrics of a split."""
    counts, metrics = result.counts, dict(result.metrics)
    lines = []
    if counts:
        lines.append(
            f"  Num examples: {counts.num_examples}  "
            f"Num correct: {counts.num_correct}  "
            f"Precision @ 1: {counts.accuracy:0.04f}\n"
        )
        del metrics["loss"], metrics["accuracy"]  # the tutorial does not print the loss
    else:
        metrics = {"num_examples": result.num_examples, **metrics}
    if metrics:
        values = (f"{metric_title(k)}: {_number(v)}" for k, v in metrics.items())
        lines.append(f"  {'  '.join(values)}\n")
    return "".join(lines)


def metric_title(name: str) -> str:
    """Returns the name of a metric as a title: "mean_error" as "Mean error"."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.5g}"


def write(text: str) -> None:
    """Writes to standard output in one piece, however many ranks share it.

    Raises:
        RunError: it cannot be written to, such as a pipe whose reader has ended.
    """
    try:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        # Names of classes need not be in the terminal's encoding.
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError, ValueError):
            # Python would write what is left at exit, and fail once more.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)
        reason = getattr(error, "strerror", None) or str(error)
        raise RunError(f"standard output: cannot be written to ({reason})") from None


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
    if job := launchers.scheduled_job(os.environ):
        logging.info("Job: %s", job)
    rate = Schedule(config, size, run.num_examples)(config.warmup_steps)
    logging.info(
        "Global batch size: %d (%d per worker), learning rate %.4g%s%s%s",
        config.examples_per_step * size,
        config.examples_per_step,
        float(rate),
        f" after {config.warmup_steps} steps" if config.warmup_steps else "",
        _decay(config),
        f", optimizer {config.optimizer}" if config.optimizer != "sgd" else "",
    )
    length, unit = config.decay_length
    if config.lr_schedule != "constant" and unit == "steps" and length > run.last_step:
        logging.warning(
            "The learning rate decays in %d steps, and the run ends at step %d, before "
            "it has its least value",
            *(length, run.last_step),
        )
    if config.warmup_steps > run.last_step:
        logging.warning(
            "The run ends at step %d, before the --warmup_steps of %d, in which the "
            "learning rate rises, are over",
            *(run.last_step, config.warmup_steps),
        )
    if config.examples_per_step * size > run.num_examples:
        logging.warning(
            "The global batch, %d examples, is larger than the training split, %d: a "
            "step takes examples several times; give a smaller --batch_size",
            *(config.examples_per_step * size, run.num_examples),
        )
    logging.info(
        "Steps: %d to %d, %s; run directory %s",
        run.start.step,
        run.last_step,
        "resumed" if run.start.step else "from scratch",
        config.log_dir,
    )


def _decay(config: Config) -> str:
    """Returns what becomes of the learning rate, for a log line."""
    if config.lr_schedule == "constant":
        return ""
    length, unit = config.decay_length
    return f", {config.lr_schedule} decay in {length} {unit}"


def log_nothing_left(config: Config, step: int, stopped_early: bool = False) -> None:
    """Logs that a run is complete already.

    Args:
        config: run configuration.
        step: completed steps.
        stopped_early: whether it ended by early stopping.
    """
    if stopped_early:
        logging.warning(
            "Nothing left to train: the run in %s stopped early, at step %d; for more, "
            "give a larger --early_stopping_patience, or 0",
            *(config.log_dir, step),
        )
        return
    # With another number of workers, --num_epochs takes another number of steps.
    beyond = ""
    if config.num_epochs is None and step > config.max_steps:
        beyond = (
            f", beyond --max_steps={config.max_steps}: its metrics are those of step "
            f"{step}"
        )
    logging.warning(
        "Nothing left to train: the run in %s has completed step %d%s; for another "
        "run, give another --log_dir, or --restart",
        config.log_dir,
        step,
        beyond,
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
    names = dict.fromkeys(name for r in results.values() for name in r.metrics)
    for name in names:
        values = ", ".join(
            f"{split} {result.metrics[name]:.4f}"
            if name == "accuracy"
            else f"{split} {_number(result.metrics[name])}"
            for split, result in results.items()
        )
        logging.info("%s: %s", metric_title(name), values)
    log_dir = run.config.log_dir
    logging.info("Checkpoint: %s", RunDirectory(log_dir).checkpoint(end.step))
    for command in _NEXT:
        logging.info("Next: %s", command.format(shlex.quote(log_dir)))
