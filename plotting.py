"""Figures: numpy arrays in, matplotlib Figure out. Nothing about the model is computed here.

Figures are matplotlib.figure.Figure objects, never pyplot's: no global list keeps them alive, no display is needed
and threads share no state. The style is set on the objects instead of in rcParams, so nobody else's figures change.
"""

import re
import textwrap
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.transforms import Affine2DBase

from utils import write_atomically

DPI = 150  # of every figure; image grids are laid out in whole pixels of it
INK, MUTED, RULE = "#262626", "#757575", "#dddddd"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's palette
DASHES = ("-", "--", ":", "-.")  # the next one each time the colours run out
COLOUR_MAP = "cividis"
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 10, 8, 7  # points
LINE_HEIGHT = 1.35  # of a line of text, in font sizes
MARGIN, PAD = 0.12, 0.05  # inches around an image grid, and between its parts
MIN_GRID_WIDTH = 3.6  # inches: room for the title over a narrow grid
SEPARATOR, GROUP_SEPARATOR = 1, 5  # image pixels between cells, and between groups of cells (pairs)
IMAGES_PER_LINE = 20  # of swap_figure; more wrap
MAX_LISTED_SEEDS = 12  # of seed_stability's legend
X_HAT = "x\N{COMBINING CIRCUMFLEX ACCENT}"
_rc_lock = threading.Lock()


# ---------------------------------------------------------------------------------------------- grids of images


def example_grid(
    rows: list[np.ndarray], row_labels: list[str], title: str, column_labels: list[str] | None = None
) -> Figure:
    """A row of images per cluster. rows[i]: (n_i, C, H, W) in [0, 1], C 1 or 3; a row with fewer images ends blank."""
    return _image_grid(rows, row_labels, title, column_labels)


def reconstruction_grid(
    inputs: list[np.ndarray], reconstructions: list[np.ndarray], row_labels: list[str], title: str
) -> Figure:
    """Pairs per cluster, each input left of its reconstruction. inputs[i], reconstructions[i]: (n_i, C, H, W)."""
    _check_same_shapes(inputs, reconstructions)
    pairs = [  # (n, 2, C, H, W) -> (2 n, C, H, W): x_0, x_hat_0, x_1, x_hat_1, ...
        np.stack([x, x_hat], axis=1).reshape(2 * len(x), *x.shape[1:])
        for x, x_hat in zip(inputs, reconstructions, strict=True)
    ]
    n_pairs = max((len(x) for x in inputs), default=0)
    title = f"{title}\npairs of input x and reconstruction {X_HAT}"
    return _image_grid(pairs, row_labels, title, ["x", X_HAT] * n_pairs, group=2)


def swap_figure(
    x: np.ndarray, x_hat: np.ndarray, title: str, row_labels: tuple[str, str] = ("input", "reconstruction")
) -> Figure:
    """Inputs x (n, C, H, W) over their (swapped) reconstructions x_hat (n, C, H, W); long lines wrap together."""
    _check_same_shapes([x], [x_hat])
    starts = range(0, max(len(x), 1), IMAGES_PER_LINE)
    lines = [images[start : start + IMAGES_PER_LINE] for start in starts for images in (x, x_hat)]
    return _image_grid(lines, list(row_labels) * len(starts), title)


def composition_overview(
    cells: np.ndarray, row_labels: list[str], column_labels: list[str], title: str, row_title: str, column_title: str
) -> Figure:
    """cells (R, Q, C, H, W): row r is a cluster of one facet, column q a cluster of another."""
    titles = {"row_title": row_title, "column_title": column_title}
    return _image_grid(list(cells), row_labels, title, column_labels, **titles)


def _check_same_shapes(inputs: list[np.ndarray], reconstructions: list[np.ndarray]) -> None:
    shapes, others = [x.shape for x in inputs], [x_hat.shape for x_hat in reconstructions]
    if shapes != others:
        raise ValueError(f"inputs and reconstructions must have the same shapes, got {shapes} and {others}")


