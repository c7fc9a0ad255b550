"""Arrays in an .npz, without trust in what its headers claim; nothing is ever unpickled."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from readers.arrays import ImageBatch
from readers.pixels import Shape, fit_image, wanted
from settings.data_sets import MAX_MEGAPIXELS
from utils import UserError, one_line, printable

MAX_HEADER_BYTES = 2**16
"""numpy writes longer ones only for types of very many fields."""
MAX_SMALL_BYTES = 2**30
"""What an array that is read whole may take: labels and their names."""
STEP_BYTES = 2**26
"""Pixels that are unpacked at once; a larger image alone."""
MAX_DEFLATION = 1032
"""No zip file that numpy writes unpacks to more than that many times its size."""


class Header(NamedTuple):
    """What an array in an .npz is."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype
    n_bytes: int
    """Size of the header itself."""

    def __str__(self) -> str:
        """Write it as messages do."""
        return f"{self.shape} {self.dtype}"


def npz_arrays(path: Path) -> list[str]:
    """Name the arrays in an .npz.

    Raises:
        UserError: there is no such file, or it is none.
    """
    if not os.path.isfile(path):
        raise UserError(f"{path}: no such file")
    with opened_npz(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def read_npz_array(path: Path, name: str) -> np.ndarray:
    """Read a small array of an .npz, whole.

    Raises:
        UserError: it is damaged, is too large, or holds Python objects, which would have to be unpickled.
    """
    header = npz_header(path, name)
    if (n_bytes := math.prod(header.shape) * header.dtype.itemsize) > MAX_SMALL_BYTES:
        raise UserError(
            f"{path}: '{name}' is {header} and takes {n_bytes / 2**30:,.1f} GiB, more than 1 GiB; save less"
        )
    with opened_npz(path) as archive, archive.open(f"{name}.npy") as member:
        try:
            return np.lib.format.read_array(member, allow_pickle=False)
        except ValueError as error:
            raise UserError(f"{path}: '{name}' cannot be read ({error}); save numbers or texts of one type") from None


def npz_header(path: Path, name: str) -> Header:
    """Read what an array is, and check that the file can hold as much.

    Raises:
        UserError: the header is damaged, of an unknown format, or claims what is not there.
    """
    with opened_npz(path) as archive, archive.open(f"{name}.npy") as member:
        head = io.BytesIO(member.read(MAX_HEADER_BYTES))
        version = np.lib.format.read_magic(head)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise UserError(f"{path}: '{name}' is in a format of numpy that is not known here, {version}")
        header = Header(*read(head), head.tell())
        _check_size(path, name, header, archive.getinfo(f"{name}.npy"))
    return header


def _check_size(path: Path, name: str, header: Header, member: zipfile.ZipInfo) -> None:
    """Refuse a header that claims another size than the archive, and an archive that claims more than it can hold."""
    if header.dtype.hasobject:  # pickled: of any size, and never read
        return
    claimed, packed = header.n_bytes + math.prod(header.shape) * header.dtype.itemsize, member.compress_size
    most = {zipfile.ZIP_STORED: packed, zipfile.ZIP_DEFLATED: MAX_DEFLATION * packed + 1024}
    is_held = (
        min(header.shape, default=0) >= 0
        and packed <= path.stat().st_size
        and claimed == member.file_size <= most.get(member.compress_type, claimed)
    )
    if not is_held:
        raise UserError(f"{path}: damaged, '{name}' claims to be {header}, {claimed:,} bytes, which it cannot hold")


@contextmanager
def opened_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file; what goes wrong with its content becomes a UserError.

    Raises:
        UserError: it is none, or is damaged.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged or not an .npz ({error})") from None
    with archive:
        try:
            yield archive
        except UserError:
            raise
        except Exception as error:  # zipfile, its decompressors and numpy raise errors of many kinds
            raise UserError(f"{path}: damaged ({one_line(error, 120)})") from None


class NpzImages:
    """An array of images in an .npz. numpy would read it whole; here its bytes are streamed out of the zip file."""

    def __init__(self, path: Path, name: str = "images", max_megapixels: float = MAX_MEGAPIXELS):
        """Read the header.

        Args:
            path: the .npz.
            name: the array.
            max_megapixels: larger images are refused.

        Raises:
            UserError: there is no such array, or none of images.
        """
        if name not in (names := npz_arrays(path)):
            raise UserError(f"{path}: holds no array '{name}' (but {printable(', '.join(names[:5])) or 'nothing'})")
        self.path, self.name, self.files = path, name, [path]
        self.header = npz_header(path, name)
        self.shape = self._checked_shape(max_megapixels)
        _, height, width, channels = self.shape
        self.image_shape: Shape = (channels, height, width)
        """What the images are brought to; their own shape unless it is set."""

    def _checked_shape(self, max_megapixels: float) -> tuple[int, int, int, int]:
        """Take (N, H, W, C) from the header of an array that can be streamed."""
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

    def __len__(self) -> int:
        return self.shape[0]

    def describe(self) -> str:
        """Say how many images there are, and what is done to them."""
        _, height, width, channels = self.shape
        goal, found = wanted(self.image_shape), wanted((channels, height, width))
        done = "" if goal == found else f", converted, cropped and resized to {goal}"
        return f"{len(self):,} images of {self.path} ({found}){done}"

    def batches(self, batch_size: int) -> Iterator[ImageBatch]:
        """Yield all images in order; what is unpacked at once is limited in bytes, however many images that are.

        Raises:
            UserError: the file is damaged.
        """
        N, H, W, C = self.shape
        n_step = max(1, min(batch_size, STEP_BYTES // (H * W * C)))
        with opened_npz(self.path) as archive, archive.open(f"{self.name}.npy") as member:
            member.read(self.header.n_bytes)
            for start in range(0, N, batch_size):
                stop = min(start + batch_size, N)
                steps = [self._read(member, at, min(n_step, stop - at)) for at in range(start, stop, n_step)]
                yield ImageBatch([str(i) for i in range(start, stop)], np.concatenate(steps))

    def _read(self, member: IO[bytes], at: int, n: int) -> np.ndarray:
        """Unpack n images, of which the first is number `at`, and bring them to the wanted shape: (n, C, H, W)."""
        _, H, W, C = self.shape
        content = member.read(n * H * W * C)
        if len(content) < n * H * W * C:
            raise UserError(f"{self.path}: damaged, it ends within image {at + len(content) // (H * W * C)}")
        pixels = np.frombuffer(bytearray(content), np.uint8).reshape(n, H, W, C)  # writable, as torch wants it
        if self.image_shape == (C, H, W):
            return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        images = (Image.fromarray(image[:, :, 0] if C == 1 else image) for image in pixels)
        return np.stack([fit_image(image, self.image_shape) for image in images])
