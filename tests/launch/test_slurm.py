"""Jobs on a real Slurm: real srun, sbatch and mpirun, on two nodes."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch import slurm_site
from tests.launch.slurm_site import Site, records
from tests.launching import MPIRUN, TRAIN, run

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(bool(slurm_site.missing()), reason=slurm_site.missing()),
]

DATA = ("--dataset=digits", "--hidden1=16", "--hidden2=8", "--batch_size=20")
EVERY = 10
# Long enough for an event in the middle.
LONG = (*DATA, f"--log_every={EVERY}", f"--steps_per_call={EVERY}", "--eval_every=0")
LAUNCHERS = ("srun", "mpirun")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as started:
        yield started


@pytest.mark.timeout(300)
def test_jobs_on_two_nodes_compute_what_one_host_does(
    site: Site, tmp_path: Path
) -> None:
    flags = (*DATA, "--max_steps=40", "--eval_every=0", "--log_every=20")
    run((*MPIRUN, 2, *TRAIN, *flags, f"--log_dir={tmp_path / 'host'}"))
    expected = [line["metrics"] for line in records(tmp_path / "host", "eval")]
    for launcher in LAUNCHERS:
        log_dir = tmp_path / launcher
        output = site.submit(
            *("--nodes=2", f"--launcher={launcher}", f"--name={launcher}", "--"),
            *(*flags, f"--log_dir={log_dir}"),
        )
        assert "Workers: 2 (1 on n1, 1 on n2)" in output
        assert "Step 40: loss" in output  # followed to the end
        assert re.search(rf"submit_slurm: {launcher} \(\d+\): completed", output)
        assert [line["metrics"] for line in records(log_dir, "eval")] == expected
        assert re.fullmatch(r"Slurm \d+", records(log_dir, "start")[0]["job"])
        assert (log_dir / f"{launcher}.sbatch").exists()
    status = site.submit(f"--status={LAUNCHERS[0]}")
    assert re.fullmatch(r"srun \(\d+\): completed, step 40, loss \S+\n", status)


def test_what_slurm_refuses_is_told_with_its_reason(site: Site, tmp_path: Path) -> None:
    training = ("--", *DATA, f"--log_dir={tmp_path}")
    refused = {
        "--partition=nope": "invalid partition specified: nope",
        "--constraint=nope": "Invalid feature specification",
        "--memory_per_node=9999G": "Memory specification can not be satisfied",
    }
    for flag, reason in refused.items():
        output = site.submit(flag, *training, status=2)
        assert reason in output and len(output.splitlines()) == 1
    begin = time.monotonic()
    output = site.submit("--nodes=5", "--name=never", *training, status=1)
    assert "never cannot start (PartitionConfig), and was cancelled" in output
    assert time.monotonic() - begin < 10
    failed = site.submit(
        "--name=bad", "--", "--dataset=digits", "--model=a:b", status=2
    )
    assert "cannot import a" in failed
    assert "there is no job none" in site.submit("--logs=none", status=2)


def test_srun_without_pmix_is_told_in_one_line(site: Site) -> None:
    for kind in ("none", "pmi2"):
        done = site.run("srun", "-N2", "-n2", f"--mpi={kind}", *TRAIN, *DATA)
        assert done.returncode == 2
        (line,) = (n for n in done.stderr.splitlines() if not n.startswith("srun:"))
        assert "srun started 2 tasks without PMIx: use srun --mpi=pmix" in line


def start(site: Site, launcher: str, log_dir: Path, *flags: str, steps: int) -> str:
    """Submits a long job, and waits until it trains; returns its number."""
    output = site.submit(
        *("--nodes=2", f"--launcher={launcher}", "--detach", *flags, "--"),
        *(*LONG, f"--max_steps={steps}", "--checkpoint_every=0"),
        f"--log_dir={log_dir}",
    )
    number = re.findall(r"as job (\d+)", output)[0]
    site.wait(lambda: len(records(log_dir, "train")) > 3, log_dir, 90)
    return str(number)


def checkpoint(log_dir: Path) -> int:
    """Returns the step of the newest checkpoint; -1 without one."""
    found = log_dir.glob("model.ckpt-*.index")
    return max((int(p.stem.rpartition("-")[2]) for p in found), default=-1)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_cancelled_job_saves_and_is_not_requeued(
    site: Site, tmp_path: Path, launcher: str
) -> None:
    number = start(site, launcher, tmp_path, f"--name=c-{launcher}", steps=10**6)
    reached = records(tmp_path, "train")[-1]["step"]
    output = site.submit(f"--delete=c-{launcher}")
    assert "was cancelled; its run directory is kept" in output
    site.wait(lambda: site.job(number).state == "CANCELLED", tmp_path, 60)
    assert checkpoint(tmp_path) >= reached
    assert site.submit(f"--logs={number}", status=143)
    assert not site.run("pgrep", "-f", "distmnist.train").stdout


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("event", ["preempted", "preempted at once", "time", "requeue"])
def test_a_job_that_is_interrupted_continues_by_itself(
    site: Site, tmp_path: Path, launcher: str, event: str
) -> None:
    seconds = 0 if event == "preempted at once" else 30
    site.run("scontrol", "update", "PartitionName=low", f"GraceTime={seconds}")
    limit = ("--time=5",) if event == "time" else ()
    number = start(site, launcher, tmp_path, *limit, steps=10**6)
    reached = records(tmp_path, "train")[-1]["step"]
    if event.startswith("preempted"):
        site.run("sbatch", "-p", "high", "-N2", "--exclusive", "--wrap=sleep 2")
    elif event == "requeue":
        site.run("scontrol", "requeue", number)
    # The signal comes at the latest 80 seconds before five minutes.
    site.wait(lambda: len(records(tmp_path, "start")) == 2, tmp_path, 320)
    resumed = records(tmp_path, "start")[1]
    assert resumed["step"] >= reached
    assert resumed["job"] == f"Slurm {number}, restart 1"
    after = resumed["step"] + 3 * EVERY
    site.wait(lambda: records(tmp_path, "train")[-1]["step"] > after, tmp_path, 60)
    steps = [line["step"] for line in records(tmp_path, "train")]
    assert steps == sorted(set(steps))
    assert max(b - a for a, b in itertools.pairwise(steps)) <= EVERY
    site.run("scancel", number)
    site.wait(lambda: site.job(number).state == "CANCELLED", tmp_path, 60)
