"""A headless Chromium, driven by the Chrome DevTools Protocol over two pipes."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--disable-quic", "--remote-debugging-pipe"),
)

_PROBLEMS = ("Runtime.exceptionThrown", "Log.entryAdded")


def find() -> str | None:
    """Returns the path of the browser; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Chromium:
    """A browser with one page; a context manager.

    Attributes:
        problems: Exceptions and log entries of the page since it was opened.
    """

    def __init__(self, executable: str, profile: Path):
        """Starts the browser.

        Args:
            executable: Path of the browser.
            profile: Directory for its files.
        """
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        # The protocol's descriptors are 3 and 4.
        shell = f'exec "$@" 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                shell,
                "-",
                executable,
                *_FLAGS,
                f"--user-data-dir={profile}",
            ],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._answers = os.fdopen(self._read, "rb")
        self.problems: list[dict[str, Any]] = []
        self._ids = itertools.count(1)
        self._session: dict[str, str] = {}
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": session["sessionId"]}
        self.send("Page.enable")
        self.send("Runtime.enable")
        self.send("Log.enable")

    def __enter__(self) -> Chromium:
        """Returns the browser."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the browser."""
        self._process.terminate()
        self._process.wait()
        os.close(self._write)
        self._answers.close()

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Calls a method of the protocol, and returns its result.

        Args:
            method: Name of the method.
            **params: Its parameters.

        Raises:
            AssertionError: It failed.
            EOFError: The browser ended.
        """
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params, **self._session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        """Returns the next message."""
        content = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                raise EOFError("the browser ended")
            content += byte
        message: dict[str, Any] = json.loads(content)
        if message.get("method") in _PROBLEMS:
            self.problems.append(message)
        return message

    def open(self, page: Path, width: int, height: int, scheme: str) -> None:
        """Opens a page, and waits until it is drawn.

        Args:
            page: HTML file.
            width: Width of the window, in pixels.
            height: Its height.
            scheme: Preferred color scheme: light or dark.
        """
        self.problems.clear()
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.prefer(scheme)
        self.send("Page.navigate", url=page.as_uri())
        while self._receive().get("method") != "Page.loadEventFired":
            pass
        self.wait()

    def prefer(self, scheme: str) -> None:
        """Sets the preferred color scheme: light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def wait(self) -> None:
        """Waits until the changes of the page are drawn."""
        # After the second frame, what follows from observed sizes is drawn, too.
        for _ in range(2):
            self.send("Page.captureScreenshot")

    def press(self, key: str) -> None:
        """Presses and releases a key that writes a character."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, **text)

    def move(self, x: float, y: float) -> None:
        """Moves the mouse to a point of the window."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def evaluate(self, script: str) -> Any:
        """Returns the value of a JavaScript expression, as JSON, or of its promise.

        Args:
            script: The expression.

        Raises:
            AssertionError: It threw an exception.
        """
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Writes the whole page to a PNG file.

        Args:
            path: The file.
        """
        content = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(content["data"]))
