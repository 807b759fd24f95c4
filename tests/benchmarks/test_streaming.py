"""The benchmark of prepared data, with few and small images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from distmnist import open_prepared
from tests.benchmarks.streaming import __main__ as streaming
from tests.benchmarks.streaming import images


def test_images_are_the_same_whenever_they_are_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        images.prepare(tmp_path / name, gigabytes=0.001, side=16)
    one, other = (open_prepared(tmp_path / name) for name in ("a", "b"))
    assert one.fingerprint == other.fingerprint
    assert one.train.size == 1165
    example = one.train.take(np.array([7]))
    assert example.targets[0] == example.features[0, 0, 0, 0] == 7


def test_rates_are_compared_with_each_other() -> None:
    rates = {
        streaming.Case(1, False): {"distmnist": [100.0, 300.0, 200.0], "torch": [50.0]},
        streaming.Case(2, True): {"distmnist": [10.0]},
    }
    first, second = streaming.table(rates).splitlines()[2:]
    assert first == "| 1 rank, warm | 200 | 50 (4.00) |"
    assert second == "| 2 ranks, cold | 10 | 0 |"


@pytest.mark.slow
def test_it_measures(tmp_path: Path) -> None:
    arguments = "--gigabytes=0.003 --side=16 --repeats=1 --ranks=1 --cache=warm"
    more = f"--seconds=0.2 --only=distmnist,tf_data --out={tmp_path}"
    data = f"--data={tmp_path / 'images'}"
    assert not streaming.main([*arguments.split(), *more.split(), data])
    (case,) = json.loads((tmp_path / "results.json").read_text())["cases"]
    assert case["case"] == "1 rank, warm"
    assert set(case["images_per_second"]) == {"distmnist", "tf_data"}
    assert min(rate for (rate,) in case["images_per_second"].values()) > 0
