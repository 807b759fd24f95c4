"""Slurm's commands, which exist in every version and whatever its plug-ins are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from distmnist.core.errors import InputError, RunError

_SECONDS = 9.0  # timeout of a command
_SUBMIT_SECONDS = 60.0  # of sbatch: the job may be there, in spite of a timeout
_UNDERWAY = {
    *("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED"),
    *("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESIZING", "SIGNALING", "STAGE_OUT"),
}
_FIELD = re.compile(r"(\S+?)=(\S*)")


class Unreachable(RunError):
    """The controller of the cluster does not answer."""


class Task(NamedTuple):
    """A job, or a task of a job array.

    Attributes:
        job: its number, that of the whole array.
        array_index: "" if it is not of an array.
        name: of the job.
        state: such as RUNNING.
        reason: why it is in this state; "" if there is none.
        exit_code: of the batch script, and the signal that ended it.
        restarts: how often it was queued again.
        seconds: text of the time that it has run.
        nodes: on which it runs; "" if it does not.
        log: file of its output.
    """

    job: str
    array_index: str
    name: str
    state: str
    reason: str
    exit_code: tuple[int, int]
    restarts: int
    seconds: str
    nodes: str
    log: Path

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, and is not queued again."""
        return self.state not in _UNDERWAY


def require() -> None:
    """Checks that there are Slurm's commands.

    Raises:
        InputError: there are none.
    """
    if shutil.which("sbatch") is None:
        raise InputError("sbatch was not found: call it on a login node of a cluster")


def supports_pmix() -> bool:
    """Returns whether srun can start ranks of Open MPI."""
    listed = _start("srun", "--mpi=list")
    return bool(re.search(r"\bpmix", listed.stdout + listed.stderr))


def max_array_size() -> int:
    """Returns the number that indices of a job array must be below."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", _run("scontrol", "show", "config"))
    return int(found[1]) if found else 1001  # Slurm's default


def submit(script: Path) -> str:
    """Submits a batch script; returns the number of the job.

    Raises:
        InputError: Slurm refused it.
    """
    printed = _run("sbatch", "--parsable", str(script), seconds=_SUBMIT_SECONDS)
    number = printed.strip().partition(";")[0]
    if not number.isdigit():
        raise InputError(
            "sbatch submitted no job: leave out what in --sbatch says so, or in its "
            "environment variables, SBATCH_..."
        )
    return number


def find(name: str) -> str:
    """Returns the number of a job of this user's, the newest of a name.

    One that has not ended comes before those that have.

    Args:
        name: name or number.

    Raises:
        InputError: there is none, or several of this name have not ended.
    """
    if name.isdigit():
        return name
    found = _run(
        *("squeue", "--me", "--noheader", "--states=all", f"--name={name}"),
        "--format=%F %T",
    )
    if not found:
        raise InputError(
            f"there is no job {name} of yours in the queue; the log of one that has "
            "ended is slurm-NUMBER.out in its --log_dir"
        )
    states = [line.split() for line in found.splitlines()]
    underway = {job for job, state in states if state in _UNDERWAY}
    if len(underway) > 1:
        raise InputError(
            f"several jobs {name} have not ended: give a number, one of "
            f"{', '.join(sorted(underway, key=int))}"
        )
    return max(underway or [job for job, _ in states], key=int)


def tasks(job: str) -> list[Task]:
    """Returns a job, or the tasks of a job array.

    Raises:
        InputError: there is none of this number; Slurm forgets those that have ended,
            by default after five minutes.
    """
    text = _run("scontrol", "--oneliner", "show", "job", job)
    return [_parse(line) for line in text.splitlines() if line.strip()]


def cancel(job: str) -> None:
    """Ends a job."""
    _run("scancel", job)


def _parse(line: str) -> Task:
    fields = dict(_FIELD.findall(line))
    code, _, number = fields.get("ExitCode", "0:0").partition(":")
    index = fields.get("ArrayTaskId", "")
    reason = fields.get("Reason", "None")
    nodes = fields.get("NodeList", "(null)")
    return Task(
        fields.get("ArrayJobId", str(fields["JobId"])),
        index,
        fields.get("JobName", ""),
        fields["JobState"],
        "" if reason == "None" else reason,
        (int(code), int(number)),
        int(fields.get("Restarts", 0)),
        fields.get("RunTime", ""),
        "" if nodes == "(null)" else nodes,
        _log(line),
    )


def _log(line: str) -> Path:
    """Returns the file of the output, whose name may have spaces."""
    match = re.search(r" StdOut=(.*?)(?: Power=| TresPer\w+=|$)", line)
    return Path(match[1].strip() if match else "/dev/null")


def _start(
    *command: str, seconds: float = _SECONDS
) -> subprocess.CompletedProcess[str]:
    """Runs a command.

    Raises:
        Unreachable: it did not end in time.
    """
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{command[0]}: no answer in {seconds:.0f} seconds") from None


def _run(*command: str, seconds: float = _SECONDS) -> str:
    """Runs a command; returns what it prints.

    Raises:
        InputError: it failed.
        Unreachable: the controller did not answer.
    """
    done = _start(*command, seconds=seconds)
    if done.returncode == 0:
        return done.stdout
    errors = [line.partition("error: ")[2] or line for line in done.stderr.splitlines()]
    problem = "; ".join(errors) or f"status {done.returncode}"
    if re.search("contact slurm controller|[Cc]onnection|timed out", problem):
        raise Unreachable(f"{command[0]}: {problem}")
    raise InputError(f"{command[0]}: {problem}")