class _Mosaic(NamedTuple):
    """All images of a grid as one picture, and where they lie in it."""

    picture: np.ndarray  # (rows, columns) grey or (rows, columns, 3) colour, in [0, 1], white where no image is
    tops: np.ndarray  # (n_rows,) first pixel row of each row of images
    lefts: np.ndarray  # (n_columns,) first pixel column of each column of images
    height: int  # of one image
    width: int


def _mosaic(rows: list[np.ndarray], group: int = 1) -> _Mosaic:
    """Lays rows of images (n_i, C, H, W) side by side, with a wider gap after every `group` columns."""
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
    """Figure pixels per image pixel: whole, so that no pixel is drawn wider than its neighbour, unless images shrink."""
    cell = 60 if len(mosaic.tops) <= 40 else 34  # figure pixels an image should take; many rows stay a viewable file
    if max(mosaic.height, mosaic.width) > 2 * cell:
        return 2 * cell / max(mosaic.height, mosaic.width)
    return max(round(cell / max(mosaic.height, mosaic.width)), int(np.ceil(16 / (mosaic.height + SEPARATOR))))


def _image_grid(
    rows: list[np.ndarray],
    row_labels: list[str],
    title: str,
    column_labels: list[str] | None = None,
    group: int = 1,
    row_title: str = "",
    column_title: str = "",
) -> Figure:
    """One picture on one axes; exact sizes instead of a layout engine keep it sharp, and fast with 200 rows."""
    if len(rows) != len(row_labels):
        raise ValueError(f"{len(rows)} rows of images need as many labels, got {len(row_labels)}")
    if len(rows) == 0:
        return note_figure(title, "no clusters")
    mosaic = _mosaic(rows, group)
    if column_labels and len(column_labels) != len(mosaic.lefts):
        raise ValueError(f"{len(mosaic.lefts)} columns of images need as many labels, got {len(column_labels)}")
    column_labels = list(column_labels or [])

    zoom = _zoom(mosaic)
    row_size = min(TEXT_SIZE, 0.8 * zoom * (mosaic.height + SEPARATOR) * 72 / DPI)  # so that labels do not touch
    rotated = _width(column_labels, SMALL_SIZE) > zoom * mosaic.width / DPI
    left = MARGIN + _width(row_labels, row_size) + PAD + (_lines(1, TEXT_SIZE) + PAD if row_title else 0)
    over = PAD + (_lines(1, TEXT_SIZE) + PAD if column_title else 0)
    over += _width(column_labels, SMALL_SIZE) if rotated else _lines(1 if column_labels else 0, SMALL_SIZE)

    figure, axes = _exact_axes(mosaic.picture.shape, zoom, left, over, title)
    height, width = mosaic.picture.shape[:2]
    # "none" is sharp, and keeps a PDF at the images' own resolution; shrunken images are smoothed.
    style = {"interpolation": "none" if zoom >= 1 else "auto", "extent": (-0.5, width - 0.5, height - 0.5, -0.5)}
    image = _Pixels(axes, cmap="gray", norm=Normalize(0, 1), **style)
    image.set_data(mosaic.picture)
    axes.add_image(image)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_frame_on(False)
    axes.set_yticks(mosaic.tops + (mosaic.height - 1) / 2, _plain(row_labels), fontsize=row_size)
    columns = mosaic.lefts[: len(column_labels)] + (mosaic.width - 1) / 2
    axes.set_xticks(columns, _plain(column_labels), fontsize=SMALL_SIZE)
    axes.tick_params(length=0, pad=PAD * 72, labelcolor=INK, labeltop=True, labelbottom=False)
    axes.tick_params(axis="x", labelrotation=90 if rotated else 0)
    axes.set_ylabel(row_title, fontsize=TEXT_SIZE, color=MUTED, labelpad=PAD * 72)
    axes.set_xlabel(column_title, fontsize=TEXT_SIZE, color=MUTED, labelpad=PAD * 72)
    axes.xaxis.set_label_position("top")
    return figure


