"""What a run tells, read back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distmnist import summaries
from distmnist.cluster import Cluster
from distmnist.config import Config
from distmnist.periodic import Progress

CONFUSION = np.zeros((10, 10), np.int64)
RESULTS = {
    "train": summaries.Precision(55000, 52112, CONFUSION),
    "validation": summaries.Precision(5000, 4800, CONFUSION),
    "test": summaries.Precision(10000, 9480, CONFUSION),
}


def tell(directory: Path, rank: int) -> None:
    """Tells of 100 steps in 2 seconds, and an evaluation."""
    config = Config(log_dir=str(directory))
    cluster = Cluster()
    cluster.rank, cluster.size = rank, 2
    writer = summaries.create(config, cluster)

    @tf.function
    def double(x: tf.Tensor) -> tf.Tensor:
        return x * 2

    writer.graph(double.get_concrete_function(tf.TensorSpec([])).graph)
    log = summaries.StepLog(config, 2, 55000, Progress(0, 0), writer)
    log(Progress(step=100, consumed=20000, loss=0.567, seconds=2.0))
    writer.evaluation(100, RESULTS)
    writer.close()


def test_console_keeps_the_tutorials_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(tmp_path, rank=0)
    assert capsys.readouterr().out == (
        "Step 100: loss = 0.57 (0.020 sec)\n"
        "Training Data Eval:\n"
        "  Num examples: 55000  Num correct: 52112  Precision @ 1: 0.9475\n"
        "Validation Data Eval:\n"
        "  Num examples: 5000  Num correct: 4800  Precision @ 1: 0.9600\n"
        "Test Data Eval:\n"
        "  Num examples: 10000  Num correct: 9480  Precision @ 1: 0.9480\n"
    )


def test_metrics_are_json_lines(tmp_path: Path) -> None:
    tell(tmp_path, rank=0)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    train, *evaluations = (json.loads(line) for line in lines)
    assert train.pop("time") > 1.7e9
    assert math.isclose(train.pop("learning_rate"), 0.2, rel_tol=1e-6)
    assert train == {
        "kind": "train",
        "step": 100,
        "loss": 0.567,
        "examples_per_sec": 10000.0,
        "epoch": 20000 / 55000,
        "size": 2,
    }
    assert [line["split"] for line in evaluations] == ["train", "validation", "test"]
    evaluations[2].pop("time")
    assert evaluations[2] == {
        "kind": "eval",
        "step": 100,
        "split": "test",
        "num_examples": 10000,
        "num_correct": 9480,
        "precision": 0.948,
        "size": 2,
    }


def test_tensorboard_has_scalars_graph_and_flags(tmp_path: Path) -> None:
    tell(tmp_path, rank=0)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()
    assert set(tags["tensors"]) >= {
        "loss",
        "learning_rate",
        "examples_per_sec",
        "precision/train",
        "precision/validation",
        "precision/test",
        "flags",
    }
    (loss,) = events.Tensors("loss")
    assert loss.step == 100
    assert float(tf.make_ndarray(loss.tensor_proto)) == pytest.approx(0.567)
    assert tags["graph"]
    (flags,) = events.Tensors("flags")
    assert "| batch_size | 100 |" in flags.tensor_proto.string_val[0].decode()
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_other_ranks_tell_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(tmp_path, rank=1)
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []
