"""The page's parts in Python: images, numbers, decoder, names; and that its scripts fit together."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_eval_scripts import tiny_model
from test_train import NO_FIGURES, SMALL, metrics_of

import predict
import report
import train
from evaluation.opening import observe_model
from load_model import load_model_from_save_dict
from reporting import atlases, maps, opening
from reporting.arrays import Packed, as_json, rounded, whole
from reporting.atlases import choose_encoding, make_tiles, thumbnails
from reporting.choosing import choose_images
from reporting.collecting import collect
from reporting.curves import LOSS, training_curves
from reporting.maps import make_map
from reporting.names import fingerprint, read_names
from reporting.pictures import telling_colours
from reporting.writing import MODULES, PAGE, bundled, render
from utils import UserError


@pytest.fixture(scope="module")
def model_path(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"), 2)


@pytest.fixture(scope="module")
def observed(model_path):
    return observe_model(model_path)


@pytest.fixture(scope="module")
def content(observed):
    return collect(observed)


# --- numbers and images


def test_rounded_numbers_come_back_within_half_a_step():
    values = np.random.default_rng(0).normal(size=(50, 3)) * 7
    packed = rounded("x", values, np.uint16)
    assert np.abs(packed.low + packed.numbers * packed.step - values).max() <= packed.step / 2 + 1e-9
    assert packed.step < 0.001
    constant = rounded("x", np.full((4, 1), 2.5), np.uint8)
    assert (constant.low + constant.numbers * constant.step == 2.5).all()


def test_whole_numbers_take_the_smallest_type_and_are_little_endian():
    assert [whole("x", np.array([n])).numbers.dtype for n in (255, 256, 70_000)] == [np.uint8, np.uint16, np.uint32]
    assert base64.b64decode(Packed("x", np.array([1, 258], np.uint16)).text) == b"\x01\x00\x02\x01"


def test_json_holds_no_end_of_a_script_and_no_nan():
    text = as_json(
        {"name": "</script><script>alert(1)//<!--\n\u2028\"'", "value": float("nan"), "list": [1.5, float("inf")]}
    )
    assert "<" not in text
    assert text.isascii()
    assert json.loads(text) == {
        "name": "</script><script>alert(1)//<!--\n\u2028\"'", "value": None, "list": [1.5, None]
    }  # fmt: skip


def test_every_picture_is_where_the_page_looks_for_it(monkeypatch):
    monkeypatch.setattr(atlases, "ATLAS_PIXELS", 600)
    pictures = np.random.default_rng(0).integers(0, 256, (23, 8, 6, 3), dtype=np.uint8)
    tiles = make_tiles(lambda rows: pictures[rows], len(pictures), quality=None)
    assert tiles.per_atlas == 12 and len(tiles.files) == 2
    for i, picture in enumerate(pictures):
        atlas = np.asarray(Image.open(io.BytesIO(tiles.files[i // tiles.per_atlas])).convert("RGB"))
        row, column = divmod(i % tiles.per_atlas, tiles.columns)
        np.testing.assert_array_equal(atlas[row * 8 : row * 8 + 8, column * 6 : column * 6 + 6], picture)


def test_many_pictures_are_stored_with_loss_and_too_many_are_left_out(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 1), dtype=np.uint8)
    assert choose_encoding(noise, 40) == (None, 40)
    monkeypatch.setattr(atlases, "LOSSLESS_BYTES", 0)
    assert choose_encoding(noise, 40) == (80, 40)
    monkeypatch.setattr(atlases, "MAX_BYTES", 3000)
    quality, n_fitting = choose_encoding(noise, 40)
    assert quality == 40 and 10 <= n_fitting < 40


def test_large_pictures_become_small_ones():
    images = torch.zeros(2, 3, 200, 100, dtype=torch.uint8)
    images[:, 0] = 255
    small = thumbnails(images)
    assert small.shape == (2, 64, 32, 3)
    assert (small == [255, 0, 0]).all()


# --- what is chosen and said


def test_cards_show_the_surest_and_the_least_sure_members(observed):
    chosen = choose_images(observed, 10**6)
    assert sorted(chosen.shown) == list(range(360))
    for j in range(2):
        for cluster in observed.ranked[j]:
            card = chosen.cards[j][cluster.cluster]
            np.testing.assert_array_equal(chosen.shown[card.sure], cluster.members[:8])
            np.testing.assert_array_equal(chosen.shown[card.unsure], cluster.members[::-1][:8])
            assert set(chosen.shown[card.random]) <= set(cluster.members)
        least = np.sort(observed.predictions.confidences[:, j])[:24]
        np.testing.assert_array_equal(observed.predictions.confidences[chosen.shown[chosen.unsure[j]], j], least)


def test_where_images_are_too_many_those_on_cards_stay(observed):
    few, all_of_them = choose_images(observed, 250), choose_images(observed, 10**6)
    n_featured = 1 + max(part.max() for facet in all_of_them.cards for card in facet.values() for part in card)
    assert n_featured < len(few.shown) == 250
    np.testing.assert_array_equal(few.shown[:n_featured], all_of_them.shown[:n_featured])


def test_facts_are_those_of_the_whole_split(observed, content):
    facts = content.facts
    for j, facet in enumerate(facts["facets"]):
        sizes = [cluster["size"] for cluster in facet["clusters"]]
        np.testing.assert_array_equal(sizes, np.bincount(observed.predictions.clusters[:, j], minlength=4))
        biggest = int(np.argmax(sizes))
        digits = observed.labels["digit"][observed.predictions.clusters[:, j] == biggest]
        digit, n = facet["clusters"][biggest]["classes"][0][0]
        assert n == np.bincount(digits).max() == (digits == digit).sum()
        assert biggest not in facet["clusters"][biggest]["neighbours"]
    assert [row.get("facet") for row in facts["scores"][0]["rows"]] == [0, 1, None]
    assert facts["fingerprint"] == fingerprint(observed.model)


def test_maps_say_what_they_are(monkeypatch):
    latents = np.random.default_rng(0).normal(size=(60, 4)) * [9, 5, 1, 1]
    found = make_map(latents, "pca")
    assert "PCA" in found.words and abs(np.corrcoef(found.points[:, 0], latents[:, 0])[0, 1]) > 0.99
    assert "t-SNE" in make_map(latents, "tsne").words
    monkeypatch.setattr(maps, "MAX_TSNE", 30)
    sample = make_map(latents, "tsne")
    assert "30 images drawn at random" in sample.words
    assert sample.points.shape == (30, 2)
    assert sample.images is not None and len(np.unique(sample.images)) == 30
    np.testing.assert_array_equal(make_map(latents[:, :2], "pca").points, latents[:, :2])
    np.testing.assert_array_equal(make_map(latents[:, :1], "pca").points[:, 0], latents[:, 0])


def test_clusters_have_their_own_colours_where_a_facet_is_one_of_colour():
    hues = np.array([[0.8, 0.2, 0.2], [0.2, 0.8, 0.2], [0.2, 0.0, 1.0], [1.0, 0.8, 0.0]])
    rooms = np.full((4, 3, 6, 6), 0.5)
    rooms[:, :, 3:] = hues[:, :, None, None]  # the floor is what differs
    assert telling_colours(rooms, [0, 1, 2, 3]) == ["#cc3333", "#33cc33", "#3300ff", "#ffcc00"]
    assert telling_colours(rooms, [3, 3]) is None
    assert telling_colours(rooms.mean(axis=1, keepdims=True), [0, 1, 2, 3]) is None  # grey images
    shapes = np.full((4, 3, 6, 6), 0.5)
    shapes[[0, 1, 2, 3], :, [0, 1, 2, 3], [0, 1, 2, 3]] = hues[0]  # one colour in many places
    assert telling_colours(shapes, [0, 1, 2, 3]) is None


def test_curves_keep_the_last_epoch_of_a_long_run():
    rows = [
        {"epoch": i, "test_metric/loss": float(i), "test_metric/facet_0_label_a_accuracy": 0.5} for i in range(1203)
    ]
    curves = training_curves(rows)
    assert len(curves["epochs"]) <= 500 and curves["epochs"][-1] == 1202
    assert [chart["title"] for chart in curves["charts"]] == [LOSS, "Accuracy (test)"]
    assert curves["charts"][0]["series"][0]["values"] == curves["epochs"]
    assert training_curves(rows[:1]) is None


# --- the file


def test_the_page_needs_nothing_else(content):
    html = render(content)
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", html)
    assert len(re.findall("<script", html)) == len(re.findall("</script>", html))


def test_scripts_import_what_earlier_ones_export_and_share_no_name():
    """They are written into the page as one script."""
    exports, names = dict[str, set[str]](), list[str]()
    for module in MODULES:
        source = (PAGE / f"{module}.js").read_text()
        for wanted, origin in re.findall(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', source, re.MULTILINE):
            wanted = {name.strip() for name in wanted.split(",")}
            assert wanted <= exports[origin], f"{module}.js imports {wanted - exports[origin]} of {origin}.js"
            assert all(len(re.findall(rf"\b{name}\b", source)) > 1 for name in wanted), f"{module}.js: unused import"
        own = re.findall(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", source, re.MULTILINE)
        own += [
            name for group in re.findall(r"^const \[([^\]]*)\]", source, re.MULTILINE) for name in group.split(", ")
        ]
        names += own
        exports[module] = set(re.findall(r"^export (?:async )?(?:function|const|class) (\w+)", source, re.MULTILINE))
    assert {f"{module}.js" for module in MODULES} == {path.name for path in PAGE.glob("*.js")}
    assert len(names) == len(set(names)), sorted({name for name in names if names.count(name) > 1})
    assert not re.search(r"^(import|export)\b", bundled(), re.MULTILINE)
    assert all(len(path.read_text().splitlines()) <= 400 for path in PAGE.iterdir())


def test_the_command_writes_the_page_and_says_where(model_path, tmp_path, capsys):
    state = torch.get_rng_state()
    assert report.main(["--model_path", str(model_path), "--output", str(tmp_path / "new" / "page.html")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "new" / "page.html")
    assert torch.equal(torch.get_rng_state(), state)
    assert (tmp_path / "new" / "page.html").read_text().startswith("<!doctype html>")


def test_a_run_ends_with_its_page_unless_switched_off(tmp_path, capsys):
    argv = [*SMALL, *NO_FIGURES, "--results_dir", str(tmp_path)]
    assert train.main([*argv, "--run_name", "with"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "with" / "report.html")
    assert train.main([*argv, "--run_name", "without", "--report", "false"]) == 0
    assert "report.html" not in capsys.readouterr().out
    assert not (tmp_path / "without" / "report.html").exists()
    assert metrics_of(tmp_path / "with") == metrics_of(tmp_path / "without")


def test_a_page_that_fails_costs_the_run_nothing_else(tmp_path, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise MemoryError("too much")

    monkeypatch.setattr(opening, "collect", fail)
    argv = [*SMALL, *NO_FIGURES, "--results_dir", str(tmp_path), "--run_name", "a"]
    assert train.main([*argv, "--save_model", "true", "--copy_model", "false"]) == 0
    assert "no page of the run (MemoryError: too much)" in caplog.text
    assert (tmp_path / "a" / "save_dict.pt").exists()


# --- names


def named(model_path: Path, path: Path, clusters: list[dict]) -> Path:
    """An exported file of names for facet 1."""
    model, _ = load_model_from_save_dict(model_path)
    facets = [{"name": "", "clusters": []}, {"name": "digit", "clusters": clusters}]
    path.write_text(json.dumps({"format": "mfcvae-names-1", "fingerprint": fingerprint(model), "facets": facets}))
    return path


def test_predict_writes_names_into_its_table(model_path, tmp_path):
    clusters = [
        {"cluster": 0, "name": 'se,"ven'}, {"cluster": 1, "merged_into": 2, "wrong": True}, {"cluster": 2, "merged_into": 0}
    ]  # fmt: skip
    names = named(model_path, tmp_path / "names.json", clusters)
    np.savez(tmp_path / "i.npz", images=observe_model(model_path).split.images[:40, 0].numpy())
    words = ["--model_path", str(model_path), "--images", str(tmp_path / "i.npz"), "--output", str(tmp_path / "o.csv")]
    assert predict.main([*words, "--names", str(names)]) == 0
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = ['se,"ven'] * 3 + ["cluster 3"]
    assert len({row["facet_1_cluster"] for row in rows}) > 1
    for row in rows:
        assert row["facet_0_name"] == f"cluster {row['facet_0_cluster']}"
        assert row["facet_1_name"] == expected[int(row["facet_1_cluster"])]
        assert row["facet_1_wrong"] == ("1" if row["facet_1_cluster"] == "1" else "0")


def test_clusters_merged_in_a_circle_still_have_a_name(model_path, tmp_path):
    model, _ = load_model_from_save_dict(model_path)
    circle = [{"cluster": 0, "name": "a", "merged_into": 1}, {"cluster": 1, "name": "b", "merged_into": 0}]
    assert set(read_names(named(model_path, tmp_path / "n.json", circle), model)[1].clusters[:2]) <= {"a", "b"}


def test_wrong_names_are_refused(model_path, tmp_path):
    model, _ = load_model_from_save_dict(model_path)
    path = named(model_path, tmp_path / "n.json", [{"cluster": 4, "name": "x"}])
    with pytest.raises(UserError, match="cluster 4 is named, but the facet has clusters 0 to 3"):
        read_names(path, model)
    path.write_text(path.read_text().replace(fingerprint(model), "00000000"))
    with pytest.raises(UserError, match="names of another model"):
        read_names(path, model)
    path.write_text("{}")
    with pytest.raises(UserError, match="no names as a page exports them"):
        read_names(path, model)
    with pytest.raises(UserError, match="cannot read"):
        read_names(tmp_path / "none.json", model)