class _Pixels(AxesImage):
    """An image over whole axes whose pixels, where they take whole figure pixels, are repeated instead of resampled."""

    def make_image(
        self, renderer: RendererBase, magnification: float = 1.0, unsampled: bool = False
    ) -> tuple[np.ndarray, float, float, Affine2DBase | None]:
        """RGBA bytes and where their lower left corner lies. Resampling takes twelve times the memory for a moment."""
        picture = self.get_array()
        height, width = picture.shape[:2]
        left, bottom, right, top = np.rint(self.axes.bbox.extents).astype(int)  # figure pixels
        zoom = (right - left) // width
        is_whole = (top - bottom, right - left) == (zoom * height, zoom * width)
        if unsampled or magnification != 1 or not is_whole:
            return super().make_image(renderer, magnification, unsampled)
        pixels = self.to_rgba(picture[::-1], bytes=True)  # from the bottom row to the top one
        return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1), left, bottom, None


def _exact_axes(
    picture_shape: tuple[int, ...], zoom: float, left: float, over: float, title: str
) -> tuple[Figure, Axes]:
    """Figure and axes: the picture in whole figure pixels, `left` and `over` inches for labels, and the title."""
    grid_height, grid_width = (np.ceil(size * zoom) for size in picture_shape[:2])  # figure pixels
    left, margin = np.ceil(left * DPI), np.ceil(MARGIN * DPI)
    width = max(left + grid_width + margin, MIN_GRID_WIDTH * DPI)
    title = _wrap(title, (width - 2 * margin) / DPI)
    over = np.ceil((over + _lines(title.count("\n") + 1, TITLE_SIZE)) * DPI)
    height = margin + over + grid_height + margin
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((left / width, margin / height, grid_width / width, grid_height / height))
    _suptitle(figure, title, x=margin / width, y=1 - margin / height)
    return figure, axes


def _width(texts: Iterable[str], size: float, weight: str = "normal") -> float:
    """Inches that the widest of the texts takes in a line, 0 for no texts."""
    font = FontProperties(size=size, weight=weight)
    # Digits are all equally wide: the labels of 200 clusters are a handful of patterns, and measuring is slow.
    patterns = {re.sub(r"\d", "0", text) for text in texts}
    widths = (text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] for text in patterns)
    return 1.05 * max(widths, default=0) / 72  # drawn in whole pixels, a line can be a few percent wider


def _plain(texts: Iterable[str]) -> list[str]:
    """Names as they are: two dollar signs in one would make mathematics of what is between them."""
    return [text.replace("$", r"\$") for text in texts]


def _lines(n: int, size: float) -> float:
    """Inches that n lines of text take."""
    return n * LINE_HEIGHT * size / 72


# ---------------------------------------------------------------------------------------------- charts


def confusion_matrix(matrix: np.ndarray, class_names: list[str], title: str) -> Figure:
    """matrix (L, L) counts: rows the predicted class (the majority of the cluster), columns the true class.

    Coloured by the share of the true class, so that a rare class reads like a common one; the diagonal is the recall.
    """
    n_classes = len(class_names)
    if matrix.shape != (n_classes, n_classes):
        raise ValueError(f"{n_classes} class names need a {(n_classes, n_classes)} matrix, got {matrix.shape}")
    if n_classes == 0:
        return note_figure(title, "no classes")
    shares = matrix / np.maximum(matrix.sum(axis=0), 1)
    side = float(np.clip(0.42 * n_classes, 2.6, 9))
    figure, axes = _chart(title, 1.07 * side + 1.15 + _width(class_names, TEXT_SIZE), side + 0.9)
    texts = [[f"{int(count):,}" for count in row] for row in matrix]
    _heat_map(axes, shares, texts, class_names, class_names, cell=side / n_classes, label="share of the true class")
    axes.set_xlabel("true class", fontsize=TEXT_SIZE, color=INK)
    axes.set_ylabel("predicted class (majority of the cluster)", fontsize=TEXT_SIZE, color=INK)
    return figure


