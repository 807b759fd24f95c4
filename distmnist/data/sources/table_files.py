"""Tables in .csv and .parquet files, by pyarrow; each invalid cell is named."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distmnist.core.errors import InputError
from distmnist.data.sources import claims

_DELIMITERS = ",;\t"
_INT32_MAX = 2**31 - 1  # pyarrow's largest block


class Table:
    """The rows of a file.

    Attributes:
        path: the file.
        names: names of the columns.
    """

    def __init__(self, path: Path):
        """Reads the whole file.

        Args:
            path: a .csv or .parquet file.

        Raises:
            InputError: it cannot be read, has no rows, or columns without a name or of
                one name.
        """
        self.path = path
        self._rows = _read(path)
        try:
            self.names: list[str] = self._rows.column_names
        except UnicodeDecodeError:
            raise InputError(f"{path}: is not in UTF-8; save it in UTF-8") from None
        for index, name in enumerate(self.names):
            if not name.strip():
                raise InputError(
                    f"{path}: column {index + 1} has no name; name it, or save the "
                    "table without it (pandas: index=False)"
                )
            if len(name.splitlines()) > 1:
                raise InputError(
                    f"{path}: the name of column {index + 1} has several lines; rename "
                    "the column"
                )
            if name in self.names[:index]:
                raise InputError(
                    f"{path}: two columns are called {name}; rename one of them"
                )
        if not self._rows.num_rows:
            raise InputError(f"{path}: holds no rows; add some")

    def where(self, row: int, column: str) -> str:
        """Returns the place of a cell, in words.

        Args:
            row: its row, from 0.
            column: name of its column.
        """
        place = f"row {row} (from 0)"
        if self.path.suffix == ".csv":
            with contextlib.suppress(csv.Error):
                place = f"line {self._line(row)}"
        return f"{self.path}, {place}, column {column}"

    def _line(self, row: int) -> int:
        """Returns the number of the first line of a row, as editors count them."""
        # Blank lines, and the further lines of a quoted text, are no rows.
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file, delimiter=_delimiter(self.path))
            begin = count = 0
            for cells in reader:
                if cells and count == row + 1:  # the header comes first
                    break
                count += bool(cells)
                begin = reader.line_num
            return begin + 1

    def check_names(self, train: Table) -> None:
        """Checks that the columns are those of the training split, in any order.

        Raises:
            InputError: one is missing, or there is another.
        """
        for one, other in ((self, train), (train, self)):
            missing = [name for name in other.names if name not in one.names]
            if missing:
                raise InputError(
                    f"{one.path} lacks the column {missing[0]} of {other.path}; give "
                    "all splits the same columns"
                )

    def numbers(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Returns columns as numbers, float32 [rows, columns].

        Args:
            names: names of the columns.

        Raises:
            InputError: a cell is empty, or not a finite number.
        """
        numbers = np.empty((self._rows.num_rows, len(names)), np.float32)
        for index, name in enumerate(names):
            numbers[:, index] = self._number(name)
        return numbers

    def target(self, name: str) -> NDArray[Any]:
        """Returns a column as integers, floats, or strings (names), [rows].

        Raises:
            InputError: a cell is empty, or of another type.
        """
        import pyarrow as pa

        column = self._column(name)
        if pa.types.is_boolean(column.type):
            return np.where(column.to_numpy(), "true", "false")
        if _is_text(column.type):
            return np.array(column.to_pylist(), str)
        if pa.types.is_integer(column.type):
            return np.asarray(column.to_numpy())
        return self._number(name)

    def _column(self, name: str) -> Any:
        """Returns a column whose cells all have a value."""
        import pyarrow as pa

        column = self._rows.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_binary(column.type):
            raise InputError(
                f"{self.path}: column {name} is not in UTF-8; save the table in UTF-8"
            )
        if column.null_count:
            row = int(np.argmax(column.is_null().to_numpy()))
            raise InputError(
                f"{self.where(row, name)}: has no value; fill it in, or leave out the "
                "row"
            )
        return column

    def _number(self, name: str) -> NDArray[np.float32]:
        import pyarrow as pa

        column = self._column(name)
        kind = column.type
        if _is_text(kind):
            values = column.to_pylist()
            row = next(
                (i for i, value in enumerate(values) if not _is_number(value)), 0
            )
            raise InputError(
                f"{self.where(row, name)}: {values[row]!r} is not a number; encode the "
                "column as numbers, or leave it out"
            )
        if pa.types.is_decimal(kind):
            column = column.cast(pa.float64())
        elif not (
            pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
            or pa.types.is_boolean(kind)
        ):
            raise InputError(
                f"{self.path}: column {name} is of type {kind}; encode it as numbers, "
                "or leave it out"
            )
        with np.errstate(over="ignore"):
            numbers = np.asarray(column.to_numpy()).astype(np.float32)
        if not np.isfinite(numbers).all():
            row = int(np.argmin(np.isfinite(numbers)))
            raise InputError(
                f"{self.where(row, name)}: is not a finite number of 32 bits; correct "
                "it, or leave out the row"
            )
        return numbers


def _read(path: Path) -> Any:
    """Returns a file as a pyarrow.Table.

    Raises:
        InputError: it cannot be read, or pyarrow is missing.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv as pa_csv
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            f"{path}: tables require pyarrow, which cannot be imported ({error}); "
            "pip install pyarrow"
        ) from None
    try:
        if path.suffix == ".parquet":
            file = parquet.ParquetFile(path)
            # Of a column of equal values, a file takes a few bytes.
            cells = file.metadata.num_rows * len(file.schema_arrow.names)
            claims.check_memory(4 * cells, str(path))
            return file.read(use_threads=False)
        return pa_csv.read_csv(
            path,
            # One block, or the types of columns are those of the first rows; one
            # thread, or errors have no row.
            pa_csv.ReadOptions(
                use_threads=False,
                block_size=min(path.stat().st_size + 1, _INT32_MAX),
            ),
            pa_csv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True),
            pa_csv.ConvertOptions(
                # "NA" may be a name.
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        reason = re.sub(r"^CSV parse error: ", "", " ".join(str(error).split()))
        raise InputError(
            f"{path}: cannot be read ({reason[:200]}); correct the file"
        ) from None


def _delimiter(path: Path) -> str:
    """Returns the delimiter that a CSV file's first line has most of."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline()
    return max(_DELIMITERS, key=header.count)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
