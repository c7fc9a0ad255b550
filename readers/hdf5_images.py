"""Arrays in an HDF5 file; what lies there as in memory is read without HDF5."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from readers.array_images import ArrayImages, Header, ReadNext, check_small, check_there, reading_on
from readers.stored import StoredArray
from readers.threedshapes import stored_dataset
from utils import UserError, check_is_file, one_line


@contextmanager
def opened_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file; what goes wrong with it becomes a UserError.

    Raises:
        UserError: it is none, or is damaged.
    """
    check_is_file(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except UserError:
        raise
    except Exception as error:  # h5py raises errors of many kinds
        raise UserError(f"{path}: damaged, truncated or not an HDF5 file ({one_line(error, 120)})") from None


def found_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Find an array in an open file.

    Raises:
        UserError: it is not there, or lies in another file.
    """
    dataset = stored_dataset(file, name, "copy it into this file")
    if dataset is None:
        raise UserError(f"{file.filename}: '{name}' is no array")
    return dataset


class Hdf5Images(ArrayImages):
    """An array of images in an HDF5 file."""

    @property
    def stored(self) -> StoredArray | None:
        """The images as they lie in the file, where they are in one piece and need not be converted or resized."""
        with opened_hdf5(self.path) as file:
            offset = None if file.userblock_size else found_dataset(file, self.name).id.get_offset()
        return StoredArray(self.path, offset, self.shape) if self.fits and offset is not None else None

    @contextmanager
    def reader(self, start: int) -> Iterator[ReadNext]:
        """Open the array at image number `start`."""
        with opened_hdf5(self.path) as file:
            dataset = found_dataset(file, self.name)
            yield reading_on(lambda i, end: dataset[i:end].reshape(end - i, *self.shape[1:]), start)


class Hdf5File(NamedTuple):
    """An HDF5 file."""

    path: Path

    def names(self) -> list[str]:
        """Name the arrays."""
        with opened_hdf5(self.path) as file:
            return [name for name in file if stored_dataset(file, name, "copy it into this file") is not None]

    def header(self, name: str) -> Header:
        """Say what an array is."""
        check_there(self.path, name, self.names())
        with opened_hdf5(self.path) as file:
            dataset = found_dataset(file, name)
            is_text = h5py.check_string_dtype(dataset.dtype) is not None
            return Header(dataset.shape or (), False, np.dtype("U1") if is_text else dataset.dtype, 0)

    def read(self, name: str) -> np.ndarray:
        """Read a small array, whole."""
        check_small(self.path, name, self.header(name))
        with opened_hdf5(self.path) as file:
            dataset = found_dataset(file, name)
            if h5py.check_string_dtype(dataset.dtype) is not None:
                return np.asarray(dataset.asstr()[()]).astype(str)
            if dataset.dtype.hasobject:
                raise UserError(f"{self.path}: '{name}' is {dataset.dtype}; save numbers or texts")
            return dataset[()]

    def images(self, name: str, max_megapixels: float) -> Hdf5Images:
        """Open an array of images."""
        return Hdf5Images(self.path, name, self.header(name), max_megapixels)
