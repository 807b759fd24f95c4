"""The data sets that need no files, and what holds for all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distmnist.core.config import Config
from distmnist.data.dataset import Dataset, Split
from distmnist.data.sources.digits import Digits
from distmnist.data.sources.synthetic import Synthetic
from tests.data.idx_files import Files, put, source


def synthetic(sizes: tuple[int, int, int] = (400, 20, 200), seed: int = 0) -> Dataset:
    return Synthetic(Config(fake_sizes=sizes, seed=seed)).load()


def test_digits_are_scikit_learns_as_scipy_resizes_them() -> None:
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    data = Digits(Config()).load()
    assert data.name == "digits"
    splits = (data.train, data.validation, data.test)
    assert [s.size for s in splits] == [1297, 200, 300]
    order = np.random.RandomState(0).permutation(1797)
    digits = load_digits()
    images = np.concatenate([s.features for s in splits]).astype(float)[..., 0]
    resized = zoom(digits.images, (1, 3.5, 3.5), order=1)[order]
    assert np.abs(images - resized * 255 / 16).max() <= 0.5 + 1e-6
    targets = np.concatenate([s.targets for s in splits])
    assert (targets == digits.target[order]).all()
    # The same on every machine, and for every seed.
    assert data.fingerprint == (
        "2e10fb5485540358f6efb492716de8facdecd4656ffe86500265e084626fa49c"
    )
    assert Digits(Config(seed=7)).load().fingerprint == data.fingerprint


def test_synthetic_data_are_a_function_of_seed_and_sizes() -> None:
    data = synthetic()
    assert data.name == "fake"
    assert [s.size for s in (data.train, data.validation, data.test)] == [400, 20, 200]
    assert synthetic().fingerprint == data.fingerprint
    others = (synthetic(seed=1), synthetic((20, 400, 200)))
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 3


def test_synthetic_data_do_not_change_between_versions() -> None:
    """A run that an older version began can be resumed."""
    assert synthetic((30, 20, 10)).fingerprint == (
        "747f979522b3ef6dbaf0c2b30344e6b691568eb2a752776a13328903cad40f80"
    )


def test_synthetic_data_can_be_learned() -> None:
    """The nearest class mean is nearly always right."""
    data = synthetic()
    train, test = (
        Split(split.features.reshape(split.size, -1), split.targets)
        for split in (data.train, data.test)
    )
    means = np.stack([train.features[train.targets == k].mean(0) for k in range(10)])
    distances = ((test.features[:, None] - means) ** 2).sum(-1)
    assert (distances.argmin(1) == test.targets).mean() > 0.95


@pytest.mark.parametrize("dataset", ["auto", "mnist", "digits", "fake"])
def test_arrays_match_the_spec(tmp_path: Path, small: Files, dataset: str) -> None:
    origin = source(dataset, put(tmp_path, small))
    data = origin.load()
    assert data.spec == origin.spec
    assert data.spec.feature_shape == (28, 28, 1)
    assert data.spec.class_names == tuple("0123456789")
    assert len(data.spec.class_names) == data.spec.num_classes
    for split in data.splits.values():
        assert split.features.shape == (split.size, *data.spec.feature_shape)
        assert split.targets.shape == (split.size,)
        assert split.features.dtype == np.uint8
        assert split.targets.dtype == np.int32
        assert split.features.flags.c_contiguous
        assert not split.features.flags.writeable
        assert not split.targets.flags.writeable
        assert split.targets.min() >= 0
        assert split.targets.max() < data.spec.num_classes


def test_sources_import_nothing_slow() -> None:
    """All ranks import every source with `auto`, and most need none of these."""
    code = (
        "import sys, distmnist.data.loading, distmnist.data.sources.auto, "
        "distmnist.data.sources.synthetic; "
        "print({'tensorflow', 'sklearn', 'scipy', 'tqdm', 'urllib.request', 'PIL',"
        " 'pyarrow'}"
        " & set(sys.modules))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert output.stdout == "set()\n"
