"""Images that stay in their file, of which rows are read as they are asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from readers.pixels import Shape
from utils import UserError, one_line

ROWS_PER_MAP = 64
"""Images that are read through one map of the file. Systems map up to a megabyte around each of them, and count it as
memory of this process while the map lives."""


class StoredArray(NamedTuple):
    """An array of images in a file, pixel after pixel as in memory."""

    path: Path
    offset: int
    """Bytes before the first pixel."""
    shape: tuple[int, int, int, int]
    """(N, H, W, C)"""

    @property
    def end(self) -> int:
        """Bytes up to the end of the last pixel."""
        return self.offset + math.prod(self.shape)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Read some images: rows (n,) -> (n, H, W, C) uint8.

        Raises:
            UserError: the file is not there any more, or has become too short.
        """
        pixels = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for first in range(0, len(rows), ROWS_PER_MAP):
            some = slice(first, first + ROWS_PER_MAP)
            pixels[some] = self._mapped()[rows[some]]
        return pixels

    def _mapped(self) -> np.ndarray:
        """Map the file: (N, H, W, C) uint8."""
        try:
            return np.memmap(self.path, np.uint8, "r", self.offset, self.shape)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path}: cannot be read any more ({one_line(error)}); put it back, and start again"
            ) from None


class StoredImages:
    """Images (N, C, H, W) uint8 of one or several arrays in files, in any order."""

    def __init__(self, arrays: Sequence[StoredArray], rows: np.ndarray | None = None, n_channels: int | None = None):
        """Read nothing yet.

        Args:
            arrays: of one (H, W, C); their images are numbered through.
            rows: (N,) numbers of the images; None for all, in order.
            n_channels: how many of the channels are taken; None for all.
        """
        _, height, width, channels = arrays[0].shape
        self.arrays = arrays
        self.rows = np.arange(sum(array.shape[0] for array in arrays)) if rows is None else rows
        self.image_shape: Shape = (n_channels or channels, height, width)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Say (N, C, H, W), as an array does."""
        return (len(self), *self.image_shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        return math.prod(self.shape)

    def part(self, which: slice | np.ndarray) -> StoredImages:
        """Take some of the images without reading them."""
        return StoredImages(self.arrays, self.rows[which], self.image_shape[0])

    def in_memory(self) -> np.ndarray:
        """Read all of them, some thousand at a time: (N, C, H, W) uint8."""
        images = np.empty(self.shape, np.uint8)
        for first in range(0, len(self), 1000):
            images[first : first + 1000] = self[first : first + 1000]
        return images

    def __getitem__(self, which: slice | np.ndarray | Sequence[int]) -> np.ndarray:
        """Read some of the images: (B, C, H, W) uint8."""
        rows, first = self.rows[which], 0
        pixels = np.empty((len(rows), *self.arrays[0].shape[1:]), np.uint8)
        for array in self.arrays:
            inside = (rows >= first) & (rows < first + array.shape[0])
            if inside.all():
                pixels = array.read(rows - first)
            elif inside.any():
                pixels[inside] = array.read(rows[inside] - first)
            first += array.shape[0]
        return np.ascontiguousarray(pixels[..., : self.image_shape[0]].transpose(0, 3, 1, 2))
