"""--dataset=fake: random examples with the shape of MNIST's, for tests."""

from __future__ import annotations

import numpy as np

from distmnist.core.config import Config
from distmnist.data.dataset import Dataset, Split, create_split, fingerprint
from distmnist.data.sources.mnist import NUM_CLASSES, SPEC


class Synthetic:
    """Noise added to one random pattern per class, so that it can be learned.

    A function of --seed and --fake_sizes alone.
    """

    spec = SPEC

    def __init__(self, config: Config):
        self._sizes = config.fake_sizes
        self._seed = config.seed

    def prepare(self) -> None:
        """Does nothing: the examples are generated."""

    def load(self) -> Dataset:
        """Generates the examples."""
        spec = self.spec
        random = np.random.RandomState(self._seed)
        shape = (NUM_CLASSES, spec.num_features)
        patterns = random.randint(0, 128, shape, dtype=np.uint8)
        splits: list[Split] = []
        for size in self._sizes:
            targets = random.randint(0, NUM_CLASSES, size, dtype=np.int32)
            features = random.randint(0, 128, (size, spec.num_features), dtype=np.uint8)
            features += patterns[targets]
            splits.append(create_split(features, targets))
        sha256 = fingerprint(*splits)
        train, validation, test = splits
        source = f"random, seed {self._seed}"
        return Dataset("fake", source, sha256, spec, train, validation, test)
