"""Optimizers, schedules, averages and early stopping in whole runs."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distmnist import Config, create_dataset, fit
from distmnist.checkpoint import inference
from distmnist.core.errors import InputError
from distmnist.core.run_directory import RunDirectory
from distmnist.data.dataset import Dataset
from distmnist.distributed.cluster import Cluster
from tests.launching import MPIRUN, ROOT, run
from tests.test_fit import values

FLAGS: dict[str, Any] = {
    "hidden1": 16,
    "hidden2": 8,
    "batch_size": 20,
    "log_every": 10,
    "eval_every": 10,
    "checkpoint_every": 10,
}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    random = np.random.default_rng(0)
    features = random.normal(size=(500, 9))
    noisy = features[:, 0] + features[:, 1] + random.normal(size=500)
    return create_dataset((features, (noisy > 0).astype(int)))


RECIPES: dict[str, dict[str, Any]] = {
    "in warm-up": {"warmup_steps": 40, "max_steps": 60},
    "nesterov": {
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 1e-3,
        "lr_schedule": "step",
        "lr_decay_steps": 60,
    },
    "linear, in warm-up": {
        "lr_schedule": "linear",
        "lr_decay_steps": 60,
        "warmup_steps": 40,
    },
    "polynomial": {"lr_schedule": "polynomial", "lr_power": 2.0, "lr_decay_steps": 60},
    "exponential": {"lr_schedule": "exponential", "lr_decay_epochs": 2.0},
    "adamw": {
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "weight_decay": 0.1,
        "lr_schedule": "cosine",
        "lr_decay_epochs": 3.0,
        "warmup_steps": 25,
        "ema_decay": 0.95,
        "clip_gradient_norm": 0.5,
        "label_smoothing": 0.1,
        "early_stopping_patience": 50,
    },
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_resumed_run_is_the_uninterrupted_run(
    name: str, tmp_path: Path, dataset: Dataset
) -> None:
    flags = {**FLAGS, "max_steps": 60, **RECIPES[name]}
    fit(Config(**flags, log_dir=str(tmp_path / "whole")), dataset)
    for steps in (17, 33, 60):
        config = Config(**{**flags, "max_steps": steps}, log_dir=str(tmp_path / "cut"))
        fit(config, dataset)
    whole, cut = (values(RunDirectory(str(tmp_path / n))) for n in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    for variable, value in whole.items():
        np.testing.assert_array_equal(value, cut[variable], variable)


def test_the_average_is_evaluated_exported_and_kept_best(
    tmp_path: Path, dataset: Dataset
) -> None:
    flags = {**FLAGS, "max_steps": 60, "ema_decay": 0.95, "learning_rate": 0.5}
    config = Config(**flags, log_dir=str(tmp_path))
    fitted = fit(config, dataset)
    saved = values(RunDirectory(str(tmp_path)))
    name = "hidden1/weights"
    average, raw = saved[f"moving_average/{name}"], saved[name]
    assert not np.allclose(average, raw, atol=1e-3)
    for raw_weights, expected in ((False, average), (True, raw)):
        found = inference.find(str(tmp_path), Cluster(), raw_weights=raw_weights)
        network = inference.load(found, Cluster())
        np.testing.assert_array_equal(network.named_variables[name], expected)
        if not raw_weights:
            test = dataset.test
            wanted = fitted.model(test.features)["class"].numpy()
            predicted = inference.load_predictor(found, Cluster())(test.features)
            np.testing.assert_array_equal(predicted["class"], wanted)
            right = np.mean(wanted == test.targets)
            assert fitted.metrics["test"]["accuracy"] == pytest.approx(right)
    # Training went on with the parameters, not their average.
    plain = fit(
        dataclasses.replace(config, ema_decay=0.0, log_dir=str(tmp_path / "plain")),
        dataset,
    )
    assert plain.loss == fitted.loss


def test_early_stopping_ends_a_run_and_its_continuation(
    tmp_path: Path, dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    flags = {
        **FLAGS,
        "max_steps": 1000,
        "early_stopping_patience": 3,
        "early_stopping_min_change": 0.01,
        "best_metric": "loss:min",
        "learning_rate": 0.5,
    }
    config = Config(**flags, log_dir=str(tmp_path / "a"))
    fitted = fit(config, dataset)
    assert 40 <= fitted.step < 1000 and fitted.step % 10 == 0
    records = (tmp_path / "a/metrics.jsonl").read_text().splitlines()
    losses = [
        record["metrics"]["loss"]
        for record in map(json.loads, records)
        if record["kind"] == "eval" and record["split"] == "validation"
    ]
    best, waited = float("inf"), []
    for loss in losses:
        is_better = loss < best - 0.01
        best = loss if is_better else best
        waited.append(0 if is_better else waited[-1] + 1)
    assert waited.index(3) == len(waited) - 1
    again = fit(config, dataset)
    assert (again.step, again.trained) == (fitted.step, False)
    assert again.metrics == fitted.metrics
    assert "stopped early" in caplog.text
    # Interrupted and continued, it ends at the same step.
    for steps in (20, 1000):
        part = dataclasses.replace(config, max_steps=steps, log_dir=str(tmp_path / "b"))
        resumed = fit(part, dataset)
    assert (resumed.step, resumed.metrics) == (fitted.step, fitted.metrics)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_steps": 40}, "--lr_decay_steps=20 there, --lr_decay_steps=40 here"),
        ({"lr_schedule": "linear"}, "--lr_schedule is cosine there, linear here"),
        ({"optimizer": "adam"}, "--optimizer is sgd there, adam here"),
        ({"ema_decay": 0.9}, "--ema_decay is 0.0 there, 0.9 here"),
        (
            {"early_stopping_patience": 3},
            "--early_stopping_patience is 0 there, 3 here",
        ),
    ],
)
def test_another_schedule_is_another_run(
    changes: dict[str, Any], message: str, tmp_path: Path, dataset: Dataset
) -> None:
    flags = {**FLAGS, "max_steps": 20, "lr_schedule": "cosine"}
    config = Config(**flags, log_dir=str(tmp_path))
    fit(config, dataset)
    with pytest.raises(InputError, match=message):
        fit(dataclasses.replace(config, **changes), dataset)
    # Given the end of its schedule, it goes on.
    fit(dataclasses.replace(config, max_steps=40, lr_decay_steps=20), dataset)


# Every optimizer and every schedule at every number of ranks, on slices of the same
# batches.
PROGRAM = """
import itertools, json
from distmnist.distributed.connect import connect
cluster = connect()
import numpy as np
import tensorflow as tf
from distmnist.core.config import Config
from distmnist.core.optimizer_options import LR_SCHEDULES
from distmnist.optim.optimizer import DistributedOptimizer
from tests.optim.test_update_rules import CASES

