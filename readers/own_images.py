"""Your own images, of a folder of pictures or an .npz: what is known before their pixels are read, and all of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from config import Config
from readers.folders import list_images
from readers.image_files import ImageFiles
from readers.labels_file import LABELS_FILE, read_labels
from readers.npz_images import NpzImages, npz_arrays, npz_header, read_npz_array
from readers.pixels import Shape, is_grey
from readers.sources import check_unreadable, read_all
from readers.texts import checked_label_names
from utils import UserError, one_line, printable

log = logging.getLogger(__name__)

SPLITS = {"train", "test", "val", "valid", "validation"}
NPZ_ARRAYS = ("images", "labels", "label_names", "test_images", "test_labels")


class OwnFacts(NamedTuple):
    """What names and headers say of own images."""

    path: Path
    """Where they are."""
    image_shape: Shape
    n_images: int
    labels: dict[str, np.ndarray]
    """Label name -> (N,) whole numbers or texts; empty where there are no labels."""
    n_train: int | None = None
    """How many come first and are for training; None where that is not said."""
    names: tuple[str, ...] = ()
    """The path of each picture within the folder; empty where images have no names."""


class OwnImages(NamedTuple):
    """Own images and the facts about them."""

    facts: OwnFacts
    images: np.ndarray
    """(N, C, H, W) uint8"""


class OwnReader(NamedTuple):
    """How own images of one kind are read."""

    facts: Callable[[Config], OwnFacts]
    """States the facts from names and headers."""
    read: Callable[[Config], OwnImages]
    """Reads the pixels, too."""


# --- a folder


class _Folder(NamedTuple):
    """The pictures of a folder, not yet read."""

    path: Path
    files: ImageFiles
    labels: dict[str, np.ndarray]
    """Of all pictures."""

    def facts(self, unreadable: Sequence[str], n_channels: int) -> OwnFacts:
        """State the facts about those that can be read."""
        left_out = set(unreadable)
        kept = np.array([page.name not in left_out for page in self.files.pages])
        shape = (n_channels, *self.files.image_shape[1:])
        labels = {name: of[kept] for name, of in self.labels.items()}
        pages = [page for page in self.files.pages if page.name not in left_out]
        names = tuple(printable(os.path.relpath(page.name, self.path)) for page in pages)
        return OwnFacts(self.path, shape, len(names), labels, names=names)


def folder_facts(config: Config) -> OwnFacts:
    """State the facts about a folder of pictures from names and headers.

    Pixels are read only as far as it takes to know whether all are grey: up to the first picture in colour.

    Raises:
        UserError: as `read_folder`, but for what is damaged in the pixels.
    """
    folder = _open_folder(config)
    unreadable, all_grey = folder.files.look()
    check_unreadable(unreadable, len(folder.files), config.skip_broken)
    return folder.facts(unreadable, 1 if all_grey else 3)


def read_folder(config: Config) -> OwnImages:
    """Read the pictures of a folder; labels.csv in it says the labels, else folders within it, if any, are the classes.

    Raises:
        UserError: the folder or a picture cannot be read, labels.csv is wrong, or it is not clear whether there are
            classes.
    """
    folder = _open_folder(config)
    images, unreadable = read_all(folder.files, config.skip_broken)
    if is_grey(images):  # whatever the files say
        images = images[:, :1]
    return OwnImages(folder.facts(unreadable, images.shape[1]), images)


def _open_folder(config: Config) -> _Folder:
    """List the pictures of a folder with their labels."""
    path, side = Path(config.data_dir), config.image_size or 0
    if os.path.isfile(path):
        remedy = "use --dataset npz" if path.suffix.lower() == ".npz" else "name the folder of the pictures"
        raise UserError(f"--data_dir {path}: a file, but dataset = folder; {remedy}")
    has_labels = os.path.lexists(path / LABELS_FILE)
    if has_labels and not os.path.isfile(path / LABELS_FILE):
        raise UserError(f"{path / LABELS_FILE}: not a file; put the table of labels there, or take this away")
    files = ImageFiles(list_images(path, {LABELS_FILE}), (3, side, side), config.max_megapixels)
    places = [page.file.relative_to(path).parts for page in files.pages]
    if has_labels:
        labels = read_labels(path / LABELS_FILE, ["/".join(parts) for parts in places])
    else:
        labels = _class_folders(path, places)
    return _Folder(path, files, labels)


def _class_folders(folder: Path, places: Sequence[tuple[str, ...]]) -> dict[str, np.ndarray]:
    """Take the folders that pictures are in as their classes; there are no labels where they lie in `folder` directly.

    Args:
        folder: the folder.
        places: the parts of each picture's path within it.

    Raises:
        UserError: some lie in folders and others beside them, or the folders are splits.
    """
    beside = [parts[0] for parts in places if len(parts) == 1]
    if beside and len(beside) < len(places):
        raise UserError(
            f"{folder}: {len(beside)} images such as {beside[0]} lie beside folders with images; move them into a "
            "folder, one per class, or all images into one place, without classes"
        )
    if beside:
        return {}
    names = {parts[0] for parts in places}
    if {name.lower() for name in names} <= SPLITS:
        raise UserError(
            f"{folder}: its folders ({', '.join(sorted(names))}) are no classes but splits, and the split is made by "
            "the program; name one of them by --data_dir, or move the pictures of each class into one folder"
        )
    return {"class": np.array([printable(parts[0]) for parts in places])}


# --- an .npz


class _Npz(NamedTuple):
    """The arrays of an .npz, the images not yet read."""

    facts: OwnFacts
    parts: list[NpzImages]
    """Of the training and the test images, or of all."""


def npz_facts(config: Config) -> OwnFacts:
    """State the facts about an .npz from its headers and labels.

    Raises:
        UserError: as `read_npz`, but for what is damaged in the pixels.
    """
    return _open_npz(config).facts


def read_npz(config: Config) -> OwnImages:
    """Read the arrays of an .npz: images, and where they are there labels, label_names, test_images and test_labels.

    Raises:
        UserError: the file cannot be read, or an array is not what it should be.
    """
    npz = _open_npz(config)
    images = [read_all(part)[0] for part in npz.parts]
    return OwnImages(npz.facts, images[0] if len(images) == 1 else np.concatenate(images))


def _open_npz(config: Config) -> _Npz:
    """Read all but the pixels of an .npz, and check that the arrays go together."""
    path = _npz_file(Path(config.data_dir))
    names = npz_arrays(path)
    if unread := [name for name in names if name not in NPZ_ARRAYS]:
        said = printable(", ".join(unread))
        log.warning("%s: not read: %s; known arrays are %s", path, said, ", ".join(NPZ_ARRAYS))
    has_test = {"test_images", "test_labels"} & set(names)
    parts = [_npz_part(path, f"{prefix}images", config) for prefix in (("", "test_") if has_test else ("",))]
    first, last = parts[0], parts[-1]
    if last.image_shape != first.image_shape:
        raise UserError(
            f"{path}: 'test_images' have (C, H, W) {last.image_shape}, must be {first.image_shape} as 'images'"
        )
    labels = [_npz_labels(path, part) for part in parts]
    if labels[-1].shape[1] != labels[0].shape[1]:
        raise UserError(
            f"{path}: {labels[0].shape[1]} labels of an image and {labels[-1].shape[1]} of a test image; save 'labels' "
            "and 'test_labels' with the same columns"
        )
    whole = np.concatenate(labels)
    columns = dict(zip(_npz_label_names(path, whole), whole.T, strict=True))
    n_train = len(first) if has_test else None
    return _Npz(OwnFacts(path, first.image_shape, len(whole), columns, n_train), parts)


def _npz_part(path: Path, name: str, config: Config) -> NpzImages:
    """Open the images of a split, to be brought to image_size where it is set."""
    part = NpzImages(path, name, config.max_megapixels)
    if config.image_size:
        part.image_shape = (part.image_shape[0], config.image_size, config.image_size)
    return part


def _npz_file(path: Path) -> Path:
    """Find the .npz: the file itself, or the only one in a folder."""
    if not os.path.isdir(path):
        return path
    files = sorted(path.glob("*.npz"))
    if len(files) != 1:
        raise UserError(f"{path}: this folder holds {len(files)} .npz files; name the one to use by --data_dir")
    return files[0]


def _npz_labels(path: Path, part: NpzImages) -> np.ndarray:
    """Read the labels that go with images: (N, L) whole numbers or texts, L = 0 where there are none."""
    name, n_images = part.name.replace("images", "labels"), len(part)
    if name not in npz_arrays(path):
        return np.empty((n_images, 0), np.int64)
    header = npz_header(path, name)
    is_right = header.dtype.kind in "biuU" and len(header.shape) in (1, 2) and header.shape[0] == n_images
    if not is_right and not header.dtype.hasobject:  # objects are refused by numpy
        raise UserError(
            f"{path}: '{name}' is {header}; it must be whole numbers or texts, ({n_images},) or ({n_images}, L) for "
            f"{n_images} images"
        )
    return read_npz_array(path, name).reshape(n_images, -1)


def _npz_label_names(path: Path, labels: np.ndarray) -> list[str]:
    """Name the L columns of labels: label_names, else label, or label_0, label_1, ..."""
    L = labels.shape[1]
    if "label_names" not in npz_arrays(path):
        return ["label"] if L == 1 else [f"label_{i}" for i in range(L)]
    names = np.atleast_1d(read_npz_array(path, "label_names"))
    if names.dtype.kind != "U" or names.shape != (L,) or len(set(names)) < L or "" in names:
        raise UserError(
            f"{path}: 'label_names' is {one_line(str(names.tolist()))}; it must be {L} different texts, one per label"
        )
    return checked_label_names(names.tolist(), f"{path}: 'label_names'")


OWN_READERS = {"folder": OwnReader(folder_facts, read_folder), "npz": OwnReader(npz_facts, read_npz)}
"""What config.dataset names -> how it is read."""
