"""labels.csv in a folder of pictures: a file name, then a column for each label."""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flags import did_you_mean
from readers.texts import checked_label_names
from utils import UserError, one_line

LABELS_FILE = "labels.csv"


class _Row(NamedTuple):
    """A line that is not blank."""

    line: int
    """Its number, from 1."""
    cells: list[str]
    """Without blanks around them: the file name, then a class for each label."""


def read_labels(path: Path, pictures: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the labels of pictures.

    Args:
        path: labels.csv.
        pictures: where the pictures are in its folder, the parts of a path separated by '/'; one name may come twice.

    Returns label name -> (N,) values in the order of the pictures: whole numbers if all are, else texts.

    Raises:
        UserError: the file is not what it should be, or does not say the labels of exactly these pictures.
    """
    header, *rows = _rows(path)
    names = _label_names(path, header, pictures)
    of_picture: dict[str, _Row] = {}
    for row in rows:
        _check_cells(path, header, row)
        if (first := of_picture.setdefault(_key(row.cells[0]), row)) is not row:
            raise UserError(f"{path}: lines {first.line} and {row.line} are both of {row.cells[0]}; keep one")
    _check_pictures(path, of_picture, pictures)
    columns = zip(*(of_picture[_key(picture)].cells[1:] for picture in pictures), strict=True)
    return {name: _values(column) for name, column in zip(names, columns, strict=True)}


def _rows(path: Path) -> list[_Row]:
    """Split the file into lines and cells; the first line is there.

    Raises:
        UserError: it cannot be read, or is not text in UTF-8, or no CSV.
    """
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        rows = [_Row(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num} is not CSV ({one_line(error)}); mend its quotes") from None
    rows = [row for row in rows if any(row.cells)]
    if len(rows) < 2:
        raise UserError(f"{path}: holds {len(rows)} lines; it must name its columns, then have a line per picture")
    return rows


def _text(path: Path) -> str:
    """Read a text in UTF-8, with or without the mark by which spreadsheets begin it."""
    remedy = "save it as 'CSV UTF-8'"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); allow it, or move it away") from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path}: is text in UTF-16; {remedy}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}: line {line} is not UTF-8 (byte {content[error.start]:#04x}); {remedy}") from None


def _label_names(path: Path, header: _Row, pictures: Sequence[str]) -> list[str]:
    """Take the labels' names from the first line.

    Raises:
        UserError: it names none, one is empty or stands twice, or it is the line of a picture already.
    """
    example = "such as 'file,colour,shape'"
    if _key(header.cells[0]) in map(_key, pictures):
        raise UserError(f"{path}: line 1 is of a picture already; the first line must name the columns, {example}")
    if len(header.cells) < 2:
        found = next((mark for mark in (";", "\t", "|") if mark in header.cells[0]), None)
        wrong = "there is no column of labels" if found is None else f"columns are separated by {found!r}, not by ','"
        raise UserError(f"{path}: {wrong}; the first line must name the columns, {example}")
    return checked_label_names(header.cells[1:], f"{path}: line {header.line}")


def _check_cells(path: Path, header: _Row, row: _Row) -> None:
    """Refuse a line with too few or too many cells, or an empty one."""
    if len(row.cells) != len(header.cells):
        raise UserError(
            f"{path}: line {row.line} has {len(row.cells)} cells, but line {header.line} names {len(header.cells)} "
            "columns; put texts that hold a comma into quotes"
        )
    for name, cell in zip(header.cells, row.cells, strict=True):
        if not cell:
            raise UserError(f"{path}: line {row.line}: the cell of '{name}' is empty; fill it in")


def _check_pictures(path: Path, of_picture: dict[str, _Row], pictures: Sequence[str]) -> None:
    """Refuse lines of other files, and pictures without a line."""
    known = {_key(picture): picture for picture in pictures}
    strange = [row for key, row in of_picture.items() if key not in known]
    if strange:
        name = strange[0].cells[0]
        by_name = {Path(picture).name: picture for picture in reversed(pictures)}
        near = by_name.get(Path(name).name, name)
        hint = did_you_mean(near, pictures, otherwise="paths are those within the folder, as in 'cat/1.png'")
        more = f" ({len(strange)} such lines)" if len(strange) > 1 else ""
        raise UserError(f"{path}: line {strange[0].line}: '{name}' is no picture of this folder{more}; {hint}")
    missing = [picture for key, picture in known.items() if key not in of_picture]
    if missing:
        raise UserError(
            f"{path}: no line for {len(missing)} of {len(known)} pictures, such as '{missing[0]}'; add it, or "
            "move the pictures away"
        )


def _key(name: str) -> str:
    """Write a path within the folder in one way: systems differ in separators and in how they compose accents."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/").removeprefix("./"))


def _values(cells: Sequence[str]) -> np.ndarray:
    """Make whole numbers of a column's cells if all are, so that 10 comes after 9."""
    is_number = all(cell.lstrip("-").isdecimal() and cell.isascii() and str(int(cell)) == cell for cell in cells)
    return np.array([int(cell) for cell in cells] if is_number else cells)
