"""The failures that a user can do something about, and the exit status of each.

Whoever raises one writes the whole line that the user reads: what is wrong,
where (file or flag), and what to do.  `distmnist.train` prints it once, without
a traceback, and exits with the status below.
"""

from __future__ import annotations


class UserError(Exception):
    """A failure that is told in one line on standard error.

    Attributes:
        exit_status: of the process that it ends.
        on_all_ranks: whether every rank has raised it, and none waits for another.
    """

    exit_status = 1
    on_all_ranks = False


class RunError(UserError):
    """The run failed for a reason outside its input: full disk, lost rank."""

    exit_status = 1


class InputError(UserError):
    """A wrong flag, file or checkpoint."""

    exit_status = 2


class Stopped(UserError):
    """A signal ended the run, at a step that all ranks agreed on."""

    on_all_ranks = True

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_status = 128 + signal_number


def on_all_ranks(error: UserError) -> UserError:
    """Marks an error as one that every rank raises."""
    error.on_all_ranks = True
    return error
