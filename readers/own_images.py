"""Your own images, of a folder of pictures or files of arrays: what is known before their pixels are read, and all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from config import Config
from readers.folders import list_images
from readers.image_files import ImageFiles
from readers.labels_file import LABELS_FILE, read_labels
from readers.own_arrays import ARRAY_KINDS, array_facts, read_arrays
from readers.own_facts import OwnFacts, OwnImages
from readers.placing import fits, place
from readers.sources import check_unreadable
from utils import UserError, printable

SPLITS = {"train", "test", "val", "valid", "validation"}


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
    images, unreadable = place(folder.files, config, fits([folder.files], config), is_grey_dropped=True)
    return OwnImages(folder.facts(unreadable, images.shape[1]), images)


def _open_folder(config: Config) -> _Folder:
    """List the pictures of a folder with their labels."""
    path, side = Path(config.data_dir), config.image_size or 0
    if os.path.isfile(path):
        kind = next((kind for kind, suffixes in ARRAY_KINDS.items() if path.suffix.lower() in suffixes), None)
        remedy = f"use --dataset {kind}" if kind else "name the folder of the pictures"
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


OWN_READERS = {
    "folder": OwnReader(folder_facts, read_folder),
    **{kind: OwnReader(partial(array_facts, kind), partial(read_arrays, kind)) for kind in ARRAY_KINDS},
}
"""What config.dataset names -> how it is read."""
