"""Figures that explain: the same images grouped by two facets, and the schedule of progressive training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from config import load_config
from evaluation.figures import pixels
from evaluation.predictions import Observed
from plotting import COLOURS, DPI, INK, MUTED, RULE, TITLE_SIZE
from progressive import progressive_coefficients
from utils import PROJECT

ZOOM, GAP = 2, 6  # pixels of the figure to a pixel of an image, and between images
ROW_GAP = 18  # between clusters
PANEL_GAP, TOP, SIDE = 60, 40, 12  # between panels, above them, around them


def largest_pairs(observed: Observed, facets: tuple[int, int], n: int) -> np.ndarray:
    """Choose one image of each pair of the n largest clusters of two facets: (n, n) indices into the split.

    A cluster of the second facet that shares no image with one of the first is passed over. Of each pair it is the
    image that the second facet is surest of.
    """
    clusters, confidences = observed.predictions.clusters, observed.predictions.confidences[:, facets[1]]
    by_size = [np.argsort(-np.bincount(clusters[:, j]), kind="stable") for j in facets]
    rows, columns = by_size[0][:n], []
    for cluster in by_size[1]:
        members = [np.flatnonzero((clusters[:, facets] == (row, cluster)).all(axis=1)) for row in rows]
        if all(map(len, members)):
            columns.append([found[confidences[found].argmax()] for found in members])
    return np.array(columns[:n]).T


def same_images_twice(observed: Observed, names: tuple[str, str], n: int = 6) -> Figure:
    """Show the same images in no order, by the clusters of facet 0, and by those of facet 1; a row is a cluster.

    names: what the clusters of facets 0 and 1 turned out to be.
    """
    index = largest_pairs(observed, (0, 1), n)
    generator = np.random.default_rng(0)
    images = {i: pixels(observed.split, np.array([i]))[0] for i in index.ravel()}
    orders = [
        generator.permutation(index.ravel()).reshape(index.shape),
        generator.permuted(index, axis=1),
        generator.permuted(index.T, axis=1),
    ]
    titles = ["Images, without labels", f"By facet 0: {names[0]}", f"By facet 1: {names[1]}"]
    figure, axes = _row_of_axes(index.shape, images[index[0, 0]].shape[-1] * ZOOM)
    for panel, title, order, row_gap in zip(axes, titles, orders, (GAP, ROW_GAP, ROW_GAP), strict=True):
        panel.imshow(_mosaic([[images[i] for i in row] for row in order], row_gap), interpolation="nearest")
        panel.set_axis_off()
        panel.set_title(title, size=TITLE_SIZE, color=INK, weight="bold", loc="left")
    return figure


def _mosaic(rows: Sequence[Sequence[np.ndarray]], row_gap: int) -> np.ndarray:
    """Lay out rows of images (C, H, W) in [0, 1] on white, ZOOM pixels to a pixel: (height, width, 3)."""
    side = rows[0][0].shape[-1] * ZOOM
    canvas = np.ones((len(rows) * (side + row_gap) - row_gap, len(rows[0]) * (side + GAP) - GAP, 3))
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            y, x = r * (side + row_gap), c * (side + GAP)
            canvas[y : y + side, x : x + side] = image.repeat(ZOOM, axis=1).repeat(ZOOM, axis=2).transpose(1, 2, 0)
    return canvas


def _row_of_axes(shape: tuple[int, ...], side: int) -> tuple[Figure, list[Axes]]:
    """Three panels, each with room for (rows, columns) of images of a side, in whole pixels of the figure."""
    width, height = shape[1] * (side + GAP) - GAP, shape[0] * (side + ROW_GAP) - ROW_GAP
    total_width, total_height = 2 * SIDE + 3 * width + 2 * PANEL_GAP, TOP + height + SIDE
    figure = Figure(figsize=(total_width / DPI, total_height / DPI), dpi=DPI)
    axes = []
    for p in range(3):
        left = (SIDE + p * (width + PANEL_GAP)) / total_width
        axes.append(
            figure.add_axes((left, SIDE / total_height, width / total_width, height / total_height), anchor="N")
        )
    return figure, axes


def schedule_figure(configuration: str = "mnist", n_batches: int = 118) -> Figure:
    """Draw how strongly each facet takes part in the decoder, over the epochs of a configuration.

    n_batches: of an epoch.
    """
    config = load_config(["--config_args_path", str(PROJECT / "configs" / f"{configuration}.yml")])
    epochs = np.arange(1, config.n_epochs)
    share = np.array([progressive_coefficients(config, int(epoch), 0, n_batches).alpha_dec for epoch in epochs])
    figure = Figure(figsize=(6.4, 2.3), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for j in reversed(range(config.J_n_mixtures)):
        where = "deepest" if j == config.J_n_mixtures - 1 else "next to the pixels"
        axes.plot(epochs, share[:, j], color=COLOURS[j], linewidth=2, label=f"facet {j}, {where}")
    axes.set(xlabel="epoch", ylabel="share in the decoder", yticks=[0, 0.5, 1], ylim=(-0.05, 1.08))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=RULE, linewidth=0.6)
    axes.tick_params(labelcolor=MUTED)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(0.02, 0.45))
    axes.set_title(f"Progressive training of configs/{configuration}.yml", size=TITLE_SIZE, color=INK, loc="left")
    return figure
