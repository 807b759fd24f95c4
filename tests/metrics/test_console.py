"""The console, on a terminal and elsewhere."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import struct
import subprocess
import termios
import threading
from pathlib import Path

import pytest

from distmnist.core.config import Config
from distmnist.core.progress import Progress
from distmnist.distributed.cluster import Cluster
from distmnist.metrics import console
from distmnist.metrics.types import Run
from tests import launching
from tests.launching import TRAIN, run

FLAGS = ["--dataset=digits", "--max_steps=300", "--log_every=100", "--log_dir=logs"]


def on_a_terminal(command: tuple[str, ...], cwd: Path) -> str:
    """Runs a command on a terminal of 100 columns, and returns its output."""
    terminal, end = os.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=launching.environment(),
        stdin=subprocess.DEVNULL,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    killer = threading.Timer(100, process.kill)
    killer.start()
    written = b""
    try:
        while part := os.read(terminal, 65536):
            written += part
    except OSError:  # the other end was closed
        pass
    killer.cancel()
    assert process.wait() == 0, written.decode()
    return written.decode()


def seen(written: str) -> list[str]:
    """Returns the lines that remain on a terminal."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        shown = ""
        for text in line.split("\r"):  # each overwrites the one before
            shown = text + shown[len(text) :]
        lines.append(shown.rstrip())
    return lines


def test_the_progress_bar_stays_below_the_lines(tmp_path: Path) -> None:
    written = on_a_terminal((*TRAIN, *FLAGS), tmp_path)
    frames = re.findall(
        r"% \|.*?\| step (\d+)/300, epoch [\d.]+, loss [\d.]+, [\d,]+ examples/s, "
        r"[\d:?]+ left",
        written,
    )
    assert len(frames) >= 3
    assert frames[-1] == "300"
    lines = seen(written)
    assert not any("left" in line for line in lines)  # every frame is cleared
    assert [line[:8] for line in lines if "loss" in line] == [
        "Step 100",
        "Step 200",
        "Step 300",
    ]
    log = "\n".join(lines)
    for expected in (
        r"Data set: digits",
        r"Workers: 1 \(1 on .+\), each on ",
        r"Global batch size: 100 \(100 per worker\), learning rate 0\.1\n",
        r"Steps: 0 to 300, from scratch; run directory logs\n",
        r"Done: 300 steps in [\d.]+ s, [\d,]+ examples/s\n",
        r"Accuracy: train 0\.\d{4}, validation 0\.\d{4}, test 0\.\d{4}\n",
        r"Checkpoint: logs/model.ckpt-300\n",
        r"Next: tensorboard --logdir logs\n",
    ):
        assert re.search(expected, log), expected


@pytest.mark.ranks
def test_a_progress_bar_under_mpirun_on_request(tmp_path: Path) -> None:
    # Untagged: a tag may fall into the middle of a frame.
    command = ("mpirun", "-np", 2, *TRAIN, *FLAGS, "--warmup_steps=10")
    done = run((*command, "--progress", "--max_steps=200"), cwd=tmp_path)
    assert re.search(r"step \d+/200", done.stderr), done.stderr
    assert "learning rate 0.2 after 10 steps" in done.stderr


def test_only_warnings_on_request(tmp_path: Path) -> None:
    done = run((*TRAIN, *FLAGS, "--verbosity=-1"), cwd=tmp_path)
    assert "Step 300: loss" in done.stdout
    assert done.stderr == ""  # not a terminal, and no warnings


def test_library_logs_on_request(tmp_path: Path) -> None:
    done = run((*TRAIN, *FLAGS, "--max_steps=10", "--verbosity=1"), cwd=tmp_path)
    assert "cpu_feature_guard" in done.stderr  # TensorFlow's libraries
    assert re.search(r"converter from \d to \d", done.stderr)  # its Python code


def test_a_run_that_is_beyond_its_last_step_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    console.log_nothing_left(Config(max_steps=20), 30)
    assert ", beyond --max_steps=20: its metrics are those of step 30;" in caplog.text
    caplog.clear()
    console.log_nothing_left(Config(max_steps=30), 30)
    assert "completed step 30; for another run" in caplog.text
    console.log_nothing_left(Config(max_steps=30), 20, stopped_early=True)
    assert "stopped early, at step 20" in caplog.text


def test_a_decay_beyond_the_run_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="absl")
    for steps, told in ((50, False), (100, True)):
        config = Config(
            lr_schedule="cosine", lr_decay_steps=steps, optimizer="lars", max_steps=50
        )
        caplog.clear()
        console.log_start(Run(config, Cluster(), 1000, Progress(0, 0), 50))
        assert (
            "decays in 100 steps, and the run ends at step 50" in caplog.text
        ) is told
        assert f", cosine decay in {steps} steps, optimizer lars" in caplog.text


def test_a_warm_up_beyond_the_run_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="absl")
    for steps, told in ((50, False), (51, True)):
        caplog.clear()
        config = Config(warmup_steps=steps, max_steps=50)
        console.log_start(Run(config, Cluster(), 1000, Progress(0, 0), 50))
        assert ("before the --warmup_steps of 51" in caplog.text) is told


def test_next_commands_exist() -> None:
    for command in console._NEXT:
        if module := re.match(r"python -m (\S+)", command):
            assert importlib.util.find_spec(module[1])
