"""Images that do not fit into memory: decoded once, read by batch, and the same numbers to the bit."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from test_train import NO_FIGURES, SMALL, metrics_of

import train
from config import build_config
from datasets import Dataset, load_dataset
from factorial import clustering
from initialisation import images_to_fit
from readers import image_cache, image_files, placing
from readers.disk_images import DiskImages
from readers.image_files import ImageFiles
from utils import UserError, unsealed

CPU = torch.device("cpu")
N = 30
COLOURED = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), np.uint8)


def load(dataset: str, data_dir: Path, **settings) -> Dataset:
    sizes = {"n_clusters_j_list": [2, 2], "data_dir": str(data_dir), "results_dir": str(data_dir.parent / "results")}
    return load_dataset(build_config({"dataset": dataset, "image_size": None} | sizes | settings), CPU)


def pixels_of(data: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    """The images of both splits, wherever they are."""
    return tuple(split.images[torch.arange(len(split))] for split in (data.train, data.test))


def assert_same(one: Dataset, other: Dataset) -> None:
    """The same images, labels and facts, the checksum among them."""
    assert all(map(torch.equal, pixels_of(one), pixels_of(other)))
    assert torch.equal(one.train.labels, other.train.labels)
    assert one.spec == other.spec


def write_pictures(folder: Path, images: np.ndarray = COLOURED) -> Path:
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image.squeeze()).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """scikit-learn's digits as .npy, as a chunked HDF5 file, and in one piece of another."""
    folder, data = tmp_path_factory.mktemp("digits"), load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", data.target)
    for name, layout in (("packed", {"chunks": (100, 8, 8), "compression": "gzip"}), ("plain", {})):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file.create_dataset("images", data=images, **layout)
            file["labels"] = data.target
    return folder


# --- the same numbers


def run_digits(results: Path, *flags: str) -> list[dict]:
    """A small run on the digits, from a factorial start."""
    led = [
        "--init_type_p_z_c",
        "factorial",
        "--guide_weight",
        "0.5",
        "--do_progressive_training",
        "false",
        "--n_epochs",
        "3",
    ]
    argv = [*SMALL, *NO_FIGURES, "--results_dir", str(results), "--run_name", "run", *led, *flags]
    assert train.main(argv) == 0
    return metrics_of(results / "run")


def as_published(rows: list[dict]) -> list[dict]:
    """Metrics under the names of the published digits, which have no scores of uneven classes."""
    return [
        {k.replace("label_label", "label_digit"): v for k, v in row.items() if "weighted_acc" not in k} for row in rows
    ]


@pytest.mark.slow
def test_the_digits_give_the_same_metrics_to_the_bit_in_memory_and_from_disk(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(clustering, "N_STARTS", 1)
    monkeypatch.setattr(clustering, "N_KEPT", 1)
    published = run_digits(tmp_path / "published")
    resident = run_digits(tmp_path / "a", "--dataset", "npy", "--data_dir", str(digits))
    on_disk = run_digits(tmp_path / "b", "--dataset", "npy", "--data_dir", str(digits), "--images_in", "disk")
    assert on_disk == resident
    assert as_published(on_disk) == as_published(published)
    flags = ["--dataset", "hdf5", "--data_dir", str(digits / "packed.h5"), "--images_in", "disk"]
    assert run_digits(tmp_path / "c", *flags) == resident
    states = [torch.load(tmp_path / name / "run" / "checkpoint.pt", weights_only=True) for name in "abc"]
    for state in states[1:]:
        assert all(torch.equal(state["model"][key], states[0]["model"][key]) for key in state["model"])
        assert state["data_facts"] == states[0]["data_facts"]


@pytest.mark.slow
def test_a_run_goes_on_where_its_images_lie_elsewhere_with_mixtures_and_figures(digits, tmp_path, capsys):
    few = ["--n_clusters_j_list", "3", "2", "--do_vis_train", "false", "--n_epochs_per_progressive_step", "1", "1"]
    few += ["--do_vis_conf_mat", "false", "--do_vis_n_samples_per_cluster", "false", "--do_vis_pi", "false"]
    flags = [*few, "--results_dir", str(tmp_path), "--run_name", "run", "--dataset", "npy", "--data_dir", str(digits)]
    assert train.main([*SMALL, *flags, "--images_in", "disk"]) == 0
    rows = metrics_of(tmp_path / "run")
    assert train.main([*SMALL, *flags, "--images_in", "memory", "--overwrite"]) == 0
    assert metrics_of(tmp_path / "run") == rows
    assert train.main([*SMALL, *flags, "--images_in", "disk"]) == 0
    assert "already finished" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["npy", "packed.h5", "plain.h5"])
