"""Directories of images: what is read, and what is refused by its name."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from distmnist.core.errors import InputError
from distmnist.data import image_files
from tests.data.own_data import load, picture, refuse, save_images


def test_each_sub_directory_is_a_class(tmp_path: Path) -> None:
    data = load(save_images(tmp_path / "pets", "dog cat eel"))
    assert data.name == "pets"
    assert data.spec.class_names == ("cat", "dog", "eel")
    assert data.spec.feature_shape == (6, 5, 3)
    assert data.spec.is_image
    assert sum(split.size for split in data.splits.values()) == 36
    images = {x.tobytes(): y for s in data.splits.values() for x, y in zip(*s)}
    for label, name in enumerate(["cat", "dog", "eel"]):
        for path in (tmp_path / "pets" / name).iterdir():
            assert images[np.asarray(Image.open(path)).tobytes()] == label


def test_splits_are_directories_above_the_classes(tmp_path: Path) -> None:
    for split, count in (("train", 9), ("validation", 4), ("test", 2)):
        save_images(tmp_path / split, count=count)
    assert [s.size for s in load(tmp_path).splits.values()] == [18, 8, 4]
    (tmp_path / "validation").rename(tmp_path / ".validation")
    assert [s.size for s in load(tmp_path).splits.values()] == [16, 2, 4]


def test_train_may_be_the_name_of_a_class(tmp_path: Path) -> None:
    data = load(save_images(tmp_path, "bus train"))
    assert data.spec.class_names == ("bus", "train")


def test_the_order_is_that_of_names_not_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_images(tmp_path)
    fingerprint = load(tmp_path).fingerprint
    iterdir = Path.iterdir
    monkeypatch.setattr(
        Path, "iterdir", lambda path: iter(sorted(iterdir(path), reverse=True))
    )
    assert load(tmp_path).fingerprint == fingerprint


def test_images_are_resized_on_request(tmp_path: Path) -> None:
    save_images(tmp_path)
    picture(7, (40, 30, 3)).save(tmp_path / "cat" / "large.jpeg")
    data = load(tmp_path, image_size=(8, 4))
    assert data.spec.feature_shape == (8, 4, 3)
    refuse(r"cat/large\.jpeg: 40x30 pixels, but .*cat/00\.png has 6x5; .*--image_size",
           tmp_path)  # fmt: skip


def test_images_are_upright(tmp_path: Path) -> None:
    pixels = np.zeros((16, 24), np.uint8)
    pixels[:8, :8] = 255  # top left
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned: the camera's top is at the right
    Image.fromarray(pixels).rotate(90, expand=True).save(tmp_path / "a.jpg", exif=exif)
    read = image_files.read(tmp_path / "a.jpg")[..., 0]
    assert read.shape == (16, 24)
    assert np.abs(read.astype(int) - pixels).max() < 8


VARIANTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "gray": lambda image: image.convert("L"),
    "gray with alpha": lambda image: image.convert("L").convert("LA"),
    "one bit": lambda image: image.convert("1"),
    "color": lambda image: image,
    "opaque": lambda image: image.convert("RGBA"),
    "palette": lambda image: image.convert("P", palette=Image.Palette.ADAPTIVE),
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_kinds_of_images(tmp_path: Path, kind: str) -> None:
    image = VARIANTS[kind](picture())
    image.save(tmp_path / "a.PNG")
    read = image_files.read(tmp_path / "a.PNG")
    channels = 1 if kind in ("gray", "gray with alpha", "one bit") else 3
    assert read.shape == (6, 5, channels)
    expected = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    np.testing.assert_array_equal(read.reshape(expected.shape), expected)


def test_cmyk_is_color(tmp_path: Path) -> None:
    picture().convert("CMYK").save(tmp_path / "a.jpg")
    assert image_files.read(tmp_path / "a.jpg").shape == (6, 5, 3)


def test_hidden_and_other_files_are_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    save_images(tmp_path)
    before = load(tmp_path)
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "cat" / "._00.png").touch()
    assert not caplog.records
    (tmp_path / "README.txt").touch()
    (tmp_path / "cat" / "Thumbs.db").touch()
    assert load(tmp_path).fingerprint == before.fingerprint
    (record,) = caplog.records
    assert "README.txt and 1 more" in record.getMessage()


def png_bomb(path: Path) -> None:
    """Writes a small PNG file that says it is 30,000x30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(10**6))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )  # fmt: skip


def cut_jpeg(path: Path) -> None:
    picture().save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-40])


def transparent(path: Path) -> None:
    image = picture().convert("RGBA")
    image.putpixel((0, 0), (1, 2, 3, 0))
    image.save(path, "PNG")


SIXTEEN = Image.fromarray(np.full((6, 5), 4000, np.uint16))

