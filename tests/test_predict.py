"""New images get the clusters that the evaluation gives them, whatever file they come in; bad ones are named."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import random_states
from PIL import Image
from test_eval_scripts import tiny_model

import predict
from datasets import load_dataset
from evaluation.predictions import predict as predict_split
from evaluation.predictions import responsibilities
from load_model import load_model_from_save_dict
from readers import npz_images
from readers.sources import open_images
from utils import UserError


@pytest.fixture(scope="module")
def model_path(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"), 2)


@pytest.fixture(scope="module")
def test_images(model_path) -> np.ndarray:
    """(360, 8, 8) uint8: the digits' test split."""
    config = load_model_from_save_dict(model_path)[1]
    return load_dataset(config, torch.device("cpu")).test.images[:, 0].numpy()


def run_predict(model_path: Path, output: Path, *images: Path, flags: tuple[str, ...] = ()) -> int:
    words = ["--model_path", str(model_path), "--output", str(output), "--images", *map(str, images), *flags]
    return predict.main(words)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def clusters(path: Path) -> np.ndarray:
    return np.array([[int(row["facet_0_cluster"]), int(row["facet_1_cluster"])] for row in read(path)])


def test_png_and_npz_give_the_clusters_of_the_split(model_path, test_images, tmp_path):
    model, config = load_model_from_save_dict(model_path)
    split = torch.from_numpy(test_images)[:, None]
    expected = predict_split(model, split, batch_size=config.eval_batch_size)
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(test_images):
        Image.fromarray(image).save(folder / f"{i:05d}.png")
    np.savez(tmp_path / "plain.npz", images=test_images)
    np.savez_compressed(tmp_path / "packed.npz", other=np.ones(3), images=test_images[..., None])
    for source in (folder, tmp_path / "plain.npz", tmp_path / "packed.npz"):
        output = tmp_path / "out" / f"{source.stem}.csv"
        assert run_predict(model_path, output, source, flags=("--batch_size", "100")) == 0
        np.testing.assert_array_equal(clusters(output), expected.clusters)
        confidence = [float(row["facet_1_confidence"]) for row in read(output)]
        np.testing.assert_allclose(confidence, expected.confidences[:, 1], rtol=1e-4)
    assert [row["image"] for row in read(tmp_path / "out" / "plain.csv")] == [str(i) for i in range(360)]
    assert read(tmp_path / "out" / "images.csv")[7]["image"] == str(folder / "00007.png")


def test_means_and_responsibilities_if_asked(model_path, test_images, tmp_path):
    model, _ = load_model_from_save_dict(model_path)
    np.savez(tmp_path / "i.npz", images=test_images[:20])
    flags = ("--with_means", "--with_responsibilities")
    assert run_predict(model_path, tmp_path / "o.csv", tmp_path / "i.npz", flags=flags) == 0
    expected = predict_split(model, torch.from_numpy(test_images[:20, None]))
    q_c_x = responsibilities(model, expected.means)
    rows = read(tmp_path / "o.csv")
    for j in range(2):
        for part, values in (("mean", expected.means[j]), ("responsibility", q_c_x[j])):
            found = [[float(row[f"facet_{j}_{part}_{d}"]) for d in range(values.shape[1])] for row in rows]
            np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-30)
    assert run_predict(model_path, tmp_path / "short.csv", tmp_path / "i.npz") == 0
    assert list(read(tmp_path / "short.csv")[0]) == ["image"] + [
        f"facet_{j}_{what}" for j in range(2) for what in ("cluster", "confidence")
    ]


