"""The batch script of a Slurm job, and what is read of its state; without Slurm."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distmnist.core.errors import InputError
from launch.submit.screen import Screen
from launch.submit.slurm import commands, follow, script
from launch.submit.slurm import options as options_module
from tests.launching import ROOT, run

SUBMIT = (ROOT / "launch/submit_slurm",)
# scontrol --oneliner show job, Slurm 22.05.8.
RECORDED = (
    "JobId=1 JobName=x.sh UserId=root(0) GroupId=root(0) MCS_label=N/A "
    "Priority=4294901759 Nice=0 Account=(null) QOS=(null) JobState=COMPLETED "
    "Reason=None Dependency=(null) Requeue=1 Restarts=2 BatchFlag=1 Reboot=0 "
    "ExitCode=3:0 RunTime=00:00:13 TimeLimit=UNLIMITED TimeMin=N/A Partition=low "
    "NodeList=n[1-2] BatchHost=n1 NumNodes=2 Command=/shared/x.sh WorkDir=/shared "
    "StdErr=/shared/my logs/slurm-1.out StdIn=/dev/null "
    "StdOut=/shared/my logs/slurm-1.out Power= \n"
)


def render(*flags: str, launcher: str = "srun") -> str:
    options, config = options_module.parse(["submit_slurm", *flags])
    return script.render(options, config, launcher, "/shared/a b")


def directives(text: str) -> list[str]:
    return [
        line.removeprefix("#SBATCH --")
        for line in text.splitlines()
        if line.startswith("#SBATCH ")
    ]


def test_the_script_says_what_the_flags_do() -> None:
    text = render(
        *("--name=a", "--nodes=2", "--gpus_per_node=4", "--cpus_per_worker=8"),
        *("--memory_per_node=64G", "--time=0-1", "--partition=p", "--qos=q"),
        *("--account=c", "--constraint=a100&ib", "--sbatch=--exclusive --nice"),
        *("--", "--log_dir=logs/x", "--grace_seconds=30"),
    )
    assert directives(text) == [
        *("job-name=a", "nodes=2", "ntasks-per-node=4", "gpus-per-node=4"),
        *("gpu-bind=none", "cpus-per-task=8", "mem=64G", "time=0-1"),
        *("partition=p", "account=c", "qos=q", "constraint='a100&ib'"),
        *("output='/shared/a b/logs/x/slurm-%j.out'", "open-mode=append", "requeue"),
        *("signal=TERM@90", "exclusive --nice"),
    ]
    assert (
        "\n  srun --mpi=pmix --kill-on-bad-exit --wait=30 python -m distmnist.train\n"
        in text
    )
    assert "signal=B:USR1@80" in directives(render(launcher="mpirun"))
    # A container has a Python of its own.
    assert "activate" in render()
    text = render("--container=/shared/i.sif", "--gpus_per_node=1")
    assert "activate" not in text
    assert "apptainer exec --nv /shared/i.sif python -m distmnist.train" in text


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0\r", codec="utf-8"), max_size=20),
        max_size=4,
    ),
    st.booleans(),
)
def test_the_shell_sees_the_words_that_were_given(words: list[str], ask: bool) -> None:
    given_words = ["--input_data_dir=" + word for word in words if "$" not in word]
    index = "--seed=$SLURM_ARRAY_TASK_ID"
    flags = ["--array=3", "--", *given_words, index, "--log_dir=$SLURM_ARRAY_TASK_ID"]
    try:
        text = render(*flags)
    except InputError:  # not a value of this flag
        return
    start, end = text.index("command=("), text.index("\n)\n") + 3
    code = text[start:end] + 'printf "%s\\0" "${command[@]}"'
    done = subprocess.run(
        ("bash", "-c", code),
        capture_output=True,
        check=True,
        env={"SLURM_ARRAY_TASK_ID": "3", "PATH": os.environ["PATH"]},
    )
    seen = done.stdout.decode(errors="surrogateescape").split("\0")[:-1]
    assert seen[-len(given_words) - 2 :] == [*given_words, "--seed=3", "--log_dir=3"]


def test_the_script_is_valid_and_the_same_from_both_commands(tmp_path: Path) -> None:
    flags = ("--dry_run", "--nodes=2", "--", "--max_steps=7")
    module = run((sys.executable, "-m", "launch.submit", "slurm", *flags), cwd=ROOT)
    printed = run((*SUBMIT, *flags), cwd=ROOT).stdout
    assert printed == module.stdout
    (tmp_path / "job").write_text(printed)
    run(("bash", "-n", tmp_path / "job"))
    assert f"source {shlex.quote(sys.prefix)}/bin/activate" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--time=soon",), "flag --time=soon: must be minutes"),
        (("--time=4",), "flag --time=4: must be at least 5 minutes"),
        (("--time=4:59",), "must be at least 5 minutes"),
        (("--time=0-0:04",), "must be at least 5 minutes"),
        (("--array=x",), "flag --array=x: must be indices"),
        (("--array=0-3",), "each training has a directory of its own"),
        (("--array=3-0",), "flag --array=3-0: indices must ascend"),
        (("--name=a b",), "flag --name=a b: must be 1 to 100 letters"),
        (("--name=7",), "flag --name=7: must be no number"),
        (("--time=5", "--", "--grace_seconds=600"), "must be at least 15 minutes"),
        (("--sbatch=--nice --wait",), "--wait is not for submitting"),
        (("--", "--log_dir=a$B"), "must have no %, $, backslash or line end"),
        (("--", "--log_dir", "a\\b"), "must have no %, $, backslash or line end"),
        (("--", "--log_dir=50%"), "must have no %, $, backslash or line end"),
        (("--logs=a", "--detach"), "flag --detach: has no effect with --logs"),
        (("--delete=a", "--nodes=2"), "flag --nodes: has no effect with --delete"),
        (("--gpus_per_node=2", "--workers_per_node=3"), "each GPU has a rank"),
        (("--gpus_per_node=4", "--workers_per_node=2"), "each GPU has a rank"),
        (("--sbatch=--nice\n#SBATCH -p x",), "flag --sbatch: must be one line"),
        (("--launcher=ssh",), "must be one of auto, srun, mpirun"),
        (("--", "--elastic"), "is not for Slurm"),
        (("--", "--batch_size=0"), "flag --batch_size=0: must be at least 1"),
    ],
)
def test_wrong_flags_are_one_line(flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        render(*flags)
    assert message in str(caught.value)


@given(st.sets(st.integers(0, 40), min_size=1), st.booleans())
def test_each_training_of_an_array_has_its_directory(
    indices: set[int], limited: bool
) -> None:
    ordered = sorted(indices)
    groups = itertools.groupby(enumerate(ordered), lambda pair: pair[1] - pair[0])
    runs = [[index for _, index in group] for _, group in groups]
    text = ",".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs)
    options, config = options_module.parse(
        [
            *("submit_slurm", f"--array={text}{'%2' if limited else ''}"),
            *("--", "--log_dir=l/$SLURM_ARRAY_TASK_ID/x"),
        ]
    )
    found = script.run_directories(options, config)
    assert found == [f"l/{index}/x" for index in ordered]
    assert "/l/%a/x/slurm-%A_%a.out" in script.render(options, config, "srun", "/")


def test_the_log_is_where_the_run_is() -> None:
    text = render("--", "--log_dir=/a", "--log_dir", "b c")
    assert "output='/shared/a b/b c/slurm-%j.out'" in directives(text)
    assert "\nlog_dir='b c'\n" in text


def test_a_run_is_restarted_once() -> None:
    assert "--norestart" in render("--", "--restart")
    assert "--norestart" not in render()


def test_without_slurm_one_line_says_so(tmp_path: Path) -> None:
    env = {"PATH": f"{Path(sys.executable).parent}:{tmp_path}"}
    done = run((sys.executable, *SUBMIT), 2, tmp_path, env=env)
    assert done.stderr.splitlines() == [
        "submit_slurm: sbatch was not found: call it on a login node of a cluster"
    ]
    assert not list(tmp_path.iterdir())


def parsed(**changes: str) -> commands.Task:
    line = RECORDED
    for name, value in changes.items():
        before = line.split(f" {name}=", 1)[1].split(" ", 1)[0]
        line = line.replace(f" {name}={before}", f" {name}={value}")
    return commands._parse(line)


def test_states_of_jobs() -> None:
    task = parsed()
    assert (task.job, task.name, task.restarts) == ("1", "x.sh", 2)
    assert task.log == Path("/shared/my logs/slurm-1.out")
    assert follow.describe([task]) == "x.sh (1): completed, restart 2"
    running = parsed(JobState="RUNNING")
    assert follow.describe([running]) == "x.sh (1): running on n[1-2], restart 2"
    both = follow.describe([task, running, running])
    assert both == "x.sh (1): 1 completed, 2 running"


@pytest.mark.parametrize(
    ("state", "code", "status"),
    [
        ("COMPLETED", "0:0", 0),
        ("FAILED", "2:0", 2),
        ("FAILED", "0:9", 137),
        ("CANCELLED", "0:15", 143),
        ("TIMEOUT", "0:0", 124),
        ("OUT_OF_MEMORY", "0:125", 137),
        ("NODE_FAIL", "0:0", 1),
    ],
)
def test_exit_status_is_the_job_s(state: str, code: str, status: int) -> None:
    assert follow.exit_status(parsed(JobState=state, ExitCode=code)) == status


@pytest.mark.parametrize(
    ("reason", "never"),
    [
        ("Priority", False),
        ("Job's_account_not_known,_so_it_can't_use_this_partition_(p_allows_a)", True),
        ("Resources", False),
        ("BeginTime", False),
        ("QOSGrpCpuLimit", False),  # others' jobs end
        ("PartitionConfig", True),
        ("PartitionTimeLimit", True),
        ("QOSMaxCpuPerJobLimit", True),
        ("AssocMaxWallDurationPerJobLimit", True),
        ("InvalidAccount", True),
    ],
)
def test_what_never_starts_is_told_from_what_waits(reason: str, never: bool) -> None:
    task = parsed(JobState="PENDING", Reason=reason)
    assert follow.never_starts([task]) == (reason if never else "")


def fake_slurm(directory: Path, **answers: str) -> dict[str, str]:
    """Returns an environment whose commands of Slurm print these answers."""
    for name, answer in {"sbatch": "", **answers}.items():
        path = directory / name
        path.write_text(f"#!/bin/sh\ncat <<'EOT'\n{answer}\nEOT\n")
        path.chmod(0o755)
    return {"PATH": f"{directory}:{Path(sys.executable).parent}:/usr/bin:/bin"}


def test_a_name_is_that_of_the_job_that_has_not_ended(tmp_path: Path) -> None:
    job = RECORDED.replace("JobState=COMPLETED", "JobState=RUNNING")
    env = fake_slurm(tmp_path, squeue="60 RUNNING\n61 FAILED", scontrol=job, scancel="")
    done = run((*SUBMIT, "--delete=dup"), 0, tmp_path, env=env)
    assert "dup was cancelled" in done.stderr
    env = fake_slurm(tmp_path, squeue="60 RUNNING\n61 PENDING")
    done = run((*SUBMIT, "--delete=dup"), 2, tmp_path, env=env)
    assert (
        "several jobs dup have not ended: give a number, one of 60, 61" in done.stderr
    )
    env = fake_slurm(tmp_path, squeue="61 COMPLETED", scontrol=RECORDED)
    done = run((*SUBMIT, "--delete=dup"), 2, tmp_path, env=env)
    assert "dup has ended: there is nothing to cancel" in done.stderr


def test_a_submission_without_a_number_is_none(tmp_path: Path) -> None:
    env = fake_slurm(tmp_path, srun="pmix", sbatch="sbatch: Job 5 to start at ...")
    done = run((*SUBMIT, "--", f"--log_dir={tmp_path}/a"), 2, tmp_path, env=env)
    assert "sbatch submitted no job" in done.stderr


def test_a_task_that_slurm_has_forgotten_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_text("abc")  # without a line end
    failed = parsed(JobState="FAILED")._replace(array_index="0", log=log)
    running, done = (
        parsed(JobState=state)._replace(array_index="1", log=tmp_path / "none")
        for state in ("RUNNING", "COMPLETED")
    )
    looks = iter([[failed, running], [running], [done]])
    monkeypatch.setattr(commands, "tasks", lambda _: next(looks))
    monkeypatch.setattr(follow, "_SECONDS", 0.0)
    monkeypatch.setattr(follow, "_LAST_SECONDS", 0.0)
    assert follow.Follower("1", screen := Recorder(), None).run() == 3
    assert screen.lines == ["[0] abc"]
    # One that is queued again is that one, not another.
    again = running._replace(array_index="0")
    over = [done, done._replace(array_index="0")]
    looks = iter([[failed, running], [again, running], over])
    assert follow.Follower("1", Recorder(), None).run() == 0


class Recorder(Screen):
    """A screen that records the log."""

    def __init__(self) -> None:
        super().__init__("submit_slurm")
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)
