"""The metric writers of a run, read back."""

from __future__ import annotations

import errno
import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distmnist.core.config import Config
from distmnist.core.errors import RunError
from distmnist.core.progress import Progress
from distmnist.data.dataset import Split
from distmnist.data.pipeline import InputPipeline
from distmnist.data.sources.mnist import SPEC
from distmnist.data.spec import DatasetSpec
from distmnist.distributed.cluster import Cluster
from distmnist.metrics.breakdown import Breakdown
from distmnist.metrics.records import History
from distmnist.metrics.scalars import ScalarWriter
from distmnist.metrics.step_timer import StepTimer
from distmnist.metrics.types import (
    ClassCounts,
    Evaluation,
    Run,
    SplitResult,
    TrainMetrics,
)
from distmnist.metrics.writer import create_writer
from distmnist.models import registry
from distmnist.optim.schedules import Schedule

# Class 9 has a recall of 0.48: the others of its examples are predicted as 4.
CONFUSION = np.diag([1000] * 9 + [480])
CONFUSION[9, 4] = 520
RESULTS = {
    split: SplitResult(
        size,
        {"loss": 0.25, "accuracy": correct / size, "f1": 0.75},
        ClassCounts(size, correct, CONFUSION),
    )
    for split, size, correct in (
        ("train", 55000, 52112),
        ("validation", 5000, 4800),
        ("test", 10000, 9480),
    )
}
NUMBERS = {
    split: SplitResult(2, {"loss": 0.25, "mean_absolute_error": 12345.678}, None)
    for split in RESULTS
}
PRICES = DatasetSpec((3,), feature_dtype="float32", target_name="price")
TEST = Split(np.zeros((2, 784), np.uint8), np.array([9, 4], np.int32))


BREAKDOWN = Breakdown(10.0, 1.0, 6.0, 3.0, 2.0, 0.5, flops=4e6, peak_flops=1e9)


def write_metrics(directory: Path, rank: int, numbers: bool = False) -> None:
    """Writes the metrics of 100 steps in 2 seconds, and of an evaluation.

    Args:
        directory: Run directory.
        rank: Rank that writes.
        numbers: Whether the targets are numbers, rather than classes.
    """
    config = Config(log_dir=str(directory))
    cluster = Cluster()
    cluster.rank, cluster.size = rank, 2
    writer = create_writer(config, cluster, 0, History())

    @tf.function
    def double(x: tf.Tensor) -> tf.Tensor:
        return x * 2

    writer.graph(double.get_concrete_function(tf.TensorSpec([])).graph)
    run = Run(config, cluster, 55000, Progress(0, 0), 100)
    timer = StepTimer(run, writer)
    timer._clock -= 4  # of which steps took 2
    for step, seconds in ((50, 1.5), (60, 1.6), (100, 2.0)):
        progress = Progress(step, 200 * step, 0.567, seconds, gradient_norm=0.5)
        timer.measure(progress)
    timer.write(progress)
    if numbers:
        split = Split(np.ones((2, 3), np.float32), np.array([1, 2], np.float32))
        network = registry.create(config, PRICES)
        evaluation = Evaluation(NUMBERS, split, network, PRICES)
    else:
        network = registry.create(config, SPEC)
        evaluation = Evaluation(RESULTS, TEST, network, SPEC)
    writer.evaluation(progress, evaluation)
    writer.breakdown(progress, BREAKDOWN)
    writer.close()


def test_console_keeps_the_tutorials_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_metrics(tmp_path, rank=0)
    assert capsys.readouterr().out == (
        "Step 100: loss = 0.57 (0.020 sec)\n"
        "Training Data Eval:\n"
        "  Num examples: 55000  Num correct: 52112  Precision @ 1: 0.9475\n"
        "  F1: 0.75\n"
        "Validation Data Eval:\n"
        "  Num examples: 5000  Num correct: 4800  Precision @ 1: 0.9600\n"
        "  F1: 0.75\n"
        "Test Data Eval:\n"
        "  Num examples: 10000  Num correct: 9480  Precision @ 1: 0.9480\n"
        "  F1: 0.75\n"
    )


def test_console_prints_the_metrics_of_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_metrics(tmp_path, rank=0, numbers=True)
    assert capsys.readouterr().out.endswith(
        "Test Data Eval:\n  Num examples: 2  Loss: 0.25  Mean absolute error: 12346\n"
    )


def test_tensorboard_has_the_metrics_and_plots_of_numbers(tmp_path: Path) -> None:
    write_metrics(tmp_path, rank=0, numbers=True)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {"test/predictions", "test/residuals"} <= tags
    assert not any("confusion" in tag or "of_class" in tag for tag in tags)
    events = EventAccumulator(str(tmp_path / "eval/test"))
    events.Reload()
    for tag, step in (("", 100), ("_vs_examples", 20000)):
        (error,) = events.Tensors(f"mean_absolute_error{tag}")
        assert error.step == step
        assert float(tf.make_ndarray(error.tensor_proto)) == pytest.approx(12345.678)