def test_unreadable_images_are_listed_and_skipped(model_path, test_images, tmp_path, caplog):
    folder = tmp_path / "images"
    (folder / "deeper").mkdir(parents=True)
    Image.fromarray(test_images[0]).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"no image")
    whole = (folder / "a.png").read_bytes()
    (folder / "c.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(test_images[1]).save(folder / "deeper" / "d.png")
    (folder / "notes.txt").write_text("not looked at")
    caplog.set_level("INFO")
    assert run_predict(model_path, tmp_path / "o.csv", folder) == 1
    assert [Path(row["image"]).name for row in read(tmp_path / "o.csv")] == ["a.png", "d.png"]
    assert f"cannot read {folder / 'b.png'}" in caplog.text
    assert f"cannot read {folder / 'c.png'}" in caplog.text
    assert "2 could not be read" in caplog.text


@pytest.mark.parametrize("is_there", [False, True])
def test_a_prediction_without_one_readable_image_leaves_the_old_table(is_there, model_path, tmp_path, caplog):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no image")
    if is_there:
        (tmp_path / "o.csv").write_text("image,old")
    with pytest.raises(UserError, match="none of the 2 images can be read .listed above.; .*o.csv is left as it is"):
        run_predict(model_path, tmp_path / "o.csv", tmp_path / "a.png", tmp_path / "b.png")
    assert all(f"cannot read {tmp_path / name}" in caplog.text for name in ("a.png", "b.png"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"] + ["o.csv"] * is_there
    assert not is_there or (tmp_path / "o.csv").read_text() == "image,old"


def test_every_page_of_a_tiff_gets_a_row(model_path, test_images, tmp_path):
    first, *others = map(Image.fromarray, test_images[:5])
    first.save(tmp_path / "stack.tif", save_all=True, append_images=others)
    np.savez(tmp_path / "i.npz", images=test_images[:5])
    assert run_predict(model_path, tmp_path / "pages.csv", tmp_path / "stack.tif") == 0
    assert run_predict(model_path, tmp_path / "images.csv", tmp_path / "i.npz") == 0
    np.testing.assert_array_equal(clusters(tmp_path / "pages.csv"), clusters(tmp_path / "images.csv"))
    names = [row["image"] for row in read(tmp_path / "pages.csv")]
    assert names == [f"{tmp_path / 'stack.tif'}#{page}" for page in range(1, 6)]


def test_large_pictures_are_read_where_the_flag_allows_it(model_path, test_images, tmp_path, caplog):
    Image.new("L", (1100, 1000)).save(tmp_path / "large.png")
    Image.fromarray(test_images[0]).save(tmp_path / "small.png")
    assert run_predict(model_path, tmp_path / "o.csv", tmp_path, flags=("--max_megapixels", "1")) == 1
    assert "1100 x 1000 pixels: more than --max_megapixels 1; raise it" in caplog.text
    assert run_predict(model_path, tmp_path / "o.csv", tmp_path, flags=("--max_megapixels", "2")) == 0


def test_an_output_that_no_file_can_be(model_path, test_images, tmp_path):
    np.savez(tmp_path / "i.npz", images=test_images)
    with pytest.raises(UserError, match=r"cannot write .*File name too long"):
        run_predict(model_path, tmp_path / ("x" * 300 + ".csv"), tmp_path / "i.npz")


def test_images_of_any_mode_and_size_are_fitted_and_said_so(model_path, tmp_path, caplog):
    caplog.set_level("INFO")
    base = Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 20), dtype=np.uint8))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"):
        image = Image.fromarray(np.asarray(base).astype(np.uint16) << 8) if mode == "I;16" else base.convert(mode)
        image.save(tmp_path / f"{mode.replace(';', '')}.tif")
    assert run_predict(model_path, tmp_path / "o.csv", *sorted(tmp_path.glob("*.tif"))) == 0
    assert len(read(tmp_path / "o.csv")) == 8
    assert "grey, 8 x 8 pixels" in caplog.text
    np.savez(tmp_path / "colour.npz", images=np.zeros((3, 16, 24, 3), np.uint8))
    assert run_predict(model_path, tmp_path / "c.csv", tmp_path / "colour.npz") == 0
    assert "RGB, 24 x 16 pixels" in caplog.text
    assert "converted, cropped and resized to grey, 8 x 8 pixels" in caplog.text


def test_an_npz_is_read_batch_by_batch(test_images, tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "i.npz", images=test_images)
    monkeypatch.setattr(np, "load", lambda *_: pytest.fail("read whole"))
    source = open_images([str(tmp_path / "i.npz")], (1, 8, 8))
    assert len(source) == 360
    batches = list(source.batches(100))
    assert [len(batch.names) for batch in batches] == [100, 100, 100, 60]
    np.testing.assert_array_equal(np.concatenate([batch.images for batch in batches])[:, 0], test_images)


def test_random_state_stays_and_the_old_table_too(model_path, test_images, tmp_path):
    np.savez(tmp_path / "i.npz", images=test_images)
    before = random_states()
    run_predict(model_path, tmp_path / "o.csv", tmp_path / "i.npz")
    assert random_states() == before
    old = (tmp_path / "o.csv").read_bytes()
    with pytest.raises(UserError, match="damaged"):
        run_predict(model_path, tmp_path / "o.csv", damaged_npz(tmp_path), flags=("--batch_size", "500"))
    assert (tmp_path / "o.csv").read_bytes() == old
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


