"""The file 3dshapes.h5 in the original's format: written chunk by chunk, continued where it stopped, added to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from config import FACTOR_SIZES
from readers.threedshapes import FACTOR_VALUES, N_IMAGES, N_VALUES, SHAPE, stored_dataset
from rendering.scene import colour, render_view, trace_room
from utils import UserError, make_folder, one_line

CHUNK_ROWS = N_VALUES[4] * N_VALUES[5]
"""Rows of one HDF5 chunk: all shapes and orientations of (floor, wall, object, scale)."""


def write_file(output: Path, variation: Mapping[str, Sequence[int]], overwrite: bool = False) -> int:
    """Write 3dshapes.h5 under a temporary name and rename it when whole; rows of an earlier part file stay in it.

    Args:
        output: the file.
        variation: allowed value indices per factor, {} for all.
        overwrite: whether a file that is there is replaced; otherwise the images are added to it.

    Returns the number of images that the file then holds.

    Raises:
        UserError: a factor or an index is unknown, what is at `output` is something else, or the disk is full.
    """
    wanted = wanted_rows(variation)
    if output.is_dir():
        raise UserError(f"--output {output}: a folder; name the file in it, as in {output / '3dshapes.h5'}")
    if output.exists() and not overwrite:
        present = present_rows(output)
        if not (wanted & ~present).any():
            print(f"{output} already holds these images")
            return int(present.sum())
        wanted |= present
    part = make_folder(output.parent) / f"{output.name}.part"
    try:
        with open_part(part) as file:
            write_images(file, wanted)
        part.replace(output)
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UserError(f"cannot write {output}: {reason}; the same command goes on where it stopped") from error
    return int(wanted.sum())


# --- rows


def all_labels() -> np.ndarray:
    """List the label values of every row, (480000, 6) float64: floor hue slowest, orientation fastest."""
    return np.stack(np.meshgrid(*FACTOR_VALUES.values(), indexing="ij"), axis=-1).reshape(N_IMAGES, len(N_VALUES))


def wanted_rows(variation: Mapping[str, Sequence[int]]) -> np.ndarray:
    """Mark the rows (480000,) bool that the allowed value indices per factor choose; a factor left out takes all.

    Raises:
        UserError: a factor or an index is unknown.
    """
    for factor, indices in variation.items():
        if factor not in FACTOR_SIZES:
            raise UserError(f"unknown factor {factor!r} of 3DShapes; choose from {', '.join(FACTOR_SIZES)}")
        if not indices or not set(indices) <= set(range(FACTOR_SIZES[factor])):
            raise UserError(f"{factor}: {list(indices)} must be indices from 0 to {FACTOR_SIZES[factor] - 1}")
    wanted = np.zeros(N_VALUES, dtype=bool)
    wanted[np.ix_(*(sorted(set(variation.get(factor, range(size)))) for factor, size in FACTOR_SIZES.items()))] = True
    return wanted.reshape(-1)


def present_rows(path: Path) -> np.ndarray:
    """Mark the rows (480000,) bool whose images a finished file holds; only a file of some of them has the marker.

    Raises:
        UserError: it cannot be read, or holds something else. What may be of value is not said to be replaceable.
    """
    try:
        with h5py.File(path, "r") as file:
            remedy = "move it away or choose another --output"
            images, rendered = (stored_dataset(file, name, remedy) for name in ("images", "rendered"))
            is_whole = images is not None and images.shape == SHAPE
            if not is_whole or ("rendered" in file and (rendered is None or rendered.shape != (N_IMAGES,))):
                raise UserError(f"{path} is an HDF5 file, but not one of 3DShapes; {remedy}")
            return np.ones(N_IMAGES, dtype=bool) if rendered is None else rendered[:].astype(bool)
    except BlockingIOError:
        raise UserError(_in_use(path)) from None
    except OSError as error:
        if os.access(path, os.R_OK) and not h5py.is_hdf5(path):
            raise UserError(f"{path} exists and is not an HDF5 file; --overwrite replaces it") from None
        reason = os.strerror(error.errno) if error.errno else one_line(error)
        raise UserError(f"{path} exists and cannot be read ({reason}); mend that or choose another --output") from None


def _in_use(path: Path) -> str:
    """Say that another process writes a file."""
    return f"{path} is being written by another process; wait for it or choose another --output"


# --- images


def open_part(part: Path) -> h5py.File:
    """Open the unfinished file: continued where it can be read, else begun with the original's names and types.

    Raises:
        UserError: another process writes it.
    """
    try:
        file = h5py.File(part, "r+")
        if "synthetic" in file.attrs:  # set last, when all else was there
            return file
        file.close()
    except BlockingIOError:
        raise UserError(_in_use(part)) from None
    except OSError:
        pass  # absent, or damaged when it was cut off
    file = h5py.File(part, "w")
    file.create_dataset(
        "images", SHAPE, "uint8", chunks=(CHUNK_ROWS, *SHAPE[1:]), compression="gzip", compression_opts=4
    )
    file.create_dataset("labels", data=all_labels(), chunks=(N_IMAGES // 100, len(N_VALUES)), compression="gzip")
    file.attrs["source"] = "rendered by render_3dshapes.py of MFCVAE in the original's format; not the original images"
    file.attrs["synthetic"] = True
    file.flush()
    return file


def write_images(file: h5py.File, wanted: np.ndarray) -> None:
    """Write the wanted rows, chunk by chunk; a chunk that holds exactly these pixels already is left: it resumes."""
    tables = all_tables(wanted)
    by_chunk = wanted.reshape(-1, CHUNK_ROWS)
    for done, chunk in enumerate(tqdm(np.flatnonzero(by_chunk.any(1)), desc="writing", unit="chunk")):
        images = chunk_images(tables, int(chunk), by_chunk[chunk])
        rows = slice(chunk * CHUNK_ROWS, (chunk + 1) * CHUNK_ROWS)
        try:
            is_written = np.array_equal(file["images"][rows], images)
        except OSError:  # the chunk was cut off while it was written
            is_written = False
        if not is_written:
            file["images"][rows] = images
        if done % 200 == 199:
            file.flush()
    if "rendered" in file:
        del file["rendered"]
    if not wanted.all():
        file.create_dataset("rendered", data=wanted.astype(np.uint8), chunks=(CHUNK_ROWS * 100,), compression="gzip")


def all_tables(wanted: np.ndarray) -> np.ndarray:
    """Render the tables of every view that is wanted, (8, 60, 3, 10, 64, 64, 3) uint16; the other views stay zero."""
    tables = np.zeros((N_VALUES[3], CHUNK_ROWS, 3, 10, *SHAPE[1:]), dtype=np.uint16)
    used: np.ndarray = wanted.reshape(-1, *N_VALUES[3:]).max(0)  # (8, 4, 15) bool
    for orientation in tqdm(np.flatnonzero(used.max((0, 1))), desc="tracing views", unit="angle"):
        room = trace_room(FACTOR_VALUES["orientation"][orientation])
        for scale, shape in np.argwhere(used[:, :, orientation]):
            view = render_view(room, shape, FACTOR_VALUES["scale"][scale])
            tables[scale, shape * N_VALUES[5] + orientation] = view
    return tables


def chunk_images(tables: np.ndarray, chunk: int, inside: np.ndarray) -> np.ndarray:
    """Draw the images (60, 64, 64, 3) uint8 of a chunk of rows; those outside the mask `inside` (60,) are black."""
    floor, wall, thing, scale = np.unravel_index(chunk, N_VALUES[:4])
    views = np.flatnonzero(inside)
    images = np.zeros((CHUNK_ROWS, *SHAPE[1:]), dtype=np.uint8)
    images[views] = colour(
        tables[scale, views, 0, floor], tables[scale, views, 1, wall], tables[scale, views, 2, thing]
    )
    return images
