"""Own images that cannot be trained on: one line names the file or array and what would be right."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_bad_inputs import assert_says, complaint, on_data, pictures

# --- how to write data/, flags, words that the message must have


def corrupt(data: Path) -> None:
    """Six pictures, one of which ends early and one of which is none."""
    pictures(*SIX)(data)
    os.truncate(data / "2.png", 50)
    (data / "4.png").write_text("a picture")


def archive(name: str = "a.npz", **arrays: Any) -> Callable[[Path], None]:
    """Writes an .npz of twelve images, or of the given arrays instead of some or in addition; None leaves one out."""

    def write(data: Path) -> None:
        data.mkdir(exist_ok=True)
        content = {"images": np.zeros((12, 8, 8), np.uint8)} | arrays
        np.savez(data / name, **{key: value for key, value in content.items() if value is not None})

    return write


def cut_off(data: Path) -> None:
    archive()(data)
    os.truncate(data / "a.npz", 500)


SIX = [f"{i}.png" for i in range(6)]
SMALL = ("--image_size", "8")
LADDER = ("--model_type", "conv_vlae")
TWELVE = np.arange(12)
FOLDER = {
    "no size": (pictures(*SIX), [], ["dataset = folder", "--image_size 32"]),
    "missing": (lambda _: None, SMALL, ["data: no such file or folder"]),
    "empty": (lambda data: data.mkdir(), SMALL, ["data: no images in this folder", ".png and .jpg"]),
    "no picture": (corrupt, SMALL, ["2 of 6 images cannot be read", "data/2.png", "repair or delete"]),
    "beside classes": (pictures("a/1.png", "b/2.png", "c.png"), SMALL, ["1 images such as c.png", "one per class"]),
    "splits": (
        pictures("Train/a/1.png", "val/b/2.png"),
        SMALL,
        ["data: its folders (Train, val) are no classes but splits", "name one of them by --data_dir"],
    ),
    "a file": (lambda data: data.touch(), SMALL, ["data: a file, but dataset = folder", "the folder of the pictures"]),
    "an npz": (lambda data: archive()(data), [*SMALL, "--data_dir", "{data}/a.npz"], ["a file", "use --dataset npz"]),
    "broken link": (
        lambda data: (pictures(*SIX)(data), (data / "6.png").symlink_to("none")),
        *(SMALL, ["1 of 7 images cannot be read", "data/6.png"]),
    ),
    "no picture but others": (
        lambda data: (data.mkdir(), [(data / f"a{suffix}").touch() for suffix in (".h5", ".mpg", ".wmf", ".eps")]),
        *(SMALL, ["no images in this folder"]),
    ),
    "more than the memory": (
        pictures(*SIX),
        ["--image_size", "1000000", "--images_in", "memory"],
        ["6 images (RGB, 1000000 x 1000000 pixels) take 16,763.8 GiB", "smaller --image_size"],
    ),
    "one image": (pictures("a.png"), SMALL, ["data: 0 of 1 images", "too few"]),
    "fewer than clusters": (
        pictures("1.png", "2.png", "3.png"),
        SMALL,
        ["n_clusters_j_list = [3, 3]", "the 2 training"],
    ),
    "too small": (pictures(*SIX), ["--image_size", "3", *LADDER], ["image_size = 3", "J_n_mixtures = 2", "at least 4"]),
}
NPZ = {
    "missing": (lambda _: None, [], ["data: no such file"]),
    "none": (lambda data: data.mkdir(), [], ["holds 0 .npz files", "--data_dir"]),
    "two": (lambda data: (archive()(data), archive("b.npz")(data)), [], ["holds 2 .npz files", "--data_dir"]),
    "cut off": (cut_off, [], ["a.npz: damaged"]),
    "no images": (archive(images=None, pictures=TWELVE), [], ["no array 'images'", "pictures"]),
    "floats": (archive(images=np.zeros((12, 8, 8))), [], ["'images' is (12, 8, 8) float64", "uint8"]),
    "pickled images": (archive(images=np.array([None] * 12)), [], ["'images' is (12,) object", "uint8"]),
    "pickled labels": (archive(labels=np.array([{}] * 12)), [], ["'labels' cannot be read", "allow_pickle=False"]),
    "too few labels": (archive(labels=TWELVE[1:]), [], ["'labels' is (11,) int64", "(12, L) for 12 images"]),
    "labels of floats": (archive(labels=TWELVE / 2), [], ["'labels' is (12,) float64", "whole numbers or texts"]),
    "too many names": (
        archive(labels=TWELVE, label_names=["a", "b"]),
        [],
        ["label_names", "must be 1 different texts"],
    ),
    "a name twice": (
        archive(labels=np.stack([TWELVE, TWELVE], 1), label_names=["a", "a"]),
        *([], ["['a', 'a']", "must be 2 different texts"]),
    ),
    "names without labels": (archive(label_names=["a"]), [], ["label_names", "must be 0"]),
    "test of another size": (archive(test_images=np.zeros((5, 8, 9), np.uint8)), [], ["(1, 8, 9)", "(1, 8, 8)"]),
    "test without labels": (
        archive(labels=TWELVE, test_images=np.zeros((5, 8, 8), np.uint8)),
        *([], ["1 labels of an image and 0 of a test image", "'test_labels'"]),
    ),
    "labels without test": (archive(test_labels=TWELVE), [], ["no array 'test_images'"]),
    "not square": (archive(images=np.zeros((12, 8, 9), np.uint8)), LADDER, ["square", "9 x 8", "--image_size"]),
    "too small": (archive(images=np.zeros((12, 3, 3), np.uint8)), LADDER, ["J_n_mixtures = 2", "3x3", "at most 1"]),
}


@pytest.mark.parametrize(
    ("dataset", "write", "flags", "words"),
    [(dataset, *case) for dataset, cases in (("folder", FOLDER), ("npz", NPZ)) for case in cases.values()],
    ids=[f"folder, {name}" for name in FOLDER] + [f"npz, {name}" for name in NPZ],
)
def test_own_images(tmp_path, dataset, write, flags, words):
    write(tmp_path / "data")
    flags = [flag.format(data=tmp_path / "data") for flag in flags]
    assert_says(complaint(on_data(tmp_path, dataset, *flags)), *words)
    assert not (tmp_path / "results").exists()


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    """Permission bits do not hold for root: os.listdir says what it would to others."""
    pictures("a/1.png", "b/2.png")(tmp_path / "data")
    closed, listdir = tmp_path / "data" / "b", os.listdir

    def refuse(path: Path) -> list[str]:
        if path == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    message = complaint(on_data(tmp_path, "folder", *SMALL))
    assert_says(message, f"{closed}: this folder cannot be read (Permission denied)")
