"""The page in a browser: every view, by mouse, finger and keyboard."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import HARM, VIEWS, go, is_wider_than_the_window, opened, pixels
from test_train import NO_FIGURES

import train
from evaluation.opening import observe_model
from load_model import load_model_from_save_dict
from reporting.names import read_names

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """A run of the demo of a few epochs: its page lies in its folder."""
    results = tmp_path_factory.mktemp("results")
    argv = ["--config_args_path", str(ROOT / "configs" / "demo.yml"), "--wandb_mode", "disabled", "--n_epochs", "6"]
    argv += ["--precision", "fp32"]  # as the model is read again below
    assert train.main([*argv, *NO_FIGURES, "--results_dir", str(results), "--copy_model", "false"]) == 0
    return results / "demo_seed0" / "report.html"


def test_the_top_tells_what_was_trained_and_draws_curves(browser, demo):
    with opened(browser, demo) as page:
        panel = page.locator("#panel-overview")
        assert "rooms of 3DShapes, rendered" in panel.inner_text()
        assert panel.locator(".facet-card").count() == 2
        assert panel.locator(".scores tbody tr").count() == 2 * 5  # two facets, k-means of 4 and of 10, largest class
        chart = panel.locator(".chart").first
        chart.scroll_into_view_if_needed()
        values = [row["test_metric/loss"] for row in map(json.loads, demo.with_name("metrics.jsonl").open())]
        box = chart.bounding_box()
        page.mouse.move(box["x"] + 0.101 * box["width"], box["y"] + 0.5 * box["height"])
        figure = panel.locator(".chart-box").first
        assert "epoch 0" in figure.inner_text()
        key = figure.locator(".key", has_text="test").inner_text()
        assert float(key.split()[-1]) == pytest.approx(values[0], rel=0.06)
        chart.focus()
        page.keyboard.press("ArrowRight")
        assert "epoch 1" in figure.inner_text()


def test_cards_hover_and_clusters(browser, demo):
    observed = observe_model(demo.with_name("save_dict.pt"))
    with opened(browser, demo) as page:
        panel = go(page, "facet-1")
        largest = max(observed.ranked[1], key=lambda c: (len(c.members), -c.cluster))
        card = panel.locator(".cluster-card").first
        assert card.get_attribute("data-cluster-card") == f"1:{largest.cluster}"
        assert f"{len(largest.members)} images" in card.inner_text()
        card.locator(".members .thumb").first.hover()
        tooltip = page.locator("#tooltip")
        tooltip.wait_for(state="visible")
        i = largest.members[0]
        said = tooltip.inner_text()
        assert f"test image {i}\n" in said
        shape = observed.class_names["shape"][i]
        assert shape in said and f"{100 * observed.predictions.confidences[i, 1]:.1f} %" in said
        np.testing.assert_array_equal(pixels(page, "#tooltip canvas"), observed.split.images[i].permute(1, 2, 0))
        card.locator("h3 button").click()
        dialog = page.locator("#dialog")
        assert dialog.locator(".gallery .thumb").count() == len(largest.members)
        dialog.locator("select").select_option("unsure")
        label = dialog.locator(".gallery .thumb").first.get_attribute("aria-label")
        first = int(label.removeprefix("test image ").partition(",")[0])
        assert first in largest.members
        sureness = observed.predictions.confidences[:, 1]
        assert sureness[first] == pytest.approx(sureness[largest.members[-1]], abs=1e-4)  # the page rounds
        page.keyboard.press("Escape")
        assert not dialog.is_visible()


def test_tabs_by_keyboard(browser, demo):
    with opened(browser, demo) as page:
        page.locator("#tab-overview").focus()
        for view in ("facet-0", "facet-1", "grid", "map", "play", "names", "overview"):
            page.keyboard.press("ArrowRight")
            assert page.locator(f"#panel-{view}").is_visible()
            assert page.locator("[role=tab][aria-selected=true]").get_attribute("id") == f"tab-{view}"


def test_facet_against_facet_counts_the_images(browser, demo):
    clusters = observe_model(demo.with_name("save_dict.pt")).predictions.clusters
    with opened(browser, demo) as page:
        panel = go(page, "grid")
        counts = [int(text) if text != "none" else 0 for text in panel.locator(".cell .number").all_inner_texts()]
        used = [np.unique(clusters[:, j]) for j in range(2)]
        expected = [int(((clusters[:, 0] == r) & (clusters[:, 1] == c)).sum()) for r in used[0] for c in used[1]]
        assert counts == expected
        assert sum(counts) == 80
        panel.locator(".cell").nth(int(np.argmax(counts))).click()
        assert page.locator("#dialog .gallery .thumb").count() == max(counts)


def test_a_lasso_lists_what_it_encloses(browser, demo):
    with opened(browser, demo) as page:
        panel = go(page, "map")
        assert "PCA" in panel.inner_text()
        panel.get_by_label("Colour").select_option("label-0")
        assert "cube" in panel.locator(".legend").inner_text()
        assert "Point at an image" in panel.inner_text()
        panel.get_by_label("Colour").select_option("confidence")
        panel.locator("canvas.map").scroll_into_view_if_needed()
        box = panel.locator("canvas.map").bounding_box()
        edge = 12  # the corners are round
        right, bottom = box["width"] - edge, box["height"] - edge
        corners = [(edge, edge), (right, edge), (right, bottom), (edge, bottom)]
        page.mouse.move(box["x"] + edge, box["y"] + edge)
        page.mouse.down()
        for x, y in corners[1:]:
            page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
        page.mouse.up()
        assert "Within the lasso: 80 images" in panel.locator(".found").inner_text()
        assert panel.locator(".found .thumb").count() == 80
        panel.locator("canvas.map").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#tooltip").is_visible()
        page.keyboard.press("Enter")
        assert panel.locator(".found .thumb").count() == 60


def test_play_decodes_as_the_model_does(browser, demo):
    model, _ = load_model_from_save_dict(demo.with_name("save_dict.pt"))
    with opened(browser, demo) as page:
        go(page, "play")
        before = pixels(page, "[data-play]")
        buttons = page.locator("[data-cluster-choice]")
        chosen = []
        for j, fieldset in enumerate(page.locator("fieldset").all()):
            button = fieldset.locator("[data-cluster-choice]").last
            button.click()
            chosen.append(int(button.get_attribute("data-cluster-choice")))
            assert buttons.locator("xpath=self::*[@aria-pressed='true']").count() == 2
            assert len(chosen) == j + 1
        with torch.no_grad():
            z = [prior.mean[k : k + 1] for prior, k in zip(model.prior, chosen, strict=True)]
            expected = model.decode(z)[0].permute(1, 2, 0).numpy()
        after = pixels(page, "[data-play]")
        assert np.abs(after / 255 - expected).mean() < 0.01
        assert np.abs(after - before).max() > 10
        slider = page.locator("input[type=range]").first
        slider.focus()
        page.keyboard.press("End")
        assert not np.array_equal(pixels(page, "[data-play]"), after)
        page.locator(".other").first.wait_for()
        assert page.locator(".near .thumb").count() == 1
        assert slider.locator("xpath=..").inner_text() == "dimension 0"
        said = page.locator("fieldset").all_inner_texts()
        assert "not at its mean" in said[0] and "at the mean of" in said[1]


def test_a_cluster_has_one_colour(browser, demo):
    dots = """panel => Object.fromEntries([...panel.querySelectorAll(".named.cluster[data-facet='1']")]
        .map(each => [each.dataset.cluster, getComputedStyle(each, "::before").backgroundColor]))"""
    with opened(browser, demo) as page:
        found = []
        for view in ("facet-1", "grid", "map"):
            panel = go(page, view)
            panel.locator(".named.cluster").first.wait_for()
            found.append(panel.evaluate(dots))
        assert found[0] and found[0] == found[1] == found[2]
        keys = page.locator("#panel-map .key").all()
        assert len(keys) == len(found[0])
        for key in keys:
            cluster = key.locator(".cluster").get_attribute("data-cluster")
            shown = key.locator("i").evaluate("each => getComputedStyle(each).backgroundColor")
            assert shown == found[0][cluster]


def test_names_are_kept_shown_and_exported(browser, demo, tmp_path):
    model, _ = load_model_from_save_dict(demo.with_name("save_dict.pt"))
    with opened(browser, demo) as page:
        panel = go(page, "names")
        lines = panel.locator("section").nth(1).locator("li")
        first, second = (
            int(lines.nth(i).locator(".decoded").get_attribute("data-open-cluster").split(":")[1]) for i in (0, 1)
        )
        assert lines.nth(0).locator("input:not([type])").get_attribute("placeholder").endswith(str(first))
        lines.nth(0).locator("input:not([type])").fill(HARM)
        lines.nth(1).locator("select").select_option(str(first))
        lines.nth(1).locator("input[type=checkbox]").check()
        lines.nth(0).locator("select").select_option(str(second))  # a circle, which is refused
        assert lines.nth(0).locator("select").input_value() == ""
        panel.get_by_label("Name of the facet").nth(1).fill("colour </script>")
        assert page.locator("#tab-facet-1").inner_text() == "Facet 1 · colour </script>"
        page.reload()
        cards = go(page, "facet-1").locator(".cluster-card")
        assert cards.first.locator("h3").inner_text() == HARM
        assert f"marked wrong, merged into {HARM}" in cards.nth(1).inner_text()
        page.locator("#query").fill("onerror")
        page.locator("#results .neighbours .thumb").wait_for()
        with page.expect_download() as download:
            go(page, "names").get_by_text("Export names.json").click()
        download.value.save_as(tmp_path / "names.json")
        names = read_names(tmp_path / "names.json", model)[1]
        assert names.name == "colour </script>"
        assert names.clusters[first] == names.clusters[second] == HARM
        assert names.wrong[second] and sum(names.wrong) == 1


def test_search_finds_images_by_class_and_number(browser, demo):
    observed = observe_model(demo.with_name("save_dict.pt"))
    with opened(browser, demo) as page:
        page.keyboard.press("/")
        page.keyboard.type("sphere red")
        found = page.locator("#results h2", has_text="“sphere red”")
        found.wait_for()
        wanted = (observed.class_names["shape"] == "sphere") & (observed.class_names["floor_hue"] == "red")
        assert f"and {int(wanted.sum())} image" in found.inner_text()
        page.locator("#query").fill("image 17")
        page.locator("#results h2", has_text="“image 17”").wait_for()
        assert page.locator("#results .gallery .thumb").count() == 1
        page.locator("#results .gallery .thumb").click()
        assert page.locator("#dialog-title").inner_text() == "test image 17"
        page.locator("#dialog select").select_option("0")
        used = np.unique(observed.predictions.clusters[:, 0]).tolist()
        marked = page.locator("#dialog .other").nth(used.index(int(observed.predictions.clusters[17, 0])))
        assert "current" in marked.get_attribute("class").split()
        assert page.locator("#dialog .other.current").count() == 1
        page.locator("#dialog .other").first.click()
        assert page.locator("#panel-play").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_every_view(browser, demo, scheme):
    phone = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme, "has_touch": True, "is_mobile": True}
    with opened(browser, demo, **phone) as page:
        for view in [*VIEWS, "grid"]:
            go(page, view)
            assert not is_wider_than_the_window(page), view
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert "Tap an image" in page.locator("#panel-map").inner_text()
        page.locator("#theme").tap()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