def test_metrics_are_json_lines(tmp_path: Path) -> None:
    write_metrics(tmp_path, rank=0)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    start, train, *evaluations, parts = (json.loads(line) for line in lines)
    assert (start["kind"], start["tensorflow"]) == ("start", tf.__version__)
    assert train.pop("time") > 1.7e9
    assert math.isclose(train.pop("learning_rate"), 0.2, rel_tol=1e-6)
    # 10 ms per step after the first call, which builds the graph.
    assert train.pop("step_ms") == pytest.approx({"p50": 10, "p95": 10, "p99": 10})
    assert train.pop("goodput") == pytest.approx(0.5, rel=0.2)
    assert (parts["kind"], parts["step"], parts["step_ms"]) == ("breakdown", 100, 10.0)
    assert parts["utilization"] == 0.4
    assert train == {
        "kind": "train",
        "step": 100,
        "consumed": 20000,
        "loss": 0.567,
        "gradient_norm": 0.5,
        "examples_per_sec": 10000.0,
        "epoch": 20000 / 55000,
        "size": 2,
    }
    assert [line["split"] for line in evaluations] == ["train", "validation", "test"]
    evaluations[2].pop("time")
    assert evaluations[2] == {
        "kind": "eval",
        "step": 100,
        "consumed": 20000,
        "split": "test",
        "num_examples": 10000,
        "num_correct": 9480,
        "precision": 0.948,
        "metrics": {"loss": 0.25, "accuracy": 0.948, "f1": 0.75},
        "size": 2,
    }


def test_tensorboard_has_scalars_graph_and_flags(tmp_path: Path) -> None:
    write_metrics(tmp_path, rank=0)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()
    assert set(tags["tensors"]) >= {
        "loss",
        "learning_rate",
        "gradient_norm",
        "examples_per_sec",
        "goodput",
        "breakdown/exposed_ms",
        "breakdown/waiting_ms",
        "step_ms/p50",
        "recall_of_class/9",
        "test/confusion_matrix",
        "test/most_wrong",
        "hidden1/weights",
        "flags",
    }
    (loss,) = events.Tensors("loss")
    assert loss.step == 100
    assert float(tf.make_ndarray(loss.tensor_proto)) == pytest.approx(0.567)
    assert tags["graph"]
    (flags,) = events.Tensors("flags")
    assert "| batch_size | 100 |" in flags.tensor_proto.string_val[0].decode()
    assert "_hparams_/session_start_info" in events.summary_metadata
    (recall,) = events.Tensors("recall_of_class/9")
    assert float(tf.make_ndarray(recall.tensor_proto)) == pytest.approx(0.48)
    for split, result in RESULTS.items():
        events = EventAccumulator(str(tmp_path / "eval" / split))
        events.Reload()
        (precision,) = events.Tensors("precision")
        value = float(tf.make_ndarray(precision.tensor_proto))
        assert value == pytest.approx(result.metrics["accuracy"])


def test_only_the_first_point_of_a_scalar_is_described(tmp_path: Path) -> None:
    writer = ScalarWriter(tmp_path)
    for step in (1, 2):
        writer.write({"loss": 0.5, "step_ms/p50": 1.0}, step, 100 * step, ("loss",))
    writer.file.close()
    (path,) = map(str, tmp_path.iterdir())
    described = [
        (value.tag, event.step, bool(value.metadata.summary_description))
        for event in tf.compat.v1.train.summary_iterator(path)
        for value in event.summary.value
    ]
    assert described == [
        ("loss", 1, True),
        ("step_ms/p50", 1, True),
        ("loss_vs_examples", 100, True),
        ("loss", 2, False),
        ("step_ms/p50", 2, False),
        ("loss_vs_examples", 200, False),
    ]


def test_other_ranks_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_metrics(tmp_path, rank=1)
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["metrics.jsonl", "events*.distmnist"])
def test_a_file_that_is_removed_ends_the_run(tmp_path: Path, name: str) -> None:
    cluster = Cluster()
    writer = create_writer(Config(log_dir=str(tmp_path)), cluster, 0, History())
    metrics = TrainMetrics(1, 100, 0.5, 0.1, 1.0, 1.0, 1.0, {}, 0.5, 0.0)
    writer.train(metrics)
    (path,) = tmp_path.glob(name)
    path.unlink()
    with pytest.raises(RunError, match=f"{path.name} was removed"):
        writer.train(metrics)


def test_a_closed_pipe_is_not_the_run_directorys_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    warnings: list[str] = []
    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(
        logging, "warning", lambda text, *values: warnings.append(text % values)
    )
    write_metrics(tmp_path, rank=0)
    assert warnings == [
        "standard output: cannot be written to (Broken pipe); training continues "
        "without it"
    ]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 6


def test_no_integer_stays_in_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[object] = []

    def learning_rate(schedule: Schedule, step: object) -> float:
        steps.extend((step, *schedule._begin))
        return 0.1

    monkeypatch.setattr(Schedule, "__call__", learning_rate)
    write_metrics(tmp_path, rank=0)
    assert [type(step) for step in steps] == [np.int64] * 3
    pipeline = InputPipeline(TEST, SPEC, batch_size=1, seed=0)
    assert type(pipeline.take(1).position) is np.int64


def test_a_histogram_is_of_a_million_values_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distmnist.metrics.tensorboard._MOST_VALUES", 1000)
    write_metrics(tmp_path, rank=0)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for tag, count in (("hidden1/weights", 994), ("hidden1/biases", 128)):
        (event,) = events.Tensors(tag)
        buckets = tf.make_ndarray(event.tensor_proto)
        assert buckets[:, 2].sum() == count
