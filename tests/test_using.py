"""Evaluation, export and prediction from a checkpoint, as users start them."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from distmnist import evaluate, export, predict, report
from distmnist.checkpoint import inference
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data.dataset import Dataset
from distmnist.data.sources.digits import Digits
from distmnist.distributed.cluster import Cluster
from tests.launching import MPIRUN, TRAIN, messages, run

PROGRAMS = {m.__name__.split(".")[-1]: m for m in (evaluate, export, predict, report)}


def program(name: str, *flags: object) -> tuple[object, ...]:
    return (sys.executable, "-m", f"distmnist.{name}", *flags)


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a small run of the CNN."""
    directory = tmp_path_factory.mktemp("run") / "logs"
    flags = ("--dataset=digits", "--model=cnn", "--max_steps=20", "--momentum=0.9")
    run((*TRAIN, *flags, "--learning_rate=0.01", f"--log_dir={directory}"))
    return directory


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return Digits(Config()).load()


def test_evaluate_counts_as_training_does(log_dir: Path) -> None:
    lines = map(json.loads, (log_dir / "metrics.jsonl").read_text().splitlines())
    (logged,) = (line for line in lines if line.get("split") == "test")
    outputs = [
        re.sub(r"\[.*?\]<stdout>:?", "", run((*launcher, *command)).stdout)
        for launcher, command in (
            ((), program("evaluate", f"--log_dir={log_dir}")),
            ((*MPIRUN, 2), program("evaluate", f"--log_dir={log_dir}")),
        )
    ]
    one, two = ([line.split() for line in out.splitlines()] for out in outputs)
    assert [words for words in two if words] == [words for words in one if words]
    out = outputs[0]
    assert out.startswith(
        f"Test Data Eval:\n  Num examples: 300  Num correct: {logged['num_correct']}  "
        f"Precision @ 1: {logged['precision']:.4f}\n"
    )
    rows = np.array([words for words in one if len(words) == 11][-10:], int)
    matrix = rows[:, 1:]
    assert matrix.sum() == 300
    assert matrix.trace() == logged["num_correct"]
    classes = [words for words in one if len(words) == 4 and words[0].isdigit()]
    assert len(classes) == 10
    for label, count, precision, recall in classes:
        right = matrix[int(label), int(label)]
        assert int(count) == matrix[int(label)].sum()
        if right:
            assert float(precision) == round(right / matrix[:, int(label)].sum(), 4)
            assert float(recall) == round(right / int(count), 4)


def test_the_exported_model_predicts_as_the_checkpoint_does(
    log_dir: Path, digits: Dataset, tmp_path: Path
) -> None:
    directory = tmp_path / "exported/1"
    flags = (f"--log_dir={log_dir}", f"--export_dir={directory}")
    run(program("export", *flags))
    cards = [(path / "model_card.md").read_text() for path in (log_dir, directory)]
    assert cards[0] == cards[1] and "    --model=cnn" in cards[0]
    serve = tf.saved_model.load(str(directory)).signatures["serving_default"]
    cluster = Cluster()
    saved = inference.find(str(log_dir), cluster)
    classifier = inference.load_predictor(saved, cluster)
    images = digits.test.features
    expected = classifier(images)
    for shape in ((-1, 784), (-1, 28, 28)):
        served = serve(images=tf.constant(images.reshape(shape)))
        assert served.keys() == {"class", "probabilities"}
        for key, value in served.items():
            np.testing.assert_array_equal(value.numpy(), expected[key].numpy())
    assert expected["class"].dtype == tf.int32
    np.testing.assert_allclose(
        expected["probabilities"].numpy().sum(axis=1), 1, atol=1e-5
    )
    (reported,) = messages(run(program("export", *flags), 2).stderr)
    assert "already exists; name a new directory" in reported


