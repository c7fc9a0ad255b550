"""Arrays in files, of which that of the images is read in order; what kind of file it is, its own module knows."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from readers.arrays import ImageBatch
from readers.image_files import MAX_MEGAPIXELS
from readers.pixels import Shape, fit_image, wanted
from readers.stored import StoredArray
from utils import UserError, printable

MAX_HEADER_BYTES = 2**16
"""numpy writes longer ones only for types of very many fields."""
MAX_SMALL_BYTES = 2**30
"""What an array that is read whole may take: labels and their names."""
STEP_BYTES = 2**26
"""Pixels that are read at once; a larger image alone."""

ReadNext = Callable[[int], np.ndarray]
"""Reads the next n images of an array: (n, H, W, C) uint8."""


def reading_on(part: Callable[[int, int], np.ndarray], start: int) -> ReadNext:
    """Read on from image number `start`. part: the images from a number up to another."""
    at = start

    def read(n: int) -> np.ndarray:
        nonlocal at
        at += n
        return part(at - n, at)

    return read


class Header(NamedTuple):
    """What an array in a file is."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype
    n_bytes: int
    """Size of the header itself."""

    @property
    def claimed(self) -> int:
        """Bytes of the header and of the array that it describes."""
        return self.n_bytes + math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        """Write it as messages do."""
        return f"{self.shape} {self.dtype}"


class ArrayFile(Protocol):
    """A file, or a folder of files, that holds arrays under names."""

    @property
    def path(self) -> Path:
        """Where it is."""

    def names(self) -> list[str]:
        """Name the arrays."""

    def header(self, name: str) -> Header:
        """Say what an array is."""

    def read(self, name: str) -> np.ndarray:
        """Read a small array, whole."""

    def images(self, name: str, max_megapixels: float) -> ArrayImages:
        """Open an array of images."""


def parse_header(path: Path, name: str, start: bytes) -> Header:
    """Take the header from the start of an array as numpy saves it.

    Raises:
        UserError: it is of an unknown format.
        ValueError: it is damaged.
    """
    head = io.BytesIO(start)
    version = np.lib.format.read_magic(head)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise UserError(f"{path}: '{name}' is in a format of numpy that is not known here, {version}")
    header = Header(*read(head), head.tell())
    if any(type(side) is not int for side in header.shape):
        raise ValueError(f"its shape is {header.shape}")
    return header


def check_small(path: Path, name: str, header: Header) -> None:
    """Refuse to read an array of more than a gigabyte whole.

    Raises:
        UserError: it is one.
    """
    if (n_bytes := header.claimed - header.n_bytes) > MAX_SMALL_BYTES:
        raise UserError(
            f"{path}: '{name}' is {header} and takes {n_bytes / 2**30:,.1f} GiB, more than 1 GiB; save less"
        )


def check_there(path: Path, name: str, names: list[str]) -> None:
    """Refuse a name that no array has.

    Raises:
        UserError: it is one.
    """
    if name not in names:
        raise UserError(f"{path}: holds no array '{name}' (but {printable(', '.join(names[:5])) or 'nothing'})")


class ArrayImages:
    """An array of images in a file: (N, H, W) or (N, H, W, C) uint8 with C 1 or 3."""

    def __init__(self, path: Path, name: str, header: Header, max_megapixels: float = MAX_MEGAPIXELS):
        """Check what the header says.

        Args:
            path: the file.
            name: the array.
            header: what it is.
            max_megapixels: larger images are refused.

        Raises:
            UserError: it is not an array of images.
        """
        self.path, self.name, self.files, self.header = path, name, [path], header
        self.shape = self._checked_shape(max_megapixels)
        _, height, width, channels = self.shape
        self.image_shape: Shape = (channels, height, width)
        """What the images are brought to; their own shape unless it is set."""

    def _checked_shape(self, max_megapixels: float) -> tuple[int, int, int, int]:
        """Take (N, H, W, C) from the header of an array that can be read in order."""
        shape, found = self.header.shape, f"{self.path}: '{self.name}' is {self.header}"
        if self.header.dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
            raise UserError(f"{found}; it must be (N, H, W) or (N, H, W, C) uint8 with C 1 or 3")
        if 0 in shape:
            raise UserError(f"{found}: there are no images")
        if self.header.is_fortran and sum(side > 1 for side in shape) > 1:
            raise UserError(f"{found} in Fortran order; save np.ascontiguousarray({self.name})")
        if shape[1] * shape[2] > max_megapixels * 1e6:
            raise UserError(
                f"{found}: images of more than --max_megapixels {max_megapixels:g}; raise it, or halve them"
            )
        N, H, W, C = (*shape, 1) if len(shape) == 3 else shape
        return N, H, W, C

    @property
    def fits(self) -> bool:
        """Whether the images have the wanted shape already."""
        _, H, W, C = self.shape
        return self.image_shape == (C, H, W)

    @property
    def stored(self) -> StoredArray | None:
        """The images as they lie in the file, where they need not be unpacked, converted or resized."""
        return None

    def __len__(self) -> int:
        return self.shape[0]

    def describe(self) -> str:
        """Say how many images there are, and what is done to them."""
        _, height, width, channels = self.shape
        goal, found = wanted(self.image_shape), wanted((channels, height, width))
        done = "" if goal == found else f", converted, cropped and resized to {goal}"
        return f"{len(self):,} images of {self.path} ({found}){done}"

    def reader(self, start: int) -> AbstractContextManager[ReadNext]:
        """Open the array at image number `start`."""
        raise NotImplementedError

    def batches(self, batch_size: int, start: int = 0) -> Iterator[ImageBatch]:
        """Yield all images from `start` on, in order; what is read at once is limited in bytes.

        Raises:
            UserError: the file is damaged.
        """
        N, H, W, C = self.shape
        n_step = max(1, min(batch_size, STEP_BYTES // (H * W * C)))
        with self.reader(start) as read:
            for first in range(start, N, batch_size):
                stop = min(first + batch_size, N)
                steps = [self._fitted(read(min(n_step, stop - at))) for at in range(first, stop, n_step)]
                yield ImageBatch([str(i) for i in range(first, stop)], np.concatenate(steps))

    def _fitted(self, pixels: np.ndarray) -> np.ndarray:
        """Bring images (n, H, W, C) to the wanted shape: (n, C, H, W)."""
        if self.fits:
            return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        images = (Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image) for image in pixels)
        return np.stack([fit_image(image, self.image_shape) for image in images])
