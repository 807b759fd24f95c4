"""Options of launch/submit_slurm, from its command line."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import sys
from collections.abc import Sequence

from distmnist.core import flags
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.core.options import option, validate
from distmnist.core.rules import Rule, at_least, matching, one_of
from launch.submit import training
from launch.submit.actions import Actions

USAGE = """Submits a training job to Slurm, and follows it to its end.

Usage: launch/submit_slurm [flags] -- [flags of distmnist.train]

To be called on a login node, where the checkout, its .venv, the data and --log_dir are
on a file system that the nodes share. Before the time limit and when it is preempted
the job writes a checkpoint, is queued again, and continues.

Exit status: 0 done; that of the training if it failed; 1 it cannot start, or Slurm does
not answer; 2 wrong flags, or refused by Slurm; 124 over its time limit; 137 out of
memory; 143 cancelled; 130 interrupted.
"""

ARRAY_INDEX = "$SLURM_ARRAY_TASK_ID"
_SHORTEST = 300  # seconds of a start

# Groups of the help.
_JOB = "Job"
_WORKERS = "Workers"
_CLUSTER = "Cluster"


_NAME = matching(r"[\w.+-]{1,100}", "1 to 100 letters, digits and any of _.+-")
_NO_NUMBER = Rule("no number, as --logs takes both", lambda name: not name.isdigit())
_TIME = matching(
    r"[0-9]+|[0-9]+:[0-9]{2}(:[0-9]{2})?|[0-9]+-[0-9]+(:[0-9]{2}){0,2}",
    "minutes, minutes:seconds, hours:minutes:seconds or days-hours:minutes:seconds",
)
_MEMORY = matching(r"[0-9]+[KMGT]?", "megabytes, or a number with K, M, G or T")
_RANGE = "[0-9]{1,9}(-[0-9]{1,9})?"
_ARRAY = matching(f"{_RANGE}(,{_RANGE})*(%[0-9]+)?", "indices such as 0-3 or 1,2,5%2")
# Options of sbatch with which it does not submit, or does not return.
_NOT_FOR_SBATCH = ("--test-only", "--wait", "-W", "--help", "--usage", "--version")


@dataclasses.dataclass(frozen=True)
class _JobOptions:
    """What is submitted, and where."""

    name: str = option("distmnist", "Name of the job.", _JOB, _NAME, _NO_NUMBER)
    time: str | None = option(
        None, "Time limit of each start; by default, the partition's.", _JOB, _TIME
    )
    array: str | None = option(
        None,
        f"Job array, of a training for each index, which is {ARRAY_INDEX} in the flags "
        "of the training; --log_dir must have it.",
        _JOB,
        _ARRAY,
    )
    launcher: str = option(
        "auto",
        "What starts the ranks; auto: srun if it supports PMIx, else mpirun.",
        _JOB,
        one_of("auto", "srun", "mpirun"),
    )
    environment: str = option(
        sys.prefix,
        "Virtual environment; by default, that of this program.",
        _JOB,
        path=True,
    )
    container: str | None = option(
        None,
        "Image of Apptainer whose Python is used instead of --environment.",
        _JOB,
        path=True,
    )

    nodes: int = option(1, "Nodes.", _WORKERS, at_least(1), unit="nodes")
    workers_per_node: int = option(
        1,
        "Ranks on each node; with GPUs, one for each.",
        _WORKERS,
        at_least(1),
        unit="ranks",
    )
    gpus_per_node: int = option(
        0, "GPUs of each node.", _WORKERS, at_least(0), unit="GPUs"
    )
    cpus_per_worker: int | None = option(
        None, "Cores of each rank.", _WORKERS, at_least(1), unit="cores"
    )
    memory_per_node: str | None = option(
        None, "Memory of each node; by default, the partition's.", _WORKERS, _MEMORY
    )

    partition: str | None = option(None, "Partition.", _CLUSTER, _NAME)
    account: str | None = option(None, "Account.", _CLUSTER, _NAME)
    qos: str | None = option(None, "Quality of service.", _CLUSTER, _NAME)
    constraint: str | None = option(
        None, "Features that nodes must have, such as a100.", _CLUSTER
    )
    sbatch: str | None = option(
        None, 'Further options of sbatch, such as "--exclusive --nice".', _CLUSTER
    )


@dataclasses.dataclass(frozen=True)
class Options(Actions, _JobOptions):
    """A checked command line.

    Attributes:
        training: flags of distmnist.train.

    Raises:
        InputError: a value is wrong.
    """

    training: tuple[str, ...] = ()

    @property
    def tasks_per_node(self) -> int:
        """Ranks on each node."""
        return max(self.workers_per_node, self.gpus_per_node)

    @property
    def log_dir(self) -> str:
        """Run directory as it was given; "" if it was not."""
        given, words = "", iter(self.training)
        for word in words:
            flag, equal, value = word.partition("=")
            if flag in ("-log_dir", "--log_dir"):
                given = value if equal else next(words, "")
        return os.path.expanduser(given)

    @property
    def indices(self) -> list[range]:
        """Indices of the job array, in ranges; [] if it is none."""
        parts = self.array.partition("%")[0].split(",") if self.array else []
        pairs = [part.partition("-") for part in parts]
        return [range(int(a), int(b or a) + 1) for a, _, b in pairs]

    def __post_init__(self) -> None:
        """Checks all values."""
        validate(self)
        self.check_actions()
        if self.time is not None and _seconds(self.time) < _SHORTEST:
            raise InputError(
                f"flag --time={self.time}: must be at least {_SHORTEST // 60} minutes, "
                "the last of which are for the checkpoint"
            )
        if not all(self.indices):
            raise InputError(f"flag --array={self.array}: indices must ascend")
        if self.gpus_per_node and self.workers_per_node not in (1, self.gpus_per_node):
            raise InputError(
                f"flags --workers_per_node={self.workers_per_node} and --gpus_per_node="
                f"{self.gpus_per_node}: leave out the first, as each GPU has a rank"
            )
        for name in ("constraint", "sbatch"):  # a line of the script
            if "\n" in (getattr(self, name) or ""):
                raise InputError(f"flag --{name}: must be one line")
        for word in (self.sbatch or "").split():
            if word in _NOT_FOR_SBATCH:
                raise InputError(f"flag --sbatch: {word} is not for submitting a job")


def _seconds(time: str) -> int:
    """Returns a time limit in seconds."""
    days, dash, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:  # days-hours:minutes:seconds
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:  # minutes:seconds
        hours, (minutes, seconds) = 0, (*parts, 0)[:2]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def parse(argv: Sequence[str]) -> tuple[Options, Config]:
    """Turns a command line into `Options`, and checks the flags of the training.

    Args:
        argv: the program's name, its flags, and after `--` those of distmnist.train.

    Returns:
        The options, and the configuration of the training; of an array, of index 0.

    Raises:
        InputError: a flag is unknown, or its value wrong.
        SystemExit: after `--help`, with status 0.
    """
    own, train = training.split(argv)
    options = flags.parse(
        Options, own, USAGE, "--help lists all; flags of the training come after --"
    )
    if options.there:
        return options, Config()
    config = training.check([word.replace(ARRAY_INDEX, "0") for word in train])
    if config.elastic:
        raise InputError("flag --elastic: is not for Slurm, whose jobs keep their size")
    options = dataclasses.replace(options, training=tuple(train))
    shortest = _SHORTEST + config.grace_seconds - Config.grace_seconds
    if options.time is not None and _seconds(options.time) < shortest:
        raise InputError(
            f"flag --time={options.time}: must be at least "
            f"{math.ceil(shortest / 60)} minutes with "
            f"--grace_seconds={config.grace_seconds:.0f}"
        )
    path = os.path.abspath(options.log_dir or config.log_dir).replace(ARRAY_INDEX, "")
    if re.search(r"[%$\\\n]", path):
        raise InputError(
            f"flag --log_dir: {path!r} must have no %, $, backslash or line end, which "
            "are special in the names of Slurm's logs"
        )
    if options.array and ARRAY_INDEX not in options.log_dir:
        raise InputError(
            f"flag --array={options.array}: give --log_dir='logs/{ARRAY_INDEX}' after "
            "--, as each training has a directory of its own"
        )
    return options, config
