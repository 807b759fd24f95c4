"""--dataset=digits: scikit-learn's small digits, without a download."""

from __future__ import annotations

import numpy as np

from distmnist.core.config import Config
from distmnist.data.dataset import Dataset, create_split, fingerprint
from distmnist.data.sources.mnist import SPEC


class Digits:
    """scikit-learn's 1,797 digits, resized from 8x8 to the size of MNIST's images.

    The test split has 300 images (a standard error of 1 % at an accuracy of 97 %) and
    the validation split 200, which leaves 72 % for training. The data set does not
    depend on the configuration.
    """

    spec = SPEC

    def __init__(self, config: Config):
        """Ignores the configuration, which every source takes."""

    def prepare(self) -> None:
        """Does nothing: scikit-learn contains the images."""

    def load(self) -> Dataset:
        """Resizes, shuffles and splits the images."""
        from sklearn.datasets import load_digits  # Deferred: slow to import.

        digits = load_digits()
        # Bilinear, with corners aligned: pixel i of 28 is at position 7i/27 of 8. In
        # integers, so that no rounding differs between machines.
        height, width, _ = self.spec.feature_shape
        rows, columns = (
            np.maximum(0, 27 - abs(7 * np.arange(size)[:, None] - 27 * np.arange(8)))
            for size in (height, width)
        )
        scaled = rows @ digits.images.astype(np.int64) @ columns.T
        full = 16 * 27 * 27  # scaled value of the brightest pixel, 16
        images = ((scaled * 255 + full // 2) // full).astype(np.uint8)
        images = images.reshape(len(images), -1)
        # The file is not in random order. RandomState's stream is frozen (NEP 19).
        order = np.random.RandomState(0).permutation(len(images))
        images, labels = images[order], digits.target[order]
        splits = (
            create_split(images[:-500], labels[:-500]),
            create_split(images[-500:-300], labels[-500:-300]),
            create_split(images[-300:], labels[-300:]),
        )
        return Dataset(
            "digits",
            "scikit-learn's digits, resized to 28x28",
            fingerprint(*splits),
            self.spec,
            *splits,
        )
