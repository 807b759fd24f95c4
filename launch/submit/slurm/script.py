"""The batch script of a job: what sbatch reads, and what the first node runs."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from distmnist.core.config import Config
from launch.submit.slurm.options import ARRAY_INDEX, Options

_LAUNCH = Path(__file__).resolve().parents[2]
_BODY = _LAUNCH / "slurm" / "job.sh"

# Slurm may signal a minute late; what is left must suffice for the checkpoint.
_SIGNAL_SECONDS = 60


def render(options: Options, config: Config, launcher: str, directory: str) -> str:
    """Returns the script.

    Args:
        options: checked options.
        config: configuration of the training.
        launcher: srun or mpirun.
        directory: working directory of the training.
    """
    settings = "".join(
        f"#SBATCH --{name}{f'={value}' if value != '' else ''}\n"
        for name, value in _settings(options, config, launcher, directory)
    )
    extra = f"#SBATCH {options.sbatch}\n" if options.sbatch else ""
    lines = [
        f"cd {shlex.quote(directory)}",
        *(
            []
            if options.container
            else [f"source {shlex.quote(options.environment)}/bin/activate"]
        ),
        "job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",
        "job=${job:-$SLURM_JOB_ID}",
        f"log_dir={_quote(options.log_dir or config.log_dir)}",
        *_launching(options, launcher),
    ]
    if config.restart:  # once: a job that is queued again continues
        lines.append("((${SLURM_RESTART_COUNT:-0} == 0)) || command+=(--norestart)")
    return (
        f"#!/usr/bin/env bash\n{settings}{extra}\n"
        + "\n".join(lines)
        + f"\n\n{_BODY.read_text()}"
    )


def run_directories(options: Options, config: Config) -> list[str]:
    """Returns the run directories of a job, one for each training."""
    if not options.array:
        return [config.log_dir]
    pattern = options.log_dir
    indices = itertools.chain(*options.indices)
    return [pattern.replace(ARRAY_INDEX, str(index)) for index in indices]


def _log_file(options: Options, config: Config, directory: str) -> str:
    """Returns the pattern of the name of a job's log, in the run directory."""
    name, log_dir = "slurm-%j.out", config.log_dir
    if options.array:
        name, log_dir = "slurm-%A_%a.out", options.log_dir
    return str(Path(directory, log_dir.replace(ARRAY_INDEX, "%a"), name))


def _settings(
    options: Options, config: Config, launcher: str, directory: str
) -> Iterator[tuple[str, object]]:
    """Yields options of sbatch."""
    yield "job-name", options.name
    yield "nodes", options.nodes
    yield "ntasks-per-node", options.tasks_per_node
    if options.gpus_per_node:
        yield "gpus-per-node", options.gpus_per_node
        yield "gpu-bind", "none"  # NCCL reaches the GPUs of the other ranks
    named = {
        "cpus-per-task": options.cpus_per_worker,
        "mem": options.memory_per_node,
        "time": options.time,
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "constraint": options.constraint and shlex.quote(options.constraint),
        "array": options.array,
    }
    yield from ((name, value) for name, value in named.items() if value)
    yield "output", shlex.quote(_log_file(options, config, directory))
    yield "open-mode", "append"
    yield "requeue", ""
    seconds = _SIGNAL_SECONDS + round(config.grace_seconds)
    # mpirun's own processes, which are tasks of Slurm, would end of it.
    signal = "B:USR1" if launcher == "mpirun" else "TERM"
    yield "signal", f"{signal}@{seconds}"


def _launching(options: Options, launcher: str) -> Iterator[str]:
    """Yields the lines that define the command."""
    if launcher == "mpirun":
        # scancel ends Open MPI's processes too; then ranks have this time, in seconds,
        # for a checkpoint, and a job always takes it twice to end before its ranks do.
        yield "export OMPI_MCA_odls_base_sigkill_timeout=3"
        words = [shlex.quote(str(_LAUNCH / "graceful.sh")), "mpirun"]
    else:
        # Without --wait it waits for ever for a node whose step daemon was killed.
        words = ["srun", "--mpi=pmix", "--kill-on-bad-exit", "--wait=30"]
        if options.cpus_per_worker:
            yield "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK"
    if options.container:
        words += ["apptainer", "exec", *(["--nv"] if options.gpus_per_node else [])]
        words.append(shlex.quote(options.container))
    words += ["python", "-m", "distmnist.train"]
    yield "command=("
    yield f"  {' '.join(words)}"
    yield from (f"  {_quote(word)}" for word in options.training)
    yield ")"


def _quote(word: str) -> str:
    """Quotes a word for the shell, in which variables of Slurm have their values."""
    parts = re.split(f"({re.escape(ARRAY_INDEX)})", word)
    return "".join(
        f'"{part}"' if part == ARRAY_INDEX else shlex.quote(part)
        for part in parts
        if part
    )
