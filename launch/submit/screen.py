"""The terminal: the log of a job, and below it the job's state on one line."""

from __future__ import annotations

import shutil
import signal
import sys


class Screen:
    """Prints log lines to standard output and the state of the job to standard error.

    On a terminal, the state is a status line below the log. Elsewhere each change of
    state is printed, without the training progress, which is in the log.
    """

    def __init__(self, program: str) -> None:
        """Creates an empty screen.

        Args:
            program: name that precedes messages.
        """
        self._program = program
        self._terminal = sys.stderr.isatty()
        self._shown = ""

    def log(self, line: str) -> None:
        """Prints a log line."""
        self._clear()
        print(line, flush=True)
        if self._terminal:
            print(self._shown, end="", file=sys.stderr, flush=True)

    def report(self, line: str) -> None:
        """Prints a message of this program."""
        self._clear()
        print(f"{self._program}: {line}", file=sys.stderr, flush=True)
        self._shown = ""

    def state(self, text: str, steps: str) -> None:
        """Updates the state.

        Args:
            text: state of the job.
            steps: training progress, appended on a terminal.
        """
        if self._terminal:
            # A line that wraps could not be erased.
            line = (text + steps)[: shutil.get_terminal_size().columns - 1]
            if line != self._shown:
                self._clear()
                self._shown = line
                print(line, end="", file=sys.stderr, flush=True)
        elif text != self._shown:
            self.report(text)
            self._shown = text

    def ask(self, question: str) -> bool:
        """Asks a question; without a terminal, or after Ctrl-C, the answer is no."""
        if not (sys.stdin.isatty() and self._terminal):
            return False
        try:
            self.report(f"{question} [y/N] ")
            return sys.stdin.readline().strip().lower() in ("y", "yes")
        except KeyboardInterrupt:  # a second time
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return False

    def _clear(self) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
