"""The README's figures come from what is shipped, small enough for a repository."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from test_eval_scripts import tiny_model

from docs import make_graphics, screenshots
from docs.guide_figures import largest_pairs
from docs.site_source import linked_files, pages
from evaluation.opening import observe_model
from evaluation.predictions import Predictions
from utils import UserError

ROOT = Path(__file__).resolve().parent.parent


def test_every_figure_of_the_pages_is_there_and_small():
    shown = {file for page in pages() for file in linked_files(page) if file.suffix == ".png"}
    assert len(shown) > 10
    assert all(0 < file.stat().st_size < 500_000 for file in shown)
    assert {file for file in (ROOT / "graphics").glob("*.png") if file.stem != "3dshapes_real_vs_rendered"} <= shown


def test_the_models_are_those_that_are_shipped():
    assert set(make_graphics.MODELS) == {path.stem for path in (ROOT / "pretrained_models").glob("*.pt")}


@pytest.mark.slow
def test_figures_without_a_model(tmp_path):
    """They are those that are shipped, whatever the user's own settings of matplotlib are."""
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        assert (
            make_graphics.main(
                ["schedule", "training_curves", "digits_sweep", "mnist_sweep", "--output_dir", str(tmp_path)]
            )
            == 0
        )
    written = {path.name: path for path in tmp_path.iterdir()}
    assert set(written) == {
        "schedule.png", "mnist_seed3_curves.png", "digits_sweep_stability.png", "mnist_sweep_stability.png",
    }  # fmt: skip
    for name, path in written.items():
        with Image.open(path) as new, Image.open(ROOT / "graphics" / name) as shipped:
            assert new.size == shipped.size, name
            difference = np.abs(np.asarray(new.convert("L"), float) - np.asarray(shipped.convert("L"), float))
            assert difference.mean() < 1, name


@pytest.mark.slow
def test_figures_of_a_model_show_its_most_confident_clusters(tmp_path, monkeypatch):
    monkeypatch.setattr(make_graphics, "N_CLUSTERS", 3)
    figures = dict(make_graphics.model_figures(observe_model(tiny_model(tmp_path, 2)), 1.0))
    assert list(figures) == [
        "examples_facet_0", "generations_facet_0", "examples_facet_1", "generations_facet_1", "composition",
    ]  # fmt: skip
    for figure in figures.values():
        texts = {artist.get_text() for artist in figure.findobj(Text)}
        assert sum("conf " in text for text in texts) == 3
    make_graphics.save_small(figures["composition"], tmp_path / "small.png")
    with Image.open(tmp_path / "small.png") as image:
        assert min(image.size) > 100


def test_the_same_images_are_grouped_twice():
    """Clusters (facet 0, facet 1) of nine images; the smallest cluster of facet 0 lacks one of facet 1."""
    clusters = np.array([(0, 0), (0, 1), (0, 0), (1, 0), (1, 1), (1, 1), (2, 0), (0, 1), (1, 0)])
    confidences = np.ones((9, 2)) * np.linspace(0.1, 0.9, 9)[:, None]
    observed = SimpleNamespace(predictions=Predictions([], clusters, confidences))
    assert largest_pairs(observed, (1, 0), 2).tolist() == [[2, 8], [7, 5]]


def test_an_unknown_figure_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="mnis: no such figure; choose from intuition, .*mnist"):
        make_graphics.main(["mnis"])


def test_a_page_that_is_not_there_is_not_drawn(tmp_path):
    with pytest.raises(UserError, match="report.html: no such file; make demo writes that of the demo"):
        screenshots.main(["--page", str(tmp_path / "report.html")])
