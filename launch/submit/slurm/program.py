"""launch/submit_slurm: runs a command line, and returns the exit status."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.core.whole_files import whole_file
from launch.submit import running, training
from launch.submit.screen import Screen
from launch.submit.slurm import commands, follow, script
from launch.submit.slurm import options as options_module
from launch.submit.slurm.follow import Follower
from launch.submit.slurm.options import Options


def main(argv: Sequence[str]) -> int:
    """Runs a command line.

    Args:
        argv: the program's name and its arguments.

    Returns:
        The exit status.
    """
    return running.run(
        "submit_slurm", lambda screen: _run(*options_module.parse(argv), screen)
    )


def _run(options: Options, config: Config, screen: Screen) -> int:
    if options.dry_run:
        launcher = "srun" if options.launcher == "auto" else options.launcher
        sys.stdout.write(script.render(options, config, launcher, os.getcwd()))
        return 0
    commands.require()
    if options.there:
        job = commands.find(options.there)
    else:
        job = _submit(options, config, screen)
    name = options.there or options.name

    def delete() -> None:
        if all(task.has_ended for task in commands.tasks(job)):
            raise InputError(f"{name} has ended: there is nothing to cancel")
        commands.cancel(job)
        screen.report(f"{name} was cancelled; its run directory is kept")

    if options.delete:
        delete()
        return 0
    last_step = None if options.there else training.last_step(options.training)
    if options.status:
        for task in commands.tasks(job):
            lines = follow.newest_lines(task)
            if options.json:
                step = training.newest_step(lines, last_step)
                print(json.dumps({**follow.summarize(task), **step}))
            else:
                steps = [training.progress(line, last_step) for line in lines]
                newest = list(filter(None, steps))[-1:]
                print(", ".join([follow.describe([task]), *newest]))
        return 0
    if options.detach:
        return 0
    return running.follow(screen, name, Follower(job, screen, last_step).run, delete)


def _submit(options: Options, config: Config, screen: Screen) -> str:
    """Writes the batch script to the run directory, and submits it."""
    activate = Path(options.environment, "bin", "activate")
    if not (options.container or activate.exists()):
        raise InputError(
            f"flag --environment={options.environment}: is no virtual environment, as "
            "it has no bin/activate"
        )
    launcher = options.launcher
    if launcher == "auto":
        launcher = "srun" if commands.supports_pmix() else "mpirun"
    if options.array:
        limit = commands.max_array_size()
        if any(indices[-1] >= limit for indices in options.indices):
            raise InputError(
                f"flag --array={options.array}: indices must be below {limit} here"
            )
    text = script.render(options, config, launcher, os.getcwd())
    directories = script.run_directories(options, config)
    for directory in directories:
        path = Path(directory, f"{options.name}.sbatch")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as unfinished:
                unfinished.write_text(text)
        except OSError as error:
            raise InputError(
                f"flag --log_dir={directory}: cannot be written to "
                f"({error.strerror}); choose another directory"
            ) from None
    first = os.path.abspath(directories[0])  # with "-" in front, it were an option
    job = commands.submit(Path(first, f"{options.name}.sbatch"))
    screen.report(f"{options.name} was submitted as job {job}")
    return job
