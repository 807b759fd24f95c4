"""Images of digits, of many kinds: all are converted to the form of MNIST's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data.sources import mnist_images
from distmnist.data.sources.mnist import Mnist


@pytest.fixture(scope="module")
def seven() -> Image.Image:
    """A 7 in light gray on black, 140x140, off center."""
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
        "original.png": seven,
        "negative.png": negative,
        "grayscale.jpg": seven,
        "color.jpg": Image.merge("RGB", (seven, black, seven)),
        "paper.png": negative.point(lambda value: 100 + value // 2),
        "black on transparent.png": Image.merge("LA", (black, seven)),
        "white on transparent.png": Image.merge("LA", (white, seven)),
        "palette.png": negative.convert("P"),
        "one bit.png": seven.point(lambda value: 255 * (value > 100)).convert("1"),
        "16 bits.png": Image.fromarray(wide),
        "large.png": seven.resize((1400, 1400)),
    }


def test_all_variants_give_the_same_digit(seven: Image.Image, tmp_path: Path) -> None:
    found = {}
    for name, image in variants(seven).items():
        image.save(tmp_path / name)
        found[name] = mnist_images.read(tmp_path / name)
    expected = found["original.png"]
    assert expected.preprocessing == (
        "cropped from 140x140 to 61x90",
        "scaled to 14x20",
        "centered in 28x28",
    )
    for name, digit in found.items():
        assert digit.pixels.shape == (28, 28)
        assert digit.pixels.dtype == np.uint8
        assert digit.pixels.max() == 255
        assert digit.pixels[0].max() == 0
        difference = np.abs(digit.pixels.astype(int) - expected.pixels).mean()
        assert difference < 4, name
        center = mnist_images._centre_of_mass(digit.pixels)
        assert np.abs(center - 13.5).max() <= 0.6, name
    assert "inverted, being dark on light" in found["negative.png"].preprocessing
    assert "converted to grayscale" in found["color.jpg"].preprocessing
    assert (
        "transparent, placed on white"
        in found["black on transparent.png"].preprocessing
    )
    assert (
        "transparent, placed on black"
        in found["white on transparent.png"].preprocessing
    )


def test_mnists_own_images_are_unchanged(mnist_dir: Path, tmp_path: Path) -> None:
    images = Mnist(Config(input_data_dir=str(mnist_dir))).load().test.features[:100]
    same = 0
    for pixels in images.reshape(-1, 28, 28):
        Image.fromarray(255 - pixels).save(tmp_path / "digit.png")
        digit = mnist_images.read(tmp_path / "digit.png")
        same += int(np.abs(digit.pixels.astype(int) - pixels).max() <= 26)
    assert same >= 95


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no JPEG or PNG image"),
        (b"\x89PNG\r\n\x1a\n", "is no JPEG or PNG image"),
        (b"<html>", "is no JPEG or PNG image"),
        (None, r"cannot be read \(No such file"),
    ],
)
def test_what_is_not_an_image_is_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "digit.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"digit\.png: {message}"):
        mnist_images.read(path)


def test_a_blank_image_is_refused(tmp_path: Path) -> None:
    Image.new("L", (30, 40), 99).save(tmp_path / "digit.png")
    with pytest.raises(InputError, match="is blank: its 30x40 pixels"):
        mnist_images.read(tmp_path / "digit.png")


@pytest.mark.parametrize("kind", ["EPS", "GIF", "PPM", "TIFF"])
def test_other_formats_are_not_decoded(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (30, 40), 99).save(tmp_path / "digit.png", kind)
    with pytest.raises(InputError, match="is no JPEG or PNG image"):
        mnist_images.read(tmp_path / "digit.png")


def test_a_bomb_is_refused_and_a_photograph_is_not(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    image = Image.new("1", (8200, 8200))  # 9 kB
    image.save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match="has more than 67108864 pixels; reduce it"):
        mnist_images.read(tmp_path / "bomb.png")
    photograph = Image.new("L", (6000, 4000), 200)
    photograph.paste(30, (2800, 1500, 3200, 2500))
    photograph.save(tmp_path / "photograph.jpg")
    assert mnist_images.read(tmp_path / "photograph.jpg").pixels.max() == 255
    assert not recwarn