def facet_label_map(scores: np.ndarray, label_names: list[str], title: str) -> Figure:
    """scores (J, L): accuracy in [0, 1] of facet j on label l; the best facet of each label is framed."""
    if scores.shape[1:] != (len(label_names),):
        raise ValueError(f"{len(label_names)} label names need (J, {len(label_names)}) scores, got {scores.shape}")
    if scores.size == 0:
        return note_figure(title, "no labels")
    n_facets, n_labels = scores.shape
    width = max(1.15, 0.1 + _width(label_names, TEXT_SIZE))  # inches of a cell
    figure, axes = _chart(title, max(width * n_labels + 1.7, MIN_GRID_WIDTH), 0.55 * n_facets + 1.1)
    texts = [["–" if np.isnan(score) else f"{score:.1%}" for score in row] for row in scores]
    facets = [f"facet {j}" for j in range(n_facets)]
    _heat_map(axes, scores, texts, facets, label_names, cell=0.5, label="accuracy")
    axes.set_aspect("auto")
    for label, column in enumerate(scores.T):
        if not np.isnan(column).all():
            frame = (label - 0.47, np.nanargmax(column) - 0.47), 0.94, 0.94
            axes.add_patch(Rectangle(*frame, fill=False, edgecolor=COLOURS[1], linewidth=2))
    return figure


def _heat_map(
    axes: Axes,
    shares: np.ndarray,
    texts: list[list[str]],
    row_names: list[str],
    column_names: list[str],
    cell: float,
    label: str,
) -> None:
    """shares (R, C) in [0, 1] as colours, texts as numbers where a cell of `cell` inches holds them legibly."""
    image = axes.imshow(np.nan_to_num(shares), cmap=COLOUR_MAP, vmin=0, vmax=1)
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, format=PercentFormatter(1))
    bar.set_label(label, fontsize=TEXT_SIZE, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL_SIZE, length=0, labelcolor=INK)
    size = min(TEXT_SIZE, 72 * cell)
    axes.set_xticks(range(len(column_names)), _plain(column_names), fontsize=size)
    axes.set_yticks(range(len(row_names)), _plain(row_names), fontsize=size)
    if _width(column_names, size) > 0.9 * axes.figure.get_figwidth() / (len(column_names) + 2):
        axes.tick_params(axis="x", labelrotation=90)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    number_size = min(TEXT_SIZE, 0.9 * TEXT_SIZE * cell / _width((text for row in texts for text in row), TEXT_SIZE))
    if number_size < 4:
        return
    for (row, column), share in np.ndenumerate(np.nan_to_num(shares)):
        colour = INK if share > 0.55 else "white"  # cividis runs from dark blue to bright yellow
        alpha = 0.45 if texts[row][column] == "0" else 1
        text = texts[row][column]
        axes.text(column, row, text, ha="center", va="center", fontsize=number_size, color=colour, alpha=alpha)


def mixture_weights(pi: np.ndarray, title: str) -> Figure:
    """Bar chart of the mixture weights pi (K,), with a line at the uniform weight 1/K."""
    n_clusters = len(pi)
    if n_clusters == 0:
        return note_figure(title, "no clusters")
    figure, axes = _chart(title, float(np.clip(0.09 * n_clusters, 4.8, 12)), 2.6)
    axes.bar(np.arange(n_clusters), np.nan_to_num(pi), width=0.8, color=COLOURS[0])
    axes.axhline(1 / n_clusters, color=COLOURS[1], linewidth=1.2, linestyle="--", label=f"uniform, 1/{n_clusters}")
    axes.set_xlim(-0.8, n_clusters - 0.2)
    axes.set_ylim(bottom=0)
    _name_axes(axes, "cluster", "mixture weight π")
    _legend(axes)
    return figure


def cluster_sizes(sizes: np.ndarray, title: str) -> Figure:
    """Rug of the cluster sizes (K,), counts, under their empirical distribution function."""
    if len(sizes) == 0:
        return note_figure(title, "no clusters")
    figure, axes = _chart(title, 4.8, 2.8)
    axes.ecdf(sizes, color=COLOURS[0], linewidth=1.6)
    n_empty = int(np.sum(np.equal(sizes, 0)))
    rug = f"one cluster each ({len(sizes)}, of them {n_empty} empty)"
    axes.plot(sizes, np.full(len(sizes), -0.07), "|", color=COLOURS[1], markersize=9, alpha=0.7, label=rug)
    axes.axvline(np.median(sizes), color=MUTED, linewidth=1, linestyle=":", label=f"median {np.median(sizes):,.0f}")
    axes.set_ylim(-0.14, 1.04)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    _name_axes(axes, "images in the cluster", "clusters at most that large")
    _legend(axes)
    return figure


def training_curves(curves: dict[str, dict[str, np.ndarray]], title: str) -> Figure:
    """Panel name -> {line name -> (n, 2) epoch and value}: one panel below another over one epoch axis."""
    if len(curves) == 0:
        return note_figure(title, "no curves")
    figure, *panels = _chart(title, 7.2, 1.7 * len(curves) + 0.7, n_panels=len(curves))
    for axes, (panel, lines) in zip(panels, curves.items(), strict=True):
        for i, (name, points) in enumerate(lines.items()):
            style = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i // len(COLOURS) % len(DASHES)]}
            epochs, values = _finite(points).T
            axes.plot(epochs, values, linewidth=1.3, marker=_marker(epochs), label=name, **style)
        _name_axes(axes, "epoch" if axes is panels[-1] else "", panel)
        if lines:
            _legend(axes, beside=True)
    return figure


def seed_stability(curves: dict[str, np.ndarray], title: str, ylabel: str = "accuracy") -> Figure:
    """Seed name -> (n, 2) epoch and value: each seed thin, their mean bold in a band of one standard deviation.

    Seeds may differ in length: mean and (population) standard deviation at an epoch are over the seeds that have it.
    """
    seeds = {name: _finite(points) for name, points in curves.items()}
    seeds = {name: points for name, points in seeds.items() if len(points)}
    if len(seeds) == 0:
        return note_figure(title, "no seeds")
    figure, axes = _chart(title, 7.2, 3.6)
    epochs, mean, std = _mean_and_std(list(seeds.values()))
    last = f"mean at epoch {epochs[-1]:.0f}: {mean[-1]:.3f} ± {std[-1]:.3f}"
    axes.plot(epochs, mean, color=INK, linewidth=2.2, zorder=3, marker=_marker(epochs), label=last)
    axes.fill_between(epochs, mean - std, mean + std, color=MUTED, alpha=0.25, linewidth=0, label="± 1 sd")
    best_first = sorted(seeds.items(), key=lambda seed: -seed[1][-1, 1])  # by the last value, as the lines end
    shades = matplotlib.colormaps[COLOUR_MAP](np.linspace(0.9, 0, len(seeds)))
    for i, (shade, (name, points)) in enumerate(zip(shades, best_first, strict=True)):
        one_for_all = f"{len(seeds)} seeds" if i == 0 else None
        label = f"{name}: {points[-1, 1]:.3f}" if len(seeds) <= MAX_LISTED_SEEDS else one_for_all
        axes.plot(*points.T, color=shade, linewidth=0.8, marker=_marker(points), label=label)
    _name_axes(axes, "epoch", ylabel)
    _legend(axes, beside=True)
    return figure


