"""What the user asks of launch/submit_k8s, from its command line."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from distmnist.core import config
from distmnist.core.errors import InputError

USAGE = """Usage: launch/submit_k8s --image=IMAGE [flags] -- [flags of distmnist.train]

Submits a training job to a Kubernetes cluster, and follows it to its end. One worker
is a plain Job; more are an MPIJob, which takes the MPI Operator. Data and logs are on
the volume: --input_data_dir=/data/mnist, --log_dir=/data/logs/NAME.

Exit status: 0 done; that of the training if it failed; 2 wrong flags, or refused by the
cluster; 124 out of time; 130 interrupted.
"""

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?")

_MOST_GRACE = 25  # terminationGracePeriodSeconds in k8s/, and some to end in


@dataclasses.dataclass(frozen=True)
class Options:
    """A checked command line; each field is the flag of the same name.

    Attributes:
        training: flags of distmnist.train.

    Raises:
        InputError: a value is wrong.
    """

    image: str = ""
    workers: int = 2
    gpus_per_worker: int = 0
    cpus_per_worker: str | None = None
    memory_per_worker: str | None = None
    elastic: bool = False
    min_workers: int = 1
    spread: bool = False
    name: str = "distmnist"
    namespace: str | None = None
    context: str | None = None
    queue: str | None = None
    pvc: str | None = None
    timeout: int | None = None
    dry_run: bool = False
    detach: bool = False
    delete: str | None = None
    logs: str | None = None
    training: tuple[str, ...] = ()

    @property
    def single(self) -> bool:
        """Whether one process does it all, without the operator."""
        return self.workers == 1 and self.gpus_per_worker <= 1 and not self.elastic

    @property
    def slots(self) -> int:
        """Ranks of a worker."""
        return max(1, self.gpus_per_worker)

    def __post_init__(self) -> None:
        """Checks all values."""

        def check(name: str, fits: object, rule: str) -> None:
            if not fits:
                value = getattr(self, name)
                raise InputError(f"flag --{name}={value}: must be {rule}")

        for names, pattern, rule in (
            # Of a job, whose workers have a Service of its name.
            (("name", "delete", "logs"), _NAME, "small letters, digits and dashes"),
            (("namespace", "queue", "pvc"), _SUBDOMAIN, "a name of Kubernetes'"),
        ):
            for name in names:
                value = getattr(self, name)
                check(name, value is None or pattern.fullmatch(value), rule)
        # Pods are called NAME-launcher-xxxxx and NAME-worker-N, in 63 characters.
        check("name", len(self.name) <= 47, "at most 47 characters")
        check("workers", self.workers >= 1, "at least 1")
        check("gpus_per_worker", self.gpus_per_worker >= 0, "0 or more")
        check(
            "min_workers",
            1 <= self.min_workers <= self.workers,
            f"from 1 to --workers={self.workers}",
        )
        for name in ("cpus_per_worker", "memory_per_worker"):
            value = getattr(self, name)
            check(
                name,
                value is None or _QUANTITY.fullmatch(value),
                "a quantity of Kubernetes', 500m or 4Gi say",
            )
        check("timeout", self.timeout is None or self.timeout >= 1, "at least 1 second")
        if not (self.image or self.delete or self.logs):
            raise InputError("flag --image: give the image, REGISTRY/NAME:TAG")


def parse(argv: Sequence[str]) -> Options:
    """Turns a command line into `Options`, and checks the flags of the training.

    Args:
        argv: the program's name, its flags, and after `--` those of distmnist.train.

    Raises:
        InputError: a flag is unknown, or its value wrong.
        SystemExit: after `--help`, with status 0.
    """
    words = list(argv)
    split = words.index("--") if "--" in words else len(words)
    own, training = words[:split], words[split + 1 :]
    # Apart from the flags of distmnist.train, which may have the same names.
    values = _define()
    try:
        rest = values(own)
    except flags.Error as error:
        raise InputError(
            f"{' '.join(str(error).split())} (--help lists all; flags of the training "
            "come after --)"
        ) from None
    if values["help"].value:
        print(USAGE + values.get_help())
        sys.exit(0)
    if rest[1:]:
        raise InputError(f"argument {rest[1]!r}: flags of the training come after --")
    names = {field.name for field in dataclasses.fields(Options)} - {"training"}
    given: dict[str, Any] = {name: values[name].value for name in names}
    options = Options(**given, training=tuple(training))
    if not (options.delete or options.logs):
        config.define_flags()
        elastic = ["--elastic"] * options.elastic
        settings = config.parse(["distmnist.train", *elastic, *training])
        if settings.grace_seconds > _MOST_GRACE:
            raise InputError(
                f"flag --grace_seconds={settings.grace_seconds}: must be at most "
                f"{_MOST_GRACE}, as pods that are stopped are killed after 30 seconds"
            )
    return options


def _define() -> flags.FlagValues:
    """Returns the flags of this program, none of which has been given."""
    values: flags.FlagValues = flags.FlagValues()  # type: ignore[no-untyped-call]

    def string(name: str, text: str) -> None:
        default = getattr(Options, name)
        flags.DEFINE_string(name, default, text, flag_values=values)

    def integer(name: str, text: str) -> None:
        default = getattr(Options, name)
        flags.DEFINE_integer(name, default, text, flag_values=values)

    def boolean(name: str, text: str) -> None:
        flags.DEFINE_boolean(name, False, text, flag_values=values)

    boolean("help", "Show this.")
    string("image", "Image that k8s/Dockerfile builds, where the cluster finds it.")
    integer("workers", "Pods that train.")
    integer("gpus_per_worker", "GPUs, and as many ranks, of a worker; 0: one, on CPUs.")
    string("cpus_per_worker", "CPUs that a worker asks for; the manifest says 2.")
    string("memory_per_worker", "Its memory; the manifest says 2Gi, with GPUs 8Gi.")
    boolean("elastic", "Train on when workers are lost, and with those that come.")
    integer("min_workers", "With --elastic: fewer than these wait for others.")
    boolean("spread", "Put each worker on a machine of its own.")
    string("name", "Name of the job; one that exists is not touched.")
    string("namespace", "By default that of the context.")
    string("context", "Of the kubeconfig; by default the current one.")
    string("queue", "Local queue of Kueue's, in which the job waits for its turn.")
    string(
        "pvc",
        "Claim of the volume, which must exist; by default distmnist, made "
        "where it is missing.",
    )
    integer(
        "timeout",
        "Seconds after which the job, still waiting or running, is "
        "deleted; exit status 124.",
    )
    boolean("dry_run", "Print what would be submitted, as YAML; no cluster is needed.")
    boolean("detach", "Submit, and do not follow.")
    string("delete", "Delete the job of this name, instead of submitting one.")
    string("logs", "Follow the job of this name, instead of submitting one.")
    return values
