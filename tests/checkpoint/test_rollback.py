"""Log rollback: what was logged up to the restored step stays, on both x axes."""

from __future__ import annotations

import json
from pathlib import Path

import tensorflow as tf

from distmnist.checkpoint.rollback import roll_back
from distmnist.core.progress import Progress
from distmnist.core.run_directory import RunDirectory
from distmnist.metrics.scalars import ScalarWriter


def _points(directory: RunDirectory) -> list[tuple[str, int]]:
    """Returns tag and step of each scalar in the event files."""
    return sorted(
        (value.tag, event.step)
        for path in directory.event_files()
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    )


def _log(directory: RunDirectory) -> None:
    """Logs steps 10, 20 and 30, of 100 examples each, after 5 examples of others."""
    lines = [json.dumps({"step": step}) + "\n" for step in (10, 20, 30)]
    directory.metrics.write_text("".join(lines))
    for path in (directory.path, directory.evaluation("test")):
        writer = ScalarWriter(path)
        for step in (10, 20, 30):
            values = {"loss": 1.0, "gradient_norm": 1.0}
            writer.write(values, step, 5 + 100 * step, ("loss",))
        writer.file.close()


def test_drops_what_was_logged_later(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    _log(directory)
    assert len(_points(directory)) == 18
    roll_back(directory, Progress(20, 2005))
    expected = [("gradient_norm", 10), ("gradient_norm", 20), ("loss", 10)]
    expected += [("loss", 20), ("loss_vs_examples", 1005), ("loss_vs_examples", 2005)]
    assert _points(directory) == sorted(2 * expected)
    steps = [json.loads(line)["step"] for line in directory.metrics.open()]
    assert steps == [10, 20]


def test_drops_everything(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    _log(directory)
    roll_back(directory, Progress(-1, -1))
    assert directory.event_files() == []
    assert directory.metrics.read_text() == ""
