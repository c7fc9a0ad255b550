"""Tables with a row per image, written batch by batch as CSV, JSON, npz or Parquet: the suffix of the file decides."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from utils import UserError, check_replaceable, csv_cell, needed, printable

Values = Mapping[str, Sequence[str] | np.ndarray]
"""Of some rows: name of a column -> its texts, whole numbers or fractions."""


class Table(Protocol):
    """A table that is open for writing."""

    def add(self, values: Values) -> None:
        """Write some rows."""

    def close(self) -> None:
        """Write what is left."""


def check_suffix(output: Path) -> None:
    """See that a table can be written under this name.

    Raises:
        UserError: its suffix says nothing, the package for it is not there, or it names what is not such a table.
    """
    if output.suffix.lower() not in TABLES:
        raise UserError(f"--output {output}: the suffix says how to write the table; use {', '.join(TABLES)}")
    if output.suffix.lower() == ".parquet":
        with needed("pyarrow", f"--output {output}"):
            import pyarrow.parquet  # noqa: F401
    check_replaceable(output, "a table of predict.py", STARTS[output.suffix.lower()])


@contextmanager
def open_table(path: Path, suffix: str) -> Iterator[Table]:
    """Begin a table in a file. suffix: a key of TABLES."""
    table = TABLES[suffix.lower()](path)
    try:
        yield table
    finally:
        table.close()


def _rows(values: Values) -> Iterable[tuple[Any, ...]]:
    """The rows of columns, in plain types; fractions have the 7 digits of a float32."""
    return zip(*map(_plain, values.values()), strict=True)


def _plain(column: Sequence[str] | np.ndarray) -> list[Any]:
    """A column in plain types."""
    if not isinstance(column, np.ndarray):
        return list(column)
    return column.tolist() if column.dtype.kind in "iu" else [float(f"{value:.7g}") for value in column]


class _Csv:
    """Comma-separated values. Names of files need not be valid text; they are written as they are."""

    def __init__(self, path: Path):
        self.file = path.open("w", newline="", encoding="utf-8", errors="surrogateescape")
        self.writer = csv.writer(self.file, lineterminator="\n")
        self.has_header = False

    def add(self, values: Values) -> None:
        if not self.has_header:
            self.writer.writerow(values)
            self.has_header = True
        self.writer.writerows([_digits(value) for value in row] for row in _rows(values))

    def close(self) -> None:
        self.file.close()


def _digits(value: Any) -> str:
    """A value of a row as CSV has it."""
    return f"{value:.7g}" if isinstance(value, float) else csv_cell(value) if isinstance(value, str) else str(value)


class _Json:
    """A list of objects, one a line."""

    def __init__(self, path: Path):
        self.file = path.open("w", encoding="ascii")
        self.separator = "[\n"

    def add(self, values: Values) -> None:
        for row in _rows(values):
            self.file.write(self.separator + json.dumps(dict(zip(values, row, strict=True))))
            self.separator = ",\n"

    def close(self) -> None:
        self.file.write("\n]\n")
        self.file.close()


class _Npz:
    """An array per column, gathered until the end."""

    def __init__(self, path: Path):
        self.path = path
        self.parts: list[dict[str, np.ndarray]] = []

    def add(self, values: Values) -> None:
        self.parts.append({name: np.asarray(column) for name, column in values.items()})

    def close(self) -> None:
        columns = {name: np.concatenate([part[name] for part in self.parts]) for name in (self.parts or [{}])[0]}
        with self.path.open("wb") as file:  # numpy adds a suffix to names of files
            np.savez(file, **columns)  # type: ignore[arg-type]  # no column is called allow_pickle


class _Parquet:
    """A row group per batch."""

    def __init__(self, path: Path):
        self.path = path
        self.writer: Any = None

    def add(self, values: Values) -> None:
        import pyarrow
        import pyarrow.parquet

        columns = {
            name: column if isinstance(column, np.ndarray) else [printable(text) for text in column]
            for name, column in values.items()
        }
        part = pyarrow.table(columns)
        self.writer = self.writer or pyarrow.parquet.ParquetWriter(self.path, part.schema)
        self.writer.write_table(part)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


TABLES: dict[str, type[_Csv] | type[_Json] | type[_Npz] | type[_Parquet]] = {
    ".csv": _Csv,
    ".json": _Json,
    ".npz": _Npz,
    ".parquet": _Parquet,
}
"""Suffix of a file -> how its table is written."""
STARTS = {
    ".csv": rb"image,",
    ".json": rb'\[\n\{"image": ',
    ".npz": rb"PK\x03\x04.{26}image\.npy",
    ".parquet": rb"PAR1",
}
"""Suffix of a file -> how its table begins, as a regular expression."""
