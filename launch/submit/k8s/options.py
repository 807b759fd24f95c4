"""Options of launch/submit_k8s, from its command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from distmnist.core import flags
from distmnist.core.errors import InputError
from distmnist.core.options import option, validate
from distmnist.core.rules import Rule, at_least, matching, one_of
from launch.submit import training

USAGE = """Submits a training job to a Kubernetes cluster, and follows it to its end.

Usage: launch/submit_k8s --image=IMAGE [flags] -- [flags of distmnist.train]

One worker is a plain Job; several are an MPIJob, which requires the MPI Operator. Data
and logs are on the volume: --input_data_dir=/data/mnist, --log_dir=/data/logs/NAME.

Exit status: 0 done; that of the training if it failed; 2 wrong flags, or refused by the
cluster; 124 timed out; 130 interrupted.
"""

_MAX_GRACE = 25  # terminationGracePeriodSeconds in k8s/, less some time to exit

# Groups of the help.
_JOB = "Job"
_WORKERS = "Workers"
_CLUSTER = "Cluster"
_ACTION = "Action"


# Kinds of object that run a job: the first that can, and that the cluster has.
KINDS = ("job", "mpijob", "trainjob")

# A job's workers have a Service of its name.
_NAME = matching(r"[a-z]([-a-z0-9]*[a-z0-9])?", "lower-case letters, digits and dashes")
# Its pods are called NAME-launcher-xxxxx and NAME-worker-N, in 63 characters.
_SHORT = Rule("at most 47 characters", lambda name: len(name) <= 47)
_RESOURCE = matching(
    r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?", "the name of a Kubernetes resource"
)
_QUANTITY = matching(
    r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?", "a Kubernetes quantity, such as 500m or 4Gi"
)


@dataclasses.dataclass(frozen=True)
class Options:
    """A checked command line.

    Attributes:
        training: flags of distmnist.train.

    Raises:
        InputError: a value is wrong.
    """

    image: str = option(
        "", "REGISTRY/NAME:TAG of an image built from k8s/Dockerfile.", _JOB
    )
    name: str = option(
        "distmnist",
        "Name of the job; an existing job is not modified.",
        _JOB,
        _NAME,
        _SHORT,
    )
    pvc: str | None = option(
        None,
        "Existing volume claim to use; by default distmnist, created if missing.",
        _JOB,
        _RESOURCE,
    )
    kind: str = option(
        "auto",
        "Object that runs the job. auto: a plain Job if it is one process; else an "
        "MPIJob or a TrainJob, whichever the cluster has.",
        _JOB,
        one_of("auto", *KINDS),
    )
    timeout: int | None = option(
        None,
        "Delete the job, pending or running, after this time; exit status 124.",
        _JOB,
        at_least(1),
        unit="seconds",
    )

    workers: int = option(2, "Training pods.", _WORKERS, at_least(1), unit="pods")
    gpus_per_worker: int = option(
        0,
        "GPUs, and ranks, per worker; 0: one rank, on CPUs.",
        _WORKERS,
        at_least(0),
        unit="GPUs",
    )
    cpus_per_worker: str | None = option(
        None,
        "CPU request of a worker; by default, the manifest's 2.",
        _WORKERS,
        _QUANTITY,
    )
    memory_per_worker: str | None = option(
        None,
        "Memory of a worker; by default, the manifest's 2Gi, or 8Gi with GPUs.",
        _WORKERS,
        _QUANTITY,
    )
    elastic: bool = option(
        False, "Continue when workers leave or join: elastic training.", _WORKERS
    )
    min_workers: int = option(
        1,
        "With --elastic, workers below which training waits; at most --workers.",
        _WORKERS,
        at_least(1),
        unit="pods",
    )
    spread: bool = option(False, "Schedule one worker per node.", _WORKERS)

    namespace: str | None = option(
        None, "Namespace; by default, the context's.", _CLUSTER, _RESOURCE
    )
    context: str | None = option(
        None, "Context of the kubeconfig; by default, the current one.", _CLUSTER
    )
    queue: str | None = option(
        None, "Local queue of Kueue in which the job waits.", _CLUSTER, _RESOURCE
    )

    dry_run: bool = option(
        False, "Print the objects as YAML, without access to a cluster.", _ACTION
    )
    detach: bool = option(False, "Submit the job without following it.", _ACTION)
    status: str | None = option(
        None,
        "Print the state of the job of this name, instead of submitting one.",
        _ACTION,
        _NAME,
    )
    json: bool = option(False, "With --status: as one JSON object.", _ACTION)
    delete: str | None = option(
        None, "Delete the job of this name, instead of submitting one.", _ACTION, _NAME
    )
    logs: str | None = option(
        None, "Follow the job of this name, instead of submitting one.", _ACTION, _NAME
    )

    training: tuple[str, ...] = ()

    @property
    def there(self) -> str | None:
        """The job that is there already, if one is looked at."""
        return self.status or self.delete or self.logs

    @property
    def single(self) -> bool:
        """Whether the job is a single process, which needs no operator."""
        return self.workers == 1 and self.gpus_per_worker <= 1 and not self.elastic

    @property
    def slots(self) -> int:
        """Ranks per worker."""
        return max(1, self.gpus_per_worker)

    def __post_init__(self) -> None:
        """Checks all values."""
        validate(self)
        if self.min_workers > self.workers:
            raise InputError(
                f"flag --min_workers={self.min_workers}: must be at most "
                f"--workers={self.workers}"
            )
        if self.json and not self.status:
            raise InputError("flag --json: only with --status=NAME")
        if not (self.image or self.there):
            raise InputError("flag --image: give the image, REGISTRY/NAME:TAG")


def parse(argv: Sequence[str]) -> Options:
    """Turns a command line into `Options`, and checks the flags of the training.

    Args:
        argv: the program's name, its flags, and after `--` those of distmnist.train.

    Raises:
        InputError: a flag is unknown, or its value wrong.
        SystemExit: after `--help`, with status 0.
    """
    own, train = training.split(argv)
    options = flags.parse(
        Options, own, USAGE, "--help lists all; flags of the training come after --"
    )
    if not options.there:
        config = training.check(["--elastic"] * options.elastic + train)
        if config.grace_seconds > _MAX_GRACE:
            raise InputError(
                f"flag --grace_seconds={config.grace_seconds}: must be at most "
                f"{_MAX_GRACE}, as pods are killed 30 seconds after they are stopped"
            )
    return dataclasses.replace(options, training=tuple(train))
