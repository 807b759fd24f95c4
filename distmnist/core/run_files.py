"""The files of a run: their names, which no other module knows."""

from __future__ import annotations

import itertools
import os
import re
import socket
import time
from pathlib import Path
from typing import TypeVar

from distmnist.core.trackers import TRACKERS

_CHECKPOINT = "model.ckpt-"
_CHECKPOINT_FILE = re.compile(
    rf"{re.escape(_CHECKPOINT)}(\d+)\.(?:index|sha256|data-.*)"
)
_TEMPORARY_FILE = re.compile(rf"\.{re.escape(_CHECKPOINT)}(\d+)\..*")
# Other programs have checkpoints of the same name, but no checksums in them.
_SUMS = re.compile(rf"[0-9a-f]{{64}}  {re.escape(_CHECKPOINT)}\d+\.data-".encode())
# TensorBoard chooses the beginning, TensorFlow's profiler writes files of its own.
_EVENTS, _OWN_EVENTS = "events.out.tfevents.", ".distmnist"
_PROFILE_EVENTS = ".profile-empty"
_SPLITS = ("train", "validation", "test")
_event_files = itertools.count()  # of this process

T = TypeVar("T", bound="RunFiles")


class RunFiles:
    """The directory of a run, on disk or not.

    Attributes:
        path: the directory.
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Does not access the disk.

        Args:
            path: --log_dir of the run.
        """
        self.path = Path(path)

    @property
    def lock(self) -> Path:
        """Names the process that writes the files, or that wrote them last."""
        return self.path / "lock"

    @property
    def metrics(self) -> Path:
        """Metrics, a JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def flags(self) -> Path:
        """Flags of the run, as a flag file."""
        return self.path / "flags.txt"

    @property
    def card(self) -> Path:
        """Model card."""
        return self.path / "model_card.md"

    @property
    def report(self) -> Path:
        """Report on the run."""
        return self.path / "report.html"

    def tracker(self, name: str) -> Path:
        """Returns the file that says what an experiment tracker has of the run."""
        return self.path / f"tracker.{name}.json"

    @property
    def profile(self) -> Path:
        """Profiles of TensorFlow."""
        return self.path / "plugins" / "profile"

    @property
    def best(self: T) -> T:
        """Directory of the checkpoint with the best validation accuracy."""
        return type(self)(self.path / "best")

    @property
    def rewritten(self) -> Path:
        """Temporary file, which replaces another as a whole."""
        return self.path / ".rewriting"

    @property
    def evaluations(self) -> Path:
        """Directory of the event files of evaluations, one directory per split."""
        return self.path / "eval"

    @property
    def archiving(self) -> Path:
        """Directory of files that are being archived, until all of them are."""
        return self.path / ".archiving"

    def evaluation(self, split: str) -> Path:
        """Returns the directory of the event files of one split."""
        return self.evaluations / split

    def event_files(self) -> list[Path]:
        """Returns the event files of runs, those of evaluations included; no others."""
        pattern = f"{_EVENTS}*{_OWN_EVENTS}"
        return [*self.path.glob(pattern), *self.evaluations.glob(f"*/{pattern}")]

    def damaged(self, path: Path) -> Path:
        """Returns where a damaged log file is kept: TensorBoard does not read it."""
        name = path.name.replace("tfevents", "damaged")
        return path.with_name(f"{name}.damaged-{time.time_ns()}")

    def checkpoint(self, step: int) -> str:
        """Returns the path of the checkpoint of a step, without suffix.

        It has a directory, "./" where that is the working directory.
        """
        return os.path.join(self.path, f"{_CHECKPOINT}{step}")

    def checkpoint_steps(self) -> list[int]:
        """Returns the steps of which there is any checkpoint file, newest first.

        Raises:
            OSError: the directory cannot be read.
        """
        names = os.listdir(self.path) if self.path.is_dir() else ()
        matches = (_CHECKPOINT_FILE.fullmatch(name) for name in names)
        return sorted({int(match[1]) for match in matches if match}, reverse=True)

    def partial_checkpoints(self) -> list[Path]:
        """Returns the files that a process has left that was killed in a save.

        Those of a checkpoint some of whose files are still hidden, and its index is;
        then the hidden ones, which show that it is partial.

        Raises:
            OSError: the directory cannot be read.
        """
        names = os.listdir(self.path) if self.path.is_dir() else ()
        hidden = [m for m in map(_TEMPORARY_FILE.fullmatch, names) if m]
        partial = {m[1] for m in hidden}
        visible = [m for m in map(_CHECKPOINT_FILE.fullmatch, names) if m]
        partial -= {m[1] for m in visible if m[0].endswith(".index")}
        found = [m[0] for m in visible if m[1] in partial] + [m[0] for m in hidden]
        return [self.path / name for name in found]

    def has_checksums(self) -> bool:
        """Returns whether there are checksums of a checkpoint: no others write them."""
        for path in self.path.glob(f"{_CHECKPOINT}*.sha256"):
            if path.is_file():
                with path.open("rb") as file:
                    if _SUMS.match(file.read(200)):
                        return True
        return False

    def files(self) -> list[Path]:
        """Returns the files of a run directly in the directory, there or not."""
        named = [self.lock, self.metrics, self.flags, self.card, self.report]
        return [*named, *map(self.tracker, TRACKERS)]

    def directories(self) -> list[Path]:
        """Returns the directories that a run writes to, there or not."""
        found = [self.best.path, self.evaluations, self.profile]
        return [*found, *(self.evaluation(split) for split in _SPLITS)]

    def numbered(self, others: bool) -> list[Path]:
        """Returns event files and files of checkpoints directly in the directory.

        Args:
            others: include event files of other programs, and hidden files.

        Raises:
            OSError: the directory cannot be read.
        """
        ends = ("",) if others else (_OWN_EVENTS, _PROFILE_EVENTS)
        return [
            self.path / name
            for name in (os.listdir(self.path) if self.path.is_dir() else ())
            if (name.startswith(_EVENTS) and name.endswith(ends))
            or _CHECKPOINT_FILE.fullmatch(name)
            or (others and _TEMPORARY_FILE.fullmatch(name))
        ]

    def archived(self) -> list[Path]:
        """Returns what there is of a run.

        Raises:
            OSError: the directory cannot be read.
        """
        named = [self.metrics, self.flags, self.card, self.report]
        named += [self.profile, self.best.path, self.evaluations]
        named += map(self.tracker, TRACKERS)
        return [*self.numbered(False), *filter(os.path.lexists, named)]


def event_file_name() -> str:
    """Returns the name of a new event file, unlike that of any other process."""
    numbers = (int(time.time()), socket.gethostname(), os.getpid(), next(_event_files))
    return f"{_EVENTS}{'.'.join(map(str, numbers))}{_OWN_EVENTS}"
