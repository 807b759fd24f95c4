"""Background jobs into which tests inject faults; detects processes left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests import launching

_MARK = "DISTMNIST_TEST_JOB"


class Job:
    """A running job: the launcher and its ranks on this host, as a context manager.

    Attributes:
        pid: Process id of the launcher, or of the only process.
    """

    def __init__(
        self,
        command: Sequence[object],
        cwd: Path,
        env: Mapping[str, str] | None = None,
    ):
        """Starts the job in a new session, with the default action of SIGINT.

        Args:
            command: Command to run.
            cwd: Working directory.
            env: Variables in addition to those of `launching.environment`.
        """
        self._words = [str(word) for word in command]
        self._id = uuid.uuid4().hex
        self._out = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            self._words,
            cwd=cwd,
            env={**launching.environment(), **(env or {}), _MARK: self._id},
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.pid = self._process.pid

    def __enter__(self) -> Job:
        """Returns the job."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kills all remaining processes of the job."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def output(self) -> str:
        """Returns the output so far, standard error included."""
        size = os.fstat(self._out.fileno()).st_size
        return os.pread(self._out.fileno(), size, 0).decode(errors="replace")

    def ranks(self) -> dict[int, int]:
        """Returns the process ids by rank, as the launcher numbered them at first."""
        found = {}
        for pid, variables in self.processes().items():
            for name in ("OMPI_COMM_WORLD_RANK", "HOROVOD_RANK"):
                # Shells of the launcher have the variable too.
                if name in variables and _is_python(pid):
                    found[int(variables[name])] = pid
        return found or {0: self.pid}

    def running(self) -> bool:
        """Returns whether the launcher has not ended."""
        return self._process.poll() is None

    def wait_for(self, condition: Callable[[], object], seconds: float = 120) -> None:
        """Waits for a condition; fails if the job ends first, or after a timeout."""
        end = time.monotonic() + seconds
        while not condition():
            ended = self._process.poll()
            assert ended is None, f"ended with {ended}:\n{self.output()}"
            assert time.monotonic() < end, f"timed out:\n{self.output()}"
            time.sleep(0.05)

    def end(self, seconds: float = 120) -> int:
        """Waits until the launcher and all its child processes have ended.

        Args:
            seconds: Timeout.

        Returns:
            The exit status of the launcher; -N if it was killed by signal N.
        """
        limit = time.monotonic() + seconds
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"timed out:\n{self.output()}") from None
        while left := self.processes():
            if time.monotonic() > limit:
                lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
                raise AssertionError(f"left: {lines}\n{self.output()}")
            time.sleep(0.05)
        return status

    def processes(self) -> dict[int, dict[str, str]]:
        """Returns the environments of the running processes of the job, by pid."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                content = (entry / "environ").read_bytes()
                alive = b") Z " not in (entry / "stat").read_bytes()
            except (OSError, ValueError):
                continue
            if self._id.encode() in content and alive and entry.name.isdigit():
                pairs = content.decode(errors="replace").split("\0")
                found[int(entry.name)] = dict(
                    pair.split("=", 1) for pair in pairs if "=" in pair
                )
        return found


def _is_python(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"python" in words[0] and b"horovodrun" not in b"".join(words)
