"""The check of a network: starts ranks, and compares what they did."""

from __future__ import annotations

import concurrent.futures
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.testing import launching, verdict
from distmnist.testing.problem import Observed, Problem


def check_network(
    network: Any,
    dataset: Any,
    config: Config | None = None,
    ranks: Sequence[int] = (1, 2),
    timeout: float = 300.0,
) -> None:
    """Checks on real ranks that what distmnist guarantees holds for a network.

    Each number of ranks is started once, with `mpirun` or `horovodrun`, on this host,
    and takes six steps on some dozen examples of the training split, in batches that
    do not divide it. It is checked that

    * N ranks compute what one does with the same global batch, up to rounding;
    * all variables are bit-identical on all ranks;
    * a resumed run is the uninterrupted one, bit for bit;
    * no variable is missed: those that the network computes with are those that are
      found, trained and saved, and the loss depends on each that is trained;
    * initial values depend on the seed alone, random numbers on the seed and the
      positions of examples.

    Args:
        network: a class or function of (config, spec), at the top level of a module
            that other processes can import; or its name, as --model takes it.
        dataset: a `Dataset`, a function that returns one, or a name or path, as
            --dataset takes it.
        config: the run's configuration: seed, hparams, momentum and so on; by default
            `Config()`. Batch size, steps, intervals and directories are the check's
            own; it computes in float32, and does not scale the learning rate.
        ranks: numbers of ranks.
        timeout: seconds that each number of ranks may take.

    Raises:
        AssertionError: something of this does not hold; it names the variable and
            the reason.
        InputError: the ranks cannot be started: Horovod is missing, or the network
            cannot be imported by other processes.
    """
    problem = Problem(network, dataset, config or Config())
    found = failures({"network": problem}, ranks, timeout)
    if found:
        raise AssertionError(found["network"])


def failures(
    problems: Mapping[str, Problem],
    ranks: Sequence[int] = (1, 2),
    timeout: float = 300.0,
) -> dict[str, str]:
    """Checks several networks as `check_network` does, in the same processes.

    Args:
        problems: networks with their data sets, by any name.
        ranks: numbers of ranks.
        timeout: seconds that each number of ranks may take for all of them.

    Returns:
        What does not hold, by the name of the problem; empty if everything does.

    Raises:
        AssertionError: ranks crashed or timed out, with their output.
        InputError: as `check_network` does.
    """
    sizes = sorted(set(ranks))
    if not sizes or sizes[0] < 1:
        raise InputError(f"argument ranks={ranks}: give numbers of at least 1")
    with tempfile.TemporaryDirectory(prefix="distmnist-check-") as name:
        directory = Path(name)
        job = launching.prepare(directory, problems, sizes)
        with concurrent.futures.ThreadPoolExecutor(len(sizes)) as threads:
            started = [
                threads.submit(launching.launch, job, size, timeout) for size in sizes
            ]
            for launched in started:
                launched.result()
        found = {}
        for problem, given in problems.items():
            observed = {
                size: [_read(directory, problem, size, rank) for rank in range(size)]
                for size in sizes
            }
            if reason := verdict.judge(given.label, observed):
                found[problem] = reason
        return found


def _read(directory: Path, problem: str, size: int, rank: int) -> Observed:
    path = launching.result_path(directory, problem, size, rank)
    observed: Observed = pickle.loads(path.read_bytes())
    return observed
