"""3DShapes: what its factors are, and the configured part of 3dshapes.h5, original or rendered."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from config import FACTOR_SIZES, Config
from readers.arrays import ImageArrays, reading
from utils import UserError, check_is_file, printable

log = logging.getLogger(__name__)

ORIGINAL_MD5 = "099a2078d58cec4daad0702c55d06868"
"""Of the original 3dshapes.h5."""
FACTOR_VALUES = {
    "floor_hue": np.linspace(0, 0.9, 10),
    "wall_hue": np.linspace(0, 0.9, 10),
    "object_hue": np.linspace(0, 0.9, 10),
    "scale": np.linspace(0.75, 1.25, 8),
    "shape": np.arange(4.0),
    "orientation": np.linspace(-30, 30, 15),
}
"""The label values of 3dshapes.h5, a column per factor."""
N_VALUES = tuple(FACTOR_SIZES.values())
"""How many values each factor has."""
N_IMAGES = int(np.prod(N_VALUES))
"""Rows of 3dshapes.h5: every combination of values, the last factor changing fastest."""
SHAPE = (N_IMAGES, 64, 64, 3)
"""Of the images in 3dshapes.h5."""


def allowed_indices(config: Config, factor: str) -> list[int]:
    """List the value indices that a factor may take, ascending: all where the settings name none."""
    return sorted(config.factors_variation_dict.get(factor, range(FACTOR_SIZES[factor])))


def read_3dshapes(config: Config) -> ImageArrays:
    """Read the configured part of 3dshapes.h5, halved to 32 x 32 pixels.

    Raises:
        UserError: the file is missing, damaged, neither the original nor marked as rendered, or lacks some images.
    """
    path = Path(config.data_dir) / "Fast_3DShapes" / "raw" / "3dshapes.h5"
    remedy = (
        "put the original there (255 MB, github.com/deepmind/3d-shapes), choose another --data_dir, or render a "
        f"synthetic one: {_render_command(config, path)}"
    )
    with reading("fast_3dshapes", path, remedy):
        if not path.exists():
            raise UserError(f"fast_3dshapes: {path.absolute()} is missing; {remedy}")
        check_is_file(path)
        with h5py.File(path, "r") as file:
            grid = _allowed_grid(config)
            rows = np.ravel_multi_index(grid.T, N_VALUES)
            images = _checked_images(file, path, grid, remedy)
            is_synthetic = bool(file.attrs.get("synthetic", False))
            if is_synthetic:
                _check_rendered(stored_dataset(file, "rendered", remedy), path, rows, config)
            else:
                _check_original(path, remedy)
            source = "synthetic" if is_synthetic else "original"
            source += f" images of {path}" + (
                f" ({printable(str(file.attrs['source']))})" if "source" in file.attrs else ""
            )
            halved = _read_halved(images, rows)
    log.info("fast_3dshapes: %s", source)
    columns = [list(FACTOR_SIZES).index(factor) for factor in config.factors_label_list]
    return ImageArrays(halved.transpose(0, 3, 1, 2), grid[:, columns], source, is_synthetic=is_synthetic)


def stored_dataset(file: h5py.File, name: str, remedy: str) -> h5py.Dataset | None:
    """Find a data set that lies in the file itself; None where there is none of that name.

    Raises:
        UserError: its content is in another file, by which a file from elsewhere could show any file of this machine.
    """
    link = file.get(name, getlink=True)
    if link is None:
        return None
    found = file[name] if isinstance(link, h5py.HardLink) else None
    if isinstance(found, h5py.Group):
        return None
    if found is None or found.external or found.is_virtual:
        raise UserError(f"{file.filename}: '{name}' lies in another place or file, which is not followed; {remedy}")
    return found


def _render_command(config: Config, path: Path) -> str:
    """Write the command that renders the images of this configuration."""
    part = f" --config_args_path {config.config_args_path}" if config.config_args_path else ""
    return f"python render_3dshapes.py{part} --output {path}"


def _allowed_grid(config: Config) -> np.ndarray:
    """Combine the allowed values of all factors: (N, 6) value indices, in the file's order."""
    allowed = [allowed_indices(config, factor) for factor in FACTOR_SIZES]
    return np.stack(np.meshgrid(*allowed, indexing="ij"), axis=-1).reshape(-1, len(N_VALUES))


def _checked_images(file: h5py.File, path: Path, grid: np.ndarray, remedy: str) -> h5py.Dataset:
    """Find the images of a file whose shapes and labels are those of the original."""
    images, labels = (stored_dataset(file, name, remedy) for name in ("images", "labels"))
    if images is None or labels is None:
        raise UserError(f"fast_3dshapes: {path.absolute()} holds no images or no labels; {remedy}")
    if images.shape != SHAPE or images.dtype != np.uint8 or labels.shape != (N_IMAGES, len(N_VALUES)):
        raise UserError(
            f"fast_3dshapes: {path.absolute()} holds images {images.shape} {images.dtype} and labels {labels.shape}, "
            f"not {SHAPE} uint8 and {(N_IMAGES, len(N_VALUES))}; {remedy}"
        )
    expected = np.stack([values[grid[:, i]] for i, values in enumerate(FACTOR_VALUES.values())], axis=1)
    rows = np.ravel_multi_index(grid.T, N_VALUES)
    if not np.allclose(labels[:][rows], expected, rtol=0, atol=1e-6):  # NaN differs from everything
        raise UserError(f"fast_3dshapes: labels of {path.absolute()} are not the original's factor values; {remedy}")
    return images


def _check_rendered(rendered: h5py.Dataset | None, path: Path, rows: np.ndarray, config: Config) -> None:
    """Refuse a synthetic file that lacks some of the rows; without the marker `rendered` it has them all."""
    n_missing = 0 if rendered is None else int((rendered[:][rows] == 0).sum())
    if n_missing:
        raise UserError(
            f"fast_3dshapes: {path.absolute()} is synthetic and lacks {n_missing} of the {len(rows)} images of this "
            f"configuration; add them: {_render_command(config, path)}"
        )


def _check_original(path: Path, remedy: str) -> None:
    """Refuse a file that does not say that it is synthetic and is not the original to the last byte."""
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "md5").hexdigest()
    if found != ORIGINAL_MD5:
        raise UserError(
            f"fast_3dshapes: {path.absolute()} is not marked as synthetic, yet is not the original: its md5 is "
            f"{found}, not {ORIGINAL_MD5}; {remedy}"
        )


def _read_halved(images: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """Read ascending rows at half their size: (N, 32, 32, 3) uint8."""
    halved = np.empty((len(rows), 32, 32, 3), dtype=np.uint8)
    for at, run in contiguous_runs(rows):
        halved[at : at + len(run)] = halve(images[run[0] : run[-1] + 1])
    return halved


def contiguous_runs(rows: np.ndarray, longest: int = 4800) -> Iterator[tuple[int, np.ndarray]]:
    """Cut ascending rows into contiguous runs, which HDF5 reads at once, each with the place where it starts."""
    at = 0
    for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
        for part in np.split(run, range(longest, len(run), longest)):
            yield at, part
            at += len(part)


def halve(images: np.ndarray) -> np.ndarray:
    """Average each 2 x 2 block of images (N, 2H, 2W, C) uint8, rounded half up: (N, H, W, C)."""
    n, height, width, channels = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, channels).astype(np.uint16)
    return ((blocks.sum(axis=(2, 4), dtype=np.uint16) + 2) >> 2).astype(np.uint8)
