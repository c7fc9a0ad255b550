"""Charts, and what all figures share: numpy arrays in, matplotlib Figure out. Nothing about the model is computed here.

Figures are matplotlib.figure.Figure objects, never pyplot's: no global list keeps them alive, no display is needed
and threads share no state. The style is set on the objects instead of in rcParams, so nobody else's figures change.
"""

from __future__ import annotations

import logging
import re
import textwrap
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator, PercentFormatter

from utils import make_folder, write_atomically

DPI = 150  # of every figure; image grids are laid out in whole pixels of it
INK, MUTED, RULE = "#262626", "#757575", "#dddddd"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's palette
DASHES = ("-", "--", ":", "-.")  # the next one each time the colours run out
COLOUR_MAP = "cividis"
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 10, 8, 7  # points
LINE_HEIGHT = 1.35  # of a line of text, in font sizes
MARGIN = 0.12  # inches around a figure
MIN_WIDTH = 3.6  # inches: room for the title over a narrow figure
MAX_LISTED_SEEDS = 12  # of seed_stability's legend
MAX_NAMED_BARS = 50  # of cluster_sizes
_rc_lock = threading.Lock()


# --- tables as colours


class HeatMap(NamedTuple):
    """A table whose cells are coloured and numbered."""

    shares: np.ndarray
    """(R, C) in [0, 1], as colours; nan is no value."""
    texts: list[list[str]]
    """What is written into each cell."""
    row_names: Sequence[str]
    column_names: Sequence[str]
    label: str
    """What the colours are."""


