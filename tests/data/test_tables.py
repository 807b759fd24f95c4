"""Tables in .csv and .parquet files: what is read, and the cells that are refused."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from distmnist.core.errors import InputError
from distmnist.data.sources import tables
from distmnist.data.sources.table_files import Table
from tests.data.own_data import load, refuse

N = 40
COLUMNS: dict[str, list[Any]] = {
    "size": [i / 4 for i in range(N)],
    "kind": ["pear" if i % 3 else "apple" for i in range(N)],
    "count": [i % 5 for i in range(N)],
    "ripe": [i % 2 == 0 for i in range(N)],
}


def write(
    path: Path, columns: dict[str, list[Any]] = COLUMNS, delimiter: str = ","
) -> Path:
    """Writes a table in the form of the path's suffix, and returns the path."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pa.table(columns), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values()))
    return path


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_all_columns_but_the_target_are_features(tmp_path: Path, suffix: str) -> None:
    data = load(write(tmp_path / f"fruit.{suffix}"), target="kind")
    assert data.name == "fruit"
    spec = data.spec
    assert spec.feature_names == ("size", "count", "ripe")
    assert (spec.target_name, spec.class_names) == ("kind", ("apple", "pear"))
    assert spec.feature_dtype == "float32"
    np.testing.assert_allclose(
        spec.feature_mean, data.train.features.mean(0), rtol=1e-5
    )
    for features, label in zip(*data.train):
        row = int(features[0] * 4)
        assert features.tolist() == [row / 4, row % 5, row % 2 == 0]
        assert spec.class_names[label] == COLUMNS["kind"][row]


def test_names_of_classes_may_look_like_missing_values(tmp_path: Path) -> None:
    kinds = ["NA" if i % 3 else "null" for i in range(N)]
    data = load(write(tmp_path / "a.csv", {**COLUMNS, "kind": kinds}), target="kind")
    assert data.spec.class_names == ("NA", "null")


def test_both_forms_give_the_same_data_set(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "a.csv"),
        write(tmp_path / "b.csv", delimiter=";"),
        write(tmp_path / "c.csv", delimiter="\t"),
        write(tmp_path / "d.parquet"),
    ]
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + paths[0].read_bytes())
    assert len({load(path, target="kind").fingerprint for path in paths}) == 1


@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        ("kind", "auto", ("apple", "pear")),
        ("ripe", "auto", ("false", "true")),
        ("count", "auto", ("0", "1", "2", "3", "4")),
        ("count", "regression", ()),
        ("size", "auto", ()),
        ("id", "auto", ()),
        ("whole", "auto", ()),
        ("whole", "classification", ("-2", "1", "10")),
    ],
)
def test_the_target_decides_the_task(
    tmp_path: Path, target: str, task: str, classes: tuple[str, ...]
) -> None:
    more = {"id": list(range(N)), "whole": [[-2.0, 1.0, 10.0][i % 3] for i in range(N)]}
    columns = {**{k: v for k, v in COLUMNS.items() if k != "kind"}, **more}
    if target == "kind":
        columns["kind"] = COLUMNS["kind"]
    data = load(write(tmp_path / "t.csv", columns), target=target, task=task)
    assert data.spec.class_names == classes
    assert (data.spec.num_classes is None) == (not classes)
    if not classes:
        assert data.spec.target_mean == pytest.approx(data.train.targets.mean(), 1e-5)


