"""Arrays in an .npz, without trust in what its headers claim; nothing is ever unpickled."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from readers.array_images import (
    MAX_HEADER_BYTES,
    STEP_BYTES,
    ArrayImages,
    Header,
    ReadNext,
    check_small,
    check_there,
    parse_header,
)
from settings.data_sets import MAX_MEGAPIXELS
from utils import UserError, one_line

MAX_DEFLATION = 1032
"""No zip file that numpy writes unpacks to more than that many times its size."""


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
    check_small(path, name, npz_header(path, name))
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
        header = parse_header(path, name, member.read(MAX_HEADER_BYTES))
        _check_size(path, name, header, archive.getinfo(f"{name}.npy"))
    return header


def _check_size(path: Path, name: str, header: Header, member: zipfile.ZipInfo) -> None:
    """Refuse a header that claims another size than the archive, and an archive that claims more than it can hold."""
    if header.dtype.hasobject:  # pickled: of any size, and never read
        return
    claimed, packed = header.claimed, member.compress_size
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


class NpzImages(ArrayImages):
    """An array of images in an .npz. numpy would read it whole; here its bytes are streamed out of the zip file."""

    def __init__(self, path: Path, name: str = "images", max_megapixels: float = MAX_MEGAPIXELS):
        """Read the header, and refuse a file without such an array, or with none of images (ArrayImages)."""
        check_there(path, name, npz_arrays(path))
        super().__init__(path, name, npz_header(path, name), max_megapixels)

    @contextmanager
    def reader(self, start: int) -> Iterator[ReadNext]:
        """Open the array at image number `start`; what comes before is unpacked and forgotten."""
        N, H, W, C = self.shape
        size, at = H * W * C, start

        def read(n: int) -> np.ndarray:
            nonlocal at
            content = member.read(n * size)
            if len(content) < n * size:
                raise UserError(f"{self.path}: damaged, it ends within image {at + len(content) // size}")
            at += n
            return np.frombuffer(bytearray(content), np.uint8).reshape(n, H, W, C)  # writable, as torch wants it

        with opened_npz(self.path) as archive, archive.open(f"{self.name}.npy") as member:
            member.read(self.header.n_bytes)
            n_step = max(1, STEP_BYTES // size)
            for skipped in range(0, start, n_step):
                member.read(min(n_step, start - skipped) * size)
            yield read


class NpzFile(NamedTuple):
    """An .npz."""

    path: Path

    def names(self) -> list[str]:
        """Name the arrays."""
        return npz_arrays(self.path)

    def header(self, name: str) -> Header:
        """Say what an array is."""
        return npz_header(self.path, name)

    def read(self, name: str) -> np.ndarray:
        """Read a small array, whole."""
        return read_npz_array(self.path, name)

    def images(self, name: str, max_megapixels: float) -> NpzImages:
        """Open an array of images."""
        return NpzImages(self.path, name, max_megapixels)
