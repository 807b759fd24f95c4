"""Follows a job until it ends: shows its state, its log and its result."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from distmnist.core.errors import InputError, RunError, UserError
from launch.submit import training
from launch.submit.k8s import manifests, pending, state
from launch.submit.k8s.api import Api
from launch.submit.k8s.manifests import Object
from launch.submit.k8s.pending import Wait
from launch.submit.k8s.pods import has_ended, has_started, is_worker, with_log
from launch.submit.screen import Screen

_PATIENCE = 60.0  # seconds that are waited with a poor outlook
_LAST_LINES = 60.0  # timeout in seconds for the rest of the log, once the job ended
_TAIL = 20  # log lines shown of a failed worker


class Follower:
    """Follows one job."""

    def __init__(self, api: Api, job: Object, screen: Screen, is_own: bool):
        """Starts watching the job, its pods and warning events.

        Args:
            api: API server.
            job: Job, MPIJob or TrainJob, as the cluster has it.
            screen: Output.
            is_own: Whether to delete the job if it cannot start or takes too long.
        """
        self._api = api
        self._screen = screen
        self._job: Object | None = job
        self._name = str(job["metadata"]["name"])
        self._uid = job["metadata"]["uid"]
        self._is_own = is_own
        self._pending: Wait | None = None
        self._had_pods = False
        self._ran = False
        self._last_step = training.last_step(manifests.training_flags(job))
        self._pods: dict[str, Object] = {}
        self._warnings: list[Object] = []
        self._steps = ""
        self._hopeful = time.monotonic()  # when the outlook was last not poor
        self._lost: set[str] = set()
        self._logs: dict[str, bool] = {}  # by pod: whether its log was read completely
        self._updates: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._start("job", lambda: api.watch_job(job))
        self._start("pods", lambda: api.watch_pods(job))
        self._start("warnings", api.watch_warnings)

    def _start(self, kind: str, source: Callable[[], Iterable[Any]]) -> None:
        """Starts a thread that queues the items of a source as updates."""

        def run() -> None:
            try:
                for update in source():
                    self._updates.put((kind, update))
                self._updates.put(("end", kind))
            except InputError as error:
                # Without permission to read events, following still works.
                self._updates.put(("end" if kind == "warnings" else "error", error))

        threading.Thread(target=run, daemon=True).start()

    def run(self, deadline: float | None) -> int:
        """Follows the job until it ends.

        Args:
            deadline: Time of `time.monotonic`, in seconds, at which to delete the job;
                None for no deadline.

        Returns:
            The exit status of the training, or 124 at the deadline.

        Raises:
            UserError: The job was deleted or cannot run.
        """
        while self._underway():
            if deadline and time.monotonic() > deadline:
                return self._time_out()
        assert self._job is not None
        return self._result(self._job)

    def start(self, seconds: float) -> int:
        """Follows the job until it runs or ends, but not for long.

        Args:
            seconds: Timeout.

        Returns:
            0, or the exit status of a job that has ended, as `run` does.

        Raises:
            UserError: The job was deleted or cannot run.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end and not state.runs(self._pods):
            if not self._underway():
                assert self._job is not None
                return self._result(self._job)
        return 0

    def _underway(self) -> bool:
        """Processes an update; returns whether the job has not ended."""
        self._update(0.5)
        if self._job is None:
            raise UserError(f"the job {self._name} was deleted")
        if state.ended(self._job):
            return False
        self._show(self._job)
        self._give_up(self._job)
        return True

    def _give_up(self, job: Object) -> None:
        """Raises RunError if the job cannot start."""
        if any(map(has_started, with_log(self._pods))):
            self._pending, self._ran = None, True
        if self._ran:
            return
        now = time.monotonic()
        found = pending.waits(job, self._pods, self._warnings)
        # Once the server has stopped the pods, at its deadline, the reason is lost.
        has_pods = not all(map(has_ended, self._pods.values()))
        if has_pods or not self._had_pods:
            self._pending, self._had_pods = found, has_pods
        outlook = found.outlook
        if not outlook:
            self._hopeful = now
        if outlook == "vain" or now > self._hopeful + _PATIENCE:
            advice = f"delete it with launch/submit_k8s --delete={self._name}"
            if self._is_own:
                self._api.delete_job(job)
                advice = "it was deleted, and its volume is kept"
            raise RunError(f"{self._name} cannot start: {found.reason}; {advice}")

    def _update(self, seconds: float) -> None:
        """Processes the next update, waiting up to some seconds for it."""
        try:
            kind, update = self._updates.get(timeout=seconds)
        except queue.Empty:
            return
        if kind == "error":
            raise update
        if kind == "line":
            if progress := training.progress(update, self._last_step):
                self._steps = f", {progress}"
            self._screen.log(update)
        elif kind == "note":
            self._screen.report(update)
        elif kind == "end":
            if update in self._logs:
                self._logs[update] = True
        elif update is None:
            self._lost.add(kind)
        else:
            self._lost.discard(kind)
            if kind == "job":
                found = update.get(self._name)
                is_same = found and found["metadata"]["uid"] == self._uid
                self._job = found if is_same else None
            elif kind == "pods":
                self._pods = update
            else:
                self._warnings = pending.newest_first(update.values())
            self._read_logs()

    def _read_logs(self) -> None:
        """Starts reading the log of the next launcher once the previous is complete."""
        for pod in with_log(self._pods):
            name = pod["metadata"]["name"]
            if not self._logs.get(name, True):
                return
            if name not in self._logs and has_started(pod):
                self._logs[name] = False
                self._read_log(name, pod["spec"]["containers"][0]["name"])
                return

    def _read_log(self, pod: str, container: str) -> None:
        def ended() -> bool:
            now = self._pods.get(pod)
            return now is None or has_ended(now)

        def read() -> None:
            try:
                for line in self._api.log(pod, container, ended):
                    self._updates.put(("line", line))
            except InputError as error:
                self._updates.put(("note", f"the log of {pod} is not shown: {error}"))
            self._updates.put(("end", pod))

        threading.Thread(target=read, daemon=True).start()

    def _show(self, job: Object) -> None:
        text = "connection lost, retrying"
        if not self._lost:
            text = state.describe(job, self._pods, self._warnings)
        self._screen.state(f"{self._name}: {text}", self._steps)

    def _time_out(self) -> int:
        assert self._job is not None
        text = f"{self._name}: timed out"
        if self._pending:
            text += f", pending: {self._pending.reason}"
        elif self._ran:
            text += f" while running{self._steps}"
        if self._is_own:
            self._api.delete_job(self._job)
            text += "; it was deleted, and its volume is kept"
        self._screen.report(text)
        return state.TIMEOUT_STATUS

    def _result(self, job: Object) -> int:
        """Shows the rest of the log and the result; returns the exit status."""
        condition = state.ended(job)
        assert condition is not None
        # The watches may lag behind.
        pods = self._pods = self._api.pods(job)
        logs = {pod["metadata"]["name"] for pod in pods.values() if _has_log(pod)}
        end = time.monotonic() + _LAST_LINES
        self._read_logs()
        while time.monotonic() < end and not all(map(self._logs.get, logs)):
            self._update(0.1)
            self._read_logs()
        if condition["type"] != "Failed":
            self._screen.report(f"{self._name}: done{self._steps}")
            return 0
        if condition.get("reason") == "DeadlineExceeded":
            return self._time_out()
        pod, reason = state.failure(pods)
        if pod is not None and is_worker(pod):
            name = pod["metadata"]["name"]
            container = pod["spec"]["containers"][0]["name"]
            for line in self._api.tail(name, container, _TAIL):
                self._screen.log(f"{name}: {line}")
        self._screen.report(
            f"{self._name}: failed: {reason or condition.get('message', '')}"
        )
        return state.exit_status(pods) or 1


def _has_log(pod: Object) -> bool:
    return not is_worker(pod) and has_started(pod)
