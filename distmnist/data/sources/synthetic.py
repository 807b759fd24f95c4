"""--dataset=fake: random examples with the shape of MNIST's, for tests."""

from __future__ import annotations

import numpy as np

from distmnist.core.config import Config
from distmnist.data.dataset import Dataset, create_split, fingerprint
from distmnist.data.sources.mnist import SPEC


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
        patterns = random.randint(
            0, 128, (spec.num_classes, spec.num_features), dtype=np.uint8
        )
        splits = []
        for size in self._sizes:
            targets = random.randint(0, spec.num_classes, size, dtype=np.int32)
            features = random.randint(0, 128, (size, spec.num_features), dtype=np.uint8)
            features += patterns[targets]
            splits.append(create_split(features, targets))
        return Dataset(
            "fake", f"random, seed {self._seed}", fingerprint(*splits), spec, *splits
        )
