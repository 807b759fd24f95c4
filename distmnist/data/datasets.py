"""The examples to train on: MNIST from IDX files, digits, or fake data.

Two functions: `prepare` makes the files present, downloading what is missing,
and is called by one process per host; `load` only reads and is then called by
all.  Whatever the source, the result is one `Dataset` of three `Split`s, none of
them empty, in arrays that nobody can write to.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from numpy.typing import NDArray

from distmnist.core.errors import InputError, RunError
from distmnist.data import idx

# On three independent services.  The files' original home, yann.lecun.com,
# answers 403 more often than not.
DEFAULT_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)

# The SHA-256 of each file's content, decompressed: the compressed bytes differ
# from one mirror to another.
MNIST_SHA256 = {
    "train-images-idx3-ubyte": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}

_PIXELS = idx.IMAGE_SIZE**2

_FALLBACK = """
**************************************************************************
*  THIS IS NOT MNIST.  It trains on 1,797 small digits (scikit-learn's),
*  because MNIST could not be had:
*    %s.
*  To train on MNIST, put its four files (plain or .gz) into
*    %s
*  or name a server that has them with --mnist_mirrors.
*  --dataset=mnist would have stopped here; --dataset=digits is not warned.
**************************************************************************"""


class Split(NamedTuple):
    """Examples in a fixed order.

    Attributes:
        images: uint8 [n, 784], 0 (background) to 255, row by row; read-only.
        labels: int32 [n], 0 to 9; read-only.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]

    @property
    def size(self) -> int:
        """The number of examples."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits, and where they came from.

    Attributes:
        name: 'mnist', 'mnist-like' (another data set in MNIST's form), 'digits'
            or 'fake'.
        source: where the examples came from, for people to read.
        fingerprint: SHA-256 in hex; equal where the examples are.  Ranks that
            read from different disks must compare it.
        train: what is trained on.
        validation: held out of the training examples.
        test: what is reported at the end.
    """

    name: str
    source: str
    fingerprint: str
    train: Split
    validation: Split
    test: Split

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def prepare(dataset: str, input_data_dir: str, mirrors: Sequence[str]) -> None:
    """Makes the files of `dataset` present; one process per host calls this.

    Nothing is done for 'digits' and 'fake', nor where all four MNIST files are
    there.  'auto' may end without any file, after a loud warning: then `load`
    takes the digits.  A file that is there is never written to.

    Args:
        dataset: 'auto', 'mnist', 'digits' or 'fake'.
        input_data_dir: directory of the MNIST files; made if need be.
        mirrors: base URLs that serve the four files as .gz, tried in turn.

    Raises:
        InputError: a file that is there is unfit, or files are missing and
            cannot be had ('auto': only where some, but not all, are there).
        RunError: the disk is full or broken.
    """
    if dataset not in ("auto", "mnist"):
        return
    directory = Path(input_data_dir)
    present = _find_files(directory)
    if len(present) == len(MNIST_SHA256):
        return
    # The rest of MNIST must not complete another data set: a Fashion-MNIST that
    # lacks a label file would get the digits' labels, and train on nonsense.
    for name, path in present.items():
        if _read(name, path)[1] != MNIST_SHA256[name]:
            raise InputError(
                f"{path} is not MNIST's, so MNIST's cannot stand in for the missing "
                f"{_missing(present)}: complete the data set, or delete the file"
            )
    why = _download(directory, mirrors, present)
    if why is None:
        return
    present = _find_files(directory)
    if present or dataset == "mnist":
        raise _incomplete(directory, present, why)
    logging.warning(_FALLBACK, why, directory.absolute())


def load(
    dataset: str, input_data_dir: str, fake_sizes: tuple[int, int, int], seed: int
) -> Dataset:
    """Reads or makes the examples; never downloads or writes.

    Args:
        dataset: 'mnist', 'digits', 'fake', or 'auto': MNIST where its files are
            in the directory, the digits where none is.
        input_data_dir: directory of the MNIST files.
        fake_sizes: examples of 'fake' in train, validation and test; from 1.
        seed: of 'fake'; the others do not depend on it.

    Returns:
        The data set, the same on every machine.

    Raises:
        InputError: a file is missing or unfit, or a fake size is below 1.
    """
    if dataset == "fake":
        return _fake(fake_sizes, seed)
    if dataset == "digits":
        return _digits()
    if dataset not in ("auto", "mnist"):
        raise ValueError(f"unknown dataset {dataset!r}")
    directory = Path(input_data_dir)
    present = _find_files(directory)
    if dataset == "auto" and not present:
        return _digits()
    if len(present) < len(MNIST_SHA256):
        raise _incomplete(directory, present, "MNIST is not complete")
    return _mnist(directory, present)


def _find_files(directory: Path) -> dict[str, Path]:
    """Finds those of the four files that are there; where both are, plain wins.

    Good or bad does not matter here: a dangling link is there too, since someone
    meant it.
    """
    found = {}
    for name in MNIST_SHA256:
        for path in (directory / name, directory / f"{name}.gz"):
            try:
                path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise InputError(
                    f"{directory} cannot be searched ({error.strerror}); make it "
                    "readable, or give another --input_data_dir"
                ) from error
            found[name] = path
            break
    return found


def _read(name: str, path: Path) -> tuple[NDArray[np.uint8], str]:
    """Reads the file that serves as `name`; also returns its SHA-256."""
    return idx.read_images(path) if "images" in name else idx.read_labels(path)


def _missing(present: dict[str, Path]) -> str:
    """Names the files that are not there."""
    return ", ".join(name for name in MNIST_SHA256 if name not in present)


