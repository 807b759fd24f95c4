"""The run configuration: `Config`, each field of which is a flag of distmnist.train.

Flags keep the names of the tutorial. What is written here and in the classes that it
extends is the only definition of each: `--help`, docs/flags.md and the checks come from
it.
"""

from __future__ import annotations

import dataclasses

from distmnist.core.combinations import check_combinations
from distmnist.core.data_options import DataOptions
from distmnist.core.errors import InputError
from distmnist.core.optimizer_options import OptimizerOptions
from distmnist.core.options import option, options_of, validate
from distmnist.core.registry import describe
from distmnist.core.rules import (
    BEST_METRIC,
    NOT_NEGATIVE,
    POSITIVE,
    STEP_RANGE,
    at_least,
    each_of,
    one_of,
)
from distmnist.core.trackers import TRACKERS
from distmnist.core.training_options import TrainingOptions

BATCH_NORMS = ("global", "local")
COMPUTE_DTYPES = ("float32", "bfloat16", "float16")

# Groups of the help.
OUTPUT = "Output"
FAULTS = "Fault tolerance"
PERFORMANCE = "Performance and numerical precision"


@dataclasses.dataclass(frozen=True)
class Config(DataOptions, OptimizerOptions, TrainingOptions):
    """Run configuration: everything that decides a run but the ranks and the data.

    Raises:
        InputError: a value is of a wrong type, or out of its range.
    """

    log_dir: str = option(
        "logs",
        "Run directory, for checkpoints, metrics and event files; a run that it "
        "contains is resumed.",
        OUTPUT,
        path=True,
        required=True,
    )
    log_every: int = option(
        100, "Interval between log lines.", OUTPUT, at_least(1), unit="steps"
    )
    eval_every: int = option(
        1000,
        "Interval between evaluations; 0: only at the end.",
        OUTPUT,
        at_least(0),
        unit="steps",
    )
    checkpoint_every: int = option(
        1000,
        "Interval between checkpoints; 0: only at the end.",
        OUTPUT,
        at_least(0),
        unit="steps",
    )
    keep_checkpoints: int = option(
        5,
        "Most recent checkpoints to keep; the best one is kept too, see --best_metric.",
        OUTPUT,
        at_least(1),
        unit="checkpoints",
    )
    best_metric: str = option(
        "auto",
        "Metric of the validation split, and its direction, that choose the best "
        "checkpoint: NAME:max or NAME:min; auto: accuracy:max for classes, else "
        "loss:min.",
        OUTPUT,
        BEST_METRIC,
    )
    restart: bool = option(
        False,
        "Start from scratch; archive the existing run in a subdirectory of --log_dir.",
        OUTPUT,
    )
    trackers: tuple[str, ...] = option(
        (),
        "Experiment trackers to which rank 0 publishes the metrics. "
        f"{describe(TRACKERS)}.",
        OUTPUT,
        each_of(*TRACKERS),
    )
    progress: bool | None = option(
        None,
        "Show a progress bar; by default, on a terminal or in a notebook.",
        OUTPUT,
    )

    elastic: bool = option(
        False,
        "Enable elastic training, under horovodrun --host-discovery-script.",
        FAULTS,
    )
    commit_steps: int = option(
        100,
        "Commit interval of elastic training: the most steps replayed when ranks are "
        "lost.",
        FAULTS,
        at_least(1),
        unit="steps",
    )
    grace_seconds: float = option(
        20.0,
        "Shutdown grace period: from SIGTERM or SIGINT to the end of the process; a "
        "checkpoint is written within it.",
        FAULTS,
        POSITIVE,
        unit="seconds",
    )
    stall_seconds: float = option(
        600.0,
        "Hang timeout: abort if there is no progress for this long, at any time.",
        FAULTS,
        POSITIVE,
        unit="seconds",
    )

    lock_seconds: float = option(
        0.0,
        "How long to wait while another process uses --log_dir: the rest of a job that "
        "this one replaces, on a cluster.",
        FAULTS,
        NOT_NEGATIVE,
        unit="seconds",
    )

    backward_passes_per_step: int = option(
        1,
        "Gradient accumulation steps: batches whose gradients a worker averages before "
        "the allreduce. A step then takes as many times the examples, and the learning "
        "rate is scaled accordingly.",
        PERFORMANCE,
        at_least(1),
        unit="batches",
    )
    gradient_buckets: int = option(
        0,
        "Number of parts in which gradients are sent, the first of them while others "
        "are computed; 0: one per 64 MB; on a GPU without --xla at least one per 4 MB, "
        "up to 16.",
        PERFORMANCE,
        at_least(0),
        unit="buckets",
    )
    fp16_allreduce: bool = option(
        False,
        "Send gradients as float16: half the bytes, 11 significant bits.",
        PERFORMANCE,
    )
    use_adasum: bool = option(
        False,
        "Combine gradients by Adasum instead of averaging; the learning rate is not "
        "scaled. Requires MPI or NCCL, and 2, 4, 8, ... workers.",
        PERFORMANCE,
    )
    compute_dtype: str = option(
        "float32",
        "Data type that the network computes in; parameters stay float32. For GPUs.",
        PERFORMANCE,
        one_of(*COMPUTE_DTYPES),
    )
    batch_norm: str = option(
        "global",
        "Examples that Keras' batch normalization averages over: those of all workers "
        "(global), or each worker's own (local), so that N workers differ from one.",
        PERFORMANCE,
        one_of(*BATCH_NORMS),
    )
    xla: bool = option(False, "Compile the network with XLA. For GPUs.", PERFORMANCE)
    steps_per_call: int = option(
        0,
        "Most steps in one call of the graph; 0: as many as half a second takes.",
        PERFORMANCE,
        at_least(0),
        unit="steps",
    )
    profile: tuple[int, ...] = option(
        (),
        "Steps to profile with TensorFlow; then the parts of a step are measured.",
        PERFORMANCE,
        STEP_RANGE,
        unit="steps",
    )

    @property
    def examples_per_step(self) -> int:
        """Examples that one worker processes in a step."""
        return self.batch_size * self.backward_passes_per_step

    @property
    def decay_length(self) -> tuple[float, str]:
        """Length of the learning rate's decay, and its unit: steps or epochs."""
        if self.lr_decay_steps:
            return self.lr_decay_steps, "steps"
        if self.lr_decay_epochs:
            return self.lr_decay_epochs, "epochs"
        if self.num_epochs is not None:
            return self.num_epochs, "epochs"
        return self.max_steps, "steps"

    def __post_init__(self, fake_data: bool) -> None:
        """Checks all values."""
        validate(self)
        check_combinations(self)
        if options_of(Config)["fake_data"].check(fake_data):
            if self.dataset not in ("auto", "fake"):
                raise InputError(
                    f"flags --fake_data and --dataset={self.dataset}: give only one"
                )
            object.__setattr__(self, "dataset", "fake")
