"""Which form a path is of, and paths that are of none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distmnist.core.config import Config
from distmnist.data import loading
from tests.data.own_data import load, refuse, save_images


def test_a_path_that_is_none(tmp_path: Path) -> None:
    refuse(
        "--dataset=.*none: there is no such path; give that of data, auto, mnist, dig",
        tmp_path / "none",
    )


@pytest.mark.parametrize("name", ["data.txt", "data.csv.gz", "train-images-idx3-ubyte"])
def test_a_file_of_no_known_form(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hello")
    refuse(
        "is of no known form; give a directory .*, or an? .npz|.npz", tmp_path / name
    )


def test_directories_of_no_known_form(tmp_path: Path) -> None:
    refuse("holds no data of a known form; give a directory", tmp_path)
    (tmp_path / "notes.txt").touch()
    refuse("holds no data of a known form", tmp_path)


def test_a_directory_of_two_forms(tmp_path: Path) -> None:
    np.save(tmp_path / "x_train.npy", np.zeros(3))
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    refuse("holds both arrays and tables", tmp_path)


def test_the_home_directory_is_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_images(tmp_path / "pets")
    assert load(Path("~/pets")).name == "pets"


def test_data_that_does_not_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_images(tmp_path)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", fail)
    refuse("does not fit into memory", tmp_path)


def test_a_spec_needs_one_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_images(tmp_path)
    loading.find_source.cache_clear()
    source = loading.find_source(Config(dataset=str(tmp_path)))
    spec = source.spec
    for path in tmp_path.rglob("*.png"):
        path.unlink()
    assert source.load().spec == spec


def test_nothing_is_imported_that_the_form_does_not_need(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.zeros((40, 2)), y_train=np.arange(40) % 2)
    code = (
        "import sys; from distmnist.core.config import Config; "
        "from distmnist.data import loading; "
        "loading.find_source(Config(dataset=sys.argv[1])).load(); "
        "print({'tensorflow', 'sklearn', 'PIL', 'pyarrow'} & set(sys.modules))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.npz"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert output.stdout == "set()\n"