def _incomplete(directory: Path, present: dict[str, Path], why: str) -> InputError:
    """Says which files are missing and what to do."""
    return InputError(
        f"{why}: {directory} lacks {_missing(present)}; put the files there (plain or "
        ".gz), name a server that has them with --mnist_mirrors, or take "
        "--dataset=digits"
    )


def _download(
    directory: Path, mirrors: Sequence[str], present: dict[str, Path]
) -> str | None:
    """Downloads the files that are not there; says why it could not, if so."""
    from distmnist.data import download  # It takes urllib, which is slow to import.

    # From last to first, the smallest file comes first: an unwritable directory
    # shows after 5 kB.
    for name in reversed(MNIST_SHA256):
        if name in present:
            continue
        path = directory / f"{name}.gz"
        data = download.fetch(path.name, MNIST_SHA256[name], mirrors)
        if data is None:
            return f"no mirror delivered {path.name}"
        try:
            download.write(path, data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise RunError(
                    f"cannot write {path} ({error.strerror}); make room, or give "
                    "another --input_data_dir"
                ) from error
            return f"cannot write to {directory} ({error.strerror})"
    return None


def _mnist(directory: Path, paths: dict[str, Path]) -> Dataset:
    """Reads the four files; holds the first of the training images out."""
    names = list(MNIST_SHA256)
    arrays, hashes = zip(*(_read(name, paths[name]) for name in names))
    for images, labels in ((0, 1), (2, 3)):
        if len(arrays[images]) != len(arrays[labels]):
            raise InputError(
                f"{paths[names[images]]} holds {len(arrays[images])} images, but "
                f"{paths[names[labels]]} {len(arrays[labels])} labels; replace the "
                "one that is wrong"
            )
    strangers = [
        name for name, sha256 in zip(names, hashes) if sha256 != MNIST_SHA256[name]
    ]
    if strangers:
        logging.warning(
            "%s holds not MNIST but another data set in its form (%s differ from "
            "MNIST's): do not compare the results with MNIST's.",
            directory,
            ", ".join(strangers),
        )
    # As the tutorial's read_data_sets did: 5,000 of 60,000, the first ones.
    held_out = min(5000, len(arrays[0]) // 12)
    if not held_out:
        raise InputError(
            f"{paths[names[0]]} holds {len(arrays[0])} images; at least 12 are needed "
            "to hold one out for validation: give more"
        )
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(
        name="mnist-like" if strangers else "mnist",
        source=f"IDX files in {directory.absolute()}",
        # Not over the content: that was hashed once already.
        fingerprint=hashlib.sha256("".join(hashes).encode()).hexdigest(),
        train=_split(train_images[held_out:], train_labels[held_out:]),
        validation=_split(train_images[:held_out], train_labels[:held_out]),
        test=_split(test_images, test_labels),
    )


def _digits() -> Dataset:
    """Makes scikit-learn's digits into 28x28 images.

    Of 1,797 images 300 are the test (one standard error at 97 % is 1 %) and 200
    the validation, so that 72 % are left to train on.
    """
    from sklearn.datasets import load_digits  # Slow to import, and rarely needed.

    digits = load_digits()
    # Bilinear, with corners on corners: pixel i of 28 lies at 7i/27 of 8.  In whole
    # numbers, so that the result has no rounding to differ in between machines.
    weights = np.maximum(0, 27 - abs(7 * np.arange(28)[:, None] - 27 * np.arange(8)))
    scaled = weights @ digits.images.astype(np.int64) @ weights.T
    full = 16 * 27 * 27  # what the brightest pixel, 16, becomes
    images = ((scaled * 255 + full // 2) // full).astype(np.uint8).reshape(-1, 784)
    # The file is in no random order.  RandomState's stream is frozen (NEP 19).
    order = np.random.RandomState(0).permutation(len(images))
    images, labels = images[order], digits.target[order]
    return _from_memory(
        "digits",
        "scikit-learn's digits, resized to 28x28",
        _split(images[:-500], labels[:-500]),
        _split(images[-500:-300], labels[-500:-300]),
        _split(images[-300:], labels[-300:]),
    )


def _fake(sizes: tuple[int, int, int], seed: int) -> Dataset:
    """Makes noise over one random pattern per class, so that it can be learned."""
    if min(sizes) < 1:
        raise InputError(f"fake data needs sizes of at least 1, not {sizes}")
    random = np.random.RandomState(seed % 2**32)  # the range that it accepts
    patterns = random.randint(0, 128, (idx.NUM_CLASSES, _PIXELS), np.uint8)
    splits = []
    for size in sizes:
        labels = random.randint(0, idx.NUM_CLASSES, size, np.int32)
        images = random.randint(0, 128, (size, _PIXELS), np.uint8)
        images += patterns[labels]
        splits.append(_split(images, labels))
    return _from_memory("fake", f"random, seed {seed}", *splits)


def _from_memory(
    name: str, source: str, train: Split, validation: Split, test: Split
) -> Dataset:
    """Makes a Dataset whose fingerprint is taken of the splits themselves."""
    sha256 = hashlib.sha256()
    for split in (train, validation, test):
        sha256.update(str(split.size).encode())
        sha256.update(split.images.data)
        sha256.update(split.labels.astype("<i4").tobytes())
    return Dataset(name, source, sha256.hexdigest(), train, validation, test)


def _split(images: NDArray[np.uint8], labels: NDArray[np.integer[Any]]) -> Split:
    """Makes a Split; read-only, because everyone shares it."""
    split = Split(images, labels.astype(np.int32))
    for array in split:
        array.setflags(write=False)
    return split
