"""Watchdog for hung ranks: ends a job in which nothing progresses, in any phase.

A frozen process or host leaves the others waiting in a collective, which may be the
first (connecting) or the last (shutting down). So a thread on each rank watches for
progress all the time, and asks the other ranks for theirs, where it can.

The main thread says what it is doing (`phase`) and that it progresses (`beat`). A
process that no launcher started with others has no thread: `enable` is not called.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, NoReturn, Protocol

from distmnist.distributed.stopped import end_stopped_peers

_INTERVAL_SECONDS = 1.0
_ANSWER_SECONDS = 5.0  # timeout of answers from other ranks
_WARN_SECONDS = 60.0  # as Horovod does
_PRINT_SECONDS = 2.0  # standard error may be a full pipe
_ABORT_SECONDS = 10.0  # the launcher may be frozen, too
# Ranks abort one after another: the first one's message is usually the only one.
_TURN_SECONDS = 0.5
_MAX_TURNS = 10
_CPU_TICKS = 10  # a second; less than one in a second is no work
_OUTSIDE = "running other code"  # a user's, between two calls of fit


class Heartbeat(NamedTuple):
    """What a rank reports of itself.

    Attributes:
        phase: what it does, to follow "is".
        idle: seconds without progress.
    """

    phase: str
    idle: float


class Ranks(Protocol):
    """What the watchdog needs of a `Cluster`, which imports this module."""

    rank: int
    size: int

    def exchange_heartbeats(
        self, mine: Heartbeat, ask: bool
    ) -> Mapping[int, Heartbeat] | None:
        """See `Cluster`."""

    def abort(self, status: int) -> NoReturn:
        """See `Cluster`."""


class _Others(NamedTuple):
    """What is known of the other ranks.

    Attributes:
        rank: of this process.
        can_answer: whether they can be asked.
        answers: by rank.
        missing: ranks that have not answered.
    """

    rank: int
    can_answer: bool = False
    answers: Mapping[int, Heartbeat] = {}
    missing: Sequence[int] = ()


class Watchdog:
    """Watches this process, from `enable` on, while it is in a phase."""

    def __init__(self) -> None:
        """Does not watch yet."""
        self._seconds = 0.0
        self._phases: list[tuple[str | Callable[[], str], float]] = []
        self._beats = 0
        self._own_work = 0
        self._cluster: Ranks | None = None
        self._lock = threading.Lock()  # held while the cluster is used
        self._rank = 0
        self._stderr = -1

    def enable(self, rank: int, seconds: float) -> None:
        """Starts to watch, before the first collective.

        Args:
            rank: of this process, by its launcher.
            seconds: hang timeout: without progress for so long, the job is aborted.
        """
        self._rank, self._seconds = rank, seconds
        if self._stderr < 0:
            # Standard error is redirected while TensorFlow is imported.
            self._stderr = os.dup(2)
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def attach(self, cluster: Ranks | None) -> None:
        """Names the ranks to ask for their progress; None: no longer any."""
        with self._lock:
            self._cluster = cluster

    def beat(self) -> None:
        """Notes that there is progress."""
        self._beats += 1

    @property
    def enabled(self) -> bool:
        """Whether it watches."""
        return self._stderr >= 0

    @contextlib.contextmanager
    def phase(
        self, name: str | Callable[[], str], at_least: float = 0.0
    ) -> Iterator[None]:
        """Watches while inside; outside of all phases nothing is watched.

        Args:
            name: what the main thread does, to follow "is"; or a function that returns
                it, called by the watchdog's thread.
            at_least: hang timeout, in seconds, if that is longer than the usual one.
        """
        self._phases.append((name, at_least))
        self.beat()
        try:
            yield
        finally:
            self.beat()
            self._phases.pop()

    @contextlib.contextmanager
    def own_work(self) -> Iterator[None]:
        """Takes computing for progress: inside, no other rank is waited for."""
        self._own_work += 1
        try:
            yield
        finally:
            self._own_work -= 1

    def _progress(self) -> tuple[int, int]:
        """Returns what changes as long as there is progress."""
        worked = 0
        if self._own_work:
            clock = time.pthread_getcpuclockid(threading.main_thread().ident or 0)
            worked = int(time.clock_gettime(clock) * _CPU_TICKS)
        return self._beats, worked

    def _watch(self) -> NoReturn:
        before, seen = time.monotonic(), self._progress()
        idle, warned, asked = 0.0, False, math.nan  # asked: idle at the question
        while True:
            time.sleep(_INTERVAL_SECONDS)
            # A process that was stopped itself, in a terminal say, was not waiting.
            now = time.monotonic()
            idle += min(now - before, 2 * _INTERVAL_SECONDS)
            before, current = now, self._progress()
            phase, at_least = self._phases[-1] if self._phases else (_OUTSIDE, math.inf)
            name = phase if isinstance(phase, str) else phase()
            if current != seen or name == _OUTSIDE:
                idle, seen, warned, asked = 0.0, current, False, math.nan
            limit = max(self._seconds, at_least)
            threshold = limit if warned else min(_WARN_SECONDS, limit / 2)
            due = idle > threshold
            mine = Heartbeat(name, math.inf if name == _OUTSIDE else idle)
            others = self._exchange(mine, due and math.isnan(asked))
            if not due:
                continue
            rank, answers = others.rank, {}
            if others.can_answer:
                asked = idle if math.isnan(asked) else asked
                if others.missing and idle < asked + _ANSWER_SECONDS:
                    continue
                asked = math.nan
                # Some rank may progress while this one waits for it.
                idle = min([idle, *(answer.idle for answer in others.answers.values())])
                if idle <= threshold:
                    continue
                answers = {rank: mine, **others.answers}
            problem = f"no progress for {idle:.0f} s"
            problem += _describe(answers, others.missing, name)
            if not warned:
                warned = True
                if rank == min(answers, default=0):  # one rank reports
                    self._print(problem, rank)
                continue
            time.sleep(_TURN_SECONDS * min(rank, _MAX_TURNS))
            if self._progress() != seen:
                continue
            if ended := end_stopped_peers():  # the job may heal
                pids = ", ".join(map(str, ended))
                self._print(f"{problem}; killed stopped process {pids}", rank)
                self.beat()
            else:
                self._abort(f"{problem} (--stall_seconds): aborting the job", rank)

    def _exchange(self, mine: Heartbeat, ask: bool) -> _Others:
        """Answers other ranks, and asks them; returns what they answered so far."""
        with self._lock:
            if self._cluster is None:
                return _Others(self._rank)
            cluster = self._cluster
            answers = cluster.exchange_heartbeats(mine, ask)
            if answers is None:
                return _Others(self._rank)
            missing = sorted(set(range(cluster.size)) - {cluster.rank, *answers})
            return _Others(cluster.rank, True, answers, missing)

    def _abort(self, message: str, rank: int) -> NoReturn:
        """Ends the job, whatever blocks."""
        self._print(message, rank)
        if cluster := self._cluster:
            _briefly(lambda: cluster.abort(1), _ABORT_SECONDS)
        os._exit(1)

    def _print(self, message: str, rank: int) -> None:
        line = f"distmnist: {message} (rank {rank})\n".encode()
        # Not by sys.stderr, whose lock the main thread may hold.
        _briefly(lambda: os.write(self._stderr, line), _PRINT_SECONDS)


def _describe(
    answers: Mapping[int, Heartbeat], missing: Sequence[int], name: str
) -> str:
    """Returns which rank does what, to be appended to a message.

    Args:
        answers: of the ranks that answered, this one included; empty if none can.
        missing: ranks that did not answer.
        name: phase of this rank.
    """
    ranks: dict[str, list[int]] = {}
    for rank, answer in sorted(answers.items()):
        ranks.setdefault(answer.phase, []).append(rank)
    if not missing and len(ranks) <= 1:
        return f" while {name}"
    parts = [f"no answer from {list_ranks(missing)}"] if missing else []
    parts += [
        f"{list_ranks(those)} {'is' if len(those) == 1 else 'are'} {phase}"
        for phase, those in ranks.items()
    ]
    return ": " + ", ".join(parts)


def list_ranks(ranks: Sequence[int]) -> str:
    """Returns "rank 3", or "ranks 1, 2, 3 and 60 more"."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    listed = ", ".join(map(str, ranks[:8]))
    more = f" and {len(ranks) - 8} more" if len(ranks) > 8 else ""
    return f"ranks {listed}{more}"


def _briefly(action: Callable[[], object], seconds: float) -> None:
    """Runs an action that may block, and waits for it for a limited time."""
    # No new thread starts while the interpreter ends.
    with contextlib.suppress(RuntimeError):
        thread = threading.Thread(target=action, daemon=True)
        thread.start()
        thread.join(seconds)


watchdog = Watchdog()
"""The one of this process."""
