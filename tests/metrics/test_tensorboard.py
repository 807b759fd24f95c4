"""The event files of a run, served by a real TensorBoard."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import launching

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def server(run_dir: Path) -> Iterator[str]:
    """The URL of a server of the run `digits`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("tensorboard")), "--load_fast=false"]
    command += [f"--logdir={run_dir.parent}", "--host=127.0.0.1", f"--port={port}"]
    process = subprocess.Popen(
        command, env=launching.environment(), stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 100
        while "digits/eval/test" not in (get(url, "runs") or ()):
            assert process.poll() is None, "tensorboard ended"
            assert time.monotonic() < deadline, "tensorboard does not answer"
            time.sleep(0.5)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def get(url: str, what: str, **query: object) -> Any:
    """Returns the server's answer; None if it does not answer yet."""
    try:
        return json.loads(fetch(url, what, **query))
    except OSError:
        return None


def fetch(url: str, what: str, **query: object) -> bytes:
    request = f"{url}/data/{what}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


def post(url: str, what: str, body: object) -> Any:
    request = urllib.request.Request(
        f"{url}/data/{what}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def scalars(url: str, run: str, tag: str) -> dict[int, float]:
    points = get(url, "plugin/scalars/scalars", run=run, tag=tag)
    return {step: value for _, step, value in points}


@pytest.mark.ranks
def test_serves_everything_of_a_run(server: str, run_dir: Path) -> None:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").open()]
    train = {line["step"]: line for line in lines if line["kind"] == "train"}
    assert list(train) == [10, 20, 30, 40, 50, 60]
    for tag in ("loss", "learning_rate", "gradient_norm", "examples_per_sec"):
        assert scalars(server, "digits", tag) == {
            step: pytest.approx(line[tag], rel=1e-5) for step, line in train.items()
        }
    for name in ("p50", "p95", "p99"):
        assert scalars(server, "digits", f"step_ms/{name}")[60] > 0

    # One chart: the same tag in several TensorBoard runs, so that colors differ.
    for split in ("train", "validation", "test"):
        expected = {
            line["step"]: pytest.approx(line["precision"], rel=1e-5)
            for line in lines
            if line.get("split") == split
        }
        assert list(expected) == [30, 60]
        assert scalars(server, f"digits/eval/{split}", "precision") == expected
        losses = {
            line["step"]: pytest.approx(line["metrics"]["loss"], rel=1e-5)
            for line in lines
            if line.get("split") == split
        }
        assert scalars(server, f"digits/eval/{split}", "loss") == losses

    precision, recall = (
        [scalars(server, "digits", f"{kind}_of_class/{name}") for name in range(10)]
        for kind in ("precision", "recall")
    )
    assert 0 < sum(points[60] for points in recall) / 10 <= 1
    for found, predicted in zip(recall, precision):
        # A class that was never predicted has no precision, and a recall of 0.
        assert 0 <= predicted[60] <= 1 if 60 in predicted else found[60] == 0
    # With examples as the step, runs of other numbers of ranks line up: 2 x 100 a step.
    for run, tag in (
        ("digits", "loss"),
        ("digits/eval/test", "precision"),
        ("digits/eval/test", "loss"),
    ):
        assert scalars(server, run, f"{tag}_vs_examples") == {
            200 * step: value for step, value in scalars(server, run, tag).items()
        }
    served = get(server, "plugin/scalars/tags")
    assert len(served["digits"]) == 29
    for tags in served.values():
        for tag, metadata in tags.items():
            assert metadata["description"], tag
    assert "in nats" in served["digits"]["loss"]["description"]
    examples = "number of training examples consumed"
    assert examples in served["digits"]["loss_vs_examples"]["description"]

    layout = get(server, "plugin/custom_scalars/layout")
    assert [chart["title"] for row in layout["category"] for chart in row["chart"]] == [
        "Milliseconds per step, percentiles",
        "Precision",
        "Recall",
    ]

    for tag in ("test/confusion_matrix", "test/most_wrong"):
        images = get(server, "plugin/images/images", run="digits", tag=tag, sample=0)
        assert [image["step"] for image in images] == [60]  # at the end
        path = f"plugin/images/individualImage?{images[-1]['query']}"
        with urllib.request.urlopen(f"{server}/data/{path}", timeout=30) as answer:
            assert answer.read().startswith(PNG)

    tags = get(server, "plugin/histograms/tags")["digits"]
    assert tags.keys() == {
        f"{scope}/{name}"
        for scope in ("hidden1", "hidden2", "softmax_linear")
        for name in ("weights", "biases")
    }
    bins = get(
        server, "plugin/histograms/histograms", run="digits", tag="hidden1/weights"
    )[-1][2]
    assert sum(count for _, _, count in bins) == 784 * 128

    groups = post(
        server,
        "plugin/hparams/session_groups",
        {
            "experimentName": "",
            "colParams": [],
            "startIndex": 0,
            "sliceSize": 10,
            "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_RUNNING"],
        },
    )["sessionGroups"]
    (group,) = groups
    assert group["hparams"]["learning_rate"] == 0.1
    assert group["hparams"]["size"] == 2
    for value in group["metricValues"]:
        run, tag = (value["name"][key] for key in ("group", "tag"))
        assert value["value"] == scalars(server, f"digits/{run}", tag)[60]
    found = [
        (value["name"]["group"], value["name"]["tag"])
        for value in group["metricValues"]
    ]
    assert sorted(found) == [
        (f"eval/{split}", tag)
        for split in ("test", "train", "validation")
        for tag in ("loss", "precision")
    ]

    assert b"softmax_linear" in fetch(server, "plugin/graphs/graph", run="digits")


@pytest.mark.ranks
def test_a_restart_archives_the_run(run_dir: Path, tmp_path: Path) -> None:
    directory = tmp_path / "copy"
    subprocess.run(["cp", "-r", run_dir, directory], check=True)
    (directory / "mine.txt").write_text("stays")
    before = {path.name for path in directory.iterdir()}
    flags = (f"--flagfile={directory}/flags.txt", f"--log_dir={directory}")
    launching.run((*launching.TRAIN, *flags, "--max_steps=10", "--restart"))
    (archive,) = (path for path in directory.iterdir() if path.name.startswith("20"))
    archived = {path.name for path in archive.iterdir()}
    assert archived == before - {"mine.txt", "lock"}
    assert "--max_steps=60" in (archive / "flags.txt").read_text().splitlines()
    assert "--max_steps=10" in (directory / "flags.txt").read_text().splitlines()
    assert os.path.exists(archive / "eval/test")
