"""AutoGraph: the user's functions are converted, distmnist's own are skipped."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.autograph.impl import api
from tensorflow.python.autograph.pyct import loader

from distmnist import Config, Network, create_dataset
from distmnist.core import autograph
from distmnist.data import augment
from distmnist.data.random import Random
from distmnist.distributed.cluster import Cluster
from distmnist.trainer import Trainer


def test_autograph_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    autograph.set_up()

    @tf.function
    def count(n: tf.Tensor) -> tf.Tensor:
        total = 0
        for i in tf.range(n):
            total += i
        return total

    assert int(count(tf.constant(5))) == 10
    converted = tf.autograph.to_code(count.python_function)
    assert "for_stmt" in converted
    module, path = loader.load_source("def answer():\n    return 42\n", True)
    assert module.answer() == 42
    assert inspect.getsource(module.answer) == "def answer():\n    return 42\n"
    assert not Path(path).exists()


class Branching(Network):
    """Python's `if` and `for` on tensors, in each method."""

    def __init__(self, config: Config, spec: Any):
        super().__init__(config, spec)
        self.weights = tf.Variable(tf.ones([spec.num_features, spec.num_classes]))

    def __call__(
        self, features: tf.Tensor, position: tf.Tensor | None = None
    ) -> tf.Tensor:
        features = tf.reshape(features, [-1, self.spec.num_features])
        if tf.reduce_max(features) > 2.0:  # which all are
            features = _halve(features)
        return features @ self.weights

    def loss(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        loss = super().loss(outputs, targets)
        for _ in tf.range(2):
            loss += 100.0
        return loss

    def metrics(self, outputs: tf.Tensor, targets: tf.Tensor) -> Any:
        largest = tf.constant(0.0)
        if tf.size(targets) > 0:
            largest = tf.reduce_max(outputs)
        return {"largest": (largest, tf.constant(1.0))}


def _halve(features: tf.Tensor) -> tf.Tensor:
    while tf.reduce_max(features) > 2.0:
        features /= 2.0
    return features


def _doubled(features: tf.Tensor, random: Random) -> tf.Tensor:
    if tf.reduce_max(features) < 1000.0:
        features *= 2.0
    return features


def test_the_users_functions_are_converted_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    autograph.set_up()
    converted = []
    convert = api._convert_actual

    def recorded(entity: Any, context: Any) -> Any:
        converted.append(f"{entity.__module__}.{entity.__qualname__}")
        return convert(entity, context)

    monkeypatch.setattr(api, "_convert_actual", recorded)
    dataset = create_dataset(
        (np.full([50, 2], 8.0, np.float32), np.arange(50) % 2),
        augment=augment.compose(_doubled, lambda features, random: features),
    )
    config = Config(max_steps=2, batch_size=5, log_dir=str(tmp_path), eval_every=0)
    results = Trainer(config, Cluster(), dataset, Branching).run()
    assert results["train"].metrics["loss"] == pytest.approx(200 + np.log(2), abs=0.1)
    assert results["train"].metrics["largest"] > 1.0
    own = {name for name in converted if name.startswith("distmnist.")}
    # What TensorFlow is given, and has loops.
    assert own == {
        "distmnist.trainer.Trainer._take_steps",
        "distmnist.metrics.evaluator.Evaluator._chunk",
        "distmnist.metrics.evaluator.Evaluator._shard",
    }
    mine = [name.removeprefix(f"{__name__}.") for name in converted]
    for name in ("Branching.__call__", "Branching.loss", "Branching.metrics"):
        assert name in mine
    assert {"_halve", "_doubled"} <= set(mine)


def test_nothing_is_converted_outside_a_graph() -> None:
    assert autograph.converted(_halve) is _halve
    assert float(autograph.converted(_halve)(tf.constant(8.0))) == 2.0
