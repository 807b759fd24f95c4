"""TensorBoard's event files, whose write errors are raised.

TensorFlow's own writer (`tf.summary.create_file_writer`) ignores them: a record that
could not be written is missing or damaged, and all that follows it is unreadable.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from distmnist.core import lock, run_files

_VERSION = "brain.Event:2"  # first record of every event file


class EventFile:
    """Writes events to a new file."""

    def __init__(self, directory: Path):
        """Creates the file, and its directory if that is missing.

        Args:
            directory: a run of TensorBoard.

        Raises:
            OSError: it cannot be created.
            tf.errors.OpError: likewise.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / run_files.event_file_name()
        # As bytes: TensorFlow would encode it as UTF-8, whatever the locale is.
        self._records = tf.io.TFRecordWriter(os.fsencode(self._path))
        # Of the same file: it tells whether the file is still at its path.
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self._write(0, file_version=_VERSION)
        self.flush()

    def write(self, step: int, *summaries: Any) -> None:
        """Writes summaries that TensorBoard's own code has created, as one event.

        Args:
            step: of the event.
            summaries: protocol buffers; concatenated, they are one with all values.

        Raises:
            tf.errors.OpError: they cannot be written.
        """
        joined = b"".join(summary.SerializeToString() for summary in summaries)
        self._write(step, summary=tf.compat.v1.Summary.FromString(joined))

    def write_graph(self, graph: tf.Graph) -> None:
        """Writes a graph.

        Args:
            graph: the graph.

        Raises:
            tf.errors.OpError: it cannot be written.
        """
        definition = graph.as_graph_def(add_shapes=True)
        self._write(0, graph_def=definition.SerializeToString())

    def flush(self) -> None:
        """Passes what is written on to the operating system.

        Raises:
            RunError: the file was moved or removed.
            tf.errors.OpError: it cannot be written.
        """
        self._records.flush()
        lock.assert_in_place(self._descriptor, self._path)

    def close(self) -> None:
        """Flushes, and closes the file; does nothing if it is closed.

        Raises:
            RunError: the file was moved or removed.
            tf.errors.OpError: it cannot be written.
        """
        if self._descriptor < 0:
            return
        try:
            self.flush()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1
            self._records.close()

    def _write(self, step: int, **content: Any) -> None:
        event = tf.compat.v1.Event(wall_time=time.time(), step=step, **content)
        self._records.write(event.SerializeToString())
