"""Trains with several values of flags, and compares the results.

Usage: python -m distmnist.sweep [flags] NAME=VALUE,... -- [flags of training]

NAME=LOW..HIGH/POINTS is a range, in equal ratios. If interrupted, the same command
continues it.
"""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from absl import logging

from distmnist import cli
from distmnist.core import flags
from distmnist.core.config import Config
from distmnist.core.errors import InputError, RunError
from distmnist.core.options import option, options_of, reuse, validate
from distmnist.core.rules import at_least
from distmnist.distributed import cores, devices
from distmnist.distributed.cluster import Cluster
from distmnist.sweeping import points, trials
from distmnist.sweeping.journal import Journal
from distmnist.sweeping.trials import Runner, Trial

_MOST_COMPARED = 20  # runs in the report


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of this program."""

    varied: tuple[str, ...] = option(
        (),
        "What is varied, NAME=VALUE,VALUE,... or NAME=LOW..HIGH/POINTS; after --, the "
        "flags of all trainings.",
        cli.INPUT,
        required=True,
        positional=True,
    )
    sweep_dir: str = option(
        "logs/sweep",
        "Directory of the sweep, with a run directory for each trial.",
        cli.OUTPUT,
        path=True,
        required=True,
    )
    random: int = option(
        0,
        "Number of random combinations; 0: all of them.",
        cli.INPUT,
        at_least(0),
        unit="trials",
    )
    seed: int = reuse(
        Config, "seed", group=cli.INPUT, help="Seed of random combinations."
    )
    jobs: int = option(
        0,
        "Trials at a time; 0: one for each core, or one with --launcher.",
        cli.INPUT,
        at_least(0),
        unit="trials",
    )
    launcher: str = option(
        "", 'Launcher of each training, such as "mpirun -np 2".', cli.INPUT
    )

    def __post_init__(self) -> None:
        """Checks all values."""
        validate(self)
        try:
            words = shlex.split(self.launcher)
        except ValueError as error:
            raise InputError(f"flag --launcher={self.launcher}: {error}") from None
        if words and not shutil.which(words[0]):
            raise InputError(
                f"flag --launcher={self.launcher}: there is no program {words[0]}"
            )


def main() -> None:
    """Runs the sweep."""
    cli.run(Options, __doc__, _sweep, lambda *_: None, single_process=True)


def _sweep(options: Options, cluster: Cluster) -> None:
    shared = [text for text in options.varied if text.startswith("-")]
    whole = [
        name
        for name, item in options_of(Config).items()
        if item.type == "int" and not item.many
    ]
    varied = points.parse(
        [text for text in options.varied if text not in shared], whole
    )
    if not varied:
        raise InputError("nothing is varied: give NAME=VALUE,VALUE,... before --")
    if "log_dir" in varied or any("log_dir" in text for text in shared):
        raise InputError("flag --log_dir: is chosen by the sweep; see --sweep_dir")
    combined = (
        points.draw(varied, options.random, options.seed)
        if options.random
        else points.grid(varied)
    )
    directory = Path(options.sweep_dir)
    all_trials = [
        trials.create(point, directory, shared, options.launcher) for point in combined
    ]
    for trial in all_trials:  # a wrong value is told at once
        begin = trial.command.index("distmnist.train")
        config = flags.parse(Config, list(trial.command[begin:]), usage=None)
    journal = Journal(directory, shared)
    left = [trial for trial in all_trials if not journal.is_done(trial)]
    jobs = options.jobs or (1 if options.launcher else cores.available())
    logging.info(
        "%d trials, %d of them done; %d at a time; directory %s",
        *(len(all_trials), len(all_trials) - len(left), jobs, directory),
    )
    _run(left, journal, Runner(max(1, min(jobs, len(left))), not options.launcher))
    _show(all_trials, journal, config, directory)


def _run(left: list[Trial], journal: Journal, runner: Runner) -> None:
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        runner.stop()

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        runner.run(left, journal.note)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        logging.warning("Interrupted; the same command continues the sweep")
        sys.exit(128 + received[0])


def _show(
    all_trials: list[Trial], journal: Journal, config: Config, directory: Path
) -> None:
    """Prints the results, draws them, and writes the report on the best trials."""
    devices.import_tensorflow()  # not before: trials need the memory, and the time
    from distmnist.metrics import console
    from distmnist.sweeping import results

    metric, sign = results.metric_of(config, all_trials)
    read = [
        results.read(trial, metric, sign, journal.problem(trial))
        for trial in all_trials
    ]
    ranked = results.ranked(read, sign)
    text = results.table(ranked, metric)
    chart, page = directory / "sweep.png", directory / "report.html"
    try:
        (directory / "results.txt").write_text(text)
        drawn = results.draw(ranked, metric, chart)
    except OSError as error:
        raise RunError(
            f"{error.filename or directory}: cannot be written ({error.strerror}); "
            "free disk space, and start the same command again"
        ) from None
    console.write(text)
    good = [result for result in ranked if not result.problem]
    if not good:
        raise RunError(f"no trial has ended well: see {directory}/*.{trials.LOG}")
    best = [directory / points.name(result.point) for result in good]
    written = _write_report(best[:_MOST_COMPARED], page)
    logging.info("Best: %s, %s %.5g", best[0].name, metric, good[0].value)
    for file in [chart] * drawn + [page] * written:
        logging.info("Written: %s", file)
    logging.info("Next: tensorboard --logdir %s", shlex.quote(str(directory)))


def _write_report(best: list[Path], page: Path) -> bool:
    """Writes the report on trials; returns whether it could be."""
    first, *others = map(str, best)
    command = [sys.executable, "-m", "distmnist.report", f"--output={page}"]
    command += [f"--log_dir={first}", "--verbosity=-1"]
    if others:
        command.append(f"--compare={','.join(others)}")
    return subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0


if __name__ == "__main__":
    main()
