"""MNIST's files: what is read from them, and which are refused."""

from __future__ import annotations

import gzip
import logging
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from distmnist.core.errors import InputError
from distmnist.data.dataset import Dataset, Split
from tests.data.idx_files import (
    NAMES,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    Files,
    idx,
    put,
    small_files,
    source,
)


def load(dataset: str, directory: Path) -> Dataset:
    return source(dataset, directory).load()


def histogram(*splits: Split) -> list[int]:
    """Counts each label over the splits."""
    labels = np.concatenate([split.targets for split in splits])
    return [int(count) for count in np.bincount(labels)]


def test_real_mnist_has_the_known_sizes_order_and_content(mnist_dir: Path) -> None:
    mnist = load("mnist", mnist_dir)
    assert mnist.name == "mnist"
    assert [s.size for s in (mnist.train, mnist.validation, mnist.test)] == [
        55000,
        5000,
        10000,
    ]
    assert mnist.fingerprint == (
        "c65580678af93f1ea48c2c0d01d543ec89307c6b8a0eb7ca542d7c18c5f4c681"
    )
    assert mnist.validation.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert histogram(mnist.validation, mnist.train) == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert histogram(mnist.test) == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    # The mean that MNIST is commonly normalized with.
    images = np.concatenate([mnist.validation.features, mnist.train.features])
    assert images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert load("auto", mnist_dir).fingerprint == mnist.fingerprint


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_reads_the_content_of_the_files(
    tmp_path: Path, small: Files, suffix: str
) -> None:
    """Splits are contiguous parts of the files; the first images are held out."""
    pack = gzip.compress if suffix else bytes
    put(tmp_path, {name + suffix: pack(data) for name, data in small.items()})
    data = load("auto", tmp_path)
    assert data.name == "mnist"
    assert str(tmp_path) in data.source
    for split, name, offset in (
        (data.validation, "train", 0),
        (data.train, "train", 3),  # 36 // 12 were held out
        (data.test, "t10k", 0),
    ):
        images = np.frombuffer(small[f"{name}-images-idx3-ubyte"][16:], np.uint8)
        images = images.reshape(-1, 28, 28, 1)
        labels = np.frombuffer(small[f"{name}-labels-idx1-ubyte"][8:], np.uint8)
        end = offset + split.size
        assert (split.features == images[offset:end]).all()
        assert (split.targets == labels[offset:end]).all()
    assert [s.size for s in (data.train, data.validation, data.test)] == [33, 3, 6]


def test_plain_file_takes_precedence_over_gzipped(tmp_path: Path, small: Files) -> None:
    put(tmp_path, small)
    put(tmp_path, {f"{TEST_LABELS}.gz": b"not to be read"})
    assert load("mnist", tmp_path).name == "mnist"


def test_gzip_of_several_members(tmp_path: Path, small: Files) -> None:
    """The format allows it, and parallel compressors write it."""
    put(tmp_path, small)
    data = small[TEST_IMAGES]
    (tmp_path / TEST_IMAGES).unlink()
    members = gzip.compress(data[:100]) + gzip.compress(data[100:])
    put(tmp_path, {f"{TEST_IMAGES}.gz": members})
    assert load("mnist", tmp_path).name == "mnist"


def test_other_data_in_mnists_format_have_another_name_and_a_warning(
    tmp_path: Path, small: Files, caplog: pytest.LogCaptureFixture
) -> None:
    before = load("mnist", put(tmp_path, small)).fingerprint
    assert not caplog.records
    put(tmp_path, {TRAIN_LABELS: idx(np.zeros(36))})
    data = load("auto", tmp_path)
    assert data.name == "mnist-like"
    assert data.fingerprint != before
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert TRAIN_LABELS in record.getMessage()
    assert TEST_LABELS not in record.getMessage()


