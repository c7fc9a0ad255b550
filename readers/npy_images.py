"""Arrays in files of their own, images.npy beside labels.npy, which are read where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from readers.array_images import (
    MAX_HEADER_BYTES,
    ArrayImages,
    Header,
    ReadNext,
    check_small,
    check_there,
    parse_header,
    reading_on,
)
from readers.stored import StoredArray
from utils import UserError, check_is_file, one_line


def npy_header(path: Path) -> Header:
    """Read what the array in a .npy is, and check that the file holds as much.

    Raises:
        UserError: it cannot be read, is damaged, or is shorter or longer than it claims.
    """
    check_is_file(path)
    try:
        with path.open("rb") as file:
            header = parse_header(path, path.stem, file.read(MAX_HEADER_BYTES))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged or not a .npy ({one_line(error, 120)})") from None
    n_bytes = path.stat().st_size
    if not header.dtype.hasobject and (min(header.shape, default=0) < 0 or n_bytes != header.claimed):
        raise UserError(
            f"{path}: truncated or damaged, it has {n_bytes:,} bytes, but claims to be {header}, {header.claimed:,} "
            "bytes; get it again"
        )
    return header


class NpyImages(ArrayImages):
    """An array of images in a .npy."""

    @property
    def lies(self) -> StoredArray:
        """Where the pixels are."""
        return StoredArray(self.path, self.header.n_bytes, self.shape)

    @property
    def stored(self) -> StoredArray | None:
        """The images as they lie in the file, where they need not be converted or resized."""
        return self.lies if self.fits else None

    @contextmanager
    def reader(self, start: int) -> Iterator[ReadNext]:
        """Open the array at image number `start`."""
        yield reading_on(lambda i, end: self.lies.read(np.arange(i, end)), start)


class NpyFolder(NamedTuple):
    """A folder of .npy files, an array each."""

    path: Path

    def names(self) -> list[str]:
        """Name the arrays."""
        return sorted(file.stem for file in self.path.glob("*.npy"))

    def header(self, name: str) -> Header:
        """Say what an array is."""
        check_there(self.path, name, self.names())
        return npy_header(self.path / f"{name}.npy")

    def read(self, name: str) -> np.ndarray:
        """Read a small array, whole."""
        check_small(self.path, name, self.header(name))
        try:
            return np.load(self.path / f"{name}.npy", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path / name}.npy: cannot be read ({one_line(error)}); save numbers or texts of one type"
            ) from None

    def images(self, name: str, max_megapixels: float) -> NpyImages:
        """Open an array of images."""
        return NpyImages(self.path / f"{name}.npy", name, self.header(name), max_megapixels)
