"""The notebooks are there, and run top to bottom."""

from __future__ import annotations

import json

import pytest
from test_architecture import ROOT
from test_examples import elsewhere

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
MAX_BYTES = 600_000
"""Of a notebook with its outputs."""


def test_there_are_three_small_notebooks_of_python():
    assert [path.stem for path in NOTEBOOKS] == ["first_steps", "own_images", "paper_figures"]
    for path in NOTEBOOKS:
        assert path.stat().st_size < MAX_BYTES, path
        assert str(ROOT) not in path.read_text(), "names a folder of the machine that made it"
        for cell in json.loads(path.read_text())["cells"]:
            lines = [line for line in "".join(cell["source"]).splitlines() if not line.startswith("%")]
            assert cell["cell_type"] == "markdown" or compile("\n".join(lines), path.name, "exec")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_top_to_bottom(path, monkeypatch):
    """But for the length of its training. nbclient stops at the first cell that fails."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for name, value in elsewhere(http_proxy="http://nowhere.invalid", https_proxy="http://nowhere.invalid").items():
        monkeypatch.setenv(name, value)
    text = path.read_text()
    assert text.count("n_epochs=61") == text.count("n_clusters=")
    notebook = nbformat.reads(text.replace("n_epochs=61", "n_epochs=3"), 4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
