"""Arrays in .npz and .npy files with Keras' names; which are refused."""

from __future__ import annotations

import io
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distmnist.core.errors import InputError
from distmnist.data.arrays import create_dataset
from tests.data.own_data import load, refuse

RANDOM = np.random.RandomState(0)
ARRAYS: dict[str, Any] = {
    "x_train": RANDOM.randint(0, 256, (40, 4, 3, 3)).astype(np.uint8),
    "y_train": np.arange(40)[:, None] % 4,
    "x_test": RANDOM.randint(0, 256, (9, 4, 3, 3)).astype(np.uint8),
    "y_test": np.arange(9)[:, None] % 4,
}


def save(path: Path, form: str, **arrays: Any) -> Path:
    """Saves ARRAYS, changed (None: left out), as one of the two forms."""
    kept = {k: v for k, v in {**ARRAYS, **arrays}.items() if v is not None}
    if form == "npz":
        np.savez(path / "mine.npz", **kept)
        return path / "mine.npz"
    (path / "mine").mkdir()
    for name, array in kept.items():
        np.save(path / "mine" / f"{name}.npy", array)
    return path / "mine"


@pytest.mark.parametrize("form", ["npz", "npy"])
def test_files_hold_what_create_dataset_is_given(tmp_path: Path, form: str) -> None:
    data = load(save(tmp_path, form))
    assert data.name == "mine"
    x, y, x_test, y_test = ARRAYS.values()
    assert data.fingerprint == create_dataset((x, y), test=(x_test, y_test)).fingerprint
    assert [split.size for split in data.splits.values()] == [36, 4, 9]


@pytest.mark.parametrize("form", ["npz", "npy"])
def test_validation_is_read_if_it_is_there(tmp_path: Path, form: str) -> None:
    path = save(
        tmp_path, form, x_validation=ARRAYS["x_test"], y_validation=ARRAYS["y_test"]
    )
    assert [split.size for split in load(path).splits.values()] == [40, 9, 9]


def test_task_decides_what_numbers_are(tmp_path: Path) -> None:
    path = save(tmp_path, "npz")
    assert load(path).spec.num_classes == 4
    assert load(path, task="regression").spec.num_classes is None
    floats = {k: ARRAYS[k].astype(np.float32) for k in ("y_train", "y_test")}
    path = save(tmp_path, "npz", **floats)
    assert load(path).spec.num_classes is None
    assert load(path, task="classification").spec.num_classes == 4
    path = save(tmp_path, "npz", y_test=floats["y_test"] + 0.5)
    refuse(r"y_test, example 0: 0\.5 is no class", path, task="classification")


def test_names_of_classes(tmp_path: Path) -> None:
    names = {k: np.array(list("dbca"))[ARRAYS[k]] for k in ("y_train", "y_test")}
    assert load(save(tmp_path, "npy", **names)).spec.class_names == tuple("abcd")


def test_other_arrays_are_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    before = load(save(tmp_path, "npz"))
    assert not caplog.records
    path = save(tmp_path, "npz", notes=np.array([{}]))
    assert load(path).fingerprint == before.fingerprint
    assert "npz/notes" in caplog.text


class Bomb:
    """Leaves a file if it is unpickled."""

    def __reduce__(self) -> Any:  # noqa: D105
        return (Path.touch, (Path("unpickled"),))


NAN = np.where(np.arange(40) == 7, np.nan, 1.0)[:, None]
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "objects": (
        {"x_train": np.array([Bomb()] * 40)},
        "x_train.*: holds Python objects",
    ),
    "object targets": ({"y_test": np.array([Bomb()] * 9)}, "y_test.*never unpickled"),
    "unequal lengths": (
        {"y_test": ARRAYS["y_test"][:8]},
        "x_test has 9 examples, but y_test 8",
    ),
    "no x_train": ({"x_train": None}, "lacks x_train, and holds y_train, x_test"),
    "no y_train": ({"y_train": None}, "lacks y_train, and holds x_train, x_test"),
    "no y_test": ({"y_test": None}, "lacks y_test, and holds"),
    "x_val": ({"x_val": ARRAYS["x_test"]}, "x_val.*; rename it to x_validation"),
    "empty": ({"x_test": ARRAYS["x_test"][:0], "y_test": []}, "test split: is empty"),
    "NaN": (
        {"x_train": NAN, "x_test": None, "y_test": None},
        "train split, example 7: ",
    ),
    "label beyond": (
        {"y_test": np.full(9, 4)},
        "test split, example 0: label 4, but there are 4 classes, 0 to 3",
    ),
    "a number": ({"x_train": 3}, "x_train has no examples, but y_train 40"),
    "shape": (
        {"x_test": ARRAYS["x_test"][..., 0]},
        "test split: features of shape 4x3",
    ),
    "one-hot": ({"y_train": np.eye(4, dtype=int)[ARRAYS["y_train"][:, 0]]}, "one-hot"),
}


@pytest.mark.parametrize("form", ["npz", "npy"])
@pytest.mark.parametrize(("arrays", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_array_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    arrays: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path, form, **arrays)
    if "lacks x_train" in message and form == "npy":
        message = "lacks x_train"
    refuse(rf"^{path}.*{message}", path)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("form", ["npz", "npy"])
def test_a_truncated_file_is_refused(tmp_path: Path, form: str) -> None:
    path = save(tmp_path, form)
    file = path if form == "npz" else path / "x_test.npy"
    content = file.read_bytes()
    for size in (*range(0, 200, 7), *range(200, len(content), 97)):
        file.write_bytes(content[:size])
        refuse(f"^{file}: ", path)


def test_an_npz_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.save(tmp_path / "one.npy", ARRAYS["x_train"])
    (tmp_path / "one.npy").rename(path)
    refuse("mine.npz: cannot be read .File is not a zip file", path)
    path.write_text("hello")
    refuse("mine.npz: ", path)


@pytest.mark.parametrize("form", ["npz", "npy"])
def test_a_header_that_claims_more_than_there_is(tmp_path: Path, form: str) -> None:
    path = save(tmp_path, form, x_test=ARRAYS["x_test"])
    large = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        large, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 9)}
    )
    if form == "npy":
        (path / "x_test.npy").write_bytes(large.getvalue() + bytes(9))
    else:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("x_validation.npy", large.getvalue() + bytes(9))
            archive.writestr("y_validation.npy", large.getvalue() + bytes(9))
    refuse("its header says 36000000000000 bytes, but there are 9", path)


@given(st.data())
def test_a_damaged_file_is_read_or_one_line(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = save(tmp_path, "npz")
    content = bytearray(path.read_bytes())
    # Most of them in the headers of the arrays, and in the directory of the archive.
    ends = st.integers(0, 200) | st.integers(len(content) - 400, len(content) - 1)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(ends | st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        load(path)
    except InputError as error:
        assert "\n" not in str(error)
