"""Own images: what is read from a folder or an .npz, and what is known of them before."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import fast_are
from PIL import Image

import datasets
import load_model
import train
from config import build_config
from datasets import load_dataset, split_class_names
from load_model import load_model_from_save_dict
from readers import image_files, placing
from utils import UserError

CPU = torch.device("cpu")
CLASSES = ("bird", "cat", "dog")
N = 30


def images(channels: int, size: int = 12) -> np.ndarray:
    """(N, size, size, channels) uint8: image i is of about the grey 8 i, so that it can be told what became of it."""
    noise = np.random.default_rng(0).integers(0, 4, (N, size, size, channels))
    return (8 * np.arange(N)[:, None, None, None] + noise).astype(np.uint8)


def write_folder(folder: Path, channels: int, suffix: str, classes: tuple[str, ...] = ()) -> Path:
    """The images as files, in a folder per class if there are classes: image i in class i modulo their number."""
    for i, image in enumerate(images(channels)):
        place = folder / classes[i % len(classes)] if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(place / f"{i:02d}{suffix}", quality=95)
    return folder


def write_npz(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def load(dataset: str, data_dir: Path, **settings) -> datasets.Dataset:
    sizes = {"n_clusters_j_list": [2, 2], "data_dir": str(data_dir)}
    return load_dataset(build_config({"dataset": dataset} | sizes | settings), CPU)


def numbers(split: datasets.Split) -> list[int]:
    """Which images of `images` these are."""
    return (split.images.float().mean(dim=(1, 2, 3)) / 8).int().tolist()


def settings(J: int, model_type: str) -> list[str]:
    """A small model of J facets that trains for two epochs, or J if that is more."""
    flags = {name: ["16"] * J for name in ("enc_backbone_dims", "dec_backbone_dims", "dec_rung_dims")}
    flags |= {name: ["1"] * J for name in ("enc_backbone_n_hidden", "dec_backbone_n_hidden", "dec_rung_n_hidden")}
    flags |= {name: ["-1"] * J for name in ("enc_rung_dims", "enc_rung_n_hidden")}
    flags |= {"encode_layer_dims": [str([[16]] * J)] if model_type.startswith("fc_per") else ["16"]}
    flags |= {"z_j_dim_list": ["2"] * J, "n_clusters_j_list": ["3"] * J, "J_n_mixtures": [str(J)]}
    flags |= {"n_epochs_per_progressive_step": ["3"] if J == 1 else ["1"] * (J - 1) + ["2"], "batch_size": ["16"]}
    flags |= {
        "model_type": [model_type],
        "do_vis_train": ["false"],
        "wandb_mode": ["disabled"],
        "device": ["cpu"],
        "seed": ["1"],
    }
    return [word for name, values in flags.items() for word in (f"--{name}", *values)]


def two_labels(folder: Path) -> Path:
    labels = np.stack([np.arange(N) % 3, np.arange(N) % 2], axis=1)
    return write_npz(folder / "two.npz", images=images(3), labels=labels, label_names=["kind", "size"])


# --- what is read


def test_class_folders_are_the_labels_and_go_with_their_images(tmp_path):
    folder = write_folder(tmp_path / "pets", 1, ".jpg", CLASSES)
    Image.open(folder / "cat" / "01.jpg").convert("RGB").save(folder / "cat" / "01.jpg", quality=95)
    data = load("folder", folder, image_size=8)
    spec = data.spec
    assert (spec.name, spec.image_shape, spec.n_train) == ("pets", (1, 8, 8), 24)  # grey, though one is stored as RGB
    assert (spec.label_names, spec.class_names, spec.n_classes) == (("class",), (CLASSES,), (3,))
    assert sorted(numbers(data.train) + numbers(data.test)) == list(range(N))
    for split in (data.train, data.test):
        assert split.labels[:, 0].tolist() == [number % 3 for number in numbers(split)]
        assert split_class_names(split, spec)["class"].tolist() == [CLASSES[i % 3] for i in numbers(split)]
    assert "30 images of" in data.source
    assert "grey, 8 x 8 pixels, class (3 classes)" in data.source


def test_a_flat_folder_has_no_labels_and_is_split_by_the_seed(tmp_path):
    folder = write_folder(tmp_path / "flat", 1, ".png")
    Image.new("RGB", (12, 12), (255, 0, 0)).save(folder / "red.png")
    first, again, other = (load("folder", folder, image_size=6, seed=seed) for seed in (3, 3, 4))
    assert (first.spec.image_shape, first.spec.label_names, first.spec.class_names) == ((3, 6, 6), (), ())
    assert first.train.labels.shape == (24, 0)
    assert torch.equal(first.train.images, again.train.images)
    assert not torch.equal(first.train.images, other.train.images)


@pytest.mark.skipif(sys.platform != "linux", reason="needs links, pipes and a file system that takes any name")
def test_linked_folders_are_followed_and_hidden_files_are_not_pictures(tmp_path):
    folder = write_folder(tmp_path / "pets", 1, ".png", CLASSES)
    (folder / "cat").rename(tmp_path / "elsewhere")
    (folder / "cat").symlink_to(tmp_path / "elsewhere")
    (folder / "dog" / "back").symlink_to(folder)
    (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "elsewhere")
    (folder / "dog" / "sister").symlink_to(folder / "bird")  # whose pictures would be dogs, too
    for hidden in ("._01.png", ".cache/01.png", "__MACOSX/01.png", "dog/__MACOSX/._02.png"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_text("no picture")
    os.mkfifo(folder / "dog" / "pipe.png")
    data = load("folder", folder, image_size=8)
    assert data.spec.class_names == (CLASSES,)
    assert sorted(numbers(data.train) + numbers(data.test)) == list(range(N))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any name")
def test_class_folders_that_are_not_utf_8_have_names_that_can_be_drawn(tmp_path):
    folder = write_folder(tmp_path / "pets", 1, ".png", CLASSES)
    os.rename(folder / "cat", os.path.join(os.fsencode(folder), b"caf\xe9"))
    data = load("folder", folder, image_size=8)
    assert data.spec.class_names == (("bird", r"caf\xe9", "dog"),)


def test_a_label_of_one_class_is_left_out(tmp_path, caplog):
    data = load("folder", write_folder(tmp_path / "one", 1, ".png", ("cat",)), image_size=6)
    assert data.spec.label_names == ()
    assert "'class' has one class only" in caplog.text


def test_pictures_of_any_size_are_cropped_to_the_centre(tmp_path):
    for i, (width, height) in enumerate([(8, 8), (30, 16), (16, 90)]):
        picture = np.zeros((height, width), np.uint8)
        side = min(width, height)
        top, left = (height - side) // 2, (width - side) // 2
        picture[top : top + side, left : left + side] = 200
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    data = load("folder", tmp_path, image_size=8, n_clusters_j_list=[1, 1])
    assert (data.train.images == 200).all()
    assert (data.test.images == 200).all()


def test_npz_with_labels_of_any_kind(tmp_path, caplog):
    labels = np.stack([np.arange(N) % 3 - 1, np.arange(N) % 5], axis=1)
    path = write_npz(tmp_path / "a.npz", images=images(3), labels=labels, label_names=["kind", "size"], other=[1])
    data = load("npz", tmp_path)
    assert (data.spec.name, data.spec.image_shape, data.spec.label_names) == (
        tmp_path.name,
        (3, 12, 12),
        ("kind", "size"),
    )
    assert data.spec.class_names == (("-1", "0", "1"), ("0", "1", "2", "3", "4"))
    for split in (data.train, data.test):
        assert split.labels.tolist() == [[number % 3, number % 5] for number in numbers(split)]
    assert "not read: other" in caplog.text
    write_npz(path, images=images(1)[..., 0], labels=np.array(CLASSES)[np.arange(N) % 3])
    data = load("npz", path, image_size=4)
    assert (data.spec.name, data.spec.image_shape) == ("a", (1, 4, 4))
    assert (data.spec.label_names, data.spec.class_names) == (("label",), (CLASSES,))


def test_other_files_in_an_npz_are_passed_over(tmp_path):
    path = write_npz(tmp_path / "a.npz", images=images(1))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels", "no array")
    assert load("npz", path).spec.label_names == ()


def test_npz_with_a_test_split_keeps_it(tmp_path):
    x, y = images(1), np.arange(N) % 3
    arrays = {"images": x[:20], "labels": y[:20], "test_images": x[20:], "test_labels": y[20:]}
    data = load("npz", write_npz(tmp_path / "a.npz", **arrays))
    assert (numbers(data.train), numbers(data.test)) == (list(range(20)), list(range(20, N)))
    assert data.test.labels[:, 0].tolist() == y[20:].tolist()
    assert data.spec.n_train == 20


def test_every_picture_that_cannot_be_read_is_listed(tmp_path, caplog):
    folder = write_folder(tmp_path / "flat", 1, ".png")
    for name in ("03.png", "17.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    with pytest.raises(UserError, match=f"2 of 30 images cannot be read .*, the first is {folder / '03.png'}; repair"):
        load("folder", folder, image_size=8)
    assert all(f"cannot read {folder / name}" in caplog.text for name in ("03.png", "17.png"))


# --- facts


def facts_of(dataset: str, data_dir: Path, **settings) -> datasets.DatasetSpec:
    sizes = {"n_clusters_j_list": [2, 2], "data_dir": str(data_dir)}
    return datasets.dataset_spec(build_config({"dataset": dataset} | sizes | settings))


def both(monkeypatch, dataset: str, data_dir: Path, **settings) -> tuple[datasets.DatasetSpec, int]:
    """The facts, which must be those of the images that are loaded, and how many pictures were read for them."""
    loaded = load(dataset, data_dir, **settings).spec
    read, original = [], image_files.picture_pixels
    monkeypatch.setattr(image_files, "picture_pixels", lambda *words: read.append(1) or original(*words))
    monkeypatch.setattr(placing, "read_all", lambda *_: pytest.fail("all images were read"))
    facts = facts_of(dataset, data_dir, **settings)
    assert dataclasses.replace(loaded, checksum=None) == facts
    return facts, len(read)


def rgb_folder(folder: Path, n_coloured: int) -> Path:
    """Pictures whose files say RGB; the last ones are coloured."""
    write_folder(folder, 1, ".png", CLASSES)
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        grey = Image.open(path)
        colour = Image.merge("RGB", [grey, grey, Image.new("L", grey.size, 7) if i >= N - n_coloured else grey])
        colour.save(path)
    return folder


FACTS = {
    "grey files": (lambda folder: write_folder(folder, 1, ".png", CLASSES), "folder", 1, 0),
    "coloured files": (lambda folder: write_folder(folder, 3, ".jpg"), "folder", 3, 1),
    "grey files that say RGB": (lambda folder: rgb_folder(folder, 0), "folder", 1, N),
    "a few coloured ones at the end": (lambda folder: rgb_folder(folder, 2), "folder", 3, N - 1),
    "npz": (lambda folder: two_labels(folder), "npz", 3, 0),
}


@pytest.mark.parametrize("name", FACTS)
def test_facts_are_known_before_the_images_are_read(name, tmp_path, monkeypatch):
    """Pixels decide where a file says RGB: up to the first picture in colour."""
    write, dataset, channels, n_read = FACTS[name]
    facts, found = both(monkeypatch, dataset, write(tmp_path / "data"), image_size=8)
    assert facts.image_shape == (channels, 8, 8)
    assert found == n_read


def test_facts_of_an_npz_with_a_test_split(tmp_path, monkeypatch):
    x, y = images(1), np.arange(N) % 3
    path = write_npz(tmp_path / "a.npz", images=x[:20], labels=y[:20], test_images=x[20:], test_labels=y[20:])
    facts, _ = both(monkeypatch, "npz", path)
    assert (facts.n_train, facts.n_test, facts.label_names) == (20, 10, ("label",))


def test_facts_leave_out_what_training_would(tmp_path, monkeypatch):
    """A label of one class once its broken pictures are gone."""
    folder = write_folder(tmp_path / "pets", 3, ".png", ("cat", "cat", "cat", "cat", "dog"))
    for path in (folder / "dog").iterdir():
        path.write_text("no picture")
    facts, _ = both(monkeypatch, "folder", folder, image_size=8, skip_broken=True)
    assert (facts.n_train, facts.n_test, facts.label_names) == (19, 5, ())


def test_a_dry_run_checks_the_images_without_reading_them(tmp_path, monkeypatch, capsys):
    folder = write_folder(tmp_path / "pets", 1, ".png", CLASSES)
    monkeypatch.setattr(placing, "read_all", lambda *_: pytest.fail("all images were read"))
    flags = ["--dataset", "folder", "--data_dir", str(folder), "--image_size", "8", "--dry_run"]
    assert train.main([*settings(2, "fc_vlae"), *flags]) == 0
    assert "24 training and 6 test images (1, 8, 8)" in capsys.readouterr().out
    with pytest.raises(UserError, match="more clusters than the 24 training images of pets"):
        train.main([*settings(2, "fc_vlae"), *flags, "--n_clusters_j_list", "25", "3"])
    (folder / "cat" / "01.png").write_text("no picture")
    with pytest.raises(UserError, match="1 of 30 images cannot be read .*01.png; repair or delete them, or leave them"):
        train.main([*settings(2, "fc_vlae"), *flags])


# --- broken pictures


def test_broken_pictures_are_left_out_if_asked(tmp_path, caplog):
    folder = write_folder(tmp_path / "pets", 1, ".png", CLASSES)
    broken = sorted(folder.rglob("*.png"))[3:6]
    for path in broken:
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match="3 of 30 images cannot be read .* leave them out by --skip_broken"):
        load("folder", folder, image_size=8)
    caplog.clear()
    data = load("folder", folder, image_size=8, skip_broken=True)
    gone = {int(path.stem) for path in broken}
    assert sorted(numbers(data.train) + numbers(data.test)) == [i for i in range(N) if i not in gone]
    assert (data.spec.n_train, data.spec.n_test) == (len(data.train), len(data.test)) == (21, 6)
    for split in (data.train, data.test):
        assert split.labels[:, 0].tolist() == [i % 3 for i in numbers(split)]
    assert all(f"cannot read {path}" in caplog.text for path in broken)
    assert f"3 of 30 images cannot be read (listed above), the first is {broken[0]}; they are left out" in caplog.text
    for path in folder.rglob("*.png"):
        path.write_text("no picture")
    with pytest.raises(UserError, match="30 of 30 images cannot be read"):
        load("folder", folder, image_size=8, skip_broken=True)


def test_large_pictures_are_read_where_the_setting_allows_it(tmp_path):
    folder = write_folder(tmp_path / "flat", 1, ".png")
    Image.new("L", (1100, 1000)).save(folder / "large.png")
    with pytest.raises(UserError, match="1 of 31 images cannot be read"):
        load("folder", folder, image_size=8, max_megapixels=1)
    assert len(load("folder", folder, image_size=8, max_megapixels=2).train) == 24


# --- names that are hard to write


NAMES = {
    "half a pair": ("\ud800 a", r"\ud800 a"),
    "control codes": ("a\x1b[31m\0b\n", r"a\x1b[31m\x00b"),
    "a path": ("../../a/b", "../../a/b"),
    "50 signs of CJK": ("\u8a9e" * 50, "\u8a9e" * 50),
}


@pytest.mark.parametrize("name", fast_are(["half a pair"], NAMES))
def test_labels_of_any_name_are_trained_with(name, tmp_path, monkeypatch):
    monkeypatch.setattr(load_model, "PROJECT", tmp_path)
    label, said = NAMES[name]
    classes = np.array([f"{label}{i}\0." for i in range(3)])[np.arange(N) % 3]
    path = write_npz(tmp_path / "a.npz", images=images(1), labels=classes, label_names=[label])
    argv = [*settings(1, "fc_vlae"), "--dataset", "npz", "--data_dir", str(path), "--image_size", "8"]
    argv += ["--n_epochs_per_progressive_step", "1", "--results_dir", str(tmp_path / "results")]
    assert train.main(argv) == 0
    spec = load_model_from_save_dict(tmp_path / "results" / "a_seed1" / "save_dict.pt")[0].spec
    assert spec.label_names == (said,)
    assert all(text.isprintable() for text in spec.class_names[0])
    assert not list(tmp_path.glob("a/*"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["x" * 300], "'label_names': the name of label 1 takes 300 bytes, more than 150"),
        (["a", "\u8a9e" * 51], "'label_names': the name of label 2 takes 153 bytes"),
        (["a", " a"], "'label_names': there are two labels 'a'"),
        (["a", " "], "'label_names': the name of label 2 is empty"),
        (["\ud800" * 300, "\ud800" * 300], "'label_names' is .*must be 2 different texts"),
    ],
)
def test_names_of_labels_that_cannot_be_used(names, message, tmp_path):
    labels = np.zeros((N, len(names)), int)
    path = write_npz(tmp_path / "a.npz", images=images(1), labels=labels, label_names=names)
    with pytest.raises(UserError, match=message) as caught:
        load("npz", path)
    assert len(str(caught.value)) < 500
    str(caught.value).encode()


def test_long_names_of_classes_stay_different(tmp_path):
    names = np.array(["y" * 300, "x" * 300 + "0", "x" * 300 + "1"])
    data = load("npz", write_npz(tmp_path / "a.npz", images=images(1), labels=names[np.arange(N) % 3]))
    assert [len(name) for name in data.spec.class_names[0]] == [104, 104, 100]
    assert len(set(data.spec.class_names[0])) == 3


@pytest.mark.parametrize("dataset", ["folder", "npz", "fast_mnist", "fast_svhn", "fast_3dshapes"])
@pytest.mark.parametrize("path", ["x" * 300, "x/" * 3000, "\ud800"])
def test_a_data_dir_that_cannot_be(dataset, path, monkeypatch):
    def no_network(*_, **__):
        raise OSError("no route to host")

    for name in ("mnist.download_and_extract_archive", "svhn.download_url"):
        monkeypatch.setattr(f"torchvision.datasets.{name}", no_network)
    with pytest.raises(UserError) as caught:
        load(dataset, Path(path), image_size=8)
    str(caught.value).encode()


def test_nul_in_a_path_of_a_yaml_file(tmp_path):
    (tmp_path / "a.yml").write_text('dataset: folder\nimage_size: 8\ndata_dir: "a\\0b"\n')
    with pytest.raises(UserError, match=r"a\\x00b: no such file or folder"):
        train.main(["--config_args_path", str(tmp_path / "a.yml")])


@pytest.mark.slow
def test_large_bright_images_train(tmp_path):
    """Adam's first step once moved the outputs of a layer over 49,152 bright pixels by 40, and then came NaN."""
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 100, (3, 128, 128, 3))
    path = write_npz(tmp_path / "large.npz", images=(255 - parts[rng.integers(0, 3, 60)]).astype(np.uint8))
    argv = ["--config_args_path", "configs/folder.yml", "--dataset", "npz", "--data_dir", str(path), "--n_epochs", "3"]
    argv += ["--dec_backbone_dims", "32", "--dec_rung_dims", "32"]
    argv += ["--batch_size", "8", "--image_size", "128", "--wandb_mode", "disabled"]
    argv += ["--do_vis_train", "false", "--do_vis_test", "false", "--do_vis_sample_generations_per_cluster", "false"]
    argv += ["--save_model", "false", "--results_dir", str(tmp_path), "--run_name", "large"]
    assert train.main(argv) == 0
    losses = [json.loads(row)["test_metric/loss"] for row in (tmp_path / "large" / "metrics.jsonl").open()]
    assert losses[-1] < losses[0] < float("inf")
