"""Optional packages, formulas in tables, control codes, and text that a font, a terminal or a file system cannot show."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib.tables._g_l_y_f import Glyph
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from PIL import Image
from test_bad_inputs import tiny
from test_train import NO_FIGURES, UNSEEDED

import plotting
import start_sweep
from evaluation.metric_names import SCORES, Metric
from sweeps.results import RunResult
from sweeps.summary import write_summary
from utils import UserError, csv_cell, one_line

HERE = Path(__file__).resolve().parent.parent
CJK = ("猫的照片", "狗的照片", "鸟的照片")

# --- optional packages


@pytest.mark.parametrize("package", ["optuna", "sqlalchemy"])
def test_a_sweep_without_optuna_says_so_in_a_line(tmp_path, monkeypatch, package):
    for name in [name for name in sys.modules if name.startswith(("optuna", "sweeps.optuna", "sweeps.database"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    argv = [*UNSEEDED, *NO_FIGURES, "--results_dir", str(tmp_path), "--seeds", "0", "--backend", "optuna"]
    with pytest.raises(UserError, match=f"--backend optuna needs the package optuna, .*{package}.*pip install"):
        start_sweep.main(argv)


@pytest.mark.parametrize(
    ("module", "address", "package"),
    [
        ("psycopg", "postgresql://me:secret@localhost/sweeps", r"psycopg\[binary\]"),
        ("psycopg2", "postgresql+psycopg2://me:secret@localhost/sweeps", "psycopg2-binary"),
        ("pymysql", "mysql+pymysql://me:secret@localhost/sweeps", "pymysql"),
    ],
)
def test_a_driver_that_is_absent_or_broken_is_named_without_the_password(
    tmp_path, monkeypatch, module, address, package
):
    monkeypatch.setitem(sys.modules, module, None)
    argv = [*UNSEEDED, *NO_FIGURES, "--results_dir", str(tmp_path), "--seeds", "0", "--backend", "optuna"]
    with pytest.raises(UserError, match=f"needs the package {package}, .*pip install") as caught:
        start_sweep.main([*argv, "--storage", address])
    assert "secret" not in str(caught.value)


# --- formulas


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_a_cell_that_a_spreadsheet_would_run_is_text(start):
    assert csv_cell(start) == f"'{start}"


def test_other_cells_stay_as_they_are():
    assert [csv_cell(text) for text in ("a=b", "photo-1.png", "", "'quoted")] == ["a=b", "photo-1.png", "", "'quoted"]


def test_a_table_of_a_sweep_holds_no_formula(tmp_path):
    label = '=HYPERLINK("evil")'
    numbers = {
        "epoch": 1,
        "test_metric/loss": -1.0,
        **{Metric(score, facet=0, label=label).name: 0.5 for score in SCORES},
    }
    results = [RunResult(f"-run{i}", {"seed": i}, "finished", numbers, {label: [[1, 0.5]]}) for i in range(2)]
    write_summary(tmp_path, results)
    for name in ("summary.csv", "curves.csv"):
        cells = [cell for row in csv.reader((tmp_path / name).open(encoding="utf-8")) for cell in row]
        assert f"'{label}" in cells
        assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@")) and cell != "-1.0"] == []


# --- control codes


def test_control_codes_of_foreign_errors_reach_no_terminal():
    text = one_line(RuntimeError("bad \x1b[2J\x07 file\n\u2028name \x00"))
    assert text == r"bad \x1b[2J\x07 file name \x00"


# --- fonts


def cjk_font(folder: Path) -> Path:
    """A font that has boxes for the characters of CJK."""
    glyphs = {".notdef": 0, **{f"g{i}": ord(c) for i, c in enumerate(sorted(set("".join(CJK))))}}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({code: name for name, code in glyphs.items() if code})
    builder.setupGlyf({name: Glyph() for name in glyphs})
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Test CJK", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(folder / "cjk.ttf")
    return folder / "cjk.ttf"


@pytest.fixture
def fresh_fonts(monkeypatch):
    """Matplotlib's own fonts alone, and nothing said of missing ones."""
    own = [font for font in fontManager.ttflist if "mpl-data" in font.fname]
    monkeypatch.setattr(fontManager, "ttflist", own)
    plotting._warn_once.cache_clear()


def saved_texts(folder: Path) -> list[Text]:
    """The texts of a figure of CJK names that was saved in every format."""
    figure = plotting.confusion_matrix(np.eye(3), CJK, "".join(CJK))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plotting.save_figure(figure, folder / "a", ("png", "pdf", "svg"))
    return [text for text in figure.findobj(Text) if set(text.get_text()) & set("".join(CJK))]


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_fonts")
def test_names_that_no_font_has_are_one_line(tmp_path, caplog):
    for i in range(3):
        assert saved_texts(tmp_path / str(i))
    assert len(caplog.messages) == 1 and "no installed font has all characters" in caplog.messages[0]


@pytest.mark.usefixtures("fresh_fonts")
def test_an_installed_font_that_has_the_names_is_used(tmp_path, caplog):
    fontManager.addfont(cjk_font(tmp_path))
    assert {tuple(text.get_fontfamily()) for text in saved_texts(tmp_path)} == {("sans-serif", "Test CJK")}
    assert caplog.messages == []


# --- terminals and file systems


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""How Python is told that terminal and file system show ASCII only."""


@pytest.mark.slow
def test_names_that_a_terminal_or_a_file_system_cannot_show(tmp_path):
    rows = ["file,猫"]
    for i in range(12):
        (tmp_path / "data").mkdir(exist_ok=True)
        Image.new("L", (8, 8), i).save(tmp_path / "data" / f"{i}.png")
        rows.append(f"{i}.png,{CJK[i % 3]}")
    (tmp_path / "data" / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    flags = ["--dataset", "folder", "--data_dir", str(tmp_path / "data"), "--image_size", "8", "--do_vis_test", "true"]
    command = [sys.executable, str(HERE / "train.py"), *tiny(tmp_path, *flags)]
    done = subprocess.run(command, capture_output=True, env=os.environ | ASCII, timeout=200, check=False)
    said = (done.stdout + done.stderr).decode("ascii")
    assert done.returncode == 0, said
    assert r"\u732b" in said and "Traceback" not in said and said.count("no installed font") <= 1
    assert "Glyph" not in said
