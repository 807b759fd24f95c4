"""The flags, and the frozen `Config` that they become.

`Config` holds the defaults and checks its own values, so that flags, tests and
notebooks meet the same rules.  Flags keep the names of the tutorial.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from absl import app, flags, logging

from distmnist.core.errors import InputError
from distmnist.data.datasets import DEFAULT_MIRRORS

DATASETS = ("auto", "mnist", "digits", "fake")
LR_SCALINGS = ("linear", "sqrt", "none")
COMPUTE_DTYPES = ("float32", "bfloat16", "float16")


# The flags by subject: the order of --help and of the README.
SUBJECTS = {
    "Network and training": (
        "learning_rate",
        "lr_scaling",
        "warmup_steps",
        "batch_size",
        "max_steps",
        "num_epochs",
        "momentum",
        "model",
        "hidden1",
        "hidden2",
        "seed",
    ),
    "Data": ("dataset", "fake_data", "input_data_dir", "mnist_mirrors", "fake_sizes"),
    "Output": (
        "log_dir",
        "log_every",
        "eval_every",
        "checkpoint_every",
        "keep_checkpoints",
        "restart",
        "progress",
    ),
    "Faults": ("elastic", "commit_steps", "grace_seconds", "stall_seconds"),
    "Speed and precision of the arithmetic": (
        "backward_passes_per_step",
        "fp16_allreduce",
        "use_adasum",
        "compute_dtype",
        "xla",
        "steps_per_call",
        "profile",
    ),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """All that decides a run, but for the number of ranks and the data.

    Each field is the flag of the same name, whose help says what it means.

    Raises:
        InputError: a value is out of its range.
    """

    learning_rate: float = 0.1
    lr_scaling: str = "linear"
    warmup_steps: int = 0
    batch_size: int = 100
    max_steps: int = 2000
    num_epochs: float | None = None
    momentum: float = 0.0
    model: str = "mlp"
    hidden1: int = 128
    hidden2: int = 32
    seed: int = 126  # a good one: see "Precision" in README.md

    dataset: str = "auto"
    input_data_dir: str = "data/mnist"
    mnist_mirrors: tuple[str, ...] = DEFAULT_MIRRORS
    fake_sizes: tuple[int, int, int] = (10000, 1000, 1000)

    log_dir: str = "logs"
    log_every: int = 100
    eval_every: int = 1000
    checkpoint_every: int = 1000
    keep_checkpoints: int = 5
    restart: bool = False
    progress: bool | None = None

    elastic: bool = False
    commit_steps: int = 100
    grace_seconds: float = 20.0
    stall_seconds: float = 600.0

    backward_passes_per_step: int = 1
    fp16_allreduce: bool = False
    use_adasum: bool = False
    compute_dtype: str = "float32"
    xla: bool = False
    steps_per_call: int = 0
    profile: tuple[int, ...] = ()

    @property
    def step_size(self) -> int:
        """Examples that one worker takes in a step."""
        return self.batch_size * self.backward_passes_per_step

    def __post_init__(self) -> None:
        """Checks all values."""

        def check(name: str, fits: bool, rule: str) -> None:
            if not fits:
                value = getattr(self, name)
                raise InputError(f"flag --{name}={value}: must be {rule}")

        rate, epochs = self.learning_rate, self.num_epochs
        check("learning_rate", 0 < rate < math.inf, "a positive number")
        check("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        check("model", bool(self.model), "the name of a network")
        check("lr_scaling", self.lr_scaling in LR_SCALINGS, f"one of {LR_SCALINGS}")
        for name in (
            "batch_size",
            "max_steps",
            "hidden1",
            "hidden2",
            "log_every",
            "keep_checkpoints",
            "commit_steps",
            "backward_passes_per_step",
        ):
            check(name, getattr(self, name) >= 1, "at least 1")
        for name in (
            "warmup_steps",
            "eval_every",
            "checkpoint_every",
            "steps_per_call",
        ):
            check(name, getattr(self, name) >= 0, "0 or more")
        check("compute_dtype", self.compute_dtype in COMPUTE_DTYPES, "a known type")
        span = self.profile
        check(
            "profile",
            not span or (len(span) == 2 and 0 < span[0] < span[1]),
            "FROM,TO: two steps of at least 1, the first before the second",
        )
        for name in ("grace_seconds", "stall_seconds"):
            check(name, 0 < getattr(self, name) < math.inf, "a positive number")
        check("num_epochs", epochs is None or 0 < epochs < math.inf, "positive")
        check("seed", 0 <= self.seed < 2**32, "in [0, 2**32)")
        check("dataset", self.dataset in DATASETS, f"one of {DATASETS}")
        check("mnist_mirrors", bool(self.mnist_mirrors), "a list of URLs")
        check("log_dir", bool(self.log_dir), "a directory")
        sizes = self.fake_sizes
        check(
            "fake_sizes",
            len(sizes) == 3 and min(sizes) >= 1,
            "three numbers of at least 1: train,validation,test",
        )


def define_flags() -> None:
    """Defines the flags; a second call changes nothing."""
    if "lr_scaling" in flags.FLAGS:
        return
    default = Config()
    flags.DEFINE_float(
        "learning_rate",
        default.learning_rate,
        "Learning rate of one worker; see --lr_scaling.",
    )
    flags.DEFINE_enum(
        "lr_scaling",
        default.lr_scaling,
        LR_SCALINGS,
        "What N workers multiply the learning rate by: N, its square root, or 1.",
    )
    flags.DEFINE_integer(
        "warmup_steps",
        default.warmup_steps,
        "Steps in which the rate rises from that of one worker to the scaled one.",
    )
    flags.DEFINE_integer(
        "batch_size", default.batch_size, "Examples a step, of each worker."
    )
    flags.DEFINE_integer(
        "max_steps", default.max_steps, "Optimizer steps, at any number of workers."
    )
    flags.DEFINE_float(
        "num_epochs",
        default.num_epochs,
        "Passes over the training split, at any number of workers; replaces "
        "--max_steps. The last step is a full one, and may begin another pass.",
    )
    flags.DEFINE_float("momentum", default.momentum, "Of SGD, in [0, 1); 0: plain SGD.")
    flags.DEFINE_string(
        "model",
        default.model,
        "The network: mlp (the tutorial's), cnn (convolutional), or your own as "
        "package.module:Class; see README.md.",
    )
    flags.DEFINE_integer(
        "hidden1", default.hidden1, "Units of hidden layer 1 of the mlp."
    )
    flags.DEFINE_integer(
        "hidden2", default.hidden2, "Units of hidden layer 2 of the mlp."
    )
    flags.DEFINE_integer(
        "seed", default.seed, "Seed of the initial weights and of the data order."
    )
    flags.DEFINE_enum(
        "dataset",
        default.dataset,
        DATASETS,
        "mnist: MNIST, or another set in its files' form, downloaded if need be. "
        "digits: scikit-learn's 1,797 small digits, no download. fake: random. "
        "auto: mnist where it can be had, else digits.",
    )
    flags.DEFINE_boolean("fake_data", False, "The same as --dataset=fake.")
    flags.DEFINE_string(
        "input_data_dir",
        default.input_data_dir,
        "Directory of MNIST's four IDX files, plain or .gz; a download goes there.",
    )
    flags.DEFINE_list(
        "mnist_mirrors",
        list(default.mnist_mirrors),
        "URLs of directories to download MNIST from, tried one after another.",
    )
    flags.DEFINE_list(
        "fake_sizes",
        [str(size) for size in default.fake_sizes],
        "Examples of the fake train, validation and test splits.",
    )
    flags.DEFINE_string(
        "log_dir",
        default.log_dir,
        "Directory of checkpoints, summaries and metrics.jsonl; a run that is "
        "there already continues.",
        allow_override=True,  # absl.logging has a flag of this name, unused here
    )
    flags.DEFINE_integer("log_every", default.log_every, "Steps between log lines.")
    flags.DEFINE_integer(
        "eval_every",
        default.eval_every,
        "Steps between evaluations; 0: only at the end.",
    )
    flags.DEFINE_integer(
        "checkpoint_every",
        default.checkpoint_every,
        "Steps between checkpoints; 0: only at the end.",
    )
    flags.DEFINE_integer(
        "keep_checkpoints",
        default.keep_checkpoints,
        "Newest checkpoints to keep; the best by validation precision is kept too.",
    )
    flags.DEFINE_boolean(
        "restart",
        default.restart,
        "Start anew, moving the run in --log_dir to a directory beside it there.",
    )
    flags.DEFINE_boolean(
        "progress",
        default.progress,
        "Show a progress bar on standard error; by default where that is a terminal.",
    )
    flags.DEFINE_boolean(
        "elastic",
        default.elastic,
        "Go on when ranks come and go, under horovodrun --host-discovery-script.",
    )
    flags.DEFINE_integer(
        "commit_steps",
        default.commit_steps,
        "Steps that an elastic job goes back at most, when it loses ranks.",
    )
    flags.DEFINE_float(
        "grace_seconds",
        default.grace_seconds,
        "Seconds from SIGTERM or SIGINT, in which a checkpoint is written, to the end.",
    )
    flags.DEFINE_float(
        "stall_seconds",
        default.stall_seconds,
        "Seconds without a step, for want of some rank, after which the job ends.",
    )
    flags.DEFINE_integer(
        "backward_passes_per_step",
        default.backward_passes_per_step,
        "Batches whose gradients a worker averages before the allreduce of a step.",
    )
    flags.DEFINE_boolean(
        "fp16_allreduce",
        default.fp16_allreduce,
        "Send gradients as float16: half the bytes, three decimal digits.",
    )
    flags.DEFINE_boolean(
        "use_adasum",
        default.use_adasum,
        "Combine gradients by Adasum instead of averaging; the rate is not scaled. "
        "Needs MPI or NCCL, and a power of two of workers.",
    )
    flags.DEFINE_enum(
        "compute_dtype",
        default.compute_dtype,
        COMPUTE_DTYPES,
        "What the network computes in; the parameters stay float32. For GPUs.",
    )
    flags.DEFINE_boolean("xla", default.xla, "Compile the network with XLA. For GPUs.")
    flags.DEFINE_integer(
        "steps_per_call",
        default.steps_per_call,
        "The most steps in one call of the graph; 0: as many as half a second takes.",
    )
    flags.DEFINE_list(
        "profile",
        None,
        "FROM,TO: write a profile of TensorFlow's from step FROM to step TO.",
    )
    app.define_help_flags()
    flags.DEFINE_flag(_Help(allow_override=True))


class _Help(flags.BooleanFlag):
    """--help: the flags by subject, a line or two each."""

    def __init__(self, **kwargs: Any):
        super().__init__("help", False, "show this help", short_name="?", **kwargs)

    def parse(self, argument: Any) -> None:
        super().parse(argument)
        if self.value:
            print(_help())
            sys.exit(0)


def _help() -> str:
    """Returns what --help shows."""
    lines = [sys.modules["__main__"].__doc__ or ""]
    for subject, names in SUBJECTS.items():
        lines.append(f"{subject}:")
        for name in names:
            flag = flags.FLAGS[name]
            default = (flag.default_as_str or "").strip("'")
            start = f"--[no]{name}" if flag.boolean else f"--{name}={default}"
            if len(start) > 32:
                start = f"--{name}"
            text = f"  {start:<34}{flag.help}"
            lines.append(textwrap.fill(text, 88, subsequent_indent=" " * 36))
        lines.append("")
    lines.append(
        "--flagfile=FILE reads flags from a file, as <log_dir>/flags.txt. "
        "--verbosity=1 shows\nwhat the libraries say, -1 only warnings. --helpfull "
        "shows all flags."
    )
    return "\n".join(lines)


def to_flags(config: Config) -> str:
    """Returns a configuration as a file for --flagfile.

    All but --restart, which is an order, and not a setting.
    """
    lines = []
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, tuple):
            value = ",".join(map(str, value))
        if value not in (None, "") and name != "restart":
            lines.append(f"--{name}={value}\n")
    return "".join(lines)


def verbosity() -> int:
    """Returns absl's --verbosity, once parsed: 0, INFO, if it is not given."""
    flag: Any = flags.FLAGS["verbosity"]
    return int(flag.value) if flag.present else logging.INFO


