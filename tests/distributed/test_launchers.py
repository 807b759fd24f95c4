"""Launcher detection, on environments recorded from real launchers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distmnist.core.errors import InputError
from distmnist.distributed import launchers
from distmnist.distributed.connect import connect
from distmnist.distributed.launchers import Placement

# mpirun -np 3, Open MPI 4.1.8; 5.0.11 sets the same.
OPEN_MPI = {
    "OMPI_COMM_WORLD_LOCAL_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "3",
    "OMPI_COMM_WORLD_NODE_RANK": "2",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_SIZE": "3",
    "PMIX_RANK": "2",
}
# horovodrun --gloo -np 2, Horovod 0.28.1.
GLOO = {
    "HOROVOD_CONTROLLER": "gloo",
    "HOROVOD_CPU_OPERATIONS": "gloo",
    "HOROVOD_CROSS_RANK": "0",
    "HOROVOD_CROSS_SIZE": "1",
    "HOROVOD_GLOO_IFACE": "lo",
    "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
    "HOROVOD_GLOO_RENDEZVOUS_PORT": "56986",
    "HOROVOD_HOSTNAME": "localhost",
    "HOROVOD_LOCAL_RANK": "1",
    "HOROVOD_LOCAL_SIZE": "2",
    "HOROVOD_RANK": "1",
    "HOROVOD_SIZE": "2",
}
# mpiexec -n 3 of MPICH 4.
HYDRA = {
    "MPI_LOCALNRANKS": "3",
    "MPI_LOCALRANKID": "2",
    "PMI_FD": "16",
    "PMI_HOSTNAME": "vm",
    "PMI_RANK": "2",
    "PMI_SIZE": "3",
}
# srun --nodes=2 --ntasks=2, Slurm 22.05.8; the second task.
SRUN = {
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_TASKS_PER_NODE": "1(x2)",
}


# The same, with --mpi=pmix.
SRUN_PMIX = {**SRUN, "PMIX_RANK": "1", "PMIX_NAMESPACE": "slurm.pmix.6.0"}
# The same, with --mpi=pmi2: no local rank for MPI.
SRUN_PMI2 = {**SRUN, "PMI_FD": "11", "PMI_JOBID": "7.0", "PMI_RANK": "1"}
SRUN_PMI2["PMI_SIZE"] = "2"


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        (OPEN_MPI, ""),
        ({**SRUN, **OPEN_MPI}, ""),  # mpirun in a batch script
        (SRUN_PMIX, ""),
        (SRUN, "srun started 2 tasks without PMIx: use srun --mpi=pmix"),
        (SRUN_PMI2, "srun started 2 tasks without PMIx: use srun --mpi=pmix"),
        (HYDRA, "the mpiexec of MPICH or Intel MPI started 3 ranks"),
    ],
)
def test_what_open_mpi_cannot_join_is_known_before_it_tries(
    environment: dict[str, str], problem: str
) -> None:
    found = launchers.unjoinable(environment, "Open MPI")
    assert (found or "").startswith(problem) and bool(found) == bool(problem)
    assert launchers.unjoinable(environment, "MPICH") is None


@pytest.mark.parametrize(
    ("environment", "job"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "12"}, "Slurm 12"),
        ({"SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "0"}, "Slurm 12"),
        ({"SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "2"}, "Slurm 12, restart 2"),
        (
            {
                "SLURM_JOB_ID": "13",
                "SLURM_ARRAY_JOB_ID": "12",
                "SLURM_ARRAY_TASK_ID": "0",
            },
            "Slurm 12_0",
        ),
    ],
)
def test_the_job_and_its_restarts(environment: dict[str, str], job: str) -> None:
    assert launchers.scheduled_job(environment) == job


@given(st.lists(st.tuples(st.integers(1, 64), st.integers(1, 5)), min_size=1))
def test_tasks_of_nodes_are_expanded(runs: list[tuple[int, int]]) -> None:
    """Slurm compresses nodes with as many tasks as the one before."""
    tasks = [count for count, repeat in runs for _ in range(repeat)]
    merged = [(count, len([*same])) for count, same in itertools.groupby(tasks)]
    text = ",".join(f"{c}(x{r})" if r > 1 else f"{c}" for c, r in merged)
    rank = 0
    for node, count in enumerate(tasks):
        variables = {
            "SLURM_STEP_NUM_TASKS": str(sum(tasks)),
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": "0",
            "SLURM_NODEID": str(node),
            "SLURM_STEP_TASKS_PER_NODE": text,
        }
        assert launchers.srun(variables) == Placement(sum(tasks), rank, 0, count)
        rank += count


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (OPEN_MPI, Placement(3, 2, 2, 3)),
        (GLOO, Placement(2, 1, 1, 2)),
        ({**GLOO, "HOROVOD_ELASTIC": "1"}, Placement(2, 1, 1, 2, is_elastic=True)),
        (HYDRA, Placement(3, 2, 2, 3)),
        (SRUN, Placement(2, 1, 0, 1)),
        (SRUN_PMIX, Placement(2, 1, 0, 1)),
        ({}, Placement(1, 0, 0, 1)),
    ],
)
def test_placement_is_what_the_launcher_reports(
    environment: dict[str, str], expected: Placement
) -> None:
    assert launchers.detect({"PATH": "/bin", **environment}) == expected


def test_each_parser_knows_its_own_launcher_only() -> None:
    samples = (OPEN_MPI, GLOO, HYDRA, SRUN)
    for parse, own in zip(launchers.LAUNCHERS, samples):
        assert [parse(sample) is not None for sample in samples] == [
            sample is own for sample in samples
        ]


@pytest.mark.parametrize("outer", [GLOO, SRUN])
def test_mpirun_inside_another_launcher_describes_the_ranks(
    outer: dict[str, str],
) -> None:
    assert launchers.detect({**outer, **OPEN_MPI}) == Placement(3, 2, 2, 3)


@pytest.mark.parametrize(
    ("tasks", "node", "local_size"),
    [("4(x2),1", 0, 4), ("4(x2),1", 1, 4), ("4(x2),1", 2, 1), ("3", 0, 3)],
)
def test_slurm_lists_the_tasks_of_each_node(
    tasks: str, node: int, local_size: int
) -> None:
    environment = {
        **SRUN,
        "SLURM_STEP_NUM_TASKS": "9",
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_NODEID": str(node),
    }
    placement = launchers.detect(environment)
    assert placement.local_size == local_size
    assert placement.is_one_host == (local_size == 9)


def test_without_a_host_topology_one_host_is_assumed() -> None:
    placement = launchers.detect({"PMI_SIZE": "4", "PMI_RANK": "3"})
    assert placement == Placement(4, 3, 3, 4)
    assert placement.is_one_host


@pytest.mark.parametrize("value", ["", "-1", "two", "1.0", "\u0663"])
def test_nonsense_counts_as_no_launcher(value: str) -> None:
    environment = {**OPEN_MPI, "OMPI_COMM_WORLD_SIZE": value}
    assert launchers.detect(environment) == Placement(1, 0, 0, 1)


def test_secrets_are_named_where_others_can_read_them() -> None:
    variables = {"WANDB_API_KEY": "x", "MY_TOKEN": "", "db_password": "y", "PATH": "z"}
    assert launchers.exposed_secrets(variables) == []
    variables["HOROVOD_GLOO_RENDEZVOUS_ADDR"] = "127.0.0.1"
    assert launchers.exposed_secrets(variables) == ["WANDB_API_KEY", "db_password"]


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, "WORLD_SIZE=2"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}}'}, "TF_CONFIG"),
        ({"TF_CONFIG": '{"cluster": {"chief": ["a"], "worker": ["b"]}}'}, "TF_CONFIG"),
        ({"MV2_COMM_WORLD_SIZE": "2"}, "MV2_COMM_WORLD_SIZE=2"),
        ({"JSM_NAMESPACE_SIZE": "6"}, "JSM_NAMESPACE_SIZE=6"),
        ({"FLUX_JOB_SIZE": "4"}, "FLUX_JOB_SIZE=4"),
        ({"MVP_COMM_WORLD_SIZE": "2"}, "MVP_COMM_WORLD_SIZE=2"),
        ({"MPI_COMM_WORLD_SIZE": "2"}, "MPI_COMM_WORLD_SIZE=2"),
        ({"PMIX_SIZE": "2"}, "PMIX_SIZE=2"),
        ({"PMIX_RANK": "1"}, "PMIX_RANK=1"),
        ({"ALPS_APP_PE": "1"}, "ALPS_APP_PE=1"),
        (
            {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"},
            "JAX_NUM_PROCESSES=2",
        ),
        ({"PALS_RANKID": "1"}, "PALS_RANKID=1"),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"WORLD_SIZE": "8"}, None),  # a container's, that no launcher started
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}}'}, None),
        ({"TF_CONFIG": "[]"}, None),
        ({"FLUX_JOB_SIZE": "1"}, None),
        ({"SLURM_NTASKS": "4"}, None),  # a batch script's own
        ({}, None),
    ],
)
def test_processes_of_an_unknown_launcher_are_noticed(
    environment: dict[str, str], named: str | None
) -> None:
    found = launchers.unsupported(environment)
    assert (found or "").partition(" ")[0] == (named or "")


def test_processes_of_an_unknown_launcher_do_not_train_each_on_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"WORLD_SIZE=2 in the environment.*mpirun"):
        connect()
