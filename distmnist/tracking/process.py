"""The process beside rank 0 that publishes its run, while it trains.

A process of its own: what a tracker imports, prints, waits for or crashes of does not
reach the training, nor do its random numbers. It reads metrics.jsonl, so that what it
cannot publish now it can publish later. It ends with its standard input, which rank 0
closes, or the kernel when rank 0 is gone.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from typing import NoReturn

from absl import flags, logging

from distmnist.core.run_directory import RunDirectory
from distmnist.core.trackers import FINISHED, LAST_SECONDS
from distmnist.tracking.publisher import Publisher, describe_error, load
from distmnist.tracking.state import State

_SECONDS = 5.0  # at least, between looks at the file
_MOST_SECONDS = 120.0
_PAUSE = 20  # times as long as a look takes
_RETRY_SECONDS = 60.0  # after a failure
_NICE = 10  # rank 0 may be pinned to the same core
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _End:
    """The end of standard input.

    Attributes:
        come: whether it has come.
        finished: whether the run had reached its last step.
    """

    def __init__(self, name: str, log_dir: str):
        """Waits for it on a thread, and then ends the process after some time."""
        self.come = threading.Event()
        self.finished = False
        self._rest = (
            f"{name}: not all metrics are published; the rest is by `python -m "
            f"distmnist.track --log_dir={shlex.quote(log_dir)} --trackers={name}`"
        )
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> NoReturn:
        self.finished = sys.stdin.buffer.read() == FINISHED
        self.come.set()
        time.sleep(LAST_SECONDS[self.finished])
        self.exit(1)

    def exit(self, status: int) -> NoReturn:
        """Ends the process; threads and exit handlers may wait for a network."""
        if status:
            logging.warning(self._rest)
        os._exit(status)


def main(name: str, log_dir: str) -> NoReturn:
    """Publishes a run until standard input ends, and then the rest.

    Args:
        name: of the tracker.
        log_dir: run directory.
    """
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICE)
    flags.FLAGS.mark_as_parsed()  # of absl's logging
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(lambda record: record.pathname == __file__)
    end = _End(name, log_dir)
    publisher, said, warned = None, False, False
    while True:
        # Before what is published: all lines are written before the end comes.
        is_last, begin = end.come.is_set(), time.monotonic()
        try:
            if not publisher:
                directory = RunDirectory(log_dir)
                state = State(directory.tracker(name))
                publisher = Publisher(directory, load(name), state)
            publisher.publish()
            # Reading a file of a long run takes its time; what the first look takes is
            # the import of the tracker.
            seconds = _PAUSE * (time.monotonic() - begin) if said else 0.0
            seconds = min(max(_SECONDS, seconds), _MOST_SECONDS)
            if not said:
                logging.info("%s: %s", name, publisher.where)
                said = True
            if is_last:
                publisher.end(end.finished)
                end.exit(0)
        except Exception as error:  # of any kind; said once
            if not warned:
                logging.warning(
                    "%s: %s; training goes on, and it is tried again",
                    name,
                    describe_error(error),
                )
                warned = True
            if is_last:
                end.exit(1)
            seconds = _RETRY_SECONDS
        end.come.wait(seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
