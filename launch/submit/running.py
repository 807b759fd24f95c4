"""What the programs of all kinds of clusters do alike: failures, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from distmnist.core.errors import InputError, UserError
from launch.submit.screen import Screen


def run(program: str, work: Callable[[Screen], int]) -> int:
    """Runs a program, and reports its failure in one line.

    Args:
        program: its name, that precedes messages.
        work: the program; returns its exit status.

    Returns:
        The exit status.
    """
    if sys.stdout is None or sys.stderr is None:
        return InputError.exit_status  # closed by the caller: nothing can be said
    for stream in (sys.stdout, sys.stderr):  # a log may have any character
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    screen = Screen(program)
    try:
        try:
            return work(screen)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # its reader has ended, as head does
        _discard_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        _discard_output()
        where = error.filename or "standard output"
        screen.report(f"{where}: {error.strerror or error}")
        return 1
    except UserError as error:
        screen.report(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        screen.report("interrupted")
        return 130


def _discard_output() -> None:
    """Has the interpreter not report again, at its end, what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def follow(
    screen: Screen, name: str, work: Callable[[], int], delete: Callable[[], None]
) -> int:
    """Follows a job; asks at Ctrl-C whether to delete it, and else leaves it running.

    Args:
        screen: output.
        name: of the job.
        work: follows it; returns its exit status.
        delete: deletes it, and says so.

    Returns:
        The exit status; 130 if it was interrupted.
    """
    try:
        return work()
    except KeyboardInterrupt:
        if screen.ask(f"delete the job {name}?"):
            delete()
        else:
            screen.report(
                f"{name} keeps running; follow it with --logs={name}, end it with "
                f"--delete={name}"
            )
        return 130
