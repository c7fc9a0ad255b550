"""labels.csv: several labels for the pictures of a folder, and one line for each way in which it can be wrong."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_own_images import load, numbers

import train
from utils import UserError

N = 30


def write_pictures(folder: Path, names: list[str]) -> Path:
    """Picture i of the grey 8 i, as test_own_images.numbers tells them apart."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 8 * i).save(folder / name)
    return folder


FLAT = [f"{i:02}.png" for i in range(N)]
DEEP = [f"{('cat', 'dog/small')[i % 2]}/{i:02}.png" for i in range(N)]


def table(names: list[str], header: str = "file,colour,size") -> str:
    """A right file: colour red or blue, size 9, 10 or 11."""
    return "\n".join([header, *(f"{name},{('red', 'blue')[i % 2]},{9 + i % 3}" for i, name in enumerate(names))]) + "\n"


def changed(line: int, text: str | None, names: list[str] = FLAT) -> str:
    """The right file with another line, from 1, or without it."""
    lines = table(names).splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    return "\n".join(lines)


RIGHT = {
    "flat": (FLAT, table(FLAT).encode()),
    "folders": (DEEP, table(DEEP).encode()),
    "folders and beside": ([*DEEP[:20], *FLAT[20:]], table([*DEEP[:20], *FLAT[20:]]).encode()),
    "folders that look like splits": ([f"train/{name}" for name in FLAT], table([f"train/{n}" for n in FLAT]).encode()),
    "as Excel saves it": (FLAT, b"\xef\xbb\xbf" + table(FLAT).replace("\n", "\r\n").encode()),
    "old line ends": (FLAT, table(FLAT).replace("\n", "\r").encode()),
    "in another order": (FLAT, "\n".join([table(FLAT).splitlines()[0], *table(FLAT).splitlines()[:0:-1]]).encode()),
    "blanks and empty lines": (FLAT, table(FLAT).replace(",", " , ").replace("\n", "\n\n , ,\n").encode()),
    "quotes": (FLAT, table(FLAT).replace("red", '"red"').encode()),
    "backslashes": (DEEP, table(DEEP).replace("/", "\\").encode()),
    "with a dot": (DEEP, table([f"./{name}" for name in DEEP]).encode()),
    "accents in two ways": (
        [unicodedata.normalize("NFC", f"é{name}") for name in FLAT],
        unicodedata.normalize("NFD", table([f"é{name}" for name in FLAT])).encode(),
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_labels_of_a_folder(name, tmp_path):
    names, content = RIGHT[name]
    folder = write_pictures(tmp_path / "pets", names)
    (folder / "labels.csv").write_bytes(content)
    data = load("folder", folder, image_size=8)
    assert data.spec.label_names == ("colour", "size")
    assert data.spec.class_names == (("blue", "red"), ("9", "10", "11"))
    order = np.argsort([str(folder / name) for name in names])  # as pictures are listed
    assert sorted(numbers(data.train) + numbers(data.test)) == list(range(N))
    assert len(order) == N
    for split in (data.train, data.test):
        assert split.labels.tolist() == [[1 - i % 2, i % 3] for i in numbers(split)]


def test_pages_of_a_tiff_share_its_line(tmp_path):
    folder = write_pictures(tmp_path, FLAT[:3])
    pages = [Image.new("L", (8, 8), 8 * i) for i in range(3, 9)]
    pages[0].save(folder / "stack.tif", save_all=True, append_images=pages[1:])
    (folder / "labels.csv").write_text("file,kind\n00.png,a\n01.png,a\n02.png,a\nstack.tif,b\n")
    data = load("folder", folder, image_size=8, n_clusters_j_list=[1, 1])
    for split in (data.train, data.test):
        assert split.labels[:, 0].tolist() == [int(i >= 3) for i in numbers(split)]


def test_classes_that_are_written_like_no_number_stay_texts(tmp_path):
    folder = write_pictures(tmp_path, FLAT)
    (folder / "labels.csv").write_text(
        "f,a\n" + "".join(f"{n},{('007', '7', '+7')[i % 3]}\n" for i, n in enumerate(FLAT))
    )
    assert load("folder", folder, image_size=8).spec.class_names == (("+7", "007", "7"),)


WRONG = {
    "empty": ("", ["holds 0 lines", "must name its columns"]),
    "header alone": ("file,colour\n", ["holds 1 lines"]),
    "no columns of labels": ("file\n" + "\n".join(FLAT), ["there is no column of labels", "'file,colour,shape'"]),
    "semicolons": (table(FLAT).replace(",", ";"), ["columns are separated by ';', not by ','"]),
    "tabs": (table(FLAT).replace(",", "\t"), ["columns are separated by '\\t', not by ','"]),
    "no header": (table(FLAT).split("\n", 1)[1], ["line 1 is of a picture already", "must name the columns"]),
    "a column without a name": (changed(1, "file,colour,"), ["line 1", "the name of label 2 is empty"]),
    "a column twice": (changed(1, "file,colour,colour"), ["there are two labels 'colour'"]),
    "a name that is too long": (changed(1, f"file,{'x' * 300},size"), ["label 1 takes 300 bytes, more than 150"]),
    "unknown column": (changed(7, "05.png,red,9,large"), ["line 7 has 4 cells, but line 1 names 3 columns"]),
    "too few cells": (changed(7, "05.png,red"), ["line 7 has 2 cells, but line 1 names 3"]),
    "empty cell": (changed(7, "05.png, ,9"), ["line 7: the cell of 'colour' is empty"]),
    "no file name": (changed(7, ",red,9"), ["line 7: the cell of 'file' is empty"]),
    "a picture twice": (changed(9, "./05.png,red,9"), ["lines 7 and 9 are both of ./05.png; keep one"]),
    "a picture without a line": (changed(7, None), ["no line for 1 of 30 pictures, such as '05.png'"]),
    "a line without a picture": (
        changed(7, "5.png,red,9"),
        ["line 7: '5.png' is no picture of this folder; did you mean '"],
    ),
    "lines without pictures": (
        table([f"x{i}.jpg" for i in range(N)]),
        ["line 2: 'x0.jpg' is no picture of this folder (30 such lines)"],
    ),
    "an absolute path": (changed(7, "/home/05.png,red,9"), ["'/home/05.png' is no picture", "did you mean '05.png'?"]),
    "a file that is no picture": (changed(7, "labels.csv,red,9"), ["line 7: 'labels.csv' is no picture"]),
    "quotes that do not end": (changed(7, '05.png,"red,9'), ["is not CSV (unexpected end of data)", "mend its quotes"]),
    "text after quotes": (changed(7, '05.png,"red"x,9'), ["line 7 is not CSV"]),
    "a cell without end": (changed(7, f"05.png,{'x' * 200_000},9"), ["line 7 is not CSV (field larger"]),
    "Latin-1": (changed(7, "05.png,café,9").encode("latin-1"), ["line 7 is not UTF-8 (byte 0xe9)", "'CSV UTF-8'"]),
    "UTF-16": (table(FLAT).encode("utf-16"), ["is text in UTF-16", "'CSV UTF-8'"]),
    "a spreadsheet": (b"PK\x03\x04\xff\xff", ["line 1 is not UTF-8 (byte 0xff)"]),
    "control codes": (changed(7, "\x1b[31m\0.png,red,9"), [r"'\x1b[31m\x00.png' is no picture"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line(name, tmp_path):
    content, words = WRONG[name]
    folder = write_pictures(tmp_path / "pets", FLAT)
    (folder / "labels.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    for flags in ([], ["--dry_run"]):
        with pytest.raises(UserError) as caught:
            train.main(["--dataset", "folder", "--data_dir", str(folder), "--image_size", "8", *flags])
        message = str(caught.value)
        assert message.startswith(f"{folder / 'labels.csv'}: ")
        assert message.isprintable()
        assert [word for word in words if word not in message] == [], message


def test_a_name_in_another_folder_is_found(tmp_path):
    folder = write_pictures(tmp_path, DEEP)
    (folder / "labels.csv").write_text(table([Path(name).name for name in DEEP]))
    with pytest.raises(
        UserError, match="'00.png' is no picture of this folder .30 such lines.; did you mean 'cat/00.png'"
    ):
        load("folder", folder, image_size=8)


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    """Permission bits do not hold for root: reading says what it would to others."""
    folder = write_pictures(tmp_path, FLAT)
    (folder / "labels.csv").write_text(table(FLAT))

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"labels.csv: cannot be read \(Permission denied\); allow it, or move it away"):
        load("folder", folder, image_size=8)


def test_other_tables_are_left_out_like_any_file(tmp_path, caplog):
    folder = write_pictures(tmp_path, DEEP)
    (folder / "cat" / "labels.csv").write_text(table(DEEP))
    (folder / "Labels.csv").write_text(table(DEEP))
    assert load("folder", folder, image_size=8).spec.label_names == ("class",)
    assert "2 .csv" in caplog.text
