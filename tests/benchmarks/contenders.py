"""The benchmarked programs, and how each is started."""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import sys
from collections.abc import Sequence
from typing import NamedTuple

from distmnist.distributed import cores
from tests.benchmarks.distmnist_steps import flags
from tests.benchmarks.measuring import TASKS
from tests.launching import HOROVODRUN, MPIRUN, PLAIN, TRAIN

TORCHRUN = (
    *(sys.executable, "-m", "torch.distributed.run"),
    *("--standalone", "--nproc_per_node"),
)
JOB_STEPS = 2000  # the tutorial's

_DISTMNIST = "distmnist_steps"
_PRODUCTS = "limits.products"
_EXAMPLE = "peers.horovod_example"
_TORCH = "peers.torch_loop"
_MLP = ("mlp",)
# Threads and Horovod cycle for two ranks on two cores.
_TUNED = {
    "HOROVOD_CYCLE_TIME": "0.1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}


class Contender(NamedTuple):
    """A program to benchmark.

    Attributes:
        name: Identifier in --only and results.json.
        title: Name in tables and plots.
        kind: 'distmnist', 'peer', 'limit' or 'job'.
        ranks: Number of processes.
        module: Module in this package; '' for distmnist.train (jobs only).
        launcher: Launcher command, without the number of ranks.
        arguments: Arguments of the module.
        environment: Additional environment variables.
        needs: Optional package; the contender is skipped without it.
        tuned: Whether settings differ from the defaults that users get.
        models: Networks that it can train.
    """

    name: str
    title: str
    kind: str
    ranks: int
    module: str
    launcher: Sequence[str] = PLAIN
    arguments: Sequence[str] = ()
    environment: dict[str, str] = {}  # noqa: RUF012 - never modified
    needs: str = ""
    tuned: bool = False
    models: Sequence[str] = tuple(TASKS)

    def command(self, options: Sequence[str]) -> list[str]:
        """Returns the command.

        Args:
            options: Arguments common to all modules.
        """
        words = list(self.launcher)
        if words:
            words.append(str(self.ranks))
        if self.launcher != TORCHRUN:  # which starts Python itself
            words.append(sys.executable)
        return [*words, "-m", f"{__package__}.{self.module}", *options, *self.arguments]

    def job_command(self, directory: str, log_dir: str, steps: int) -> list[str]:
        """Returns the command of a complete job.

        Args:
            directory: MNIST directory; "" for random images.
            log_dir: Output directory.
            steps: Training steps.
        """
        own = [f"--max_steps={steps}", f"--log_dir={log_dir}"]
        if self.module:
            return self.command([f"--data={directory}", *own])
        words = [*self.launcher, str(self.ranks)] if self.launcher else []
        return [*words, *TRAIN, *flags(directory), *own]

    def lacks(self) -> str:
        """Returns the optional package that is not installed; "" if none."""
        return self.needs if self.needs and is_missing(self.needs) else ""


def is_missing(package: str) -> bool:
    """Returns whether a package is not installed."""
    return importlib.util.find_spec(package) is None


def choose(
    parser: argparse.ArgumentParser, names: Sequence[str], patterns: str
) -> list[str]:
    """Returns the names that --only selects; ends with an error if one selects none.

    Args:
        parser: Reports the error.
        names: Names of all contenders.
        patterns: Names with wildcards, separated by commas.
    """
    chosen: list[str] = []
    for pattern in patterns.split(","):
        found = fnmatch.filter(names, pattern)
        if not found:
            parser.error(
                f"--only: no contender matches {pattern!r}; choose from "
                f"{', '.join(names)}"
            )
        chosen += found
    return chosen


def _products(ranks: int, intra_op: int, onednn: int) -> Contender:
    """Returns the matrix products of a step, with one setting of TensorFlow threads."""
    library = "oneDNN" if onednn else "Eigen"
    threads = f"{intra_op} thread{'s' * (intra_op > 1)}"
    concurrent = ", concurrently" if ranks > 1 else ""
    return Contender(
        f"products_{ranks}x{intra_op}_{library.lower()}",
        f"matrix products, {threads}, {library}{concurrent}",
        "limit",
        ranks,
        _PRODUCTS,
        MPIRUN if ranks > 1 else PLAIN,
        (f"--intra_op={intra_op}", "--inter_op=1", f"--onednn={onednn}"),
        models=_MLP,
    )


def _allreduce(ranks: int) -> Contender:
    """Returns the allreduce of a step's gradients."""
    return Contender(
        f"allreduce_{ranks}",
        "MPI Allreduce, 420 kB",
        "limit",
        ranks,
        "limits.allreduce",
        MPIRUN,
        models=_MLP,
    )


def _job(name: str, title: str, launcher: Sequence[str], module: str = "") -> Contender:
    """Returns a complete job."""
    ranks = 2 if launcher else 1
    return Contender(name, title, "job", ranks, module, launcher, models=_MLP)


CONTENDERS = (
    Contender("distmnist_1", "distmnist", "distmnist", 1, _DISTMNIST),
    Contender("distmnist_2", "distmnist", "distmnist", 2, _DISTMNIST, HOROVODRUN),
    Contender(
        "distmnist_4",
        "distmnist",
        "distmnist",
        4,
        _DISTMNIST,
        HOROVODRUN,
        models=_MLP,
    ),
    Contender(
        "feed_dict",
        "tutorial's feed_dict loop",
        "peer",
        1,
        "peers.feed_dict",
        models=_MLP,
    ),
    Contender("keras_fit", "Keras fit", "peer", 1, "peers.keras_fit"),
    Contender(
        "keras_fit_tuned",
        "Keras fit, no XLA, up to 50 steps a call",
        "peer",
        1,
        "peers.keras_fit",
        arguments=("--jit_compile=off", "--steps_per_execution=50"),
        tuned=True,
    ),
    Contender("torch_1", "PyTorch", "peer", 1, _TORCH, needs="torch"),
    Contender(
        "torch_1_tuned",
        "PyTorch, 1 thread",
        "peer",
        1,
        _TORCH,
        environment={"OMP_NUM_THREADS": "1"},
        needs="torch",
        tuned=True,
    ),
    Contender("horovod_1", "Horovod's example", "peer", 1, _EXAMPLE, HOROVODRUN),
    Contender("horovod_2", "Horovod's example", "peer", 2, _EXAMPLE, HOROVODRUN),
    Contender(
        "horovod_2_tuned",
        "Horovod's example, 1 thread, 0.1 ms cycle",
        "peer",
        2,
        _EXAMPLE,
        HOROVODRUN,
        environment=_TUNED,
        tuned=True,
    ),
    Contender(
        "multi_worker_2",
        "MultiWorkerMirroredStrategy",
        "peer",
        2,
        "peers.multi_worker",
        arguments=("--workers=2",),
    ),
    Contender(
        "torch_ddp_2",
        "PyTorch DDP, Gloo",
        "peer",
        2,
        _TORCH,
        TORCHRUN,
        needs="torch",
    ),
    *(
        _products(1, threads, onednn)
        for threads in sorted({1, cores.available()})
        for onednn in (0, 1)
    ),
    *(_products(2, 1, onednn) for onednn in (0, 1)),
    *(_allreduce(ranks) for ranks in (2, 4)),
    _job("job_tutorial", "tutorial's script", PLAIN, "peers.tutorial"),
    _job("job_1", "distmnist.train", PLAIN),
    _job("job_2", "distmnist.train, horovodrun", HOROVODRUN),
    _job("job_2_mpirun", "distmnist.train, mpirun", MPIRUN),
)
