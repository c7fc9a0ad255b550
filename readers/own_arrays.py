"""Your own images in files of arrays: an .npz, a folder of .npy, an HDF5 file."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from config import Config
from readers.array_images import ArrayFile, ArrayImages
from readers.own_facts import OwnFacts, OwnImages
from readers.placing import fits, joined, place
from readers.sources import ARRAY_FILES
from readers.texts import checked_label_names
from utils import UserError, one_line, printable

log = logging.getLogger(__name__)

KNOWN_ARRAYS = ("images", "labels", "label_names", "test_images", "test_labels")
ARRAY_KINDS = {"npz": (".npz",), "npy": (".npy",), "hdf5": (".h5", ".hdf5")}
"""What config.dataset names -> suffixes of the files."""


class _Arrays(NamedTuple):
    """Arrays that go together, the images not yet read."""

    facts: OwnFacts
    parts: list[ArrayImages]
    """Of the training and the test images, or of all."""


def array_facts(kind: str, config: Config) -> OwnFacts:
    """State the facts about arrays from their headers and labels. kind: one of ARRAY_KINDS.

    Raises:
        UserError: as `read_arrays`, but for what is damaged in the pixels.
    """
    return _open_arrays(kind, config).facts


def read_arrays(kind: str, config: Config) -> OwnImages:
    """Read arrays: images, and where they are there labels, label_names, test_images and test_labels.

    Raises:
        UserError: a file cannot be read, or an array is not what it should be.
    """
    arrays = _open_arrays(kind, config)
    is_resident = fits(arrays.parts, config)
    return OwnImages(arrays.facts, joined([place(part, config, is_resident).images for part in arrays.parts]))


def _open_arrays(kind: str, config: Config) -> _Arrays:
    """Read all but the pixels, and check that the arrays go together."""
    file = _array_file(kind, Path(config.data_dir))
    path, names = file.path, file.names()
    if unread := [name for name in names if name not in KNOWN_ARRAYS]:
        said = printable(", ".join(unread))
        log.warning("%s: not read: %s; known arrays are %s", path, said, ", ".join(KNOWN_ARRAYS))
    has_test = {"test_images", "test_labels"} & set(names)
    parts = [_part(file, f"{prefix}images", config) for prefix in (("", "test_") if has_test else ("",))]
    first, last = parts[0], parts[-1]
    if last.image_shape != first.image_shape:
        raise UserError(
            f"{path}: 'test_images' have (C, H, W) {last.image_shape}, must be {first.image_shape} as 'images'"
        )
    labels = [_labels(file, part) for part in parts]
    if labels[-1].shape[1] != labels[0].shape[1]:
        raise UserError(
            f"{path}: {labels[0].shape[1]} labels of an image and {labels[-1].shape[1]} of a test image; save 'labels' "
            "and 'test_labels' with the same columns"
        )
    whole = np.concatenate(labels)
    columns = dict(zip(_label_names(file, whole), whole.T, strict=True))
    n_train = len(first) if has_test else None
    return _Arrays(OwnFacts(path, first.image_shape, len(whole), columns, n_train), parts)


def _array_file(kind: str, path: Path) -> ArrayFile:
    """Open the file itself, or the only one in a folder; .npy files are a folder of their own.

    Raises:
        UserError: nothing of that kind is there, or several files are.
    """
    suffixes = ARRAY_KINDS[kind]
    if not os.path.isdir(path):
        return ARRAY_FILES[path.suffix.lower() if path.suffix.lower() in suffixes else suffixes[0]](path)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes)
    if kind == "npy":
        return ARRAY_FILES[".npy"](path / "images.npy")
    if len(files) != 1:
        raise UserError(
            f"{path}: this folder holds {len(files)} {suffixes[0]} files; name the one to use by --data_dir"
        )
    return ARRAY_FILES[suffixes[0]](files[0])


def _part(file: ArrayFile, name: str, config: Config) -> ArrayImages:
    """Open the images of a split, to be brought to image_size where it is set."""
    part = file.images(name, config.max_megapixels)
    if config.image_size:
        part.image_shape = (part.image_shape[0], config.image_size, config.image_size)
    return part


def _labels(file: ArrayFile, part: ArrayImages) -> np.ndarray:
    """Read the labels that go with images: (N, L) whole numbers or texts, L = 0 where there are none."""
    name, n_images = part.name.replace("images", "labels"), len(part)
    if name not in file.names():
        return np.empty((n_images, 0), np.int64)
    header = file.header(name)
    is_right = header.dtype.kind in "biuU" and len(header.shape) in (1, 2) and header.shape[0] == n_images
    if not is_right and not header.dtype.hasobject:  # objects are refused by numpy
        raise UserError(
            f"{file.path}: '{name}' is {header}; it must be whole numbers or texts, ({n_images},) or ({n_images}, L) "
            f"for {n_images} images"
        )
    return file.read(name).reshape(n_images, -1)


def _label_names(file: ArrayFile, labels: np.ndarray) -> list[str]:
    """Name the L columns of labels: label_names, else label, or label_0, label_1, ..."""
    L = labels.shape[1]
    if "label_names" not in file.names():
        return ["label"] if L == 1 else [f"label_{i}" for i in range(L)]
    names = np.atleast_1d(file.read("label_names"))
    if names.dtype.kind != "U" or names.shape != (L,) or len(set(names)) < L or "" in names:
        raise UserError(
            f"{file.path}: 'label_names' is {one_line(str(names.tolist()))}; it must be {L} different texts, one per "
            "label"
        )
    return checked_label_names(names.tolist(), f"{file.path}: 'label_names'")