def test_integers_are_said_to_be_classes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="absl")
    columns = {"x": COLUMNS["size"], "y": COLUMNS["count"]}
    load(write(tmp_path / "t.csv", columns), target="y")
    assert (
        "column y holds 5 different integers, taken as classes; --task=reg"
        in caplog.text
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_splits_are_files_of_a_directory(tmp_path: Path, suffix: str) -> None:
    directory = tmp_path / "fruit"
    write(directory / f"train.{suffix}")
    turned = dict(reversed({k: v[:9] for k, v in COLUMNS.items()}.items()))
    write(directory / f"test.{suffix}", turned)
    data = load(directory, target="kind")
    assert [split.size for split in data.splits.values()] == [36, 4, 9]
    assert data.test.features[:, 0].tolist() == COLUMNS["size"][:9]
    write(directory / f"validation.{suffix}")
    assert load(directory, target="kind").validation.size == N
    (directory / f"validation.{suffix}").rename(directory / f"valid.{suffix}")
    refuse(f"valid.{suffix}: .*; rename it to validation", directory, target="kind")


def test_features_are_read_for_inference(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv")
    read = tables.read_features(path, ("ripe", "size"))
    assert read.tolist() == [list(row) for row in zip(COLUMNS["ripe"], COLUMNS["size"])]


HEAD = "a,b,y\n1,2,u\n3,4,v\n"  # lines 1 to 3
WRONG_CSV: dict[str, tuple[str, str]] = {
    "empty cell": (HEAD + "\n5,,u\n", r"csv, line 5, column b: has no value"),
    "NaN": (HEAD + "5,NaN,u\n", "line 4, column b: is not a finite number"),
    "infinite": (HEAD + "inf,1.5,u\n", "line 4, column a: is not a finite number"),
    "too great": (HEAD + "1e99,1.5,u\n", "line 4, column a: is not a finite number"),
    "text": (HEAD + "5,six,u\n", "line 4, column b: 'six' is not a number; encode"),
    "all texts": ("a,b,y\nx,1,u\ny,2,v\n", "line 2, column a: 'x' is not a number"),
    "no target": (HEAD + "5,6,\n", "line 4, column y: has no value"),
    "date": ("a,b,y\n2020-01-02,1,u\n2020-01-03,2,v", "column a is of type date32"),
    "short row": (HEAD + "5,6\n", r"Row #4: Expected 3 columns, got 2"),
    "long row": (HEAD + "5,6,u,v\n", r"Row #4: Expected 3 columns, got 4"),
    "no rows": ("a,b,y\n", "holds no rows"),
    "empty": ("", "cannot be read .Empty CSV file"),
    "no name": (",a,y\n0,1,u\n", r"column 1 has no name; .*pandas: index=False"),
    "same name": ("a,a,y\n0,1,u\n", "two columns are called a"),
    "no column": ("a,b\n1,2\n", "--target=y: no column of .*; its columns are a, b"),
    "only the target": ("y\nu\nv\n", "y is the only column"),
    "one class": ("a,y\n1,u\n2,u\n", "column y holds only 'u'"),
    "names of rows": (
        "a,y\n" + "".join(f"{i},n{i}\n" for i in range(30)),
        "column y holds 30 different values in 30 rows, too many for classes",
    ),
    "too few": (HEAD, "2 training examples are too few"),
    "not text": ("a,b,y\n1,2,\udcff\n", "column y is not in UTF-8"),
    "header not text": ("\udcff,b,y\n1,2,u\n", "is not in UTF-8; save it in UTF-8"),
    "UTF-16": ("\udcff\udcfea\0,\0y\0\n\0", "is not in UTF-8|cannot be read"),
    "lines in a name": ('"a\nb",y\n1,u\n', "the name of column 1 has several lines"),
    "quoted lines": ('a,y\n1,"u\nu"\n2,v\nw,v\n', "line 5, column a: 'w'"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG_CSV.values(), ids=WRONG_CSV)
def test_a_wrong_cell_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    refuse(message, path, target="y")


def test_wrong_flags(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv")
    refuse("flag --target: name the column of .*; its columns are size, kind", path)
    refuse(
        "column kind holds names, not numbers", path, target="kind", task="regression"
    )
    columns = {k: v for k, v in COLUMNS.items() if k != "kind"}
    write(path, columns)
    refuse(r"line 3, column size: 0\.25 is no class", path, target="size",
           task="classification")  # fmt: skip
    refuse("flag --image_size: not for tables", path, target="size", image_size=(2, 2))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_splits_that_do_not_fit(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"train.{suffix}")
    test = tmp_path / f"test.{suffix}"
    part = {k: v[:2] for k, v in COLUMNS.items()}
    place = "line 3" if suffix == "csv" else r"row 1 \(from 0\)"
    for changed, target, message in (
        ({"size": None}, "kind", f"test.{suffix} lacks the column size of .*train"),
        ({"extra": [1, 2]}, "kind", f"train.{suffix} lacks the column extra of .*test"),
        (
            {"kind": ["pear", "plum"]},
            "kind",
            f"test.{suffix}, {place}, column kind: class 'plum', which no row",
        ),
        ({"count": ["1", "x"]}, "count", "holds names in one file and numbers in an"),
        ({"size": [1.5, None]}, "kind", f"{place}, column size: has no value"),
    ):
        columns = {**part, **changed}
        write(test, {k: v for k, v in columns.items() if v is not None})
        train = {k: v for k, v in COLUMNS.items() if target == "kind" or k != "kind"}
        if target != "kind":
            write(tmp_path / f"train.{suffix}", train)
            write(test, {k: v for k, v in columns.items() if k != "kind"})
        else:
            write(tmp_path / f"train.{suffix}")
        refuse(message, tmp_path, target=target)
    other = {"csv": "parquet", "parquet": "csv"}[suffix]
    write(tmp_path / f"test.{other}")
    refuse("holds both test.csv and test.parquet", tmp_path, target="kind")


def test_parquet_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("a,b\n1,2\n")
    refuse("t.parquet: cannot be read .*; correct the file", tmp_path / "t.parquet")
    nested = {"a": [[1], [2]], "y": ["u", "v"]}
    refuse(
        "column a is of type list", write(tmp_path / "t.parquet", nested), target="y"
    )


def test_without_pyarrow_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "t.csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refuse(r"tables require pyarrow.*; pip install pyarrow", path, target="kind")


@given(
    cells=st.lists(st.sampled_from(["1", "x y", 'a"b', "c,d", "e\nf", ""]), min_size=1),
    blanks=st.lists(st.booleans(), min_size=50, max_size=50),
)
def test_lines_are_those_of_an_editor(
    tmp_path: Path, cells: list[str], blanks: list[bool]
) -> None:
    """Whatever is quoted, and wherever lines are blank."""
    path = tmp_path / "t.csv"
    lines = []
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "text"])
        for row, (cell, blank) in enumerate(zip(cells, blanks)):
            file.write("\n" * blank)
            file.flush()
            lines.append(path.read_text().count("\n") + 1)
            writer.writerow([row, cell])
    table = Table(path)
    for row, line in enumerate(lines):
        assert f"line {line}," in table.where(row, "text")


@given(
    st.lists(st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False),
                       st.integers(-(2**24), 2**24)), min_size=1)
)  # fmt: skip
def test_numbers_are_read_exactly(
    tmp_path: Path, rows: list[tuple[float, int]]
) -> None:
    columns = {"a": [row[0] for row in rows], "b": [row[1] for row in rows]}
    for suffix in ("csv", "parquet"):
        read = Table(write(tmp_path / f"t.{suffix}", columns)).numbers(["a", "b"])
        np.testing.assert_array_equal(read, np.array(rows, np.float32))


@given(
    st.lists(
        st.sampled_from(
            b'a|y|,|,|;|\n|\n|\r|"|1|.5|e|-| |\0|\xff|\xc3\xa4|nan|2020-01-01'.split(
                b"|"
            )
        ),
        max_size=40,
    )
)
def test_any_text_is_a_table_or_one_line(tmp_path: Path, parts: list[bytes]) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,y\n" + b"".join(parts))
    try:
        assert load(path, target="y").spec.feature_names == ("a",)
    except InputError as error:
        assert "\n" not in str(error)


@given(st.data())
def test_a_damaged_parquet_is_a_table_or_one_line(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = write(tmp_path / "t.parquet", {"a": COLUMNS["size"], "y": COLUMNS["kind"]})
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(place, len(content)))])
    try:
        assert load(path, target="y").spec.target_name == "y"
    except InputError as error:
        assert "\n" not in str(error)