seen = {}
schedules = itertools.cycle(LR_SCHEDULES)
for (name, (_, flags)), schedule in zip(CASES.items(), schedules):
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(12, 5)), tf.float32)
    y = tf.constant(random.normal(size=(12, 3)), tf.float32)
    w = tf.Variable(random.normal(size=(5, 3)), dtype=tf.float32)
    b = tf.Variable(random.normal(size=3), dtype=tf.float32)
    share = 12 // cluster.size
    mine = slice(cluster.rank * share, (cluster.rank + 1) * share)
    config = Config(learning_rate=0.01, lr_scaling="none", lr_schedule=schedule,
                    max_steps=30, clip_gradient_norm=2.0, **flags)
    optimizer = DistributedOptimizer(config, cluster, {"w": w, "b": b})
    def train():
        error = tf.matmul(x[mine], w) + b - y[mine]
        optimizer.minimize(tf.reduce_mean(tf.square(error)))
    train = tf.function(train, autograph=False)
    for _ in range(20):
        train()
    values = [v.numpy().tolist() for v in (w, b, *optimizer.slots.values())]
    everywhere = cluster.allgather(values)
    assert all(other == values for other in everywhere), name
    seen[name] = values
if cluster.rank == 0:
    open("seen.json", "w").write(json.dumps(seen))
"""


@pytest.mark.ranks
def test_n_workers_are_one_with_every_optimizer_and_schedule(tmp_path: Path) -> None:
    seen = {}
    for size in (1, 2, 3):
        directory = tmp_path / str(size)
        directory.mkdir()
        env = {"PYTHONPATH": str(ROOT)}
        run((*MPIRUN, size, sys.executable, "-c", PROGRAM), cwd=directory, env=env)
        seen[size] = json.loads((directory / "seen.json").read_text())
    for size in (2, 3):
        for name, expected in seen[1].items():
            for one, many in zip(expected, seen[size][name], strict=True):
                np.testing.assert_allclose(
                    many, one, rtol=1e-4, atol=1e-6, err_msg=name
                )