def test_predict_accepts_image_and_idx_files(
    log_dir: Path, digits: Dataset, tmp_path: Path
) -> None:
    images = digits.test.features[:3]
    header = np.array([2051, 3, 28, 28], ">i4").tobytes()
    (tmp_path / "three").write_bytes(header + images.tobytes())
    large = Image.fromarray(255 - images[0].reshape(28, 28)).resize((280, 280))
    large.save(tmp_path / "digit.jpg")
    flags = (f"--log_dir={log_dir}", "digit.jpg", "three")
    table = run(program("predict", *flags), cwd=tmp_path).stdout.splitlines()
    lines = run(program("predict", "--json", *flags), cwd=tmp_path).stdout.splitlines()
    answers = [json.loads(line) for line in lines]
    names = ["digit.jpg", "three[0]", "three[1]", "three[2]"]
    assert [answer["image"] for answer in answers] == names
    assert [row.split()[0] for row in table[1:]] == names
    assert "inverted, being dark on light; cropped from 280x280 to" in table[1]
    assert [row.split()[1] for row in table[1:]] == [str(a["class"]) for a in answers]
    cluster = Cluster()
    saved = inference.find(str(log_dir), cluster)
    expected = inference.load_predictor(saved, cluster)(images)
    for answer, digit in zip(answers[1:], expected["class"].numpy()):
        assert answer["class"] == digit
    found = np.array([answer["probabilities"] for answer in answers[1:]])
    np.testing.assert_allclose(found, expected["probabilities"].numpy(), atol=1e-6)
    large.resize((28, 28)).save(tmp_path / "small.png")
    flags = (
        f"--log_dir={log_dir}",
        "--json",
        "--nopreprocess",
        "small.png",
        "digit.jpg",
    )
    lines = run(program("predict", *flags), cwd=tmp_path).stdout.splitlines()
    as_it_is, resized = map(json.loads, lines)
    assert (as_it_is["done"], resized["done"]) == (
        [],
        ["resized from 280x280 to 28x28"],
    )
    pixels = np.asarray(Image.open(tmp_path / "small.png"))[None]
    expected = inference.load_predictor(saved, cluster)(pixels)["probabilities"]
    np.testing.assert_allclose(
        as_it_is["probabilities"], expected.numpy()[0], atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "flags", "reported"),
    [
        ("evaluate", ["--split=all"], "flag --split=all: must be one of"),
        ("evaluate", ["--log_dir=EMPTY"], "EMPTY: contains no checkpoint"),
        ("evaluate", ["--log_dir=MISSING"], "--log_dir=MISSING: "),
        ("export", [], "--export_dir"),
        ("predict", [], "argument FILE"),
        ("predict", ["MISSING.png"], "MISSING.png cannot be read (No such file"),
        ("predict", ["EMPTY"], "EMPTY cannot be read (Is a directory)"),
    ],
)
@pytest.mark.usefixtures("threads_are_chosen")
def test_bad_input_is_reported_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    flags: list[str],
    reported: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    monkeypatch.setattr(sys, "argv", [name, *flags])
    with pytest.raises(SystemExit) as end:
        PROGRAMS[name].main()
    captured = capsys.readouterr()
    (message,) = messages(captured.err)
    assert (end.value.code, captured.out) == (InputError.exit_status, "")
    assert reported in message


@pytest.mark.parametrize("small_disk", ["200k"], indirect=True)
@pytest.mark.parametrize("name", ["export", "report"])
@pytest.mark.usefixtures("threads_are_chosen")
def test_on_a_full_disk_nothing_is_written(
    log_dir: Path,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(120_000))
    paths = {
        "export": [f"--export_dir={small_disk / '1'}"],
        "report": [f"--output={small_disk / 'r.html'}", f"--png_dir={small_disk}"],
    }
    monkeypatch.setattr(sys, "argv", [name, f"--log_dir={log_dir}", *paths[name]])
    with pytest.raises(SystemExit) as end:
        PROGRAMS[name].main()
    (message,) = messages(capsys.readouterr().err)
    assert end.value.code == 1
    assert "cannot be written (" in message and "and nothing was; free" in message
    assert [p for p in small_disk.rglob("*") if p.is_file()] == [ballast]


@pytest.mark.usefixtures("threads_are_chosen")
def test_an_empty_directory_may_be_exported_to(
    log_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "a[b] c"
    directory.mkdir()
    flags = [f"--log_dir={log_dir}", f"--export_dir={directory}"]
    monkeypatch.setattr(sys, "argv", ["export", *flags])
    export.main()
    assert [path.name for path in tmp_path.iterdir()] == [directory.name]
    assert (directory / "saved_model.pb").exists()
    assert directory.stat().st_mode & 0o050  # a server of another user may read it


@pytest.mark.usefixtures("threads_are_chosen")
def test_evaluate_while_the_run_goes_on_and_prunes(
    log_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(log_dir, copy)
    load = inference.load

    def prune_and_load(*arguments: Any) -> Any:
        for path in copy.glob("model.ckpt-*"):
            path.unlink()
        return load(*arguments)

    monkeypatch.setattr(inference, "load", prune_and_load)
    monkeypatch.setattr(sys, "argv", ["evaluate", f"--log_dir={copy}"])
    evaluate.main()
    assert "Num examples: 300" in capsys.readouterr().out
