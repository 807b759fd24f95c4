"""User-facing errors, printed in one line without a traceback, and their exit status.

The message is the whole line that the user reads: what is wrong, where (file or flag),
and what to do about it.
"""

from __future__ import annotations

import re

# Keras shows the message of an error in a layer's call in bold.
_KERAS = re.compile(r"Exception encountered when calling.*?\x1b\[1m(.*?)\x1b\[0m", re.S)


class UserError(Exception):
    """A failure that the user can act on.

    Attributes:
        exit_status: exit status of the process that it ends.
        on_all_ranks: whether every rank raises it, so that none waits for another.
    """

    exit_status = 1
    on_all_ranks = False

    def __str__(self) -> str:
        """Returns the message, without what AutoGraph and Keras put around it."""
        message = super().__str__()
        if bold := _KERAS.search(message):
            return bold[1].strip()
        if message.startswith("in user code:"):
            message = message.rpartition(f"{type(self).__name__}: ")[2]
        return message.strip()


class RunError(UserError):
    """The run failed for a reason outside its input, such as a full disk."""

    exit_status = 1


class InputError(UserError):
    """A wrong flag, file or checkpoint."""

    exit_status = 2


class Preempted(UserError):
    """A signal ended the run, at a step that all ranks agreed on."""

    on_all_ranks = True

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_status = 128 + signal_number


def on_all_ranks(error: UserError) -> UserError:
    """Marks an error as one that every rank raises."""
    error.on_all_ranks = True
    return error


debug = False
"""Whether errors in the user's code are also printed with their traceback."""
