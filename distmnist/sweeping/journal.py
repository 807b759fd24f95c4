"""The journal of a sweep: which trials have ended, and how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from distmnist.core.errors import InputError, RunError
from distmnist.core.whole_files import whole_file
from distmnist.sweeping.trials import Trial

NAME = "sweep.json"


class _Ended(msgspec.Struct):
    status: int
    line: str


class _Content(msgspec.Struct):
    shared: list[str]
    trials: dict[str, _Ended] = {}


class Journal:
    """A file that is written when a trial has ended."""

    def __init__(self, directory: Path, shared: Sequence[str]):
        """Reads the file, if there is one.

        Args:
            directory: of the sweep; created if it is missing.
            shared: flags of all trials.

        Raises:
            InputError: the directory holds another sweep, or cannot be used.
        """
        self._path = directory / NAME
        self._content = _Content(list(shared))
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if self._path.exists():
                text = self._path.read_bytes()
                self._content = msgspec.json.decode(text, type=_Content)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"flag --sweep_dir={directory}: cannot be used ({reason[:200]}); give "
                "another directory"
            ) from None
        if self._content.shared != list(shared):
            raise InputError(
                f"flag --sweep_dir={directory}: holds a sweep with other flags of "
                f"training ({' '.join(self._content.shared) or 'none'}); give another "
                "directory"
            )

    def is_done(self, trial: Trial) -> bool:
        """Returns whether a trial has ended well."""
        ended = self._content.trials.get(trial.directory.name)
        return ended is not None and ended.status == 0

    def problem(self, trial: Trial) -> str:
        """Returns why a trial has failed; empty if it has not."""
        ended = self._content.trials.get(trial.directory.name)
        if ended is None:
            return "did not run"
        if ended.status == 0:
            return ""
        return f"status {ended.status}: {ended.line}"

    def note(self, trial: Trial, status: int, line: str) -> None:
        """Notes that a trial has ended.

        Args:
            trial: the trial.
            status: its exit status.
            line: the last line that it printed.

        Raises:
            RunError: the file cannot be written.
        """
        self._content.trials[trial.directory.name] = _Ended(status, line)
        try:
            with whole_file(self._path) as path:
                path.write_bytes(msgspec.json.encode(self._content))
        except OSError as error:
            raise RunError(
                f"{self._path}: cannot be written ({error.strerror}); free disk space, "
                "and start the same command again"
            ) from None