def parse(argv: Sequence[str]) -> Config:
    """Turns a command line into a `Config`.

    `define_flags` must have been called.

    Args:
        argv: the program's name and its flags.

    Raises:
        InputError: a flag is unknown, or its value wrong.
        SystemExit: after `--help`, with status 0.
    """
    try:
        rest = flags.FLAGS(list(argv))
    except flags.Error as error:
        raise InputError(f"{' '.join(str(error).split())} (--help lists all)") from None
    except SystemExit:  # absl has printed the help, and exits with 1
        sys.exit(0)
    if rest[1:]:
        raise InputError(f"argument {rest[1]!r}: only flags are taken, as --name=value")
    names = {field.name for field in dataclasses.fields(Config)}
    values: dict[str, Any] = {name: flags.FLAGS[name].value for name in names}
    values["mnist_mirrors"] = tuple(values["mnist_mirrors"])
    for name in ("fake_sizes", "profile"):
        words = values[name] or ()
        try:
            values[name] = tuple(int(word) for word in words)
        except ValueError:
            given = ",".join(words)
            raise InputError(f"flag --{name}={given}: must be whole numbers") from None
    if flags.FLAGS.fake_data:
        if values["dataset"] not in ("auto", "fake"):
            raise InputError(
                f"flags --fake_data and --dataset={values['dataset']}: give only one"
            )
        values["dataset"] = "fake"
    return Config(**values)
