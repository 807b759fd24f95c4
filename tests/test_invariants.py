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
from tests.rank_program import NETWORKS

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
    """The observations of one launch, for one network."""

    def __init__(self, directory: Path, network: str):
        """Reads what rank 0 wrote to the directory."""
        self.observed: dict[str, Any] = json.loads(
            (directory / f"{network}.json").read_text()
        )
        self.flags = NETWORKS[network]
        self.size = len(self.observed["files"])
        with np.load(directory / f"{network}.npz") as arrays:
            self.variables = [arrays[name] for name in arrays.files]


def launch(directory: Path, *launcher: object) -> Path:
    done = launching.run((*launcher, sys.executable, PROGRAM, directory), cwd=directory)
    (directory / "stdout").write_text(done.stdout)
    (directory / "stderr").write_text(done.stderr)
    return directory


@pytest.fixture(scope="module")
def launched_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return launch(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module", params=LAUNCHES.values(), ids=LAUNCHES.keys())
def launched_many(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return launch(tmp_path_factory.mktemp("many"), *request.param)


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def one(launched_one: Path, network: str) -> Launched:
    return Launched(launched_one, network)


@pytest.fixture
def many(launched_many: Path, network: str) -> Launched:
    return Launched(launched_many, network)


def test_n_workers_are_one_worker(one: Launched, many: Launched) -> None:
    assert len(one.variables) == len(many.variables) > 0
    for expected, variable in zip(one.variables, many.variables):
        np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-5)


def test_every_example_once_an_epoch(one: Launched, many: Launched) -> None:
    # The steps of all ranks, joined to one stream of examples.
    for launched in (one, many):
        ranks = launched.observed["examples"]
        stream = [
            example for step in zip(*ranks) for batch in step for example in batch
        ]
        size = launched.flags["fake_sizes"][0]
        assert len(stream) >= 2 * size
        for epoch in (stream[:size], stream[size : 2 * size]):
            assert Counter(epoch) == Counter(range(size))
        assert stream[:size] != stream[size : 2 * size]


def test_parameters_are_bit_identical_on_all_ranks(many: Launched) -> None:
    first, *others = many.observed["hashes"]
    assert len(set(first)) == many.flags["max_steps"]  # a step changes them
    assert others == [first] * (many.size - 1)


def test_rank_0_alone_writes_and_prints(launched_many: Path, many: Launched) -> None:
    first, *others = many.observed["files"]
    assert others == [[]] * (many.size - 1)
    assert {Path(path).name for path in first} >= {
        "metrics.jsonl",
        "lock",
        f"model.ckpt-{many.flags['max_steps']}.sha256",
        f"model.ckpt-{many.flags['max_steps']}.index",
        f"model.ckpt-{many.flags['max_steps']}.data-00000-of-00001",
    }
    stdout, stderr = (
        (launched_many / name).read_text() for name in ("stdout", "stderr")
    )
    tags = {line[: line.index(">") + 1] for line in stdout.splitlines() if line}
    assert tags <= {"[1,0]<stdout>", "[0]<stdout>"}
    assert f"Step {many.flags['max_steps']}: loss" in stdout
    for rank in range(1, many.size):
        assert f"[1,{rank}]<std" not in stdout + stderr
        assert f"[{rank}]<std" not in stdout + stderr


def test_counts_are_exact(one: Launched, many: Launched) -> None:
    assert many.observed["counts"] == one.observed["counts"]
    assert 0 < many.observed["counts"]["train"] < 1297
