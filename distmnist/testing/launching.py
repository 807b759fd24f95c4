"""Starts the ranks of a check, with a timeout; shows their output if they fail."""

from __future__ import annotations

import importlib.util
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import spawn
from pathlib import Path
from typing import Any, NamedTuple

from distmnist.core.errors import InputError
from distmnist.testing.problem import Problem

_SHOWN = 4000  # characters of the output


class Job(NamedTuple):
    """What the ranks read, and where they write.

    Attributes:
        directory: for everything.
        sizes: numbers of ranks.
    """

    directory: Path
    sizes: Sequence[int]


def prepare(
    directory: Path, problems: Mapping[str, Problem], sizes: Sequence[int]
) -> Job:
    """Writes what the ranks read.

    Args:
        directory: for everything.
        problems: problems by name.
        sizes: numbers of ranks.

    Raises:
        InputError: a problem cannot be sent to other processes, or they cannot be
            started.
    """
    if sizes[-1] > 1:
        _launcher(sizes[-1])
    contents = {}
    for name, problem in problems.items():
        _check_importable(problem.network)
        try:
            contents[name] = pickle.dumps(problem)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"check_network: other processes cannot be given this ({error}); put "
                "the network and the function that returns the data set at the top "
                "level of a module that can be imported"
            ) from None
    uses_main = any(b"__main__" in content for content in contents.values())
    if uses_main and not hasattr(sys.modules["__main__"], "__file__"):
        raise InputError(
            "check_network: other processes cannot import what a notebook or an "
            "interactive session defines; put it in a module"
        )
    # As multiprocessing does: what __main__ defines is imported from its file.
    main = spawn.get_preparation_data("check") if uses_main else None
    (directory / "job.pickle").write_bytes(pickle.dumps((contents, list(sizes), main)))
    return Job(directory, sizes)


def _check_importable(network: Any) -> None:
    if not (isinstance(network, (str, type)) or hasattr(network, "__qualname__")):
        raise InputError(
            f"check_network: the network is a {type(network).__name__}; give the class "
            "or the function that creates it, whose initial values are checked too"
        )


def result_path(directory: Path, problem: str, size: int, rank: int) -> Path:
    """Returns the path of what a rank observed of a problem."""
    return directory / str(size) / problem / f"rank{rank}.pickle"


def launch(job: Job, size: int, timeout: float) -> None:
    """Runs the ranks of one size to their end.

    Args:
        job: of `prepare`.
        size: number of ranks.
        timeout: seconds, after which all are killed.

    Raises:
        AssertionError: a rank failed, or the time ran out; with the output.
    """
    program = [sys.executable, "-m", "distmnist.testing.worker", str(job.directory)]
    command = [*(_launcher(size) if size > 1 else ()), *program]
    process = subprocess.Popen(
        command,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
        ended = f"ended with status {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        ended = f"were killed after {timeout:g} s without an end"
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    if ended != "ended with status 0":
        ranks = "1 rank" if size == 1 else f"{size} ranks"
        raise AssertionError(
            f"check_network: the processes of {ranks} {ended}; they printed:\n"
            f"{output[-_SHOWN:]}"
        )


def _launcher(size: int) -> list[str]:
    """Returns the command that starts a number of ranks.

    Raises:
        InputError: there is none.
    """
    if importlib.util.find_spec("horovod"):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
        path = f"{path}{os.pathsep}{os.environ.get('PATH', '')}"
        mpirun = shutil.which("mpirun", path=path)
        if mpirun and importlib.util.find_spec("mpi4py"):
            # More ranks than cores are no reason to refuse.
            options = ["--oversubscribe", "--bind-to", "none", "--tag-output"]
            return [mpirun, *options, "-np", str(size)]
        if horovodrun := shutil.which("horovodrun", path=path):
            return [horovodrun, "--gloo", "-np", str(size)]
    raise InputError(
        f"check_network: {size} ranks require Horovod, and mpirun or horovodrun, which "
        "this environment does not have: in a checkout of distmnist, run "
        "launch/setup.sh; or check with ranks=(1,)"
    )


def _environment() -> dict[str, str]:
    """Returns the environment of the ranks: none of another launcher's variables."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OMPI_COMM_", "PMIX_", "HOROVOD_RANK", "HOROVOD_SIZE"))
    }
    # The modules that this process finds.
    kept["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    if os.geteuid() == 0:
        kept["OMPI_ALLOW_RUN_AS_ROOT"] = kept["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    return kept
