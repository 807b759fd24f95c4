"""The hooks of a run, in the order in which they run at a stop of the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf
from absl import logging

from distmnist.checkpoint.manager import CheckpointManager
from distmnist.core.hooks import Every, EveryOf, EveryStop, Hook
from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.distributed.elastic import Commits, commit_hook
from distmnist.distributed.preemption import PreemptionHook
from distmnist.distributed.signals import Signals
from distmnist.distributed.watchdog import watchdog
from distmnist.metrics import progress_bar
from distmnist.metrics.breakdown import Breakdown
from distmnist.metrics.early_stopping import EarlyStopping
from distmnist.metrics.evaluator import Evaluator
from distmnist.metrics.profiler import Profiler
from distmnist.metrics.step_timer import StepTimer
from distmnist.metrics.types import MetricWriter, Run
from distmnist.optim.moving_average import MovingAverage


def create(
    run: Run,
    variables: Mapping[str, tf.Variable],
    manager: CheckpointManager,
    writer: MetricWriter,
    evaluator: Evaluator,
    average: MovingAverage,
    stopping: EarlyStopping,
    signals: Signals,
    commits: Commits | None,
    measure_step: Callable[[], Breakdown],
) -> list[Hook]:
    """Returns the hooks in the order in which they run at a stop.

    The progress bar is hidden while others print. Nothing is evaluated or saved that
    differs between ranks. The best checkpoint needs the evaluation, which may end the
    run: then the hooks after it are due, as at the last step. A commit comes
    before the checkpoint of its step, which an elastic job never rolls back past.
    Preemption may end the run, so it comes after everything that its step asks for.

    Args:
        run: the run.
        variables: all variables of the run, by name.
        manager: saves checkpoints.
        writer: receives metrics.
        evaluator: evaluates, and writes the results.
        average: of the parameters, which is evaluated, if there is one.
        stopping: ends the run early.
        signals: preempt the run.
        commits: of an elastic job.
        measure_step: measures what a step's time goes to, on all ranks.
    """
    config, cluster = run.config, run.cluster
    timer = StepTimer(run, writer)
    bar = progress_bar.create(run)

    def break_down(progress: Progress) -> None:
        with watchdog.phase("measuring a step"):
            found = measure_step()
        if cluster.rank == 0:
            logging.info("Step %d: %s", progress.step, found)
        writer.breakdown(progress, found)

    def check(_: Progress) -> None:
        cluster.assert_identical(variables)

    def write(progress: Progress) -> None:
        with watchdog.phase("writing metrics"):
            timer.write(progress)

    def evaluate(progress: Progress) -> None:
        with average.in_place():
            evaluator(progress)
        stopping.update(progress, evaluator.results)

    def save(progress: Progress) -> None:
        with watchdog.phase("saving a checkpoint"):
            manager.save(progress)

    def save_best(progress: Progress) -> None:
        with watchdog.phase("saving a checkpoint"):
            manager.save_best(progress, evaluator.results["validation"])

    def save_and_wait(progress: Progress) -> None:
        check(progress)
        with watchdog.phase("saving a checkpoint"):
            manager.save(progress)
            manager.wait()
        if profiler:  # once nothing can be lost any more
            profiler.stop(progress)

    profiler = None
    if config.profile:
        directory = RunDirectory(config.log_dir)
        steps = (run.start.step, run.last_step)
        profiler = Profiler(config.profile, directory, cluster.rank, steps, break_down)

    hooks: list[Hook | None] = [
        EveryStop(bar.hide) if bar else None,
        EveryStop(lambda _: watchdog.beat()),
        EveryStop(timer.measure),
        Every(config.log_every, write),
        EveryOf((config.eval_every, config.checkpoint_every), check),
        Every(config.eval_every, evaluate),
        Every(config.eval_every, save_best),
        commit_hook(
            commits,
            cluster,
            variables,
            run.start,
            (config.commit_steps, config.checkpoint_every),
        )
        if commits
        else None,
        Every(config.checkpoint_every, save),
        profiler,
        PreemptionHook(
            cluster, signals, config.steps_per_call, run.start, save_and_wait
        ),
        EveryStop(bar.draw) if bar else None,
    ]
    return [hook for hook in hooks if hook is not None]