def confusion_matrix(matrix: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Show counts (L, L): rows the predicted class (the majority of the cluster), columns the true class.

    They are coloured by the share of the true class, so that a rare class reads like a common one; the diagonal is the
    recall.
    """
    n_classes = len(class_names)
    if matrix.shape != (n_classes, n_classes):
        raise ValueError(f"{n_classes} class names need a {(n_classes, n_classes)} matrix, got {matrix.shape}")
    if n_classes == 0:
        return note_figure(title, "no classes")
    shares = matrix / np.maximum(matrix.sum(axis=0), 1)
    texts = [[f"{int(count):,}" for count in row] for row in matrix]
    side = float(np.clip(0.42 * n_classes, 2.6, 9))
    figure, axes = _chart(title, 1.07 * side + 1.15 + text_width(class_names, TEXT_SIZE), side + 0.9)
    cell = side / n_classes
    _draw_heat_map(
        figure, axes, HeatMap(shares, texts, class_names, class_names, "share of the true class"), (cell, cell)
    )
    axes.set_xlabel("true class", fontsize=TEXT_SIZE, color=INK)
    axes.set_ylabel("predicted class (majority of the cluster)", fontsize=TEXT_SIZE, color=INK)
    return figure


def cluster_classes(table: np.ndarray, cluster_names: Sequence[str], class_names: Sequence[str], title: str) -> Figure:
    """Show counts (K, L): rows clusters, columns true classes, coloured by the share of the cluster."""
    wanted = len(cluster_names), len(class_names)
    if table.shape != wanted:
        raise ValueError(f"{wanted[0]} clusters and {wanted[1]} classes need a {wanted} table, got {table.shape}")
    if table.size == 0:
        return note_figure(title, "no clusters" if wanted[0] == 0 else "no classes")
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    texts = [[f"{int(count):,}" if count else "" for count in row] for row in table]
    width, height = float(np.clip(9 / wanted[1], 0.12, 0.42)), float(np.clip(9 / wanted[0], 0.11, 0.25))
    figure_width = max(1.07 * width * wanted[1] + 1.3 + text_width(cluster_names, TEXT_SIZE), MIN_WIDTH)
    figure, axes = _chart(title, figure_width, height * wanted[0] + 0.6 + text_width(class_names, TEXT_SIZE))
    _draw_heat_map(
        figure, axes, HeatMap(shares, texts, cluster_names, class_names, "share of the cluster"), (width, height)
    )
    axes.set_aspect("auto")
    axes.set_xlabel("true class", fontsize=TEXT_SIZE, color=INK)
    axes.set_ylabel("cluster", fontsize=TEXT_SIZE, color=INK)
    return figure


def facet_label_map(scores: np.ndarray, label_names: Sequence[str], title: str) -> Figure:
    """Show scores (J, L), the accuracy in [0, 1] of facet j on label l; the best facet of each label is framed."""
    if scores.shape[1:] != (len(label_names),):
        raise ValueError(f"{len(label_names)} label names need (J, {len(label_names)}) scores, got {scores.shape}")
    if scores.size == 0:
        return note_figure(title, "no labels")
    n_facets, n_labels = scores.shape
    width = max(1.15, 0.1 + text_width(label_names, TEXT_SIZE))  # inches of a cell
    figure, axes = _chart(title, max(width * n_labels + 1.7, MIN_WIDTH), 0.55 * n_facets + 1.1)
    texts = [["–" if np.isnan(score) else f"{score:.1%}" for score in row] for row in scores]
    facets = [f"facet {j}" for j in range(n_facets)]
    _draw_heat_map(figure, axes, HeatMap(scores, texts, facets, label_names, "accuracy"), (width, 0.5))
    axes.set_aspect("auto")
    for label, column in enumerate(scores.T):
        if not np.isnan(column).all():
            corner = label - 0.47, float(np.nanargmax(column)) - 0.47
            axes.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, edgecolor=COLOURS[1], linewidth=2))
    return figure


def _draw_heat_map(figure: Figure, axes: Axes, heat: HeatMap, cell: tuple[float, float]) -> None:
    """Draw colours, and numbers where a cell of so many inches, width and height, holds them legibly."""
    shares = np.nan_to_num(heat.shares)
    image = axes.imshow(shares, cmap=COLOUR_MAP, vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, format=PercentFormatter(1))
    bar.set_label(heat.label, fontsize=TEXT_SIZE, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL_SIZE, length=0, labelcolor=INK)
    axes.set_xticks(range(len(heat.column_names)), plain(heat.column_names), fontsize=min(TEXT_SIZE, 72 * cell[0]))
    axes.set_yticks(range(len(heat.row_names)), plain(heat.row_names), fontsize=min(TEXT_SIZE, 60 * cell[1]))
    if text_width(heat.column_names, TEXT_SIZE) > 0.9 * cell[0]:
        axes.tick_params(axis="x", labelrotation=90)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    widest = text_width((text for row in heat.texts for text in row), TEXT_SIZE)
    number_size = min(TEXT_SIZE, 60 * cell[1], 0.9 * TEXT_SIZE * cell[0] / widest)
    if number_size < 4:
        return
    for (row, column), share in np.ndenumerate(shares):
        if text := heat.texts[row][column]:
            colour = INK if share > 0.55 else "white"  # cividis runs from dark blue to bright yellow
            alpha = 0.45 if text == "0" else 1
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": number_size, "in_layout": False}
            axes.text(column, row, text, color=colour, alpha=alpha, **style)


# --- bars and lines


def mixture_weights(pi: np.ndarray, title: str) -> Figure:
    """Show the mixture weights pi (K,) as bars, with a line at the uniform weight 1/K."""
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
    """Show the sizes of clusters (K,), counts: as sorted bars, and as a rug under their distribution function."""
    if len(sizes) == 0:
        return note_figure(title, "no clusters")
    width = float(np.clip(0.14 * len(sizes), 4.8, 9))
    figure, (bars, distribution) = _panels(title, width, 4.6, 2)
    _draw_sorted_bars(bars, sizes)
    distribution.ecdf(sizes, color=COLOURS[0], linewidth=1.6)
    n_empty = int(np.sum(np.equal(sizes, 0)))
    rug = f"one cluster each ({len(sizes)}, of them {n_empty} empty)"
    height = np.full(len(sizes), -0.07)
    distribution.plot(sizes, height, "|", color=COLOURS[1], markersize=9, alpha=0.7, label=rug)
    median = float(np.median(sizes))
    distribution.axvline(median, color=MUTED, linewidth=1, linestyle=":", label=f"median {median:,.0f}")
    distribution.set_ylim(-0.14, 1.04)
    distribution.set_yticks(np.linspace(0, 1, 6))
    distribution.yaxis.set_major_formatter(PercentFormatter(1))
    distribution.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    _name_axes(distribution, "images in the cluster", "clusters at most that large")
    _legend(distribution)
    return figure


def _draw_sorted_bars(axes: Axes, sizes: np.ndarray) -> None:
    """Draw a bar for each cluster, the largest first, under its number where there is room for it."""
    order = np.argsort(-sizes, kind="stable")
    axes.bar(np.arange(len(sizes)), sizes[order], width=0.8, color=COLOURS[0])
    axes.set_xlim(-0.8, len(sizes) - 0.2)
    _name_axes(axes, "cluster, the largest first", "images")
    axes.yaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    names = [str(k) for k in order] if len(sizes) <= MAX_NAMED_BARS else []
    axes.set_xticks(range(len(names)), names, fontsize=SMALL_SIZE)
    axes.tick_params(axis="x", length=0, labelrotation=90 if len(sizes) > 25 else 0)


def training_curves(curves: Mapping[str, Mapping[str, np.ndarray]], title: str) -> Figure:
    """Show panel name -> {line name -> (n, 2) epoch and value}: one panel below another over one epoch axis."""
    if len(curves) == 0:
        return note_figure(title, "no curves")
    figure, panels = _panels(title, 7.2, 1.7 * len(curves) + 0.7, len(curves), share_x=True)
    for axes, (panel, lines) in zip(panels, curves.items(), strict=True):
        for i, (name, points) in enumerate(lines.items()):
            colour, dash = COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]
            epochs, values = _finite(points).T
            style: dict[str, Any] = {"color": colour, "linestyle": dash, "marker": _marker(epochs)}
            axes.plot(epochs, values, linewidth=1.3, label=name, **style)
        _name_axes(axes, "epoch" if axes is panels[-1] else "", panel)
        if lines:
            _legend(axes, beside=True)
    return figure


def seed_stability(curves: Mapping[str, np.ndarray], title: str, ylabel: str = "accuracy") -> Figure:
    """Show seed name -> (n, 2) epoch and value: each seed thin, their mean bold in a band of one standard deviation.

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


def _mean_and_std(seeds: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From seeds[i] (n_i, 2), epoch and value: epochs (n,), mean (n,), population standard deviation (n,)."""
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


# --- what charts share


def _chart(title: str, width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one panel; sizes in inches."""
    figure, [axes] = _panels(title, width, height, 1)
    return figure, axes


def _panels(title: str, width: float, height: float, n_panels: int, share_x: bool = False) -> tuple[Figure, list[Axes]]:
    """Panels below one another in the project's quiet style; sizes in inches."""
    title = wrap_title(title, width - 2 * MARGIN)
    height += text_height(title.count("\n"), TITLE_SIZE)
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    panels: list[Axes] = list(figure.subplots(n_panels, 1, sharex=share_x, squeeze=False)[:, 0])
    add_title(figure, title, x=MARGIN / width)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[:].set_color(MUTED)
        axes.tick_params(labelsize=SMALL_SIZE, color=MUTED, labelcolor=INK)
    return figure, panels


def note_figure(title: str, note: str) -> Figure:
    """Say why there is nothing to see."""
    figure, axes = _chart(title, MIN_WIDTH, 1.3)
    axes.set_axis_off()
    axes.text(0.5, 0.5, note, ha="center", va="center", fontsize=TITLE_SIZE, color=MUTED, transform=axes.transAxes)
    return figure


def _name_axes(axes: Axes, xlabel: str, ylabel: str) -> None:
    xlabel, ylabel = plain([xlabel, ylabel])
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


# --- what all figures share


def add_title(figure: Figure, title: str, **position: float) -> None:
    """Write the title, broken into lines already, from its upper left corner."""
    style: dict[str, Any] = {"ha": "left", "va": "top", "fontsize": TITLE_SIZE, "linespacing": 1.2, "color": INK}
    figure.suptitle(title, weight="bold", **style, **position)


def wrap_title(title: str, width: float) -> str:
    """Break a title into lines that fit `width` inches."""
    lines = []
    for line in title.split("\n"):
        share = width / max(text_width([line], TITLE_SIZE, "bold"), 1e-6)
        lines += textwrap.wrap(line, max(1, int(share * len(line) * (1 if share >= 1 else 0.9)))) or [""]
    return "\n".join(plain(lines))


def text_width(texts: Iterable[str], size: float, weight: str = "normal") -> float:
    """Inches that the widest of the texts takes in a line, 0 for no texts."""
    # Digits are all equally wide: the labels of 200 clusters are a handful of patterns, and measuring is slow.
    patterns = {re.sub(r"\d", "0", text) for text in texts}
    font = FontProperties(family=fonts_for(patterns), size=size, weight=weight)
    widths = (text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] for text in patterns)
    return 1.05 * max(widths, default=0) / 72  # drawn in whole pixels, a line can be a few percent wider


def text_height(n_lines: int, size: float) -> float:
    """Inches that lines of text take."""
    return n_lines * LINE_HEIGHT * size / 72


def fonts_for(texts: Iterable[str]) -> list[str]:
    """Matplotlib's font, then installed ones that have what it lacks; what none of them has becomes boxes."""
    fonts, characters = FontProperties().get_family(), {ord(c) for text in texts for c in text if c.isprintable()}
    lacking = characters - _characters(findfont(FontProperties()))
    for font in fontManager.ttflist if lacking else ():
        if lacking & _characters(font.fname) and not font.name.startswith("Last Resort"):  # which has but boxes
            fonts, lacking = [*fonts, font.name], lacking - _characters(font.fname)
            logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it may have no bold letters
    if lacking:
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from", UserWarning)  # one per character and drawing
        _warn_once(
            "figures: no installed font has all characters of the names, some are boxes; fonts-noto-cjk has most"
        )
    return fonts


@cache
def _characters(path: str) -> frozenset[int]:
    """The characters that a font file has."""
    return frozenset(get_font(path).get_charmap())


_warn_once = cache(logging.getLogger(__name__).warning)


def plain(texts: Iterable[str]) -> list[str]:
    """Names as they are: two dollar signs in one would make mathematics of what is between them."""
    return [text.replace("$", r"\$") for text in texts]


def save_figure(figure: Figure, path: Path, formats: Sequence[str] = ("png",)) -> None:
    """Write `path`.png, `path`.pdf, ... (a suffix that path already has is replaced), each whole or not at all."""
    path = Path(path)
    stem = path.stem if path.suffix.lower() in (".png", ".pdf", ".svg") else path.name  # a dot may be part of a name
    make_folder(path.parent)
    ticks = [label for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    texts = {*figure.findobj(Text), *ticks}
    if len(fonts := fonts_for(text.get_text() for text in texts)) > 1:
        for text in texts:
            text.set_fontfamily(fonts)
    options: dict[str, dict[str, Any]] = {
        "png": {"pil_kwargs": {"compress_level": 2}},
        "pdf": {"metadata": {"CreationDate": None}},  # same figure, same bytes
        "svg": {"metadata": {"Date": None}},
    }
    for suffix in formats:
        write = partial(figure.savefig, format=suffix, dpi=DPI, **options.get(suffix, {}))
        # Settings of text and SVG can only be set for all threads, hence the lock.
        with _rc_lock, matplotlib.rc_context({"text.hinting": "no_hinting", "svg.hashsalt": "mfcvae"}):
            write_atomically(path.parent / f"{stem}.{suffix}", write)
