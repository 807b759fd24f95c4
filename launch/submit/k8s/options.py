"""Options of launch/submit_k8s, from its command line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from distmnist.core import flags
from distmnist.core.errors import InputError
from distmnist.core.options import option, validate
from distmnist.core.rules import Rule, at_least, matching, one_of
from launch.submit import training
from launch.submit.actions import Actions

USAGE = """Submits a training job to a Kubernetes cluster, and follows it to its end.

Usage: launch/submit_k8s --image=IMAGE [flags] -- [flags of distmnist.train]

One process is a plain Job; several are an MPIJob, which requires the MPI Operator, or a
TrainJob, which requires Kubeflow Trainer. Data and logs are on the volume:
--input_data_dir=/data/mnist, --log_dir=/data/logs/NAME.

Exit status: 0 done; that of the training if it failed; 1 it cannot start, or was
deleted; 2 wrong flags, or the cluster refuses them or does not answer; 124 timed out;
130 interrupted.
"""

_MAX_GRACE = 25  # terminationGracePeriodSeconds in k8s/, less some time to exit

# Groups of the help.
_JOB = "Job"
_WORKERS = "Workers"
_CLUSTER = "Cluster"


# Kinds of object that run a job: the first that can, and that the cluster has.
KINDS = ("job", "mpijob", "trainjob")

# A job's workers have a Service of its name.
_NAME = matching(r"[a-z]([-a-z0-9]*[a-z0-9])?", "lower-case letters, digits and dashes")
# Its pods are called NAME-launcher-xxxxx and NAME-worker-N, in 63 characters.
_SHORT = Rule("at most 47 characters", lambda name: len(name) <= 47)
_SHORT_TRAINJOB = 44  # NAME-launcher-0-0-xxxxx

# The grammar of container images, without which nothing would be pulled:
# https://pkg.go.dev/github.com/distribution/reference
_HOST = r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?"
_PATH = r"[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*"
_IMAGE = matching(
    rf"(({_HOST}(\.{_HOST})*|\[[a-fA-F0-9:]+\])(:[0-9]+)?/)?{_PATH}(/{_PATH})*"
    r"(:\w[-.\w]{0,127})?(@[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,})?|",
    "the name of an image, such as registry.example.com/team/distmnist:cpu",
)
_RESOURCE = matching(
    r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?", "the name of a Kubernetes resource"
)
_QUANTITY = matching(
    r"[0-9]+(\.[0-9]+)?(m|k|Ki|[MGTPE]i?)?",
    "a Kubernetes quantity, such as 500m or 4Gi",
)
_KEY = (
    r"([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?"
)
_VALUE = r"([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?"
_EFFECTS = "NoSchedule|PreferNoSchedule|NoExecute"


def _each(pattern: str, text: str) -> Rule:
    """Returns the range of lists whose items match a regular expression."""
    whole = re.compile(pattern, re.ASCII)
    return Rule(text, lambda items: all(map(whole.fullmatch, items)))


_LABELS = _each(f"{_KEY}={_VALUE}", "a list of KEY=VALUE, labels of Kubernetes")
_TOLERATIONS = _each(
    f"{_KEY}(={_VALUE})?(:({_EFFECTS}))?",
    f"a list of KEY, KEY=VALUE, each with or without :EFFECT, of {_EFFECTS}",
)


@dataclasses.dataclass(frozen=True)
class _JobOptions:
    """What is submitted, and where."""

    image: str = option(
        "", "REGISTRY/NAME:TAG of an image built from k8s/Dockerfile.", _JOB, _IMAGE
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
    config_map: str | None = option(
        None,
        "ConfigMap of Python modules of your own, for --model, --dataset and so on.",
        _JOB,
        _RESOURCE,
    )
    timeout: int | None = option(
        None,
        "Delete the job, pending or running, after this time; exit status 124. With "
        "--detach, it is stopped, and remains.",
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
    disk_per_worker: str | None = option(
        None,
        "Local disk of a worker, for --local_dir=/tmp/data; by default, at most 8Gi.",
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
    node_selector: tuple[str, ...] = option(
        (), "Labels of the nodes to use, KEY=VALUE,...", _WORKERS, _LABELS
    )
    tolerations: tuple[str, ...] = option(
        (),
        "Taints of nodes to tolerate, KEY[=VALUE][:EFFECT],...; besides that of GPUs.",
        _WORKERS,
        _TOLERATIONS,
    )
    priority_class: str | None = option(
        None, "PriorityClass of the pods.", _WORKERS, _RESOURCE
    )

    namespace: str | None = option(
        None, "Namespace; by default, the context's.", _CLUSTER, _RESOURCE
    )
    context: str | None = option(
        None, "Context of the kubeconfig; by default, the current one.", _CLUSTER
    )
    queue: str | None = option(
        None, "Local queue of Kueue in which the job waits.", _CLUSTER, _RESOURCE
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
    def kinds(self) -> tuple[str, ...]:
        """The kinds of object that can run the job, the preferred one first."""
        kinds = KINDS if self.kind == "auto" else (self.kind,)
        return tuple(kind for kind in kinds if not self._conflict(kind))

    @property
    def single(self) -> bool:
        """Whether the job is a plain Job, which needs no operator."""
        return self.kinds[0] == "job"

    def no_such_jobs(self) -> str:
        """Returns why a cluster that has jobs of other kinds cannot run the job."""
        if self.kind != "auto":
            return f"flag --kind={self.kind}: the cluster has no such jobs"
        return (
            "the cluster has no MPIJobs: install the MPI Operator, docs/kubernetes.md; "
            f"or, for a TrainJob: {self._conflict('trainjob')}"
        )

    def _conflict(self, kind: str) -> str:
        """Returns why a kind of object cannot run the job; "" if it can."""
        one_process = self.workers == 1 and self.gpus_per_worker <= 1
        if kind == "job" and (self.elastic or not one_process):
            return (
                "a plain Job is one process: it requires --workers=1, at most one GPU, "
                "and no --elastic"
            )
        if kind == "trainjob":
            if self.elastic:
                return "the number of nodes of a TrainJob is fixed; omit --elastic"
            if self.workers == 1:
                return "a TrainJob has at least 2 nodes; give --workers"
            if self.spread or self.priority_class:
                flag = "--spread" if self.spread else "--priority_class"
                return f"its runtime, k8s/trainer, decides on this; omit {flag}"
            if len(self.name) > _SHORT_TRAINJOB:
                return f"--name must be at most {_SHORT_TRAINJOB} characters"
        return ""

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
        if self.min_workers > 1 and not self.elastic:
            raise InputError("flag --min_workers: only with --elastic")
        self.check_actions("context", "namespace", "timeout")
        if self.kind != "auto" and (conflict := self._conflict(self.kind)):
            raise InputError(f"flag --kind={self.kind}: {conflict}")
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
        if any(re.match("--?flagfile", word) for word in train):
            raise InputError(
                "flag --flagfile after --: pods do not have the file; give its flags"
            )
        config = training.check(["--elastic"] * options.elastic + train)
        if config.elastic and not options.elastic:
            raise InputError("flag --elastic after --: give it before --")
        if config.grace_seconds > _MAX_GRACE:
            raise InputError(
                f"flag --grace_seconds={config.grace_seconds}: must be at most "
                f"{_MAX_GRACE}, as pods are killed 30 seconds after they are stopped"
            )
    return dataclasses.replace(options, training=tuple(train))
