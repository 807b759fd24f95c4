"""The design's invariants 1 to 5, on real ranks."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import launching

PROGRAM = Path(__file__).with_name("rank_program.py")

LAUNCHES = {
    "mpirun-2": (*launching.MPIRUN, 2),
    "mpirun-3": (*launching.MPIRUN, 3),
    "mpirun-4": (*launching.MPIRUN, 4),
    "horovodrun-2": (*launching.HOROVODRUN, 2),
    "horovodrun-gloo-2": (*launching.HOROVODRUN_GLOO, 2),
}

pytestmark = pytest.mark.ranks


class Launched:
    """What a launch of the program showed."""

    def __init__(self, directory: Path, size: int, stdout: str, stderr: str):
        """Reads what rank 0 has left in the directory."""
        self.size = size
        self.stdout = stdout
        self.stderr = stderr
        self.seen: dict[str, Any] = json.loads((directory / f"{size}.json").read_text())
        with np.load(directory / f"{size}.npz") as arrays:
            self.parameters = [arrays[name] for name in arrays.files]


def launch(directory: Path, *launcher: object) -> Launched:
    program = (sys.executable, PROGRAM, directory)
    done = launching.run((*launcher, *program), cwd=directory)
    size = int(str(launcher[-1])) if launcher else 1
    return Launched(directory, size, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Launched:
    return launch(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module", params=LAUNCHES.values(), ids=LAUNCHES.keys())
def many(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Launched:
    return launch(tmp_path_factory.mktemp("many"), *request.param)


def test_n_workers_are_one_worker(one: Launched, many: Launched) -> None:
    for expected, parameter in zip(one.parameters, many.parameters):
        np.testing.assert_allclose(parameter, expected, rtol=1e-4, atol=1e-5)


def test_every_example_once_an_epoch(one: Launched, many: Launched) -> None:
    # Steps of all ranks, put together again as one stream of examples.
    for launched in (one, many):
        ranks = launched.seen["examples"]
        stream = [
            example for step in zip(*ranks) for batch in step for example in batch
        ]
        assert len(stream) >= 2 * 997
        for epoch in (stream[:997], stream[997 : 2 * 997]):
            assert Counter(epoch) == Counter(range(997))
        assert stream[:997] != stream[997 : 2 * 997]


def test_parameters_are_bit_identical_on_all_ranks(many: Launched) -> None:
    first, *others = many.seen["hashes"]
    assert len(set(first)) == 50  # a step changes them
    assert others == [first] * (many.size - 1)


def test_rank_0_alone_writes_and_prints(many: Launched) -> None:
    first, *others = many.seen["files"]
    assert others == [[]] * (many.size - 1)
    assert {Path(path).name for path in first} >= {
        "metrics.jsonl",
        "lock",
        "model.ckpt-50.sha256",
        "model.ckpt-50.index",
        "model.ckpt-50.data-00000-of-00001",
    }
    said = {line[: line.index(">") + 1] for line in many.stdout.splitlines() if line}
    assert said <= {"[1,0]<stdout>", "[0]<stdout>"}
    assert "Step 50: loss" in many.stdout
    for rank in range(1, many.size):
        assert f"[1,{rank}]<std" not in many.stdout + many.stderr
        assert f"[{rank}]<std" not in many.stdout + many.stderr


def test_counts_are_exact(one: Launched, many: Launched) -> None:
    assert many.seen["counts"] == one.seen["counts"]
    assert 0 < many.seen["counts"]["train"] < 1297
