"""Runs commands with a timeout; returns reports, wall times and failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tests import launching
from tests.benchmarks.measuring import MARK, TIMEOUT_VARIABLE

_GRACE = 10  # seconds between SIGTERM and SIGKILL


class Outcome(NamedTuple):
    """Outcome of a command.

    Attributes:
        result: Its report; empty if none is expected, or if it failed.
        wall_seconds: Seconds from its start to its end.
        failure: Error with the end of its output; "" if it succeeded.
    """

    result: dict[str, Any]
    wall_seconds: float
    failure: str


def run(
    command: Sequence[str],
    timeout: float,
    environment: Mapping[str, str] | None = None,
    reports: bool = True,
) -> Outcome:
    """Runs a command until it ends.

    Args:
        command: Command to run.
        timeout: Seconds after which the command and its child processes are ended.
        environment: Additional environment variables.
        reports: Whether it must print a report.

    Returns:
        The outcome.
    """
    variables = {**launching.environment(), **(environment or {})}
    variables[TIMEOUT_VARIABLE] = str(timeout)
    variables.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no start-up messages
    if "PYTHONPATH" in os.environ:
        variables["PYTHONPATH"] += os.pathsep + os.environ["PYTHONPATH"]
    begin = time.perf_counter()
    try:
        process = subprocess.Popen(
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Outcome({}, 0.0, f"{' '.join(command)}\ncannot be started: {error}")
    try:
        output, _ = process.communicate(timeout=timeout)
        failure = f"ended with {process.returncode}" if process.returncode else ""
    except subprocess.TimeoutExpired:
        output = _end(process)
        failure = f"timed out after {timeout:.0f} s"
    except BaseException:  # an interrupt ends the command too
        _end(process)
        raise
    seconds = time.perf_counter() - begin
    result = parse(output)
    if not failure and reports and not result:
        failure = "printed no report"
    if failure:
        tail = "\n".join(output.splitlines()[-40:])
        failure = f"{' '.join(command)}\n{failure}:\n{tail}"
        result = {}
    return Outcome(result, seconds, failure)


def parse(output: str) -> dict[str, Any]:
    """Returns the report in an output; empty if there is none."""
    for line in output.splitlines():
        _, mark, report = line.partition(MARK)
        if mark:
            # A launcher may also append its tag to the line.
            result: dict[str, Any] = json.JSONDecoder().raw_decode(report)[0]
            return result
    return {}


def _end(process: subprocess.Popen[str]) -> str:
    """Ends a process group; returns its output."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        return process.communicate(timeout=_GRACE)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]
