"""Where images come from: files or an array, batch by batch or all at once."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from readers.array_images import ArrayFile
from readers.arrays import ImageBatch
from readers.folders import list_images
from readers.hdf5_images import Hdf5File
from readers.image_files import ImageFiles
from readers.npy_images import NpyFolder
from readers.npz_images import NpzFile
from readers.pixels import Shape, wanted
from settings.data_sets import MAX_MEGAPIXELS
from utils import UserError, printable

log = logging.getLogger(__name__)


class ImageSource(Protocol):
    """Where images come from."""

    @property
    def image_shape(self) -> Shape:
        """What they are brought to."""

    @property
    def files(self) -> Sequence[Path]:
        """What they are read from."""

    def __len__(self) -> int: ...

    def describe(self) -> str:
        """Say in one line how many images there are, and what is done to them."""

    def batches(self, batch_size: int, start: int = 0) -> Iterator[ImageBatch]:
        """Yield all images from `start` on, in order, in image_shape."""


ARRAY_FILES: dict[str, Callable[[Path], ArrayFile]] = {
    ".npz": NpzFile,
    ".npy": lambda path: NpyFolder(path.parent),
    ".h5": Hdf5File,
    ".hdf5": Hdf5File,
}
"""Suffix of files that hold arrays -> how they are opened."""


def open_images(paths: Sequence[str], image_shape: Shape, max_megapixels: float = MAX_MEGAPIXELS) -> ImageSource:
    """Open what --images names.

    Args:
        paths: a folder, images, or one file of arrays.
        image_shape: what the images are brought to.
        max_megapixels: larger images are not read.

    Raises:
        UserError: nothing is there, or a file of arrays does not hold what it should.
    """
    kinds = [ARRAY_FILES.get(Path(path).suffix.lower()) for path in paths]
    if any(kinds) and len(paths) > 1:
        raise UserError(
            f"--images {printable(' '.join(paths[:3]))}: give one file of arrays alone, or folders and images"
        )
    if kinds[0]:
        path = Path(paths[0])
        name = path.stem if path.suffix.lower() == ".npy" else "images"
        source = kinds[0](path).images(name, max_megapixels)
        source.image_shape = image_shape
        return source
    files = [file for path in paths for file in list_images(Path(path))]
    return ImageFiles(files, image_shape, max_megapixels)


def read_all(source: ImageSource, skip_broken: bool = False) -> tuple[np.ndarray, list[str]]:
    """Read all images of a source.

    Args:
        source: what to read.
        skip_broken: whether images that cannot be read are left out; they are listed in the log in any case.

    Returns images (M, C, H, W) uint8, and the names of the others.

    Raises:
        UserError: some images cannot be read and may not be left out, or the memory does not suffice.
    """
    images = _room_for(source)
    unreadable, n_read = list[str](), 0
    with tqdm(total=len(source), desc="images", unit="image", disable=None) as bar, logging_redirect_tqdm():
        for batch in source.batches(500):
            images[n_read : n_read + len(batch.names)] = batch.images
            n_read += len(batch.names)
            unreadable += batch.unreadable
            bar.update(len(batch.names) + len(batch.unreadable))
    check_unreadable(unreadable, len(source), skip_broken)
    return images[:n_read], unreadable


def check_unreadable(unreadable: Sequence[str], n_images: int, skip_broken: bool) -> None:
    """Refuse images that cannot be read, or say that they are left out.

    Raises:
        UserError: there are some, and they may not be left out; or there is no other.
    """
    if not unreadable:
        return
    found = f"{len(unreadable)} of {n_images} images cannot be read (listed above), the first is {unreadable[0]}"
    if not skip_broken or len(unreadable) == n_images:
        raise UserError(f"{found}; repair or delete them, or leave them out by --skip_broken")
    log.warning("%s; they are left out", found)


def _room_for(source: ImageSource) -> np.ndarray:
    """Make room (N, C, H, W) uint8 for images that are yet to be read.

    Raises:
        UserError: the machine has not as much memory.
    """
    shape = (len(source), *source.image_shape)
    try:
        if math.prod(shape) > _memory():
            raise MemoryError
        return np.empty(shape, np.uint8)
    except (MemoryError, ValueError):  # numpy says the latter where the size is not even a number for it
        raise UserError(
            f"{shape[0]:,} images ({wanted(source.image_shape)}) take {math.prod(shape) / 2**30:,.1f} GiB, more memory "
            "than there is; use a smaller --image_size, or fewer images"
        ) from None


def _memory() -> float:
    """Say how many bytes of memory the machine has; infinitely many where it does not tell."""
    if not hasattr(os, "sysconf"):
        return math.inf
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
