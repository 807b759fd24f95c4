"""The programs that use a run, on runs of any data and any network."""

from __future__ import annotations

import csv
import html
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from distmnist import evaluate, export, predict, report
from distmnist.checkpoint import inference
from distmnist.core.errors import InputError
from distmnist.data import image_files
from distmnist.distributed.cluster import Cluster
from tests.data.own_data import save_images
from tests.launching import messages, run

PROGRAMS = {m.__name__.split(".")[-1]: m for m in (evaluate, export, predict, report)}
COLUMNS = ["area", "rooms", "price"]

# A module of the user's: data sets, networks, and runs of them.
OWN = '''
import sys

import numpy as np
import tensorflow as tf

import distmnist


def things(num_classes=60):
    random = np.random.RandomState(0)
    labels = np.arange(20 * num_classes) % num_classes
    features = random.randn(num_classes, 8)[labels] + random.randn(len(labels), 8)
    names = [f"thing {label}" for label in range(num_classes)]
    return distmnist.create_dataset(
        (features.astype(np.float32), labels), name="things", class_names=names
    )


def many():
    return things(1001)


class Spread(distmnist.Network):
    """Predicts two numbers for each example, with a loss and a metric of its own."""

    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.weights = tf.Variable(tf.zeros([spec.num_features, 2]), name="weights")

    def __call__(self, features, position=None):
        return tf.matmul(features, self.weights)

    def loss(self, outputs, targets):
        mean, log_scale = outputs[:, 0], outputs[:, 1]
        return tf.abs(mean - targets) * tf.exp(-log_scale) + log_scale

    def metrics(self, outputs, targets):
        return {"log_scale": (tf.reduce_sum(outputs[:, 1]), tf.shape(outputs)[0])}


def fit(log_dir, dataset="auto", given=None, network=None, **flags):
    config = distmnist.Config(
        dataset=dataset, log_dir=log_dir, max_steps=30, eval_every=15, log_every=10,
        hidden1=16, hidden2=8, **flags,
    )
    distmnist.fit(config, dataset=given, network=network)


if __name__ == "__main__":
    fit("runs/houses", "houses.csv", target="price")
    fit("runs/kinds", "kinds.csv", target="kind")
    fit("runs/images", "images")
    fit("runs/things", given=things())
    fit("runs/many", "own:many")
    fit("runs/spread", "houses.csv", target="price", network=Spread)
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's directory: data, a module, and runs in runs/."""
    directory = tmp_path_factory.mktemp("own")
    random = np.random.RandomState(0)
    area, rooms = random.uniform(30, 200, 200).round(1), random.randint(1, 7, 200)
    prices = (3 * area + 40 * rooms).round(1)
    kinds = np.where(area > 100, "large", "small")
    for name, target, values in (("houses", "price", prices), ("kinds", "kind", kinds)):
        with (directory / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [["area", "rooms", target], *zip(area, rooms, values)]
            )
    save_images(directory / "images", "apple banana", 20, size=(9, 12, 3))
    (directory / "own.py").write_text(OWN)
    run((sys.executable, "own.py"), cwd=directory)
    return directory


@pytest.fixture
def here(own: Path, monkeypatch: pytest.MonkeyPatch, threads_are_chosen: None) -> Path:
    monkeypatch.chdir(own)
    monkeypatch.syspath_prepend(str(own))
    return own


def call(capsys: pytest.CaptureFixture[str], name: str, *flags: str) -> str:
    """Runs a program in this process, and returns its output."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *flags])
        PROGRAMS[name].main()
    return capsys.readouterr().out


def refuse(capsys: pytest.CaptureFixture[str], name: str, *flags: str) -> str:
    """Runs a program that fails in this process, and returns the message."""
    with pytest.raises(SystemExit) as end:
        call(capsys, name, *flags)
    captured = capsys.readouterr()
    (message,) = messages(captured.err)
    assert (end.value.code, captured.out) == (InputError.exit_status, "")
    assert "delete" not in message
    return message


def logged(log_dir: Path, split: str = "test") -> dict[str, float]:
    """Returns the metrics that training logged last."""
    lines = map(json.loads, (log_dir / "metrics.jsonl").read_text().splitlines())
    *_, last = (line["metrics"] for line in lines if line.get("split") == split)
    return dict(last)


def test_evaluate_prints_the_metrics_of_numbers(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = logged(here / "runs/houses", "validation")
    expected = (
        "Validation Data Eval:\n"
        f"  Num examples: 18  Loss: {metrics['loss']:.5g}  "
        f"Mean absolute error: {metrics['mean_absolute_error']:.5g}  "
        f"Mean squared error: {metrics['mean_squared_error']:.5g}\n"
    )
    flags = ("--log_dir=runs/houses", "--split=validation")
    assert call(capsys, "evaluate", *flags) == expected
    (here / "moved").mkdir()
    monkeypatch.chdir(here / "moved")
    flags = ("--log_dir=../runs/houses", "--split=validation")
    assert call(capsys, "evaluate", *flags) == expected  # found where training was
    (here / "houses.csv").rename(here / "renamed.csv")
    message = refuse(capsys, "evaluate", *flags)
    (here / "renamed.csv").rename(here / "houses.csv")
    assert "flag --dataset=houses.csv: there is no such path" in message
    assert call(capsys, "evaluate", *flags, "--dataset=../houses.csv") == expected
    Path("houses.csv").write_text((here / "houses.csv").read_text() + "1,2,3\n")
    message = refuse(capsys, "evaluate", *flags)
    assert "not the data that ../runs/houses/model.ckpt-30 was trained on" in message
    assert "restore them, or give their --dataset" in message


def test_evaluate_names_the_users_classes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = call(capsys, "evaluate", "--log_dir=runs/kinds")
    assert re.search(
        r"Num examples: 20  Num correct: \d+  Precision @ 1: [\d.]+\n", out
    )
    assert "Confusion matrix (row: label, column: prediction):\n" in out
    assert re.search(r"\n +large small\nlarge( +\d+){2}\nsmall( +\d+){2}\n", out)


def test_evaluate_prints_the_most_confused_pairs_of_many_classes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--log_dir=runs/things", "--dataset=own:things")
    out = call(capsys, "evaluate", *flags)
    assert "Confusion matrix" not in out
    _, _, pairs = out.partition("Most frequent confusions, of 60 classes:\n")
    head, *rows = pairs.splitlines()
    assert re.fullmatch(r"label +prediction +examples", head)
    assert 1 <= len(rows) <= 20
    for row in rows:
        assert re.fullmatch(r"thing \d+ +thing \d+ +\d+", row)
    message = refuse(capsys, "evaluate", "--log_dir=runs/many")
    assert "give --dataset=own:many, if you trust it" in message
    flags = ("--log_dir=runs/many", "--dataset=own:many")
    out = call(capsys, "evaluate", *flags)  # too many for any matrix
    assert len(out.splitlines()) == 2


def test_an_object_that_fit_was_given_can_be_named(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    message = refuse(capsys, "evaluate", "--log_dir=runs/things")
    assert "trained on the data set things, an object given to distmnist.fit" in message
    assert "--dataset=package.module:function" in message
    for name in ("evaluate", "predict"):
        files = ("houses.csv",) if name == "predict" else ()
        message = refuse(capsys, name, "--log_dir=runs/spread", *files)
        assert "was given the run's network as an object" in message
        assert "name it by --model=package.module:name" in message
    flags = ("--log_dir=runs/spread", "--model=own:Spread")
    metrics = logged(here / "runs/spread")
    assert list(metrics) == ["loss", "log_scale"]
    assert call(capsys, "evaluate", *flags) == (
        f"Test Data Eval:\n  Num examples: 20  Loss: {metrics['loss']:.5g}  "
        f"Log scale: {metrics['log_scale']:.5g}\n"
    )
    row = call(capsys, "predict", *flags, "--json", "houses.csv").splitlines()[0]
    assert np.shape(json.loads(row)["outputs"]) == (2,)
    report_flags = (*flags, "--compare=runs/houses", f"--output={tmp_path / 'r.html'}")
    call(capsys, "report", *report_flags)
    text = html.unescape((tmp_path / "r.html").read_text())
    assert "not evaluated" not in text
    assert "Log scale, test" in text
    assert "Predicted against true" in text  # of the other run


def test_predict_takes_the_rows_of_a_table(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"  # in another order, with and without the target
    rows.write_text("price,rooms,area,note\n0,2,50,x\n0,4,150.5,y\n")
    out = call(capsys, "predict", "--log_dir=runs/houses", str(rows))
    head, *lines = (line.split() for line in out.splitlines())
    assert head == ["example", "price"]
    assert [line[0] for line in lines] == [f"{rows}[0]", f"{rows}[1]"]
    flags = ("--log_dir=runs/houses", "--json", str(rows))
    answers = [
        json.loads(line) for line in call(capsys, "predict", *flags).splitlines()
    ]
    assert answers[0].keys() == {"example", "prediction", "done"}
    cluster = Cluster()
    saved = inference.find("runs/houses", cluster)
    features = np.array([[50, 2], [150.5, 4]], np.float32)
    expected = inference.load_predictor(saved, cluster)(features)["prediction"].numpy()
    for answer, line, number in zip(answers, lines, expected):
        assert answer["prediction"] == pytest.approx(number, rel=1e-6)
        assert float(line[1]) == pytest.approx(number, rel=1e-5)
    np.save(tmp_path / "rows.npy", features)
    flags = ("--log_dir=runs/houses", "--json", str(tmp_path / "rows.npy"))
    (first, _) = map(json.loads, call(capsys, "predict", *flags).splitlines())
    assert first["prediction"] == answers[0]["prediction"]
    out = call(capsys, "predict", "--log_dir=runs/kinds", str(rows))
    assert out.splitlines()[1].split()[1] in ("large", "small")


def test_predict_prepares_images_as_training_did(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    original = here / "images/banana/03.png"
    pixels = image_files.read(original)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned = Image.fromarray(np.rot90(pixels))
    turned.save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(pixels).resize((24, 18)).save(tmp_path / "large.png")
    Image.fromarray(pixels).convert("L").save(tmp_path / "gray.png")
    np.save(tmp_path / "array.npy", pixels)
    names = ("turned.png", "large.png", "gray.png", "array.npy")
    files = [str(original), *(str(tmp_path / name) for name in names)]
    flags = ("--log_dir=runs/images", "--json", *files)
    answers = [
        json.loads(line) for line in call(capsys, "predict", *flags).splitlines()
    ]
    assert [answer["done"] for answer in answers] == [
        [],
        [],
        ["resized from 24x18 to 12x9"],
        ["converted to color"],
        [],
    ]
    # The last rows of a batch may be rounded otherwise than those in vectors.
    expected = pytest.approx(answers[0]["probabilities"], abs=1e-6)
    assert answers[1]["probabilities"] == expected
    assert answers[4]["probabilities"] == expected
    assert answers[4]["image"] == f"{files[4]}[0]"
    assert answers[3]["probabilities"] != expected
    out = call(capsys, "predict", "--log_dir=runs/images", *files[:2])
    assert re.search(r"^image +class +probability +runner-up +preprocessing\n", out)
    assert re.search(
        r" (apple|banana) +0\.\d{4}  (apple|banana) \(0\.\d{4}\) +none", out
    )


@pytest.mark.parametrize(
    ("run", "file", "message"),
    [
        ("houses", "none.csv", "none.csv cannot be read (No such file or directory)"),
        ("houses", "short.csv", "short.csv lacks the column rooms"),
        ("houses", "cell.csv", "cell.csv, line 3, column rooms: 'x' is not a number"),
        ("houses", "wide.npy", "wide.npy: is of shape 3x4, but the run was trained on"),
        ("houses", "nan.npy", "nan.npy, example 1 (from 0): the value nan is not"),
        ("houses", "objects.npy", "holds Python objects, which are never unpickled"),
        ("houses", "cut.npy", "cut.npy cannot be read"),
        ("houses", "gray.png", "gray.png: the run was not trained on image files"),
        ("images", "short.csv", "short.csv: is a table, and the run was not"),
        ("images", "cell.txt", "cell.txt: is no JPEG or PNG image"),
        ("images", "floats.npy", "holds values of type float64, but the run was"),
        ("images", "large.npy", "large.npy, example 1 (from 0): the value 256 is not"),
        ("images", "--preprocess gray.png", "flag --preprocess: is for runs on gray"),
    ],
)
def test_predict_refuses_what_does_not_match_the_run(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    run: str,
    file: str,
    message: str,
) -> None:
    for name, text in (
        ("short.csv", "area\n1\n"),
        ("cell.csv", "area,rooms\n1,2\n1,x\n"),
        ("cell.txt", "1"),
        ("cut.npy", "x"),
    ):
        Path(name).write_text(text)
    Image.new("L", (4, 4)).save("gray.png")
    images = np.zeros((2, 9, 12, 3), np.int64)
    images[1, 0, 0, 0] = 256
    for name, array in (
        ("wide.npy", np.zeros((3, 4))),
        ("nan.npy", np.array([[1, 2], [3, np.nan]])),
        ("objects.npy", np.array([{}], object)),
        ("floats.npy", np.zeros((9, 12, 3))),
        ("large.npy", images),
    ):
        np.save(name, array, allow_pickle=True)
    flags = (f"--log_dir=runs/{run}", *file.split())
    assert message in refuse(capsys, "predict", *flags)


def test_the_exported_model_predicts_numbers(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    call(capsys, "export", "--log_dir=runs/houses", f"--export_dir={tmp_path / '1'}")
    serve = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    features = np.array([[50, 2], [150.5, 4]], np.float32)
    served = serve(features=tf.constant(features))
    cluster = Cluster()
    predictor = inference.load_predictor(
        inference.find("runs/houses", cluster), cluster
    )
    assert served.keys() == {"prediction"}
    np.testing.assert_array_equal(
        served["prediction"].numpy(), predictor(features)["prediction"].numpy()
    )


def test_a_report_on_different_problems(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    others = "runs/kinds,runs/images,runs/things,runs/many"
    output, png_dir = tmp_path / "report.html", tmp_path / "png"
    flags = (f"--compare={others}", f"--output={output}", f"--png_dir={png_dir}")
    call(capsys, "report", "--log_dir=runs/houses", *flags)
    text = html.unescape(output.read_text())
    for expected in ("Mean absolute error, test", "Accuracy, test", "large", "banana"):
        assert expected in text
    assert "runs/things/model.ckpt-30 was trained on the data set things" in text
    images = {path.stem for path in png_dir.iterdir()}
    assert {"predictions-0", "residuals-0", "confusion_matrix-1"} <= images
    flags = ("--log_dir=runs/things", "--compare=runs/houses", "--dataset=own:things")
    call(capsys, "report", *flags, f"--output={output}")
    text = html.unescape(output.read_text())
    assert "not evaluated" not in text
    assert "thing 59" in text
