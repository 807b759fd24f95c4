"""An elastic job loses and gains ranks, and still takes every example once."""

from __future__ import annotations

import base64
import http.client
import json
import math
import os
import pickle
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import Job
from tests.launching import ROOT, messages, run

pytestmark = pytest.mark.ranks


def records(directory: Path) -> list[dict[str, Any]]:
    """Returns the records of all ranks, by time."""
    lines = [
        json.loads(line)
        for path in directory.glob("*.jsonl")
        for line in path.read_text().splitlines()
        if line.endswith("}")  # a killed rank may leave half a line
    ]
    return sorted(lines, key=lambda line: float(line["time"]))


def placements(directory: Path) -> dict[int, tuple[int, int]]:
    """Returns rank and size, by process, of each rank's newest attempt."""
    found = {}
    for path in directory.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            if '"attempt"' in line:
                values = json.loads(line)
                found[int(path.stem)] = (values["rank"], values["size"])
    return {p: place for p, place in found.items() if Path(f"/proc/{p}").exists()}


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:  # noqa: D105
        return (Path.touch, (self.path,))


def attack_rendezvous(rank: int, directory: Path) -> None:
    """Tries to run code, and to read keys, by the server of the ranks' addresses."""
    lines = Path(f"/proc/{rank}/environ").read_bytes().decode().split("\0")
    variables = dict(line.split("=", 1) for line in lines if "=" in line)
    port = variables["HOROVOD_GLOO_RENDEZVOUS_PORT"]
    bomb = base64.b64encode(pickle.dumps(Bomb(directory / "unpickled")))
    url = f"http://127.0.0.1:{port}/worker_addresses/localhost:0"
    request = urllib.request.Request(url, bomb, method="PUT")
    with pytest.raises((OSError, http.client.HTTPException)):
        urllib.request.urlopen(request, timeout=10)
    assert not (directory / "unpickled").exists()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(url, timeout=10)
    elsewhere = socket.socket()  # it listens at the ranks' address alone
    elsewhere.bind(("127.0.0.2", int(port)))
    elsewhere.close()


@pytest.mark.timeout(400)
def test_ranks_join_and_leave(tmp_path: Path, mnist_dir: Path) -> None:
    epochs, examples = 5, 55000
    # Has variables that gradients do not change, and a random layer.
    model = "--model=tests.problems:perceptron"
    schedule = ("--lr_schedule=cosine", "--ema_decay=0.99")
    hosts = tmp_path / "hosts.txt"
    recorded = tmp_path / "records"
    recorded.mkdir()
    # Three names of this machine stand for three hosts.
    hosts.write_text("localhost:2\n127.0.0.1:1\n")
    command = (
        *("horovodrun", "-np", 3, "--min-np", 1, "--max-np", 3),
        *("--host-discovery-script", ROOT / "launch/discover_hosts.sh"),
        *("--network-interface", "lo"),
        *(sys.executable, ROOT / "tests/elastic_program.py", recorded),
        *("--dataset=mnist", f"--input_data_dir={mnist_dir}", "--batch_size=20"),
        model,
        *(f"--num_epochs={epochs}", "--commit_steps=50", "--checkpoint_every=200"),
        *("--eval_every=0", "--learning_rate=0.03", *schedule),
        f"--log_dir={tmp_path / 'logs'}",
    )

    def consumed() -> int:
        return max(
            (n["position"] for n in records(recorded) if "position" in n), default=0
        )

    def all_have(size: int, at_least: int = 1) -> bool:
        """Returns whether a number of ranks has joined and taken some steps."""
        alive = placements(recorded)
        joined = [place for place in alive.values() if place[1] == size]
        return len(joined) == size == len(alive) and consumed() >= at_least

    def kill(of: str, rank: int | None) -> None:
        """Kills the rank of a host, or of an index."""
        for pid, (now, _) in placements(recorded).items():
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if f"HOROVOD_HOSTNAME={of}".encode() in environment or now == rank:
                os.kill(pid, signal.SIGKILL)
                return
        raise AssertionError(f"no rank on {of}")

    with Job(command, tmp_path, {"HOSTS": str(hosts)}) as job:
        job.wait_for(lambda: all_have(3, 10_000))
        attack_rendezvous(next(iter(placements(recorded))), tmp_path)
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

    # The stream by position: what followed a commit is replaced.
    stream: dict[int, int] = {}
    attempts = [0]
    for record in records(recorded):
        if "attempt" in record:
            if record["attempt"] != attempts[-1]:
                attempts.append(record["attempt"])
            stream = {p: e for p, e in stream.items() if p < record["attempt"]}
        else:
            for offset, example in enumerate(record["examples"]):
                position = record["position"] + offset
                assert position not in stream, f"position {position} came twice"
                stream[position] = example
    assert len(attempts) >= 4, attempts
    assert sorted(stream) == list(range(len(stream)))
    for epoch in range(epochs):
        taken = [stream[epoch * examples + i] for i in range(examples)]
        assert Counter(taken) == Counter(range(examples)), f"epoch {epoch}"

    # At most --commit_steps steps are replayed.
    furthest = 0
    for record in records(recorded):
        if "attempt" in record:
            assert furthest - record["attempt"] <= (50 + 1) * 3 * 20
            furthest = max(furthest, record["attempt"])
        else:
            furthest = max(furthest, record["position"])

    lines = [json.loads(x) for x in (tmp_path / "logs/metrics.jsonl").open()]
    steps = [line["step"] for line in lines if line["kind"] == "train"]
    assert steps == sorted(set(steps)), "a step is logged twice"
    assert {line["size"] for line in lines} >= {2, 3}

    # The decay is where the examples are, whatever the number of ranks was, once the
    # rate has followed its change.
    begin, compared = 0, 0
    for line in lines:
        if line["kind"] == "start":
            begin = line["step"]
        elif line["kind"] == "train" and (not begin or line["step"] > begin + 100):
            size, compared = line["size"], compared + 1
            done = (line["consumed"] - 20 * size) / (epochs * examples)
            expected = 0.03 * size * (1 + math.cos(math.pi * done)) / 2
            assert line["learning_rate"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert compared > 10
    (precision,) = (x["precision"] for x in lines if x.get("split") == "test")
    undisturbed = tmp_path / "undisturbed"
    command = (
        *(sys.executable, "-m", "distmnist.train", "--dataset=mnist"),
        *(f"--input_data_dir={mnist_dir}", f"--num_epochs={epochs}", "--eval_every=0"),
        *("--batch_size=60", "--learning_rate=0.09", model, *schedule),
        f"--log_dir={undisturbed}",
    )
    run(command, cwd=tmp_path)
    last = json.loads((undisturbed / "metrics.jsonl").read_text().splitlines()[-1])
    assert abs(precision - last["precision"]) <= 0.005, output


def test_requires_an_elastic_launcher(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "distmnist.train", "--elastic", "--dataset=digits")
    (message,) = messages(run(command, 2, cwd=tmp_path).stderr)
    assert "--elastic: requires horovodrun with" in message