# The content of cat/03.png, or of a file of another name; what is said of it.
WRONG_IMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "truncated JPEG": ("03.jpg", cut_jpeg, "truncated or damaged"),
    "empty": ("03.png", lambda path: path.write_bytes(b""), "is no JPEG or PNG image"),
    "text": ("03.jpg", lambda path: path.write_text("hello"), "is no JPEG or PNG"),
    "another format": ("03.png", lambda p: picture().save(p, "GIF"), "is no JPEG or"),
    "another suffix": ("03.gif", lambda path: path.touch(), "is no JPEG or PNG"),
    "gray": ("03.png", lambda p: picture(0, (6, 5)).save(p), "is gray, but 23 of 24"),
    "transparent": ("03.png", transparent, "is transparent in places"),
    "16 bits": ("03.png", lambda path: SIXTEEN.save(path), "more than 8 bits"),
    "bomb": ("03.png", png_bomb, "has more than [0-9]+ pixels"),
    "size": ("03.png", lambda p: picture(0, (5, 6, 3)).save(p), "5x6 pixels, but "),
    "dangling link": ("03.png", lambda p: p.symlink_to("no"), "No such file"),
    "directory": ("more", lambda p: p.mkdir(), "a directory inside that of class"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "write", "message"), WRONG_IMAGES.values(), ids=WRONG_IMAGES
)
def test_a_wrong_image_is_named(
    tmp_path: Path, name: str, write: Callable[[Path], object], message: str
) -> None:
    save_images(tmp_path)
    (tmp_path / "cat" / "03.png").unlink()
    write(tmp_path / "cat" / name)
    refuse(rf"^{tmp_path}/cat/{name}: .*{message}", tmp_path)


def test_one_in_color_among_gray_is_named(tmp_path: Path) -> None:
    save_images(tmp_path, size=(6, 5))
    picture().save(tmp_path / "cat" / "00.png")  # the first
    refuse(r"cat/00\.png: is in color, but 23 of 24 images are gray", tmp_path)


def test_files_of_another_format_are_not_opened_to_count(tmp_path: Path) -> None:
    save_images(tmp_path)
    picture(0, (6, 5)).save(tmp_path / "cat" / "03.png")
    picture().save(tmp_path / "cat" / "04.png", "GIF")
    refuse(r"cat/03\.png: is gray, but 22 of 23 images are in color", tmp_path)


def test_wrong_directories(tmp_path: Path) -> None:
    root = save_images(tmp_path / "pets")
    (root / "eel").mkdir()
    refuse("pets/eel: holds no JPEG or PNG image; add images of class eel", root)
    (root / "eel").rmdir()
    refuse("pets/cat: a directory inside that of class pets", tmp_path)
    refuse("--dataset=.*cat: holds no data of a known form", root / "cat")
    refuse("cat is the only class", save_images(tmp_path / "one", "cat"))
    refuse("flag --target: not for directories of images", root, target="y")


def test_splits_must_have_the_same_classes(tmp_path: Path) -> None:
    save_images(tmp_path / "train")
    save_images(tmp_path / "test", "cat")
    refuse("test lacks the class dog, which .*train has", tmp_path)
    save_images(tmp_path / "test", "dog eel")
    refuse("train lacks the class eel, which .*test has", tmp_path)
    (tmp_path / "test").rename(tmp_path / "val")
    refuse("val: not the name of a split; rename it to validation", tmp_path)
    (tmp_path / "val").rename(tmp_path / "more")
    refuse("more: beside .*train, but no split", tmp_path)


@given(data=st.data(), format=st.sampled_from(["JPEG", "PNG"]))
def test_a_truncated_image_is_refused(
    tmp_path: Path, data: st.DataObject, format: str
) -> None:
    """Wherever it is cut, unless all of its pixels are left."""
    stream = BytesIO()
    picture(0, (40, 30, 3)).save(stream, format)
    content = stream.getvalue()
    path = tmp_path / "a.png"
    path.write_bytes(content)
    whole = image_files.read(path)
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    try:
        cut = image_files.read(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        np.testing.assert_array_equal(cut, whole)


@given(data=st.data(), format=st.sampled_from(["JPEG", "PNG"]))
def test_a_damaged_image_is_one_line_or_an_image(
    tmp_path: Path, data: st.DataObject, format: str
) -> None:
    stream = BytesIO()
    picture(0, (12, 10, 3)).save(stream, format)
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path = tmp_path / "a.png"
    path.write_bytes(content)
    try:
        assert image_files.read(path).dtype == np.uint8
    except InputError as error:
        assert "\n" not in str(error)


def test_an_unreadable_directory(tmp_path: Path) -> None:
    save_images(tmp_path)
    (tmp_path / "cat").chmod(0)
    if os.access(tmp_path / "cat", os.R_OK):
        pytest.skip("root can read everything")
    refuse("cat cannot be read .Permission denied.; make it readable", tmp_path)
