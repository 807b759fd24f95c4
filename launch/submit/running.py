"""What the programs of all kinds of clusters do alike: failures, and Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable

from distmnist.core.errors import UserError
from launch.submit.screen import Screen


def run(program: str, work: Callable[[Screen], int]) -> int:
    """Runs a program, and reports its failure in one line.

    Args:
        program: its name, that precedes messages.
        work: the program; returns its exit status.

    Returns:
        The exit status.
    """
    screen = Screen(program)
    try:
        return work(screen)
    except UserError as error:
        screen.report(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        screen.report("interrupted")
        return 130


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
