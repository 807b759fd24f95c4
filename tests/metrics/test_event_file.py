"""Event files: names, and errors that TensorFlow's own writer ignores."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import tensorflow as tf
from tensorboard.plugins.scalar import summary_v2 as scalar

from distmnist.core.errors import RunError
from distmnist.metrics.event_file import EventFile


def test_each_writer_has_a_file_of_its_own(tmp_path: Path) -> None:
    for step in (1, 2):  # within a second, as restarted runs are
        file = EventFile(tmp_path)
        file.write(step, scalar.scalar_pb("loss", 1.0), scalar.scalar_pb("rate", 1.0))
        file.close()
        file.close()
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 2
    for step, path in enumerate(paths, start=1):
        first, event = tf.compat.v1.train.summary_iterator(str(path))
        assert first.file_version == "brain.Event:2"
        assert event.step == step
        assert [value.tag for value in event.summary.value] == ["loss", "rate"]


@pytest.mark.parametrize("small_disk", ["32k"], indirect=True)
def test_write_errors_are_raised(small_disk: Path) -> None:
    file = EventFile(small_disk)
    with pytest.raises(tf.errors.ResourceExhaustedError, match="No space left"):
        for step in range(100):
            file.write(step, scalar.scalar_pb("loss", 1.0, "d" * 1000))
            file.flush()
    with contextlib.suppress(tf.errors.OpError):
        file.close()
    del file


def test_a_file_that_is_removed_is_noticed(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "run")
    file.flush()
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(RunError, match=f"is now {tmp_path}/moved/"):
        file.flush()