def test_arrays_on_disk_are_those_in_memory(digits, tmp_path, kind):
    dataset, path = ("npy", digits) if kind == "npy" else ("hdf5", digits / kind)
    placed = {"cache_dir": str(tmp_path), "n_clusters_j_list": [2, 2]}
    on_disk = load(dataset, path, images_in="disk", **placed)
    assert isinstance(on_disk.train.images, DiskImages)
    assert_same(on_disk, load(dataset, path, images_in="memory"))
    assert (len(list(tmp_path.iterdir())) == 1) == (kind == "packed.h5")  # the others lie as they are read
    assert_same(load(dataset, path, images_in="disk", image_size=4, **placed), load(dataset, path, image_size=4))


def test_a_test_split_of_its_own_stays_one_on_disk(tmp_path):
    for name, part in (("images", slice(20)), ("test_images", slice(20, None))):
        np.save(tmp_path / f"{name}.npy", COLOURED[part])
    on_disk, resident = (load("npy", tmp_path, images_in=place) for place in ("disk", "memory"))
    assert_same(on_disk, resident)
    assert len(on_disk.train) == 20
    assert torch.equal(pixels_of(on_disk)[1], torch.from_numpy(COLOURED[20:]).permute(0, 3, 1, 2))


def test_what_does_not_fit_goes_to_disk(tmp_path, monkeypatch):
    np.save(tmp_path / "images.npy", COLOURED)
    monkeypatch.setattr(placing, "free_memory", lambda: 2 * COLOURED.nbytes)
    assert isinstance(load("npy", tmp_path).train.images, torch.Tensor)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert isinstance(load("npy", tmp_path).train.images, DiskImages)


def test_mixtures_are_fitted_to_a_sample_of_many_images(digits, monkeypatch):
    monkeypatch.setattr("initialisation.MAX_FITTED", 100)
    on_disk, resident = (load("npy", digits, images_in=place).train.images for place in ("disk", "memory"))
    sample = images_to_fit(on_disk, 3)
    assert isinstance(sample, DiskImages)
    assert torch.equal(sample[torch.arange(100)], images_to_fit(resident, 3))
    assert not torch.equal(images_to_fit(resident, 4), images_to_fit(resident, 3))
    assert images_to_fit(resident[:100], 3) is not None and len(images_to_fit(resident[:100], 3)) == 100


# --- a folder, decoded once


@pytest.fixture
def decoded(monkeypatch) -> Iterator[list[int]]:
    """A list that grows by 1 for every picture that is decoded; three at a time are."""
    read, original = [], image_files.picture_pixels
    monkeypatch.setattr(image_files, "picture_pixels", lambda *words: read.append(1) or original(*words))
    monkeypatch.setattr(image_cache, "MAX_STEP", 3)
    return read


def test_a_folder_is_decoded_once(tmp_path, decoded):
    folder = write_pictures(tmp_path / "pictures")
    resident = load("folder", folder, image_size=8)
    decoded.clear()
    on_disk = load("folder", folder, image_size=8, images_in="disk")
    assert len(decoded) == N
    assert_same(on_disk, resident)
    assert_same(load("folder", folder, image_size=8, images_in="disk"), resident)
    assert_same(load("folder", folder, image_size=8, cache_dir=str(tmp_path / "results" / "image_cache")), resident)
    assert len(decoded) == N
    load("folder", folder, image_size=4, images_in="disk")
    os.utime(folder / "03.png", (1, 1))
    load("folder", folder, image_size=8, images_in="disk")
    assert len(decoded) == 3 * N
    cache = min((tmp_path / "results" / "image_cache").iterdir())
    assert isinstance(load("npy", cache).train.images, torch.Tensor)  # what is in a cache is an array like others


def test_grey_pictures_have_one_channel_on_disk(tmp_path):
    folder = write_pictures(tmp_path / "grey", np.repeat(COLOURED[..., :1], 3, axis=3))
    on_disk = load("folder", folder, image_size=8, images_in="disk")
    assert on_disk.spec.image_shape == (1, 8, 8)
    assert_same(on_disk, load("folder", folder, image_size=8))


