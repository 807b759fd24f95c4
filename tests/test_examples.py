"""The examples, on two ranks, with small data."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import launching
from tests.data.idx_files import idx

EXAMPLES = launching.ROOT / "examples"

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(200)]


def run(tmp_path: Path, name: str, *arguments: object) -> list[str]:
    """Runs an example on two ranks; returns what rank 0 printed at its end."""
    command = (sys.executable, EXAMPLES / name, *arguments, "logs")
    done = launching.run((*launching.MPIRUN, 2, *command), cwd=tmp_path, timeout=180)
    # mpirun tags what Python writes in two pieces twice.
    lines = done.stdout.replace("\n[1,0]<stdout>:\n", "\n").splitlines()
    tag = "[1,0]<stdout>:"
    return [line.replace(tag, "") for line in lines if line.startswith(tag)]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_examples_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    assert "distmnist." in path.read_text()
    assert "distmnist._" not in path.read_text()


def test_idx_files(tmp_path: Path) -> None:
    # 26 classes, of images of another size than MNIST's.
    random = np.random.RandomState(0)
    for name, size in (("train", 2000), ("test", 200)):
        labels = random.randint(0, 26, size)
        images = random.randint(0, 60, (size, 12, 16), np.uint8)
        images[np.arange(size), labels % 12, :] += 80
        images[np.arange(size), :, labels // 2] += 80
        (tmp_path / f"letters-{name}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"letters-{name}-labels-idx1-ubyte").write_bytes(
            idx(labels.astype(np.uint8))
        )
    last = run(tmp_path, "idx_files.py", tmp_path)[-1]
    assert last.startswith("26 classes, accuracy 0.")


def test_color_images(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    for channel, name in enumerate(("red", "green", "blue")):
        directory = tmp_path / "images" / name
        directory.mkdir(parents=True)
        for index in range(50):
            pixels = random.randint(0, 130, (20 + index % 3, 30, 3), np.uint8)
            pixels[..., channel] += 60
            Image.fromarray(pixels).save(directory / f"{index}.png")
    last = run(tmp_path, "color_images.py", "images")[-1]
    assert last.startswith("classes ('blue', 'green', 'red'), accuracy ")
    assert float(last.split()[-1]) > 0.8


def test_table_regression(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    rows = random.randn(400, 3) * [1, 10, 100] + 5
    prices = rows @ [300, 20, 1] + 5000
    lines = ["rooms,area,distance,price"]
    lines += [",".join(map(str, (*row, price))) for row, price in zip(rows, prices)]
    (tmp_path / "houses.csv").write_text("\n".join(lines) + "\n")
    *_, error, predicted = run(tmp_path, "table_regression.py", "houses.csv", "price")
    assert float(error.removeprefix("mean absolute error ")) < prices.std() / 2
    assert predicted.startswith("predicted [")


def test_sequences(tmp_path: Path) -> None:
    last = run(tmp_path, "sequences.py")[-1]
    assert last.startswith("classes ('right', 'wrong'), accuracy ")
    assert float(last.split()[-1]) > 0.9
