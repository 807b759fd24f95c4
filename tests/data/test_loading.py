"""How the data set of a run, or of a checkpoint, is found and loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distmnist.core import registry
from distmnist.core.config import Config
from distmnist.core.errors import InputError
from distmnist.data import loading
from distmnist.data.dataset import Dataset, create_split, fingerprint
from distmnist.data.sources import Source
from distmnist.data.sources.digits import Digits
from distmnist.data.spec import DatasetSpec
from distmnist.distributed.cluster import Cluster
from tests.data.idx_files import NAMES, Files, idx, put, small_files


class Colors:
    """A data set of color images of another size than MNIST's."""

    spec = DatasetSpec((3, 2, 3), 2, ("dark", "light"))

    def __init__(self, config: Config):
        self.prepared = 0

    def prepare(self) -> None:
        self.prepared += 1

    def load(self) -> Dataset:
        assert self.prepared == 1
        targets = np.arange(6) % 2
        features = np.repeat(200 * targets[:, None], 18, axis=1).astype(np.uint8)
        split = create_split(features, targets)
        splits = (split, split, split)
        return Dataset("colors", "a test", fingerprint(*splits), self.spec, *splits)


def no_source(config: Config) -> str:
    """Returns something that is not a source."""
    return config.dataset


@pytest.mark.parametrize("name", registry.DATASETS)
def test_every_registered_name_is_a_source(name: str) -> None:
    assert isinstance(loading.find_source(Config(dataset=name)), Source)


def test_loads_a_custom_source() -> None:
    config = Config(dataset="tests.data.test_loading:Colors")
    dataset = loading.load(config, Cluster())
    assert dataset.spec == loading.find_source(config).spec == Colors.spec
    assert dataset.spec.num_features == 18
    assert dataset.train.features.shape == (6, 3, 2, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mnits",
            "there is no such path; give that of data, auto, mnist, digits, fake",
        ),
        ("tests.no_such:Colors", "cannot import tests.no_such"),
        ("tests.data.test_loading:NAMES", "is not a data set; give a function"),
        ("tests.data.test_loading:str", "test_loading has no str"),
        ("tests.data.test_loading:no_source", "returned a str; return a Dataset"),
    ],
)
def test_an_unknown_name_is_reported_in_one_line(name: str, message: str) -> None:
    with pytest.raises(
        InputError, match=f"flag --dataset={name}: .*{message}"
    ) as error:
        loading.load(Config(dataset=name), Cluster())
    assert "\n" not in str(error.value)


def load_matching(dataset: str, directory: Path, name: str, sha256: str) -> Dataset:
    config = Config(dataset=dataset, input_data_dir=str(directory))
    return loading.load_matching(config, Cluster(), name, sha256, "model.ckpt-7")


def test_auto_loads_again_what_it_chose_in_training(
    tmp_path: Path, small: Files
) -> None:
    """Whether or not MNIST's files are present now."""
    digits = Digits(Config()).load()
    put(tmp_path, small)
    found = load_matching("auto", tmp_path, "digits", digits.fingerprint)
    assert found.name == "digits"
    trained_on = loading.load(
        Config(dataset="auto", input_data_dir=str(tmp_path)), Cluster()
    )
    (tmp_path / NAMES[0]).unlink()
    with pytest.raises(InputError, match=f"{NAMES[0]}; put the files there"):
        load_matching("auto", tmp_path, trained_on.name, trained_on.fingerprint)


def test_loads_other_data_in_mnists_format_again(tmp_path: Path) -> None:
    put(tmp_path, small_files())
    config = Config(dataset="mnist", input_data_dir=str(tmp_path))
    trained_on = loading.load(config, Cluster())
    assert trained_on.name == "mnist-like"
    found = load_matching("auto", tmp_path, "mnist-like", trained_on.fingerprint)
    assert found.fingerprint == trained_on.fingerprint
    put(tmp_path, {NAMES[1]: idx(np.zeros(36))})
    with pytest.raises(
        InputError, match=r"not the data that model\.ckpt-7 was trained"
    ):
        load_matching("auto", tmp_path, "mnist-like", trained_on.fingerprint)


def test_a_custom_source_may_have_a_registered_name(tmp_path: Path) -> None:
    colors = loading.load(Config(dataset="tests.data.test_loading:Colors"), Cluster())
    matching = load_matching(
        "tests.data.test_loading:Colors", tmp_path, "digits", colors.fingerprint
    )
    assert matching.spec == Colors.spec


def test_data_that_changed_since_training_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    arrays = {"x_train": np.zeros((20, 2)), "y_train": np.arange(20) % 2}
    np.savez(path, **arrays)
    config = Config(dataset=str(path))
    trained_on = loading.load(config, Cluster())
    found = load_matching(str(path), tmp_path, "mine", trained_on.fingerprint)
    assert found.fingerprint == trained_on.fingerprint
    np.savez(path, **{**arrays, "y_train": 1 - arrays["y_train"]})
    with pytest.raises(InputError, match=f"{path}: not the data .*; restore them"):
        load_matching(str(path), tmp_path, "mine", trained_on.fingerprint)