GOOD = small_files()
IMAGES, LABELS = GOOD[TEST_IMAGES], GOOD[TEST_LABELS]
ZIPPED = gzip.compress(IMAGES)
HUGE = struct.pack(">IIII", 0x803, 2**32 - 1, 28, 28) + bytes(784)
BAD_FILES = {
    "images-empty": (TEST_IMAGES, b"", "is empty"),
    "images-are-labels": (TEST_IMAGES, LABELS, "starts with 00000801, not 00000803"),
    "images-gzipped-unnamed": (TEST_IMAGES, ZIPPED, "starts with 1f8b08"),
    "images-short-magic": (TEST_IMAGES, IMAGES[:2], "starts with 0000,"),
    "images-header-cut": (TEST_IMAGES, IMAGES[:15], "cut off in its header"),
    "images-small": (
        TEST_IMAGES,
        idx(np.zeros((6, 14, 28))),
        "14x28 pixels, not 28x28; .*--dataset=",
    ),
    "images-wide": (TEST_IMAGES, idx(np.zeros((6, 28, 29))), "28x29 pixels"),
    "images-none": (TEST_IMAGES, idx(np.zeros((0, 28, 28))), "holds no "),
    "images-cut": (TEST_IMAGES, IMAGES[:-1], "4704 bytes of data, but .* only 4703"),
    "images-tail": (TEST_IMAGES, IMAGES + b"\0", "4704 bytes of data, but .* more"),
    "images-lie": (TEST_IMAGES, HUGE, "only 784"),
    "images-lie-gz": (f"{TEST_IMAGES}.gz", gzip.compress(HUGE), "at most [0-9]+;"),
    "gz-empty": (f"{TEST_IMAGES}.gz", b"", "is empty"),
    "gz-is-plain": (f"{TEST_IMAGES}.gz", IMAGES, "not a complete gzip file"),
    "gz-cut": (f"{TEST_IMAGES}.gz", ZIPPED[:-9], "not a complete gzip file"),
    "gz-cut-in-header": (f"{TEST_IMAGES}.gz", ZIPPED[:5], "not a complete gzip file"),
    "gz-wrong-checksum": (
        f"{TEST_IMAGES}.gz",
        ZIPPED[:-8] + bytes(4) + ZIPPED[-4:],
        "not a complete gzip file .*CRC",
    ),
    "gz-corrupt": (
        f"{TEST_IMAGES}.gz",
        ZIPPED[:10] + b"\xff" * 9 + ZIPPED[19:],
        "not a complete gzip file",
    ),
    "gz-tail": (f"{TEST_IMAGES}.gz", ZIPPED + b"junk", "not a complete gzip file"),
    "labels-are-images": (TEST_LABELS, IMAGES, "starts with 00000803, not 00000801"),
    "labels-cut": (TEST_LABELS, LABELS[:-2], "6 bytes of data, but .* only 4"),
    "labels-none": (TEST_LABELS, idx(np.zeros(0)), "holds no "),
    "label-11": (
        TEST_LABELS,
        idx(np.array([3, 9, 0, 11, 200, 1])),
        r"label 11 at position 3 \(from 0\) .*give --dataset=",
    ),
    "label-10": (TEST_LABELS, idx(np.array([9, 9, 9, 9, 9, 10])), "label 10 .* 5 "),
    "labels-more": (TEST_LABELS, idx(np.zeros(7)), f"6 images, .*{TEST_LABELS} 7 lab"),
    "train-labels-fewer": (TRAIN_LABELS, idx(np.zeros(35)), "36 images, .* 35 labels"),
}


@pytest.mark.parametrize("name,content,message", BAD_FILES.values(), ids=BAD_FILES)
def test_invalid_file_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """An invalid file is reported and never replaced."""
    put(tmp_path, GOOD)
    (tmp_path / name.replace(".gz", "")).unlink()
    put(tmp_path, {name: content})
    source("auto", tmp_path).prepare()  # all four files are present
    with pytest.raises(InputError, match=message) as caught:
        load("auto", tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert "delete" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("kind", ["directory", "dangling link", "forbidden"])
def test_unreadable_file_is_refused(tmp_path: Path, kind: str) -> None:
    put(tmp_path, GOOD)
    path = tmp_path / TEST_LABELS
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.touch(mode=0)
        if os.access(path, os.R_OK):
            pytest.skip("root can read everything")
    with pytest.raises(InputError, match=f"{TEST_LABELS} cannot be read"):
        load("auto", tmp_path)


def test_too_few_images_to_split(tmp_path: Path) -> None:
    """No split is empty."""
    assert load("mnist", put(tmp_path, small_files(train=12))).validation.size == 1
    with pytest.raises(InputError, match="11 images; at least 12"):
        load("mnist", put(tmp_path, small_files(train=11)))


@pytest.mark.parametrize("dataset", ["auto", "mnist"])
def test_incomplete_directory_is_refused(tmp_path: Path, dataset: str) -> None:
    """--dataset=auto does not fall back if any file is present."""
    put(tmp_path, {TRAIN_IMAGES: GOOD[TRAIN_IMAGES], TEST_LABELS: LABELS})
    with pytest.raises(InputError) as caught:
        load(dataset, tmp_path)
    assert f"lacks {TRAIN_LABELS}, {TEST_IMAGES};" in str(caught.value)


def test_only_auto_falls_back_from_an_empty_directory(tmp_path: Path) -> None:
    assert load("auto", tmp_path).name == "digits"
    assert load("auto", tmp_path / "none").name == "digits"
    with pytest.raises(
        InputError, match=f"lacks {', '.join(NAMES)}; .*--input_data_dir"
    ):
        load("mnist", tmp_path)