def damaged_npz(folder: Path, n: int = 50_000) -> Path:
    """A whole zip file whose array has a flipped byte: found only while reading on."""
    np.savez(folder / "damaged.npz", images=np.full((n, 8, 8), 7, np.uint8))
    content = bytearray((folder / "damaged.npz").read_bytes())
    content[len(content) // 2] ^= 255
    (folder / "damaged.npz").write_bytes(content)
    return folder / "damaged.npz"


def npz(**arrays: np.ndarray):
    def write(folder: Path) -> list[Path]:
        np.savez(folder / "i.npz", **arrays)
        return [folder / "i.npz"]

    return write


def file(name: str, content: bytes):
    def write(folder: Path) -> list[Path]:
        (folder / name).write_bytes(content)
        return [folder / name]

    return write


def empty_folder(folder: Path) -> list[Path]:
    (folder / "empty").mkdir()
    return [folder / "empty"]


BAD_IMAGES = {
    "nothing there": (lambda folder: [folder / "nothing"], "no such file or folder"),
    "no npz there": (lambda folder: [folder / "nothing.npz"], "no such file"),
    "empty folder": (empty_folder, "no images in this folder"),
    "no array of that name": (npz(pictures=np.zeros((2, 8, 8), np.uint8)), "no array 'images' .but pictures"),
    "floats": (npz(images=np.zeros((2, 8, 8))), "float64; it must be"),
    "objects": (npz(images=np.array([None, 1])), "object; it must be"),
    "flat": (npz(images=np.zeros((2, 64), np.uint8)), r"\(2, 64\) uint8; it must be"),
    "channels first": (npz(images=np.zeros((2, 3, 8, 8), np.uint8)), r"\(2, 3, 8, 8\) uint8; it must be"),
    "no images": (npz(images=np.zeros((0, 8, 8), np.uint8)), "there are no images"),
    "Fortran order": (npz(images=np.asfortranarray(np.zeros((5, 8, 8), np.uint8))), "ascontiguousarray"),
    "no zip": (file("i.npz", b"hello"), "damaged or not an .npz"),
    "empty file": (file("i.npz", b""), "damaged or not an .npz"),
    "npz and folder": (lambda folder: [folder / "a.npz", folder], "one file of arrays alone"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images_are_one_line_each(name, model_path, tmp_path):
    write, message = BAD_IMAGES[name]
    with pytest.raises(UserError, match=message) as error:
        run_predict(model_path, tmp_path / "o.csv", *write(tmp_path))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "o.csv").exists()


def test_other_bad_input(model_path, test_images, tmp_path):
    np.savez(tmp_path / "i.npz", images=test_images)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="no such file"):
        run_predict(tmp_path / "nothing.pt", tmp_path / "o.csv", tmp_path / "i.npz")
    with pytest.raises(UserError, match="damaged"):
        run_predict(tmp_path / "file", tmp_path / "o.csv", tmp_path / "i.npz")
    with pytest.raises(UserError, match="cannot create the folder"):
        run_predict(model_path, tmp_path / "file" / "o.csv", tmp_path / "i.npz")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        run_predict(model_path, tmp_path / "folder.csv", tmp_path / "i.npz")
    with pytest.raises(UserError, match="did you mean '--with_means'"):
        run_predict(model_path, tmp_path / "o.csv", tmp_path / "i.npz", flags=("--with_mean",))


def test_a_prediction_that_fails_is_not_called_a_full_disk(model_path, test_images, tmp_path, monkeypatch):
    np.savez(tmp_path / "i.npz", images=test_images)
    monkeypatch.setattr(predict, "predict", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("out of memory")))
    message = r"^100 images cannot be predicted at once \(out of memory\); use a smaller --batch_size"
    with pytest.raises(UserError, match=message):
        run_predict(model_path, tmp_path / "o.csv", tmp_path / "i.npz", flags=("--batch_size", "100"))
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize(
    ("name", "message"), [("i.npz", "one of the --images, which the table would replace"), ("a.png", "the suffix says")]
)
def test_the_table_does_not_replace_an_image(name, message, model_path, test_images, tmp_path):
    np.savez(tmp_path / "i.npz", images=test_images)
    Image.fromarray(test_images[0]).save(tmp_path / "a.png")
    before = (tmp_path / name).read_bytes()
    images = tmp_path / name if name == "i.npz" else tmp_path
    with pytest.raises(UserError, match=message):
        run_predict(model_path, tmp_path / "deeper" / ".." / name, images)
    assert (tmp_path / name).read_bytes() == before


