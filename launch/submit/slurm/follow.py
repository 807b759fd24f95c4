"""Follows a job until it ends: shows its state, its log and its result."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distmnist.core.errors import RunError
from launch.submit import training
from launch.submit.screen import Screen
from launch.submit.slurm import commands
from launch.submit.slurm.commands import Task, Unreachable

_SECONDS = 1.0  # between looks at the job
_LAST_SECONDS = 2.0  # for the end of the log, on a file system of the network
_TAIL = 1 << 16  # bytes of a log in which the newest step is looked for

# Of jobs that wait: what does not pass by waiting.
_NEVER = re.compile(
    r"Partition(Config|NodeLimit|TimeLimit)|BadConstraints|(QOS|Assoc).*PerJob\w*|"
    r"Invalid(Account|QOS)|(Account|QOS)NotAllowed|DependencyNeverSatisfied|"
    r"MaxMemPerLimit|launch_failed_requeued_held|Job's_.*_partition.*"
)
_STATUS = {"COMPLETED": 0, "CANCELLED": 143, "TIMEOUT": 124, "OUT_OF_MEMORY": 137}


class Follower:
    """Follows one job, or all tasks of a job array."""

    def __init__(self, job: str, screen: Screen, last_step: int | None):
        """Looks at nothing yet.

        Args:
            job: its number.
            screen: output.
            last_step: last step of the training; None if it is unknown.
        """
        self._job = job
        self._screen = screen
        self._last_step = last_step
        self._read: dict[Path, int] = {}  # bytes, of each log
        self._steps = ""
        self._ended: dict[str, Task] = {}  # by array index: Slurm forgets them

    def run(self) -> int:
        """Follows the job until it ends.

        Returns:
            The exit status of the training; of an array, the highest.

        Raises:
            RunError: it can never start; then it is cancelled.
        """
        is_lost = False
        while True:
            try:
                tasks = commands.tasks(self._job)
            except Unreachable as error:
                if not is_lost:
                    self._screen.report(f"{error}; trying again")
                is_lost = True
                time.sleep(_SECONDS)
                continue
            is_lost = False
            listed = {task.array_index: task for task in tasks}
            tasks = list((self._ended | listed).values())
            self._ended = {task.array_index: task for task in tasks if task.has_ended}
            for task in tasks:
                self._print_log(task)
            self._screen.state(describe(tasks), self._steps)
            if reason := never_starts(tasks):
                commands.cancel(self._job)
                raise RunError(
                    f"{tasks[0].name} cannot start ({reason}), and was cancelled: see "
                    "--partition, --nodes, --time, --constraint, --account and --qos"
                )
            if all(task.has_ended for task in tasks):
                time.sleep(_LAST_SECONDS)
                for task in tasks:
                    self._print_log(task, is_over=True)
                return self._report(tasks)
            time.sleep(_SECONDS)

    def _print_log(self, task: Task, is_over: bool = False) -> None:
        """Prints what is new in a log, in whole lines until it is over."""
        prefix = f"[{task.array_index}] " if task.array_index else ""
        for line in self._new_lines(task.log, is_over):
            self._screen.log(prefix + line)
            if steps := training.progress(line, self._last_step):
                self._steps = f", {prefix}{steps}"

    def _new_lines(self, path: Path, is_over: bool) -> list[str]:
        try:
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                content = file.read()
        except OSError:  # it has not started
            return []
        whole = content if is_over else content[: content.rfind(b"\n") + 1]
        self._read[path] = self._read.get(path, 0) + len(whole)
        return whole.decode(errors="replace").splitlines()

    def _report(self, tasks: Sequence[Task]) -> int:
        status = max(map(exit_status, tasks))
        logs = sorted({str(task.log) for task in tasks if task.log.exists()})
        if logs:
            more = f" and {len(logs) - 1} more" if len(logs) > 1 else ""
            self._screen.report(f"log: {logs[0]}{more}")
        return status


def describe(tasks: Sequence[Task]) -> str:
    """Returns the state of a job on one line."""
    index = tasks[0].array_index if len(tasks) == 1 else ""
    name = f"{tasks[0].name} ({tasks[0].job}{index and '_'}{index})"
    if len(tasks) > 1:
        counts = Counter(task.state.lower() for task in tasks)
        found = ", ".join(f"{count} {state}" for state, count in counts.items())
        return f"{name}: {found}"
    (task,) = tasks
    text = f"{name}: {task.state.lower()}"
    if task.reason and task.state != "RUNNING":
        text += f" ({task.reason})"
    if task.nodes and task.state == "RUNNING":
        text += f" on {task.nodes}"
    if task.restarts:
        text += f", restart {task.restarts}"
    return text


def summarize(task: Task) -> dict[str, Any]:
    """Returns the state of a job as JSON, with its exit status, once it has ended."""
    return {
        "name": task.name,
        "job": task.job,
        "array_index": task.array_index or None,
        "state": task.state.lower(),
        "reason": task.reason or None,
        "status": exit_status(task) if task.has_ended else None,
        "restarts": task.restarts,
        "nodes": task.nodes or None,
    }


def exit_status(task: Task) -> int:
    """Returns the exit status of a job that has ended."""
    code, number = task.exit_code
    if task.state in _STATUS:
        return _STATUS[task.state]
    return code or (128 + number if number else 1)


def never_starts(tasks: Sequence[Task]) -> str:
    """Returns the reason why a job can never start; "" if it may."""
    for task in tasks:
        if task.state == "PENDING" and _NEVER.fullmatch(task.reason):
            return task.reason
    return ""


def newest_lines(task: Task) -> list[str]:
    """Returns the last lines of the log of a job; [] without one."""
    try:
        with task.log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
