"""Your own images, read from a folder of pictures or from an .npz: arrays in memory, and the labels that come with them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from readers.image_files import ImageFiles, NpzImages, list_images, npz_arrays, read_all, read_npz_array
from utils import UserError

log = logging.getLogger(__name__)

SPLITS = {"train", "test", "val", "valid", "validation"}
NPZ_ARRAYS = ("images", "labels", "label_names", "test_images", "test_labels")


class OwnImages(NamedTuple):
    """Images and labels as they were found."""

    images: np.ndarray
    """(N, C, H, W) uint8"""
    labels: dict[str, np.ndarray]
    """Label name -> (N,) whole numbers or texts; empty where there are no labels."""
    n_train: int | None
    """How many come first and are for training; None where that is not said."""
    path: Path
    """Where they are."""


def read_folder(folder: Path, image_size: int) -> OwnImages:
    """The pictures of a folder, of image_size x image_size pixels; folders within it, if any, are the classes.

    Raises:
        UserError: the folder or a picture cannot be read, or it is not clear whether there are classes.
    """
    if folder.is_file():
        remedy = "use --dataset npz" if folder.suffix.lower() == ".npz" else "name the folder of the pictures"
        raise UserError(f"--data_dir {folder}: a file, but dataset = folder; {remedy}")
    files = list_images(folder)
    classes = _class_folders(folder, files)
    images = read_all(ImageFiles(files, (3, image_size, image_size)))
    if all(np.array_equal(images[:, 0], images[:, channel]) for channel in (1, 2)):
        images = images[:, :1]  # grey pictures, whatever their files say
    return OwnImages(images, {} if classes is None else {"class": classes}, None, folder)


def _class_folders(folder: Path, files: list[Path]) -> np.ndarray | None:
    """(N,) names of the folders within `folder` that the files are in; None where they lie in it directly."""
    places = [file.relative_to(folder).parts for file in files]
    beside = [file for file, parts in zip(files, places, strict=True) if len(parts) == 1]
    if beside and len(beside) < len(files):
        raise UserError(
            f"{folder}: {len(beside)} images such as {beside[0].name} lie beside folders with images; move them into a "
            "folder, one per class, or all images into one place, without classes"
        )
    names = {parts[0] for parts in places}
    if not beside and {name.lower() for name in names} <= SPLITS:
        raise UserError(
            f"{folder}: its folders ({', '.join(sorted(names))}) are no classes but splits, and the split is made by the "
            "program; name one of them by --data_dir, or move the pictures of each class into one folder"
        )
    return None if beside else np.array([_printable(parts[0]) for parts in places])


def _printable(name: str) -> str:
    """The name of a file as text: what is not UTF-8 in it cannot be drawn."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_npz(path: Path, image_size: int | None) -> OwnImages:
    """The arrays of an .npz: images, and where they are there labels, label_names, test_images and test_labels.

    Raises:
        UserError: the file cannot be read, or an array is not what it should be.
    """
    path = _npz_file(path)
    names = npz_arrays(path)
    unread = [name for name in names if name not in NPZ_ARRAYS]
    if unread:
        log.warning("%s: not read: %s; known arrays are %s", path, ", ".join(unread), ", ".join(NPZ_ARRAYS))
    images, labels = _npz_split(path, image_size, names)
    n_train = None
    if {"test_images", "test_labels"} & set(names):
        n_train = len(images)
        test_images, test_labels = _npz_split(path, image_size, names, "test_")
        if test_images.shape[1:] != images.shape[1:]:
            raise UserError(
                f"{path}: 'test_images' have (C, H, W) {test_images.shape[1:]}, must be {images.shape[1:]} as 'images'"
            )
        if test_labels.shape[1] != labels.shape[1]:
            raise UserError(
                f"{path}: {labels.shape[1]} labels of an image and {test_labels.shape[1]} of a test image; save 'labels' "
                "and 'test_labels' with the same columns"
            )
        images, labels = np.concatenate([images, test_images]), np.concatenate([labels, test_labels])
    columns = zip(_npz_label_names(path, labels), labels.T, strict=True)
    return OwnImages(images, dict(columns), n_train, path)


def _npz_split(path: Path, image_size: int | None, names: list[str], prefix: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Images (N, C, H, W) uint8, of image_size where it is set, and labels (N, L), L = 0 where there are none."""
    source = NpzImages(path, name=f"{prefix}images")
    if image_size:
        source.image_shape = (source.image_shape[0], image_size, image_size)
    images = read_all(source)
    name = f"{prefix}labels"
    return images, _npz_labels(path, name, len(images)) if name in names else np.empty((len(images), 0), np.int64)


def _npz_file(path: Path) -> Path:
    """The file itself, or the only .npz in a folder."""
    if not path.is_dir():
        return path
    files = sorted(path.glob("*.npz"))
    if len(files) != 1:
        raise UserError(f"{path}: this folder holds {len(files)} .npz files; name the one to use by --data_dir")
    return files[0]


def _npz_labels(path: Path, name: str, n_images: int) -> np.ndarray:
    """(N, L) whole numbers or texts."""
    labels = read_npz_array(path, name)
    if labels.dtype.kind not in "biuU" or labels.ndim not in (1, 2) or len(labels) != n_images:
        raise UserError(
            f"{path}: '{name}' is {labels.shape} {labels.dtype}; it must be whole numbers or texts, ({n_images},) or "
            f"({n_images}, L) for {n_images} images"
        )
    return labels.reshape(n_images, -1)


def _npz_label_names(path: Path, labels: np.ndarray) -> list[str]:
    """The names of the L columns of labels: label_names, else label, or label_0, label_1, ..."""
    L = labels.shape[1]
    if "label_names" not in npz_arrays(path):
        return ["label"] if L == 1 else [f"label_{i}" for i in range(L)]
    names = np.atleast_1d(read_npz_array(path, "label_names"))
    if names.dtype.kind != "U" or names.shape != (L,) or len(set(names)) < L or "" in names:
        raise UserError(f"{path}: 'label_names' is {names.tolist()}; it must be {L} different texts, one per label")
    return names.tolist()


OWN_READERS: dict[str, Callable[[Path, int | None], OwnImages]] = {"folder": read_folder, "npz": read_npz}
