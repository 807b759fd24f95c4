"""Jobs that tests disturb: started, watched, and looked for afterwards."""

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
    """A launched job: the launcher, and the ranks that it has started on this host.

    Attributes:
        pid: of the launcher, or of the one process.
    """

    def __init__(
        self,
        command: Sequence[object],
        cwd: Path,
        env: Mapping[str, str] | None = None,
    ):
        """Starts it, in a session of its own, where SIGINT ends a process."""
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
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all that is left."""
        for pid in self._processes():
            os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def output(self) -> str:
        """Returns what the job has printed so far."""
        size = os.fstat(self._out.fileno()).st_size
        return os.pread(self._out.fileno(), size, 0).decode(errors="replace")

    def ranks(self) -> dict[int, int]:
        """Returns the process of each rank, by what its launcher called it first."""
        found = {}
        for pid, variables in self._processes().items():
            for name in ("OMPI_COMM_WORLD_RANK", "HOROVOD_RANK"):
                # The launcher's shells have it too, further up.
                if name in variables and _is_python(pid):
                    found[int(variables[name])] = pid
        return found or {0: self.pid}

    def wait_for(self, what: Callable[[], object], seconds: float = 120) -> None:
        """Waits until something is so, while the job runs."""
        end = time.monotonic() + seconds
        while not what():
            ended = self._process.poll()
            assert ended is None, f"ended with {ended}:\n{self.output()}"
            assert time.monotonic() < end, f"not in time:\n{self.output()}"
            time.sleep(0.05)

    def end(self, seconds: float = 120) -> int:
        """Waits for the end of the launcher, and of all that it has started.

        Returns:
            The exit status, or minus the signal that ended the launcher.
        """
        limit = time.monotonic() + seconds
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end:\n{self.output()}") from None
        while left := self._processes():
            told = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left}
            assert time.monotonic() < limit, f"left: {told}\n{self.output()}"
            time.sleep(0.05)
        return status

    def _processes(self) -> dict[int, dict[str, str]]:
        """Returns the environment of each living process of the job."""
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
