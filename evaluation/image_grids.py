"""Grids of images: arrays in, matplotlib Figure out, laid out in whole pixels so that every image is sharp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plotting import (
    DPI,
    INK,
    MARGIN,
    MIN_WIDTH,
    MUTED,
    SMALL_SIZE,
    TEXT_SIZE,
    TITLE_SIZE,
    add_title,
    note_figure,
    plain,
    text_height,
    text_width,
    wrap_title,
)

PAD = 0.05  # inches between the parts of a grid
SEPARATOR, GROUP_SEPARATOR = 1, 5  # image pixels between cells, and between groups of cells (pairs)
IMAGES_PER_LINE = 20  # of swap_figure; more wrap
X_HAT = "x\N{COMBINING CIRCUMFLEX ACCENT}"


class Side(NamedTuple):
    """What stands along one side of a grid."""

    labels: Sequence[str]
    """Of every row or column."""
    title: str = ""
    """What they all are."""


@dataclass(frozen=True)
class Grid:
    """Rows of images with what is written beside them."""

    rows: Sequence[np.ndarray]
    """Of each row: (n_i, C, H, W) in [0, 1], C 1 or 3; a row with fewer images ends blank."""
    left: Side
    title: str
    over: Side = Side([])
    group: int = 1
    """After so many columns the gap is wider."""


def example_grid(rows: Sequence[np.ndarray], row_labels: Sequence[str], title: str) -> Figure:
    """Show a row of images per cluster. rows[i]: (n_i, C, H, W) in [0, 1]."""
    return draw(Grid(rows, Side(row_labels), title))


def reconstruction_grid(
    inputs: Sequence[np.ndarray], reconstructions: Sequence[np.ndarray], row_labels: Sequence[str], title: str
) -> Figure:
    """Show pairs per cluster, each input left of its reconstruction. inputs[i], reconstructions[i]: (n_i, C, H, W)."""
    _check_same_shapes(inputs, reconstructions)
    pairs = [  # (n, 2, C, H, W) -> (2 n, C, H, W): x_0, x_hat_0, x_1, x_hat_1, ...
        np.stack([x, x_hat], axis=1).reshape(2 * len(x), *x.shape[1:])
        for x, x_hat in zip(inputs, reconstructions, strict=True)
    ]
    n_pairs = max((len(x) for x in inputs), default=0)
    title = f"{title}\npairs of input x and reconstruction {X_HAT}"
    return draw(Grid(pairs, Side(row_labels), title, Side(["x", X_HAT] * n_pairs), group=2))


def swap_figure(
    x: np.ndarray, x_hat: np.ndarray, title: str, row_labels: tuple[str, str] = ("input", "reconstruction")
) -> Figure:
    """Show inputs x (n, C, H, W) over their (swapped) reconstructions x_hat (n, C, H, W); long lines wrap together."""
    _check_same_shapes([x], [x_hat])
    starts = range(0, max(len(x), 1), IMAGES_PER_LINE)
    lines = [images[start : start + IMAGES_PER_LINE] for start in starts for images in (x, x_hat)]
    return draw(Grid(lines, Side(row_labels * len(starts)), title))


def composition_overview(cells: np.ndarray, left: Side, over: Side, title: str) -> Figure:
    """Show cells (R, Q, C, H, W): row r is a cluster of one facet, column q a cluster of another."""
    return draw(Grid(list(cells), left, title, over))


def _check_same_shapes(inputs: Sequence[np.ndarray], reconstructions: Sequence[np.ndarray]) -> None:
    shapes, others = [x.shape for x in inputs], [x_hat.shape for x_hat in reconstructions]
    if shapes != others:
        raise ValueError(f"inputs and reconstructions must have the same shapes, got {shapes} and {others}")


# --- layout


def draw(grid: Grid) -> Figure:
    """Lay all images out as one picture on one axes, in exact sizes: a layout engine would blur it."""
    n_labels, n_rows = len(grid.left.labels), len(grid.rows)
    if n_labels != n_rows:
        raise ValueError(f"{n_rows} rows of images need as many labels, got {n_labels}")
    if n_rows == 0:
        return note_figure(grid.title, "no clusters")
    mosaic = _mosaic(grid.rows, grid.group)
    if grid.over.labels and len(grid.over.labels) != len(mosaic.lefts):
        raise ValueError(f"{len(mosaic.lefts)} columns of images need as many labels, got {len(grid.over.labels)}")
    zoom = _zoom(mosaic)
    row_size = min(TEXT_SIZE, 0.8 * zoom * (mosaic.height + SEPARATOR) * 72 / DPI)  # so that labels do not touch
    is_rotated = text_width(grid.over.labels, SMALL_SIZE) > zoom * mosaic.width / DPI
    figure, axes = _exact_axes(mosaic, zoom, _room(grid, row_size, is_rotated), grid.title)
    sharp = "none" if zoom >= 1 else "auto"  # "none" also keeps a PDF at the images' own resolution
    axes.imshow(mosaic.picture, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation=sharp)
    _write_sides(axes, grid, mosaic, row_size, 90 if is_rotated else 0)
    return figure


class _Mosaic(NamedTuple):
    """All images of a grid as one picture, and where they lie in it."""

    picture: np.ndarray  # (rows, columns) grey or (rows, columns, 3) colour, in [0, 1], white where no image is
    tops: np.ndarray  # (n_rows,) first pixel row of each row of images
    lefts: np.ndarray  # (n_columns,) first pixel column of each column of images
    height: int  # of one image
    width: int


def _mosaic(rows: Sequence[np.ndarray], group: int) -> _Mosaic:
    """Lay rows of images (n_i, C, H, W) side by side, with a wider gap after every `group` columns."""
    channels, height, width = rows[0].shape[1:]
    if channels not in (1, 3) or any(row.shape[1:] != rows[0].shape[1:] for row in rows):
        raise ValueError(f"rows must be (n, C, H, W) with C 1 or 3 and one size, got {[row.shape for row in rows]}")
    columns = np.arange(max(1, *map(len, rows)))
    tops = np.arange(len(rows)) * (height + SEPARATOR)
    lefts = columns * (width + SEPARATOR) + columns // group * (GROUP_SEPARATOR - SEPARATOR) * (group > 1)
    picture = np.ones((tops[-1] + height, lefts[-1] + width, channels), dtype=np.float32)
    for top, row in zip(tops, rows, strict=True):
        for left, image in zip(lefts, row, strict=False):
            picture[top : top + height, left : left + width] = image.transpose(1, 2, 0)  # (H, W, C)
    # A model that diverged shows as mid-grey instead of breaking the figure.
    picture = np.nan_to_num(picture, copy=False, nan=0.5, posinf=1, neginf=0).clip(0, 1)
    return _Mosaic(picture[:, :, 0] if channels == 1 else picture, tops, lefts, height, width)


def _zoom(mosaic: _Mosaic) -> float:
    """Figure pixels per image pixel: whole, so that all pixels are drawn equally wide, unless images shrink."""
    cell = 60 if len(mosaic.tops) <= 40 else 34  # figure pixels an image should take; many rows stay a viewable file
    if max(mosaic.height, mosaic.width) > 2 * cell:
        return 2 * cell / max(mosaic.height, mosaic.width)
    return max(round(cell / max(mosaic.height, mosaic.width)), int(np.ceil(16 / (mosaic.height + SEPARATOR))))


class _Room(NamedTuple):
    """Inches that texts take beside the picture."""

    left: float
    over: float


def _room(grid: Grid, row_size: float, is_rotated: bool) -> _Room:
    title_height = text_height(1, TEXT_SIZE) + PAD
    left = MARGIN + text_width(grid.left.labels, row_size) + PAD + (title_height if grid.left.title else 0)
    over = PAD + (title_height if grid.over.title else 0)
    if is_rotated:
        return _Room(left, over + text_width(grid.over.labels, SMALL_SIZE))
    return _Room(left, over + text_height(1 if grid.over.labels else 0, SMALL_SIZE))


def _exact_axes(mosaic: _Mosaic, zoom: float, room: _Room, title: str) -> tuple[Figure, Axes]:
    """Make figure and axes: the picture in whole figure pixels, room for labels, and the title."""
    grid_height, grid_width = (np.ceil(size * zoom) for size in mosaic.picture.shape[:2])  # figure pixels
    left, margin = np.ceil(room.left * DPI), np.ceil(MARGIN * DPI)
    width = max(left + grid_width + margin, MIN_WIDTH * DPI)
    title = wrap_title(title, (width - 2 * margin) / DPI)
    over = np.ceil((room.over + text_height(title.count("\n") + 1, TITLE_SIZE)) * DPI)
    height = margin + over + grid_height + margin
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((left / width, margin / height, grid_width / width, grid_height / height))
    add_title(figure, title, x=margin / width, y=1 - margin / height)
    return figure, axes


def _write_sides(axes: Axes, grid: Grid, mosaic: _Mosaic, row_size: float, rotation: float) -> None:
    """Write the labels of rows and columns, and what they are."""
    axes.set_frame_on(False)
    axes.set_yticks(mosaic.tops + (mosaic.height - 1) / 2, plain(grid.left.labels), fontsize=row_size)
    columns = mosaic.lefts[: len(grid.over.labels)] + (mosaic.width - 1) / 2
    axes.set_xticks(columns, plain(grid.over.labels), fontsize=SMALL_SIZE)
    axes.tick_params(length=0, pad=PAD * 72, labelcolor=INK, labeltop=True, labelbottom=False)
    axes.tick_params(axis="x", labelrotation=rotation)
    axes.set_ylabel(grid.left.title, fontsize=TEXT_SIZE, color=MUTED, labelpad=PAD * 72)
    axes.set_xlabel(grid.over.title, fontsize=TEXT_SIZE, color=MUTED, labelpad=PAD * 72)
    axes.xaxis.set_label_position("top")
