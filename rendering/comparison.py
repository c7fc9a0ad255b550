"""How far rendered frames are from real ones: the error of every pixel, and where the edges lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from config import FACTOR_SIZES
from readers.npz_images import npz_arrays, read_npz_array
from readers.threedshapes import FACTOR_VALUES, N_VALUES
from rendering.scene import FLOOR, OBJECT, RAYS_PER_SIDE, SIDE_PIXELS, SKY, render, trace_object, trace_room
from utils import UserError, make_folder

COLUMNS_OF_FRAMES = 3
"""In the figure."""


def compare(path: Path, figure_path: Path) -> None:
    """Print the errors of every labelled real frame and of the edges, and save some frames side by side.

    Args:
        path: .npz of real frames: images (N, 64, 64, 3) uint8 and factors (N, 6) value indices.
        figure_path: picture to write.

    Raises:
        UserError: the frames cannot be read, or are not what they should be.
    """
    real, factors = read_reference(path)
    rendered = np.stack([render(row) for row in factors])
    errors = np.abs(rendered.astype(float) - real).mean((1, 2, 3))  # (N,), of 255
    print(f"frame  {' '.join(FACTOR_SIZES)}  mean absolute error (of 255)")
    for index, (row, error) in enumerate(zip(factors, errors, strict=True)):
        print(f"{index:5d}  {' '.join(f'{value:2d}' for value in row)}  {error:5.2f}")
    print(f"all {len(errors)} frames: mean {errors.mean():.2f}, largest {errors.max():.2f} (frame {errors.argmax()})")
    _print_edges([edge_offsets(*frame) for frame in zip(real, rendered, factors, strict=True)])
    make_folder(figure_path.parent)
    comparison_figure(real, rendered, errors).savefig(figure_path)
    print(f"figure: {figure_path}")


def _print_edges(by_frame: Sequence[dict[str, list[float]]]) -> None:
    """Print how far off each kind of edge is, over all frames that show it."""
    for name in ("wall top", "horizon", "wall corner", "silhouette"):
        frames = [np.array(offsets[name]) for offsets in by_frame if name in offsets]
        if not frames:
            continue
        points, means = np.abs(np.concatenate(frames)), [np.abs(frame).mean() for frame in frames]
        print(
            f"{name}: off by {points.mean():.2f} pixels, {max(means):.2f} in the worst of {len(frames)} frames; "
            f"{100 * (points <= 1.5).mean():.1f} % of {len(points)} places within 1.5, the worst {points.max():.2f}"
        )


def read_reference(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read labelled real frames of an .npz: images (N, 64, 64, 3) uint8 and factors (N, 6) value indices.

    Raises:
        UserError: it cannot be read, or an array is not what it should be.
    """
    if missing := {"images", "factors"} - set(npz_arrays(path)):
        raise UserError(f"{path}: holds no array {' and no '.join(sorted(missing))}; it must have images and factors")
    images, factors = read_npz_array(path, "images"), read_npz_array(path, "factors")
    n = len(images) if images.ndim else 0
    are_images = n and images.shape == (n, SIDE_PIXELS, SIDE_PIXELS, 3) and images.dtype == np.uint8
    if not are_images or factors.shape != (n, len(N_VALUES)) or factors.dtype.kind not in "iu":
        raise UserError(
            f"{path}: images {images.shape} {images.dtype} must be (N, 64, 64, 3) uint8, and factors {factors.shape} "
            f"{factors.dtype} (N, 6) whole numbers"
        )
    for name, size, column in zip(FACTOR_SIZES, N_VALUES, factors.T, strict=True):
        if len(wrong := column[(column < 0) | (column >= size)]):
            raise UserError(f"{path}: factors: {name} of a frame is {wrong[0]}, must be an index from 0 to {size - 1}")
    return images, factors


# --- edges


def edge_name(part: int, other: int) -> str:
    """Name the edge between two different parts of the picture."""
    if OBJECT in (part, other):
        return "silhouette"
    if SKY in (part, other):
        return "wall top"
    return "horizon" if FLOOR in (part, other) else "wall corner"


def line_edges(real: np.ndarray, rendered: np.ndarray, parts: np.ndarray) -> Iterator[tuple[str, float]]:
    """Yield the name of each edge on a line of pixels, and how many pixels further along it lies in the real frame.

    Where two parts meet with four pixels of each around it, those eight are unmixed into the two rendered colours; the
    first one's share is the place.

    Args:
        real: (64, 3) in 0 to 255.
        rendered: (64, 3), likewise.
        parts: (64,), the part at each pixel's centre.
    """
    for at in np.flatnonzero(np.diff(parts)) + 1:
        window = slice(at - 4, at + 4)
        alone = 4 < at < SIDE_PIXELS - 4 and (parts[window] == np.repeat(parts[[at - 1, at]], 4)).all()
        if not alone:
            continue
        contrast = rendered[at - 4] - rendered[at + 3]
        if np.linalg.norm(contrast) > 60:  # else the two are too alike to be told apart under the dither
            share = (real[window] - rendered[window]) @ contrast / (contrast @ contrast)
            yield edge_name(parts[at - 1], parts[at]), float(share.sum())


def edge_offsets(real: np.ndarray, rendered: np.ndarray, factors: Sequence[int]) -> dict[str, list[float]]:
    """Measure the offsets of all edges of one frame, in pixels, by name. real, rendered: (64, 64, 3)."""
    room = trace_room(FACTOR_VALUES["orientation"][factors[5]])
    view = trace_object(room, factors[4], FACTOR_VALUES["scale"][factors[3]])
    parts = view.part.reshape(-1, SIDE_PIXELS, SIDE_PIXELS)[RAYS_PER_SIDE**2 // 2]  # (64, 64)
    rows = [real.astype(float), rendered.astype(float), parts]
    columns = [np.swapaxes(picture, 0, 1) for picture in rows]
    offsets: dict[str, list[float]] = {}
    for lines, names in ((rows, ("wall corner", "silhouette")), (columns, ("wall top", "horizon", "silhouette"))):
        for name, offset in (edge for line in zip(*lines, strict=True) for edge in line_edges(*line)):
            if name in names:  # a level edge is measured along columns only, an upright one along rows
                offsets.setdefault(name, []).append(offset)
    return offsets


# --- figure


def comparison_figure(real: np.ndarray, rendered: np.ndarray, errors: np.ndarray, n_shown: int = 12) -> Figure:
    """Draw evenly chosen frames in triples: real, rendered, difference (grey is none).

    Args:
        real: (N, 64, 64, 3).
        rendered: (N, 64, 64, 3).
        errors: (N,), to be written beside them.
        n_shown: how many of the N frames are drawn.
    """
    shown = np.linspace(0, len(real) - 1, min(n_shown, len(real))).astype(int)
    difference = np.clip(128 + 2 * (real[shown].astype(int) - rendered[shown]), 0, 255).astype(np.uint8)
    triples = np.concatenate([real[shown], rendered[shown], difference], axis=2)  # (n, 64, 192, 3)
    n_rows = -(-len(shown) // COLUMNS_OF_FRAMES)
    figure = Figure(figsize=(11, 1.36 * n_rows + 0.35), dpi=120, layout="constrained")
    figure.suptitle("real | rendered | difference, doubled", fontsize=10)
    grid = figure.subplots(n_rows, COLUMNS_OF_FRAMES, squeeze=False)
    for axes, index, picture in zip(grid.flat, shown, triples, strict=False):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(f"frame {index}: error {errors[index]:.1f} of 255", fontsize=8)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure
