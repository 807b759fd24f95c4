"""Runs one contender: with a timeout, its wall time, and its output if it fails."""

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

_GRACE = 10  # seconds between a polite end and a kill


class Outcome(NamedTuple):
    """What became of a process.

    Attributes:
        result: what it reported; empty if it was not to report, or failed.
        wall_seconds: from its start to its end.
        failure: "" or what went wrong, with the end of its output.
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
    """Runs a command to its end.

    Args:
        command: what to run.
        timeout: seconds after which it, and all that it started, is ended.
        environment: variables beside those of a shell.
        reports: whether it is to print a report.
    """
    variables = {**launching.environment(), **(environment or {})}
    variables[TIMEOUT_VARIABLE] = str(timeout)
    variables.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its greetings
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
        return Outcome({}, 0.0, f"{' '.join(command)}\ncan't be started: {error}")
    try:
        output, _ = process.communicate(timeout=timeout)
        failure = f"ended with {process.returncode}" if process.returncode else ""
    except subprocess.TimeoutExpired:
        output = _end(process)
        failure = f"did not end in {timeout:.0f} s"
    except BaseException:  # an interrupt leaves nothing running
        _end(process)
        raise
    seconds = time.perf_counter() - begin
    result = parse(output)
    if not failure and reports and not result:
        failure = "reported nothing"
    if failure:
        tail = "\n".join(output.splitlines()[-40:])
        failure = f"{' '.join(command)}\n{failure}:\n{tail}"
        result = {}
    return Outcome(result, seconds, failure)


def parse(output: str) -> dict[str, Any]:
    """Returns the report in an output, empty if there is none."""
    for line in output.splitlines():
        _, mark, report = line.partition(MARK)
        if mark:
            # A launcher may put its tag behind the line too.
            result: dict[str, Any] = json.JSONDecoder().raw_decode(report)[0]
            return result
    return {}


def _end(process: subprocess.Popen[str]) -> str:
    """Ends a process group, its launcher first of all; returns its output."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        return process.communicate(timeout=_GRACE)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]