def test_formats_of_numpy_that_are_not_known(tmp_path, monkeypatch):
    np.savez(tmp_path / "i.npz", images=np.zeros((2, 8, 8), np.uint8))
    monkeypatch.setattr(npz_images.np.lib.format, "read_magic", lambda _: (9, 0))
    with pytest.raises(UserError, match="not known"):
        open_images([str(tmp_path / "i.npz")], (1, 8, 8))


# --- other tables, and folders


def test_every_suffix_gives_the_same_table(model_path, test_images, tmp_path):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    np.savez(tmp_path / "i.npz", images=test_images[:50])
    flags = ("--with_means", "--batch_size", "20")
    for suffix in (".csv", ".json", ".npz", ".parquet", ".CSV"):
        assert run_predict(model_path, tmp_path / f"o{suffix}", tmp_path / "i.npz", flags=flags) == 0
    rows = read(tmp_path / "o.csv")
    assert rows == read(tmp_path / "o.CSV")
    others = [json.loads((tmp_path / "o.json").read_text()), pyarrow.read_table(tmp_path / "o.parquet").to_pylist()]
    with np.load(tmp_path / "o.npz", allow_pickle=False) as arrays:
        columns = {name: arrays[name] for name in arrays}
    others.append([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
    for other in others:
        assert len(other) == 50
        for row, expected in zip(other, rows, strict=True):
            assert list(row) == list(expected)
            assert str(row["image"]) == expected["image"]
            assert int(row["facet_1_cluster"]) == int(expected["facet_1_cluster"])
            assert float(row["facet_0_mean_1"]) == pytest.approx(float(expected["facet_0_mean_1"]), rel=1e-6)


@pytest.mark.parametrize("name", ["o", "o.xlsx", "o.csv.gz"])
def test_a_suffix_that_says_nothing_is_one_line(name, tmp_path):
    message = r"the suffix says how to write the table; use .csv, .json, .npz, .parquet"
    with pytest.raises(UserError, match=message):
        run_predict(tmp_path / "nothing.pt", tmp_path / name, tmp_path / "i.npz")


def test_parquet_without_pyarrow_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        UserError, match="needs the package pyarrow, which cannot be imported .*: pip install 'pyarrow'"
    ):
        run_predict(tmp_path / "nothing.pt", tmp_path / "o.parquet", tmp_path / "i.npz")


@pytest.mark.parametrize("has_links", [True, False])
def test_pictures_are_sorted_by_their_clusters(has_links, model_path, test_images, tmp_path, monkeypatch):
    """Files of one name are told apart; without links there are copies."""
    if not has_links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    for part in ("a", "b"):
        (tmp_path / "pictures" / part).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(test_images[i]).save(tmp_path / "pictures" / part / f"{i}.png")
    (tmp_path / "pictures" / "broken.png").write_text("no image")
    flags = ("--copy_into_folders", str(tmp_path / "sorted"))
    assert run_predict(model_path, tmp_path / "o.csv", tmp_path / "pictures", flags=flags) == 1
    rows = read(tmp_path / "o.csv")
    for j in range(2):
        found = sorted(path for path in (tmp_path / "sorted" / f"facet_{j}").rglob("*.png"))
        assert len(found) == len(rows) == 12
        for row in rows:
            folder = tmp_path / "sorted" / f"facet_{j}" / f"cluster_{int(row[f'facet_{j}_cluster']):02d}"
            source = Path(row["image"])
            same = [path for path in folder.glob(f"{source.stem}*.png") if path.read_bytes() == source.read_bytes()]
            assert len(same) == 2
            assert any(path.samefile(source) for path in same) == has_links
    with pytest.raises(UserError, match="sorted: is there and not empty; name a new folder"):
        run_predict(model_path, tmp_path / "o.csv", tmp_path / "pictures", flags=flags)


def test_images_of_an_npz_are_sorted_as_png(model_path, test_images, tmp_path):
    np.savez(tmp_path / "i.npz", images=test_images[:5])
    (tmp_path / "sorted").mkdir()
    flags = ("--copy_into_folders", str(tmp_path / "sorted"))
    assert run_predict(model_path, tmp_path / "o.csv", tmp_path / "i.npz", flags=flags) == 0
    for i in range(5):
        [picture] = (tmp_path / "sorted" / "facet_1").rglob(f"{i}.png")
        np.testing.assert_array_equal(np.asarray(Image.open(picture)), test_images[i])


def test_a_failed_prediction_leaves_no_folder(model_path, tmp_path):
    flags = ("--copy_into_folders", str(tmp_path / "s"))
    with pytest.raises(UserError, match="damaged"):
        run_predict(model_path, tmp_path / "o.csv", damaged_npz(tmp_path, 2_000), flags=flags)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.npz"]
