"""An elastic job loses ranks and gains some, and still takes every example once."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import Job
from tests.launching import ROOT, messages, run

pytestmark = pytest.mark.ranks


def notes(directory: Path) -> list[dict[str, Any]]:
    """Returns what all ranks have noted, by time."""
    lines = [
        json.loads(line)
        for path in directory.glob("*.jsonl")
        for line in path.read_text().splitlines()
        if line.endswith("}")  # a killed rank may leave half a line
    ]
    return sorted(lines, key=lambda line: float(line["time"]))


def places(directory: Path) -> dict[int, tuple[int, int]]:
    """Returns rank and size, by process, of each rank's newest attempt."""
    found = {}
    for path in directory.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            if '"attempt"' in line:
                values = json.loads(line)
                found[int(path.stem)] = (values["rank"], values["size"])
    return {p: place for p, place in found.items() if Path(f"/proc/{p}").exists()}


@pytest.mark.timeout(400)
def test_ranks_come_and_go(tmp_path: Path, mnist_dir: Path) -> None:
    epochs, examples = 12, 55000
    hosts = tmp_path / "hosts.txt"
    noted = tmp_path / "notes"
    noted.mkdir()
    # Three names of this machine stand for three hosts.
    hosts.write_text("localhost:2\n127.0.0.1:1\n")
    command = (
        *("horovodrun", "-np", 3, "--min-np", 1, "--max-np", 3),
        *("--host-discovery-script", ROOT / "launch/discover_hosts.sh"),
        *("--network-interface", "lo"),
        *(sys.executable, ROOT / "tests/elastic_program.py", noted),
        *("--dataset=mnist", f"--input_data_dir={mnist_dir}", "--batch_size=20"),
        *(f"--num_epochs={epochs}", "--commit_steps=50", "--checkpoint_every=200"),
        *("--eval_every=0", "--learning_rate=0.03"),
        f"--log_dir={tmp_path / 'logs'}",
    )

    def consumed() -> int:
        return max((n["position"] for n in notes(noted) if "position" in n), default=0)

    def all_have(size: int, at_least: int = 1) -> bool:
        """Tells whether a number of ranks has joined, and taken some steps."""
        alive = places(noted)
        joined = [place for place in alive.values() if place[1] == size]
        return len(joined) == size == len(alive) and consumed() >= at_least

    def kill(of: str, rank: int | None) -> None:
        """Kills a rank of a host, or any; whatever its launcher wrapped it in too."""
        for pid, (now, _) in places(noted).items():
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if f"HOROVOD_HOSTNAME={of}".encode() in environment or now == rank:
                os.kill(pid, signal.SIGKILL)
                return
        raise AssertionError(f"no rank on {of}")

    with Job(command, tmp_path, {"HOSTS": str(hosts)}) as job:
        job.wait_for(lambda: all_have(3, 10_000))
        kill("127.0.0.1", None)
        hosts.write_text("localhost:2\n")
        job.wait_for(lambda: all_have(2))
        before_two = consumed()
        job.wait_for(lambda: all_have(2, before_two + 10_000))
        hosts.write_text(f"localhost:2\n{socket.gethostname()}:1\n")
        job.wait_for(lambda: all_have(3))
        before_three = consumed()
        job.wait_for(lambda: all_have(3, before_three + 10_000))
        kill("", 0)
        assert job.end(180) == 0, job.output()
        output = job.output()

    # Position after position of the stream: what came after a commit is replaced.
    stream: dict[int, int] = {}
    attempts = [0]
    for note in notes(noted):
        if "attempt" in note:
            if note["attempt"] != attempts[-1]:
                attempts.append(note["attempt"])
            stream = {p: e for p, e in stream.items() if p < note["attempt"]}
        else:
            for offset, example in enumerate(note["examples"]):
                position = note["position"] + offset
                assert position not in stream, f"position {position} came twice"
                stream[position] = example
    assert len(attempts) >= 4, attempts
    assert sorted(stream) == list(range(len(stream)))
    for epoch in range(epochs):
        taken = [stream[epoch * examples + i] for i in range(examples)]
        assert Counter(taken) == Counter(range(examples)), f"epoch {epoch}"

    # At most --commit_steps steps are taken again.
    furthest = 0
    for note in notes(noted):
        if "attempt" in note:
            assert furthest - note["attempt"] <= (50 + 1) * 3 * 20
            furthest = max(furthest, note["attempt"])
        else:
            furthest = max(furthest, note["position"])

    lines = [json.loads(x) for x in (tmp_path / "logs/metrics.jsonl").open()]
    steps = [line["step"] for line in lines if line["kind"] == "train"]
    assert steps == sorted(set(steps)), "a step is told twice"
    assert {line["size"] for line in lines} >= {2, 3}
    (precision,) = (x["precision"] for x in lines if x.get("split") == "test")
    undisturbed = tmp_path / "undisturbed"
    command = (
        *(sys.executable, "-m", "distmnist.train", "--dataset=mnist"),
        *(f"--input_data_dir={mnist_dir}", f"--num_epochs={epochs}", "--eval_every=0"),
        *("--batch_size=60", "--learning_rate=0.09"),
        f"--log_dir={undisturbed}",
    )
    run(command, cwd=tmp_path)
    last = json.loads((undisturbed / "metrics.jsonl").read_text().splitlines()[-1])
    assert abs(precision - last["precision"]) <= 0.005, output


def test_needs_an_elastic_launcher(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "distmnist.train", "--elastic", "--dataset=digits")
    (told,) = messages(run(command, 2, cwd=tmp_path).stderr)
    assert "--elastic: needs horovodrun with" in told
