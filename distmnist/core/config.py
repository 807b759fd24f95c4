"""The run configuration: `Config`, each field of which is a flag of distmnist.train.

Flags keep the names of the tutorial. What is written here is the only definition of
each: `--help`, docs/flags.md and the checks come from it.
"""

from __future__ import annotations

import dataclasses

from distmnist.core.errors import InputError
from distmnist.core.hparams import HParams
from distmnist.core.options import option, options_of, validate
from distmnist.core.registry import DATASETS, MODELS, describe
from distmnist.core.rules import (
    BEST_METRIC,
    IMAGE_SIZE,
    POSITIVE,
    SPLIT_SIZES,
    STEP_RANGE,
    URLS,
    at_least,
    one_of,
    within,
)

LR_SCALINGS = ("linear", "sqrt", "none")
BATCH_NORMS = ("global", "local")
TASKS = ("auto", "classification", "regression")
COMPUTE_DTYPES = ("float32", "bfloat16", "float16")

# Groups of the help.
TRAINING = "Network and training"
DATA = "Data"
OUTPUT = "Output"
FAULTS = "Fault tolerance"
PERFORMANCE = "Performance and numerical precision"


@dataclasses.dataclass(frozen=True)
class Config:
    """Run configuration: everything that decides a run but the ranks and the data.

    Raises:
        InputError: a value is of a wrong type, or out of its range.
    """

    learning_rate: float = option(
        0.1, "Per-worker learning rate; see --lr_scaling.", TRAINING, POSITIVE
    )
    lr_scaling: str = option(
        "linear",
        "Scaling of the learning rate with N workers: times N (linear), times the "
        "square root of N (sqrt), or none.",
        TRAINING,
        one_of(*LR_SCALINGS),
    )
    warmup_steps: int = option(
        0,
        "Linear warm-up steps, from the per-worker to the scaled learning rate.",
        TRAINING,
        at_least(0),
        unit="steps",
    )
    batch_size: int = option(
        100, "Per-worker batch size.", TRAINING, at_least(1), unit="examples"
    )
    max_steps: int = option(
        2000,
        "Optimizer steps, at any number of workers.",
        TRAINING,
        at_least(1),
        unit="steps",
    )
    num_epochs: float | None = option(
        None,
        "Passes over the training split, at any number of workers; replaces "
        "--max_steps. The last step uses a full batch, and may start another pass.",
        TRAINING,
        POSITIVE,
        unit="epochs",
    )
    momentum: float = option(
        0.0, "Momentum of SGD; 0: plain SGD.", TRAINING, within(0, 1)
    )
    model: str = option(
        "mlp",
        f"Network. {describe(MODELS)}; or your own, package.module:name: a Network, a "
        "Keras layer or model, or a function of (config, spec) that returns one.",
        TRAINING,
        required=True,
    )
    hparams: HParams = option(  # noqa: RUF009 (what cannot be changed)
        HParams(),
        "Hyperparameters of your own network, in its config.hparams: numbers, true, "
        "false, or text.",
        TRAINING,
    )
    hidden1: int = option(
        128, "Size of the mlp's hidden layer 1.", TRAINING, at_least(1), unit="units"
    )
    hidden2: int = option(
        32, "Size of the mlp's hidden layer 2.", TRAINING, at_least(1), unit="units"
    )
    seed: int = option(
        0,
        "Seed of the initial parameters and of the data order.",
        TRAINING,
        within(0, 2**32),
    )

    dataset: str = option(
        "auto",
        f"Data set. {describe(DATASETS)}; or a path: a directory of images by class, "
        "of .npy files or of IDX files, an .npz file, a .csv or .parquet table; or "
        "your own, package.module:function, which returns a Dataset.",
        DATA,
        required=True,
    )
    target: str = option(
        "",
        "Column of a table that is predicted; all others are features.",
        DATA,
    )
    task: str = option(
        "auto",
        "What the targets of a table or of arrays are: classes (classification) or "
        "numbers (regression); auto: names and integers are classes, unless a table's "
        "column has more than 20 different integers.",
        DATA,
        one_of(*TASKS),
    )
    image_size: tuple[int, ...] = option(
        (),
        "HEIGHT,WIDTH to which the images of a directory are resized; by default, they "
        "must have one size.",
        DATA,
        IMAGE_SIZE,
        unit="pixels",
    )
    # Decides `dataset`, and is no field itself.
    fake_data: dataclasses.InitVar[bool] = option(  # noqa: RUF009 (it makes a field)
        False, "Same as --dataset=fake.", DATA
    )
    input_data_dir: str = option(
        "data/mnist",
        "Directory of the data set's files (MNIST: four IDX files, plain or .gz); "
        "missing files are downloaded to it.",
        DATA,
        path=True,
    )
    mnist_mirrors: tuple[str, ...] | None = option(
        None,
        "Base URLs to download MNIST from, tried in order; by default, three public "
        "mirrors.",
        DATA,
        URLS,
    )
    fake_sizes: tuple[int, int, int] = option(
        (10000, 1000, 1000),
        "Sizes of the splits of --dataset=fake.",
        DATA,
        SPLIT_SIZES,
        unit="examples",
    )

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
        "are computed; 0: one per 64 MB; on a GPU one per 4 MB, up to 16.",
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

    def __post_init__(self, fake_data: bool) -> None:
        """Checks all values."""
        validate(self)
        if self.use_adasum and self.gradient_buckets:
            raise InputError(
                "flags --use_adasum and --gradient_buckets: give only one, as Adasum "
                "combines the gradient of each variable on its own"
            )
        if options_of(Config)["fake_data"].check(fake_data):
            if self.dataset not in ("auto", "fake"):
                raise InputError(
                    f"flags --fake_data and --dataset={self.dataset}: give only one"
                )
            object.__setattr__(self, "dataset", "fake")
