"""Pictures of digits: whatever they look like, they become what MNIST's are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distmnist.core.errors import InputError
from distmnist.data import datasets, mnist_images


@pytest.fixture(scope="module")
def seven() -> Image.Image:
    """A 7 in light grey on black, 140x140, its centre far from the middle."""
    pixels = np.zeros((140, 140), np.uint8)
    pixels[20:30, 20:80] = 200
    for row in range(30, 110):
        column = 75 - (row - 30) // 3
        pixels[row, column - 6 : column + 6] = 200
    return Image.fromarray(pixels)


def variants(seven: Image.Image) -> dict[str, Image.Image]:
    negative = seven.point(lambda value: 255 - value)
    black = Image.new("L", seven.size, 0)
    white = Image.new("L", seven.size, 255)
    wide = np.asarray(seven, np.uint16) * 257
    return {
        "as it is.png": seven,
        "negative.png": negative,
        "grey.jpg": seven,
        "colour.jpg": Image.merge("RGB", (seven, black, seven)),
        "paper.png": negative.point(lambda value: 100 + value // 2),
        "black on transparent.png": Image.merge("LA", (black, seven)),
        "white on transparent.png": Image.merge("LA", (white, seven)),
        "palette.png": negative.convert("P"),
        "one bit.png": seven.point(lambda value: 255 * (value > 100)).convert("1"),
        "16 bits.png": Image.fromarray(wide),
        "large.png": seven.resize((1400, 1400)),
    }


def test_all_become_the_same(seven: Image.Image, tmp_path: Path) -> None:
    found = {}
    for name, image in variants(seven).items():
        image.save(tmp_path / name)
        found[name] = mnist_images.read(tmp_path / name)
    expected = found["as it is.png"]
    assert expected.done == (
        "cropped from 140x140 to 61x90",
        "scaled to 14x20",
        "centred in 28x28",
    )
    for name, digit in found.items():
        assert digit.pixels.shape == (28, 28)
        assert digit.pixels.dtype == np.uint8
        assert digit.pixels.max() == 255
        assert digit.pixels[0].max() == 0
        difference = np.abs(digit.pixels.astype(int) - expected.pixels).mean()
        assert difference < 4, name
        centre = mnist_images._centre_of_mass(digit.pixels)
        assert np.abs(centre - 13.5).max() <= 0.6, name
    assert "inverted, being dark on light" in found["negative.png"].done
    assert "made grey" in found["colour.jpg"].done
    assert "put on white, being transparent" in found["black on transparent.png"].done
    assert "put on black, being transparent" in found["white on transparent.png"].done


def test_mnists_own_images_stay_what_they_are(mnist_dir: Path, tmp_path: Path) -> None:
    images = datasets.load("mnist", str(mnist_dir), (1, 1, 1), 0).test.images[:100]
    same = 0
    for pixels in images.reshape(-1, 28, 28):
        Image.fromarray(255 - pixels).save(tmp_path / "digit.png")
        digit = mnist_images.read(tmp_path / "digit.png")
        same += int(np.abs(digit.pixels.astype(int) - pixels).max() <= 26)
    assert same >= 95


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is not a picture"),
        (b"\x89PNG\r\n\x1a\n", "it is not a picture"),
        (b"<html>", "it is not a picture"),
        (None, "No such file"),
    ],
)
def test_what_is_no_picture_is_told(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "digit.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"digit\.png can't be read \({told}"):
        mnist_images.read(path)


def test_an_empty_picture_is_told(tmp_path: Path) -> None:
    Image.new("L", (30, 40), 99).save(tmp_path / "digit.png")
    with pytest.raises(InputError, match="shows nothing: its 30x40 pixels"):
        mnist_images.read(tmp_path / "digit.png")
