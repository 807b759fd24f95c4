"""--dataset=mnist: MNIST, or another data set in its file format."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import numpy as np
from absl import logging
from numpy.typing import NDArray

from distmnist.core.config import Config
from distmnist.core.errors import InputError, RunError
from distmnist.data.dataset import Dataset, create_split
from distmnist.data.sources import idx
from distmnist.data.spec import DatasetSpec

IMAGE_SIZE = 28  # height and width in pixels
NUM_CLASSES = 10

SPEC = DatasetSpec(feature_shape=(IMAGE_SIZE, IMAGE_SIZE, 1), num_classes=NUM_CLASSES)

# Three independent services. The original server, yann.lecun.com, usually answers 403.
DEFAULT_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)

# SHA-256 of each file's decompressed content: the compressed bytes differ between
# mirrors.
SHA256 = {
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


class Mnist:
    """MNIST from four IDX files in --input_data_dir, downloaded if missing.

    Files that are present are never written to. Other files in the same format, such
    as Fashion-MNIST's, are accepted with a warning; the data set is then named
    "mnist-like".

    Attributes:
        spec: shapes and classes.
        directory: directory of the files.
    """

    spec = SPEC

    def __init__(self, config: Config):
        self.directory = Path(config.input_data_dir)
        mirrors = config.mnist_mirrors
        self._mirrors = DEFAULT_MIRRORS if mirrors is None else mirrors

    def prepare(self) -> None:
        """Downloads the files that are missing."""
        problem = self.download_missing()
        if problem is not None:
            raise self.incomplete(problem)

    def load(self) -> Dataset:
        """Reads the four files; holds out the first training images."""
        paths = self.find_files()
        if len(paths) < len(SHA256):
            raise self._incomplete(
                "MNIST is not complete", "or give the --input_data_dir that has them"
            )
        arrays, hashes = zip(*(_read(name, path) for name, path in paths.items()))
        files = list(paths.values())
        for pair in (slice(0, 2), slice(2, 4)):
            (images, labels), (first, second) = arrays[pair], files[pair]
            idx.check_lengths(images, labels, (first, second))
        different = [
            name for name, sha256 in zip(paths, hashes) if sha256 != SHA256[name]
        ]
        if different:
            logging.warning(
                "%s holds another data set in MNIST's file format (%s differ from "
                "MNIST's): do not compare the results with MNIST's.",
                self.directory,
                ", ".join(different),
            )
        train_images, train_labels, test_images, test_labels = arrays
        # As in the tutorial's read_data_sets: the first 5,000 of 60,000.
        held_out = min(5000, len(train_images) // 12)
        if not held_out:
            raise InputError(
                f"{next(iter(paths.values()))} holds {len(train_images)} images; at "
                "least 12 are needed to hold one out for validation: add more"
            )
        return Dataset(
            name="mnist-like" if different else "mnist",
            source=f"IDX files in {self.directory.absolute()}",
            # Of the files' hashes, so that the content is hashed only once.
            fingerprint=hashlib.sha256("".join(hashes).encode()).hexdigest(),
            spec=self.spec,
            train=create_split(train_images[held_out:], train_labels[held_out:]),
            validation=create_split(train_images[:held_out], train_labels[:held_out]),
            test=create_split(test_images, test_labels),
        )

    def find_files(self) -> dict[str, Path]:
        """Returns the path of each of the four files that is present, in order.

        A plain file takes precedence over a gzipped one. Validity is not checked: even
        a dangling link counts, because it was put there on purpose.

        Raises:
            InputError: the directory cannot be searched.
        """
        found = {}
        for name in SHA256:
            for path in (self.directory / name, self.directory / f"{name}.gz"):
                try:
                    path.lstat()
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except OSError as error:
                    raise InputError(
                        f"{self.directory} cannot be searched ({error.strerror}); make "
                        "it readable, or give another --input_data_dir"
                    ) from error
                found[name] = path
                break
        return found

    def download_missing(self) -> str | None:
        """Downloads the files that are missing.

        Returns:
            Why files are still missing; None if all are present.

        Raises:
            InputError: a file that is present is not MNIST's.
            RunError: the disk is full or broken.
        """
        present = self.find_files()
        missing = [name for name in SHA256 if name not in present]
        if not missing:
            return None
        # MNIST's files must not complete another data set: Fashion-MNIST's images
        # with MNIST's labels would train without an error, on wrong labels.
        for name, path in present.items():
            if _read(name, path)[1] != SHA256[name]:
                raise InputError(
                    f"{path} is not MNIST's, so MNIST's {', '.join(missing)} cannot "
                    "replace the missing: complete the data set, or give another "
                    "--input_data_dir"
                )
        # In reverse order the smallest file comes first: an unwritable directory is
        # detected after 5 kB.
        for name in reversed(missing):
            problem = self._download(name)
            if problem is not None:
                return problem
        return None

    def incomplete(self, problem: str) -> InputError:
        """Returns the error for missing files.

        Args:
            problem: why they are missing.
        """
        return self._incomplete(
            problem,
            "name a server that has them with --mnist_mirrors, or use --dataset=digits",
        )

    def _incomplete(self, problem: str, advice: str) -> InputError:
        present = self.find_files()
        missing = ", ".join(name for name in SHA256 if name not in present)
        return InputError(
            f"{problem}: {self.directory} lacks {missing}; put the files there (plain "
            f"or .gz), {advice}"
        )

    def _download(self, name: str) -> str | None:
        """Downloads one file; returns what went wrong, if anything."""
        # Deferred: it imports urllib, which is slow and rarely needed.
        from distmnist.data import download

        path = self.directory / f"{name}.gz"
        data = download.fetch(path.name, SHA256[name], self._mirrors)
        if data is None:
            return f"no mirror delivered {path.name}"
        try:
            download.write(path, data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise RunError(
                    f"cannot write {path} ({error.strerror}); free some space, or give "
                    "another --input_data_dir"
                ) from error
            return f"cannot write to {self.directory} ({error.strerror})"
        return None


def read_images(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Reads an IDX file of images of MNIST's size.

    Args:
        path: the file.

    Returns:
        The images, uint8 [n, 28, 28]; and the SHA-256 of the content.

    Raises:
        InputError: the file cannot be read, or holds images of another size.
    """
    images, sha256 = idx.read_images(path)
    height, width = images.shape[1:]
    if (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
        raise InputError(
            f"{path} holds images of {height}x{width} pixels, not "
            f"{IMAGE_SIZE}x{IMAGE_SIZE}; {_other(path)}"
        )
    return images, sha256


def read_labels(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Reads an IDX file of labels; as `read_images`.

    Returns:
        The labels, uint8 [n], in [0, 9]; and the SHA-256 of the content.
    """
    labels, sha256 = idx.read_labels(path)
    wrong = np.flatnonzero(labels >= NUM_CLASSES)
    if len(wrong):
        raise InputError(
            f"{path}: label {labels[wrong[0]]} at position {wrong[0]} (from 0) is not "
            f"in 0..{NUM_CLASSES - 1}; {_other(path)}"
        )
    return labels, sha256


def _other(path: Path) -> str:
    """Returns how to train on data of another shape in MNIST's file format."""
    return f"for other data than MNIST's, give --dataset={path.parent}"


def _read(name: str, path: Path) -> tuple[NDArray[np.uint8], str]:
    """Reads the file for `name`; returns its values and its SHA-256."""
    return read_images(path) if "images" in name else read_labels(path)
