"""Real runs, published to the real MLflow and Weights & Biases, without a network."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from distmnist.core.run_directory import RunDirectory
from tests.jobs import Job
from tests.launching import TRAIN, messages, run

FLAGS = (
    *("--dataset=digits", "--hidden1=16", "--hidden2=8", "--log_every=50"),
    *("--eval_every=500", "--checkpoint_every=500", "--log_dir=run"),
)
BOTH = "--trackers=mlflow,wandb"
OFFLINE = {"WANDB_MODE": "offline", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
TRACK = (sys.executable, "-m", "distmnist.track", "--log_dir=run")


def mlflow_steps(directory: Path) -> Counter[int]:
    """Returns how often MLflow has the training loss of each step."""
    with sqlite3.connect(directory / "mlflow.db") as connection:
        query = "select step from metrics where key = 'train/loss'"
        return Counter(step for (step,) in connection.execute(query))


def wandb_steps(directory: Path) -> tuple[Counter[int], set[str]]:
    """Returns how often W&B has the training loss of each step, and the runs."""
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    steps: Counter[int] = Counter()
    runs = set()
    for path in directory.glob("run/wandb/offline-run-*/*.wandb"):
        for content in records(path.read_bytes()):
            record = pb.Record.FromString(content)
            if record.HasField("run"):
                runs.add(record.run.run_id)
            items = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            if "train/loss" in items:
                steps[items["step"]] += 1
    return steps, runs


def records(content: bytes) -> Iterator[bytes]:
    """Yields the records of a file in the format of LevelDB's log, after a header."""
    offset, record = 7, b""
    while offset + 7 <= len(content):
        left = 32768 - offset % 32768
        if left < 7:
            offset += left
            continue
        size = int.from_bytes(content[offset + 4 : offset + 6], "little")
        kind = content[offset + 6]
        record += content[offset + 7 : offset + 7 + size]
        if kind in (1, 4):  # whole, last part
            yield record
            record = b""
        offset += 7 + size


@pytest.mark.timeout(400)  # the trackers take long to import
def test_an_interrupted_run_is_one_run_of_each_tracker(tmp_path: Path) -> None:
    steps = "--max_steps=1000000"
    with Job((*TRAIN, *FLAGS, BOTH, steps), tmp_path, OFFLINE) as job:
        directory = RunDirectory(tmp_path / "run")
        files = [directory.tracker(name) for name in ("mlflow", "wandb")]
        job.wait_for(
            lambda: all(f.exists() and "train" in f.read_text() for f in files),
            seconds=240,
        )
        # A kill: the newest steps that are published are in no checkpoint.
        os.kill(job.pid, signal.SIGKILL)
        assert job.end() != 0
    newest = directory.checkpoint_steps()[0]
    steps = f"--max_steps={newest + 2000}"
    run((*TRAIN, *FLAGS, BOTH, steps), 0, tmp_path, env=OFFLINE)
    expected = Counter(range(50, newest + 2001, 50))
    assert mlflow_steps(tmp_path) == expected
    found, runs = wandb_steps(tmp_path)
    assert found == expected
    assert len(runs) == 1
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        read = connection.execute
        assert list(read("select name, status from runs")) == [("run", "FINISHED")]
        assert ("hidden1", "16") in list(read("select key, value from params"))
        assert ("size", "1") in list(read("select key, value from tags"))
    run((*TRACK, BOTH), 0, tmp_path, env=OFFLINE)  # nothing is left
    assert mlflow_steps(tmp_path) == expected


def test_trackers_that_fail_do_not_stop_the_training(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # never answers
        broken = {
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "WANDB_MODE": "online",
            "WANDB_API_KEY": "",
            "HOME": str(tmp_path),
        }
        begin = time.monotonic()
        done = run(
            (*TRAIN, *FLAGS, BOTH, "--max_steps=500", "--stall_seconds=20"),
            0,
            tmp_path,
            env=broken,
        )
    assert "Done: 500 steps" in done.stderr
    assert time.monotonic() - begin < 60
    assert done.stderr.count("training goes on, and it is tried again") == 1
    assert "Traceback" not in done.stderr
    # What they do not have yet is published later.
    printed = run((*TRACK, BOTH), 0, tmp_path, env=OFFLINE).stdout
    assert "mlflow: run " in printed and "wandb: run/wandb/offline-run" in printed
    assert mlflow_steps(tmp_path) == Counter(range(50, 501, 50))
    failed = run(
        (*TRACK, "--trackers=mlflow"),
        1,
        tmp_path,
        env={"MLFLOW_TRACKING_URI": "no-such:place"},
    )
    assert len(messages(failed.stderr)) == 1
    (tmp_path / "other").mkdir()
    run((*TRACK, "--log_dir=other", BOTH), 2, tmp_path, env=OFFLINE)
    assert not list((tmp_path / "other").iterdir())
