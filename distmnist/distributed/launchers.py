"""Launcher detection: the place of this process among those started together.

One parser for each launcher, a pure function of the environment. Each returns None
where its launcher did not start this process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

Environment = Mapping[str, str]


class Placement(NamedTuple):
    """The place of a process among those that its launcher started.

    Attributes:
        size: number of processes.
        rank: index of this process, in [0, size).
        local_rank: index of this process on its host, in [0, local_size).
        local_size: number of processes on this host.
        is_elastic: whether ranks may join and leave.
    """

    size: int
    rank: int
    local_rank: int
    local_size: int
    is_elastic: bool = False

    @property
    def is_one_host(self) -> bool:
        """Whether all processes run on this host."""
        return self.local_size == self.size


def detect(environment: Environment) -> Placement:
    """Returns the placement of this process; a cluster of one without a launcher."""
    return next(placement for parse in LAUNCHERS if (placement := parse(environment)))


def open_mpi(environment: Environment) -> Placement | None:
    """Parses the variables of Open MPI's mpirun, also as called by horovodrun."""
    return _parse(
        environment,
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    )


def horovodrun_gloo(environment: Environment) -> Placement | None:
    """Parses the variables of `horovodrun --gloo`, and of its elastic jobs."""
    placement = _parse(
        environment,
        "HOROVOD_SIZE",
        "HOROVOD_RANK",
        "HOROVOD_LOCAL_RANK",
        "HOROVOD_LOCAL_SIZE",
    )
    if placement and environment.get("HOROVOD_ELASTIC") == "1":
        return placement._replace(is_elastic=True)
    return placement


def hydra(environment: Environment) -> Placement | None:
    """Parses the variables of Hydra, the mpiexec of MPICH and Intel MPI."""
    return _parse(
        environment, "PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"
    )


def srun(environment: Environment) -> Placement | None:
    """Parses the variables of Slurm's srun.

    It describes the tasks of each node as a list like "4(x2),1": two nodes of four
    tasks and one of one.
    """
    placement = _parse(
        environment, "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"
    )
    if placement is None:
        return None
    node = _number(environment, "SLURM_NODEID") or 0
    tasks: list[int] = []
    for count, repeat in re.findall(
        r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    ):
        tasks += [int(count)] * int(repeat or 1)
    return (
        placement._replace(local_size=tasks[node]) if node < len(tasks) else placement
    )


_SECRET = re.compile("TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY")


def exposed_secrets(environment: Environment) -> list[str]:
    """Returns the names of variables that are likely secret, and that others can read.

    `horovodrun --gloo` gives each rank its environment on the command line of a shell,
    which every user of the machine can read.
    """
    if "HOROVOD_GLOO_RENDEZVOUS_ADDR" not in environment:
        return []
    return sorted(
        name
        for name, value in environment.items()
        if value and _SECRET.search(name.upper())
    )


def single_process(environment: Environment) -> Placement:
    """Returns the placement of a process that no launcher started."""
    return Placement(size=1, rank=0, local_rank=0, local_size=1)


# In order of precedence: horovodrun and srun may start mpirun, whose
# variables then describe the ranks.
LAUNCHERS: tuple[Callable[[Environment], Placement | None], ...] = (
    open_mpi,
    horovodrun_gloo,
    hydra,
    srun,
    single_process,  # of any environment
)


def unjoinable(environment: Environment, library: str) -> str | None:
    """Returns why an MPI library cannot join the processes; None if it can.

    Asked before it tries: Open MPI then prints a page, and ends the process.

    Args:
        environment: variables of this process, which is one of several.
        library: name of the MPI library, as mpi4py gives it.
    """
    if library != "Open MPI" or open_mpi(environment) or "PMIX_RANK" in environment:
        return None
    if placement := srun(environment):
        return (
            f"srun started {placement.size} tasks without PMIx: use srun --mpi=pmix, "
            "or mpirun in the batch script"
        )
    if placement := hydra(environment):
        return (
            f"the mpiexec of MPICH or Intel MPI started {placement.size} ranks, but "
            "Horovod and mpi4py use Open MPI: use its mpirun, or horovodrun"
        )
    return None


def scheduled_job(environment: Environment) -> str:
    """Returns the job of Slurm that this process is in, and its restarts; or ""."""
    job = environment.get("SLURM_JOB_ID")
    restarts = _number(environment, "SLURM_RESTART_COUNT")
    if not job:
        return ""
    task = environment.get("SLURM_ARRAY_TASK_ID")
    if task:
        job = f"{environment.get('SLURM_ARRAY_JOB_ID', job)}_{task}"
    return f"Slurm {job}" + (f", restart {restarts}" if restarts else "")


# Variables with the number of processes, where the launcher is none of the above, and
# the variable that must be there as well.
_UNSUPPORTED = (
    ("WORLD_SIZE", "RANK"),  # torchrun, and what imitates it
    ("MV2_COMM_WORLD_SIZE", ""),  # MVAPICH2
    ("MVP_COMM_WORLD_SIZE", ""),  # MVAPICH 3
    ("MPI_COMM_WORLD_SIZE", ""),  # IBM Platform MPI
    ("JSM_NAMESPACE_SIZE", ""),  # jsrun
    ("FLUX_JOB_SIZE", ""),  # Flux
    ("PMIX_SIZE", ""),
    ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"),
)
# Variables with the index of a process, of launchers that do not give the number.
_RANKS = ("PALS_RANKID", "ALPS_APP_PE", "PMIX_RANK")


def unsupported(environment: Environment) -> str | None:
    """Returns the variable by which several processes were started; None if by none.

    Each would train on its own. Only for a process of which `detect` knows no others.

    Args:
        environment: variables of this process.

    Returns:
        Its name and value.
    """
    for name, required in _UNSUPPORTED:
        given = not required or required in environment
        if given and (_number(environment, name) or 0) > 1:
            return f"{name}={environment[name]}"
    for name in _RANKS:
        if (_number(environment, name) or 0) > 0:
            return f"{name}={environment[name]}"
    workers = _tf_config_workers(environment.get("TF_CONFIG", ""))
    return f"TF_CONFIG with {workers} tasks" if workers > 1 else None


def _tf_config_workers(text: str) -> int:
    """Returns the number of training tasks in TensorFlow's cluster description."""
    try:
        cluster = json.loads(text)["cluster"]
        return sum(len(cluster.get(task, ())) for task in ("chief", "master", "worker"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return 0


def _parse(
    environment: Environment,
    size_name: str,
    rank_name: str,
    local_rank_name: str,
    local_size_name: str = "",
) -> Placement | None:
    size, rank = _number(environment, size_name), _number(environment, rank_name)
    if size is None or rank is None:
        return None
    local_rank = _number(environment, local_rank_name)
    local_size = _number(environment, local_size_name)
    # If the launcher reports no host topology, one host is assumed.
    return Placement(
        size,
        rank,
        rank if local_rank is None else local_rank,
        size if local_size is None else local_size,
    )


def _number(environment: Environment, name: str) -> int | None:
    value = environment.get(name, "")
    return int(value) if re.fullmatch("[0-9]{1,9}", value) else None