def test_broken_files_are_listed_and_left_out_of_the_cache_too(tmp_path, caplog, decoded):
    folder = write_pictures(tmp_path / "pictures")
    for name in ("03.png", "17.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    for _ in range(2):
        caplog.clear()
        with pytest.raises(UserError, match=r"2 of 30 images cannot be read .*03.png; repair"):
            load("folder", folder, image_size=8, images_in="disk")
        assert "17.png" in caplog.text
    on_disk = load("folder", folder, image_size=8, images_in="disk", skip_broken=True)
    assert_same(on_disk, load("folder", folder, image_size=8, skip_broken=True))
    assert len(on_disk.train) + len(on_disk.test) == N - 2
    decoded.clear()
    flags = {"image_size": 8, "images_in": "disk", "skip_broken": True}
    said_otherwise = load("folder", folder / ".." / "pictures", **flags, results_dir=str(tmp_path / "results"))
    assert decoded == []
    assert_same(said_otherwise, on_disk)


def stop_after(monkeypatch: pytest.MonkeyPatch, n: int, reason: BaseException) -> None:
    """Let n batches be read, then raise."""
    batches = ImageFiles.batches

    def stopping(self, *words):
        for i, batch in enumerate(batches(self, *words)):
            if i == n:
                raise reason
            yield batch

    monkeypatch.setattr(ImageFiles, "batches", stopping)


def test_an_interrupted_first_use_goes_on(tmp_path, monkeypatch, decoded):
    folder = write_pictures(tmp_path / "pictures")
    (folder / "01.png").write_bytes(b"broken")
    with monkeypatch.context() as patched:
        stop_after(patched, 4, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            load("folder", folder, image_size=8, images_in="disk")
    [cache] = (tmp_path / "results" / "image_cache").iterdir()
    with (cache / "images.npy").open("ab") as file:
        file.write(b"half an image")  # as a kill between writing and noting leaves it
    decoded.clear()
    on_disk = load("folder", folder, image_size=8, images_in="disk", skip_broken=True)
    assert len(decoded) == N - 4 * 3
    assert_same(on_disk, load("folder", folder, image_size=8, skip_broken=True))
    assert np.load(cache / "images.npy").shape == (N - 1, 8, 8, 3)


# --- bad input


@pytest.fixture
def cache(tmp_path) -> Path:
    """The cache of a folder of pictures."""
    load("folder", write_pictures(tmp_path / "pictures"), image_size=8, images_in="disk")
    [cache] = (tmp_path / "results" / "image_cache").iterdir()
    return cache


def complaint(cache: Path) -> str:
    """What is said about the images of a cache."""
    with pytest.raises(UserError) as caught:
        load("folder", cache.parent.parent.parent / "pictures", image_size=8, images_in="disk")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_cache_of_other_images(cache):
    state = unsealed((cache / "state.json").read_text())
    (cache / "state.json").write_text(json.dumps(state | {"key": "0"}))
    assert "a cache of other images; delete this folder, and it is made again" in complaint(cache)


@pytest.mark.parametrize("content", ["", "[]", '{"key": 1, "strange": 2}', '{"key": "0", "n_read": -1}'])
def test_a_damaged_note(cache, content):
    (cache / "state.json").write_text(content)
    assert "its state.json is damaged; delete this folder" in complaint(cache)


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_truncated_cache(cache, is_whole):
    state = unsealed((cache / "state.json").read_text())
    (cache / "state.json").write_text(json.dumps(state | {"is_whole": is_whole}))
    os.truncate(cache / "images.npy", 1000)
    assert "truncated or damaged, it is 1,000 bytes, not 5,888; delete its folder" in complaint(cache)


def test_a_disk_that_becomes_full(cache, monkeypatch):
    (cache / "state.json").unlink()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "images.npy: No space left on device; free some space and give the same command again" in complaint(cache)


def test_a_disk_that_is_too_small(cache, monkeypatch):
    (cache / "state.json").unlink()
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5000}))
    message = complaint(cache)
    assert "30 images (" in message
    assert "pixels) take 0.0 GiB, and the disk has 0.0 GiB free; free some space" in message


BAD_ARRAYS = {
    "no images": (lambda path: (path / "images.npy").unlink(), "holds no array 'images'"),
    "truncated": (lambda path: os.truncate(path / "images.npy", 5000), "truncated or damaged, it has 5,000 bytes"),
    "no array": (lambda path: (path / "images.npy").write_bytes(b"no array"), "damaged or not a .npy"),
    "fractions": (lambda path: np.save(path / "images.npy", COLOURED / 255), "float64; it must be"),
    "too few labels": (
        lambda path: np.save(path / "labels.npy", np.arange(7)),
        r"'labels' is \(7,\) int64; it must be",
    ),
    "objects": (
        lambda path: np.save(path / "labels.npy", np.array([{}] * N)),
        "cannot be read .*save numbers or texts",
    ),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_npy_files_that_will_not_do(tmp_path, name):
    np.save(tmp_path / "images.npy", COLOURED)
    damage, message = BAD_ARRAYS[name]
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        load("npy", tmp_path)


def test_hdf5_files_that_will_not_do(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(UserError, match=r"a.h5: damaged, truncated or not an HDF5 file"):
        load("hdf5", path)
    with h5py.File(path, "w") as file:
        file["pictures"] = COLOURED
    with pytest.raises(UserError, match=r"holds no array 'images' \(but pictures\)"):
        load("hdf5", tmp_path)
    with h5py.File(path, "w") as file:
        file["images"] = h5py.ExternalLink("b.h5", "images")
    with pytest.raises(UserError, match="'images' lies in another place or file, which is not followed"):
        load("hdf5", path)


def test_a_file_that_shrinks_while_it_is_used(tmp_path):
    np.save(tmp_path / "images.npy", COLOURED)
    data = load("npy", tmp_path, images_in="disk")
    os.truncate(tmp_path / "images.npy", 1000)
    with pytest.raises(UserError, match="images.npy: cannot be read any more"):
        list(data.train.images.split(4))
