"""The page of any model in a browser: every architecture, names that may do harm, and the shipped model of MNIST."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import HARM, VIEWS, go, is_wider_than_the_window, opened, pixels
from PIL import Image

import report
from config import build_config
from datasets import load_dataset
from evaluation.predictions import observe
from mfcvae import MFCVAE
from reporting import decoder
from reporting.opening import write_report

ROOT = Path(__file__).resolve().parent.parent
NASTY = [
    "<script>window.pwned=1</script>",
    "\"quotes\" & 'more'",
    "new\nline",
    "</div>",
    "${window.pwned=1}",
    "x" * 240,
    "ünïcode 🎈",
]
pytestmark = pytest.mark.slow


def untrained(settings: dict[str, Any], path: Path) -> MFCVAE:
    """The page of a random model whose normalisation layers have seen something."""
    config = build_config(
        {"n_epochs_per_progressive_step": [1] * settings.get("J_n_mixtures", 2), "run_name": "random"} | settings
    )
    torch.manual_seed(0)
    dataset = load_dataset(config, torch.device("cpu"))
    model = MFCVAE(config, dataset.spec)
    with torch.no_grad():
        for prior in model.prior:
            prior.mean.normal_(0, 1)
        model.train()
        for _ in range(3):
            model(dataset.train.images[:64].float() / 255)
    write_report(observe(model.eval(), config, dataset, "test"), path)
    return model


MODELS = {
    "shared": {
        "model_type": "fc_shared",
        "encode_layer_dims": [20],
        "decode_layer_dims": [20, 30],
        "activation": "elu",
    },
    "normalised": {"model_type": "fc_vlae", "do_fc_batch_norm": True, "activation": "leaky_relu"},
    "one facet": {"model_type": "fc_vlae", "J_n_mixtures": 1},
    "convolutions": {"model_type": "conv_vlae", "J_n_mixtures": 3, "cov_type_p_z_c": "full", "conv_width": 0.125},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_is_decoded(browser, name, tmp_path):
    settings = {"dataset": "digits", "n_clusters_j_list": [4], "z_j_dim_list": [3]} | MODELS[name]
    model = untrained(settings, tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as page:
        go(page, "play")
        chosen = [
            int(f.locator("[aria-pressed=true]").get_attribute("data-cluster-choice"))
            for f in page.locator("fieldset").all()
        ]
        with torch.no_grad():
            z = [prior.mean[k : k + 1] for prior, k in zip(model.prior, chosen, strict=True)]
            expected = model.decode(z)[0].permute(1, 2, 0).numpy()
        assert expected.std() > 0.005
        assert np.abs(pixels(page, "[data-play]") / 255 - expected).max() < 0.03
        for view in VIEWS + (["grid"] if len(chosen) > 1 else []):
            go(page, view)


@pytest.mark.parametrize("J", [1, 2, 3])
def test_play_has_combinations_of_clusters_where_the_decoder_is_too_large(browser, J, tmp_path, monkeypatch):
    monkeypatch.setattr(decoder, "MAX_WEIGHTS", 10)
    settings = {"dataset": "digits", "J_n_mixtures": J, "n_clusters_j_list": [4], "z_j_dim_list": [3]}
    model = untrained(settings, tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as page:
        assert "too large for a page" in go(page, "play").inner_text()
        fieldsets = page.locator("fieldset").all()
        assert len(fieldsets) == min(J, 2)
        chosen = []
        for fieldset in fieldsets:
            button = fieldset.locator("[data-cluster-choice]").last
            button.click()
            chosen.append(int(button.get_attribute("data-cluster-choice")))
            assert button.get_attribute("aria-pressed") == "true"
        if J < 3:  # else a third facet is at its largest cluster
            with torch.no_grad():
                z = [prior.mean[k : k + 1] for prior, k in zip(model.prior, chosen, strict=True)]
                expected = model.decode(z)[0].permute(1, 2, 0).numpy()
            page.wait_for_function("document.querySelector('[data-play]').getContext('2d').getImageData(0, 0, 1, 1)")
            assert np.abs(pixels(page, "[data-play]") / 255 - expected).max() < 0.01
        go(page, f"facet-{J - 1}").locator("[data-image]").first.click()
        assert page.locator("#dialog .probabilities li").count() == J
        assert page.locator("#dialog .other.current").count() == 1
        page.locator("#dialog .other").first.click()
        assert "Decoded mean" in page.locator("#dialog").inner_text()


@pytest.mark.parametrize("J", [1, 3])
def test_names_of_files_do_no_harm(browser, J, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(60):
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{NASTY[i % len(NASTY)].replace('/', '／')}{i}.png")
    settings = {"dataset": "folder", "data_dir": str(tmp_path / "photos"), "image_size": 16, "J_n_mixtures": J}
    untrained(settings | {"n_clusters_j_list": [5], "z_j_dim_list": [2], "batch_size": 16}, tmp_path / "page.html")
    check_views(browser, tmp_path / "page.html", VIEWS + (["grid"] if J > 1 else []), "balloon", "🎈")


def test_names_of_classes_do_no_harm(browser, tmp_path):
    rng = np.random.default_rng(0)
    for name in [HARM, *NASTY]:
        folder = tmp_path / "photos" / name.replace("/", "／")
        folder.mkdir(parents=True)
        for i in range(8):
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{i}.png")
    settings = {"dataset": "folder", "data_dir": str(tmp_path / "photos"), "image_size": 8}
    untrained(settings | {"n_clusters_j_list": [5], "z_j_dim_list": [2], "batch_size": 16}, tmp_path / "page.html")
    check_views(browser, tmp_path / "page.html", VIEWS, "grid", "onerror")


def check_views(browser: Any, path: Path, views: list[str], nothing: str, something: str) -> None:
    """Open every view and images found by their names, one of them for certain."""
    with opened(browser, path, viewport={"width": 700, "height": 700}) as page:
        for view in views:
            go(page, view)
            assert not is_wider_than_the_window(page), view
        page.locator("#query").fill(nothing)
        page.locator("#results h2", has_text="0 images").wait_for()
        page.locator("#query").fill(something)
        page.locator("#results .gallery .thumb").first.hover()
        page.locator("#tooltip").wait_for(state="visible")
        page.locator("#results .gallery .thumb").first.click()
        assert page.locator("#dialog").is_visible()
        assert not is_wider_than_the_window(page)


# --- the shipped model of MNIST


@pytest.mark.real_data
def test_the_page_of_mnist_is_small_and_fast(browser, tmp_path):
    if "MFCVAE_DATA" not in os.environ:
        pytest.skip("MFCVAE_DATA does not name a data_dir that holds MNIST")
    words = ["--model_path", str(ROOT / "pretrained_models" / "mnist.pt"), "--data_dir", os.environ["MFCVAE_DATA"]]
    for split in ("test", "train"):
        path = tmp_path / f"{split}.html"
        started = time.process_time()
        assert report.main([*words, "--split", split, "--output", str(path)]) == 0
        assert time.process_time() - started < 20  # of CPU time, so that other work of the machine does not count
        assert path.stat().st_size < 15e6
        with opened(browser, path) as page:
            painted = """() => { const canvas = document.querySelector(".thumb canvas"), blank = canvas?.cloneNode();
                return canvas && canvas.toDataURL() !== blank.toDataURL() && performance.now(); }"""
            waited = [page.wait_for_function(painted, polling="raf").json_value()]
            for _ in range(4):  # the machine may have other work
                page.reload(wait_until="commit")
                waited.append(page.wait_for_function(painted, polling="raf").json_value())
            assert min(waited) < 2000
            for view in [*VIEWS, "grid"]:
                go(page, view)
            page.locator("#query").fill("image 1234")
            page.locator("#results .gallery .thumb").first.click()
            assert page.locator("#dialog .other").count() == 25