def _mean_and_std(seeds: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """seeds[i] (n_i, 2) epoch and value -> epochs (n,), mean (n,), population standard deviation (n,)."""
    epochs = np.unique(np.concatenate([points[:, 0] for points in seeds]))
    values = np.full((len(seeds), len(epochs)), np.nan)
    for row, points in zip(values, seeds, strict=True):
        row[np.searchsorted(epochs, points[:, 0])] = points[:, 1]
    return epochs, np.nanmean(values, axis=0), np.nanstd(values, axis=0)


def _marker(points: np.ndarray) -> str | None:
    """A dot for a line of one point, which would not show."""
    return "." if len(points) == 1 else None


def _finite(points: np.ndarray) -> np.ndarray:
    """(n, 2) points without those that are not finite; also takes an empty list."""
    points = np.asarray(points, dtype=float).reshape(-1, 2)
    return points[np.isfinite(points).all(axis=1)]


# ---------------------------------------------------------------------------------------------- what charts share


def _chart(title: str, width: float, height: float, n_panels: int = 1) -> list:
    """[figure, axes, axes, ...]: panels below one another in the project's quiet style; sizes in inches."""
    title = _wrap(title, width - 2 * MARGIN)
    height += _lines(title.count("\n"), TITLE_SIZE)
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    panels = figure.subplots(n_panels, 1, sharex=True, squeeze=False)[:, 0]
    _suptitle(figure, title, x=MARGIN / width)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[:].set_color(MUTED)
        axes.tick_params(labelsize=SMALL_SIZE, color=MUTED, labelcolor=INK)
    return [figure, *panels]


def note_figure(title: str, note: str) -> Figure:
    """A figure that says why there is nothing to see."""
    figure, axes = _chart(title, MIN_GRID_WIDTH, 1.3)
    axes.set_axis_off()
    axes.text(0.5, 0.5, note, ha="center", va="center", fontsize=TITLE_SIZE, color=MUTED, transform=axes.transAxes)
    return figure


def _suptitle(figure: Figure, title: str, **position: float) -> None:
    style = {"ha": "left", "va": "top", "fontsize": TITLE_SIZE, "linespacing": 1.2, "color": INK}
    figure.suptitle(title, weight="bold", **style, **position)


def _wrap(title: str, width: float) -> str:
    """The title broken into lines that fit `width` inches."""
    lines = []
    for line in title.split("\n"):
        share = width / max(_width([line], TITLE_SIZE, "bold"), 1e-6)
        lines += textwrap.wrap(line, max(1, int(share * len(line) * (1 if share >= 1 else 0.9)))) or [""]
    return "\n".join(_plain(lines))


def _name_axes(axes: Axes, xlabel: str, ylabel: str) -> None:
    xlabel, ylabel = _plain([xlabel, ylabel])
    axes.set_xlabel(xlabel, fontsize=TEXT_SIZE, color=INK)
    axes.set_ylabel(ylabel, fontsize=TEXT_SIZE, color=INK)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _legend(axes: Axes, beside: bool = False) -> None:
    """The legend above the axes' top right corner, or beside it, where it never covers data."""
    if beside:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=SMALL_SIZE, labelcolor=INK)
    else:
        style = {"frameon": False, "fontsize": SMALL_SIZE, "labelcolor": INK, "borderaxespad": 0}
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1.02), ncols=2, **style)


def save_figure(figure: Figure, path: Path, formats: tuple[str, ...] = ("png",)) -> None:
    """Writes `path`.png, `path`.pdf, ... (a suffix that path already has is replaced), each whole or not at all."""
    path = Path(path)
    stem = path.stem if path.suffix.lower() in (".png", ".pdf", ".svg") else path.name  # a dot may be part of a name
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {
        "png": {"pil_kwargs": {"compress_level": 2}},  # twice as fast as the default, a tenth larger
        "pdf": {"metadata": {"CreationDate": None}},  # same figure, same bytes
        "svg": {"metadata": {"Date": None}},
    }
    # Hinting costs a fifth of the time of a grid with many labels. It can only be set globally, hence the lock.
    # PDF fonts stay matplotlib's Type 3: TrueType takes eight times as long (matplotlibrc: pdf.fonttype: 42).
    settings = {"text.hinting": "no_hinting", "svg.hashsalt": "mfcvae"}
    for suffix in formats:
        write = partial(figure.savefig, format=suffix, dpi=DPI, **options.get(suffix, {}))
        with _rc_lock, matplotlib.rc_context(settings):
            write_atomically(path.parent / f"{stem}.{suffix}", write)
