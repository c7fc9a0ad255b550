"""The idea in one picture: the same points clustered by one facet, and by three.

    python plot_intuition.py                     # writes graphics/intuition.png and .pdf

Every point has a shape, a colour and a fill. One clustering must tell all 18 combinations apart; three clusterings side
by side need 3 + 3 + 2 clusters, and each of them means something.
"""

from __future__ import annotations

from interrupts import run_script

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from flags import FlagParser, non_negative_int
from plotting import DPI, INK, MUTED, save_figure
from utils import PROJECT

SHAPES = {"circles": "o", "triangles": "^", "squares": "s"}
COLOURS = {"blue": "#0072B2", "orange": "#E69F00", "green": "#009E73"}  # Okabe and Ito's, safe for colour-blind eyes
FILLS = ("filled", "hollow")
N_PER_COMBINATION = 7
MARKER_AREA = {"o": 44, "^": 46, "s": 36}  # points^2, of about the same visual weight
MARKER_DIAMETER = 0.145  # inches: the widest marker with its outline, corner to corner
RING_COLOUR, RING_FILL = "#b4b8be", "#f6f7f8"
SIZE = (10.0, 6.95)  # inches


class Ring(NamedTuple):
    """The outline of one cluster, in inches on its panel."""

    x: float
    y: float
    half_width: float
    half_height: float


class Panel(NamedTuple):
    """One clustering of all the points."""

    title: str
    subtitle: str
    clusters: np.ndarray  # (126,) cluster of every point
    rings: list[Ring]
    names: list[str]  # of the clusters; none where they have no common meaning
    box: tuple[float, float, float, float]  # left, bottom, width, height on the figure, inches


def make_points() -> np.ndarray:
    """(126, 3) indices of shape, colour and fill: 7 points of each of the 3 x 3 x 2 combinations."""
    combinations = np.stack(np.meshgrid(range(3), range(3), range(2), indexing="ij"), axis=-1).reshape(-1, 3)
    return np.repeat(combinations, N_PER_COMBINATION, axis=0)


def make_panels(points: np.ndarray, rng: np.random.Generator) -> list[Panel]:
    """The four clusterings. Rings of the single facet come in random order: its clusters know nothing of each other."""
    shape, colour, fill = points.T
    combination = rng.permutation(18)[shape * 6 + colour * 2 + fill]
    small = [Ring(0.56 + 1.06 * (k % 9), 1.56 - 1.06 * (k // 9), 0.48, 0.48) for k in range(18)]
    three = [Ring(0.53 + 1.02 * k, 1.66, 0.475, 1.34) for k in range(3)]
    two = [Ring(0.78 + 1.52 * k, 1.66, 0.72, 1.34) for k in range(2)]
    top, *below = (0.2, 4.05, 9.6, 2.1), (0.2, 0.12, 3.1, 3.05), (3.45, 0.12, 3.1, 3.05), (6.7, 0.12, 3.1, 3.05)
    all_three = "a cluster for every combination of shape, colour and fill"
    return [
        Panel("One facet: 18 clusters", all_three, combination, small, [], top),
        Panel("Facet 0: shape", "3 clusters, of any colour and fill", shape, three, list(SHAPES), below[0]),
        Panel("Facet 1: colour", "3 clusters, of any shape and fill", colour, three, list(COLOURS), below[1]),
        Panel("Facet 2: fill", "2 clusters, of any shape and colour", fill, two, list(FILLS), below[2]),
    ]


def pack(n: int, ring: Ring, n_steps: int = 300) -> np.ndarray:
    """(n, 2) places spread evenly in a ring: the n inmost of a hexagonal lattice, which then push each other apart."""
    inner = np.array([ring.half_width, ring.half_height]) - 0.8 * MARKER_DIAMETER  # markers keep clear of the outline
    spacing = 1.2 * np.sqrt(np.pi * inner.prod() / n)  # a little more than fits: neighbours closer than this push
    row, column = np.meshgrid(np.arange(-n, n + 1), np.arange(-n, n + 1), indexing="ij")
    lattice = spacing * np.stack([column + row % 2 / 2, row * np.sqrt(0.75)], axis=-1).reshape(-1, 2)
    places = lattice[np.argsort(np.linalg.norm(lattice / inner, axis=1), kind="stable")[:n]]
    places -= places.mean(axis=0)
    for step in range(n_steps):
        offsets = places[:, None] - places[None]  # (n, n, 2): to each point from each other
        distances = np.linalg.norm(offsets, axis=-1)
        np.fill_diagonal(distances, np.inf)  # nobody pushes himself
        push = np.clip(spacing / distances - 1, 0, None)[..., None] * offsets  # (n, n, 2)
        places = places + 0.3 * (1 - step / n_steps) * push.sum(axis=1)
        places /= np.linalg.norm(places / inner, axis=1).clip(1)[:, None]  # who was pushed out returns to the edge
    return places + (ring.x, ring.y)


def place(panel: Panel, rng: np.random.Generator) -> np.ndarray:
    """Places (126, 2) of all the points, in inches on the panel: each in its cluster's ring, at random among them."""
    places = np.empty((len(panel.clusters), 2))
    for cluster, ring in enumerate(panel.rings):
        members = np.flatnonzero(panel.clusters == cluster)
        places[rng.permutation(members)] = pack(len(members), ring)
    return places


def draw_panel(axes: Axes, panel: Panel, points: np.ndarray, places: np.ndarray) -> None:
    """The rings, their names below, and every point with its own shape, colour and fill."""
    for cluster, ring in enumerate(panel.rings):
        size = 2 * ring.half_width, 2 * ring.half_height
        axes.add_patch(Ellipse((ring.x, ring.y), *size, facecolor=RING_FILL, edgecolor=RING_COLOUR, linewidth=1.3))
        if panel.names:
            below = ring.x, ring.y - ring.half_height - 0.05
            axes.text(*below, panel.names[cluster], ha="center", va="top", fontsize=10, color=INK)
    for combination in np.unique(points, axis=0):
        shape, colour, fill = combination
        marker, paint = list(SHAPES.values())[shape], list(COLOURS.values())[colour]
        inside = paint if FILLS[fill] == "filled" else "white"
        x, y = places[(points == combination).all(axis=1)].T
        axes.scatter(x, y, MARKER_AREA[marker], marker=marker, facecolor=inside, edgecolor=paint, linewidth=1.4)


def intuition_figure(seed: int = 0) -> Figure:
    """The single-facet clustering over the three facets; the seed decides which point lies where in its ring."""
    rng = np.random.default_rng(seed)
    points = make_points()
    figure = Figure(figsize=SIZE, dpi=DPI)
    for panel in make_panels(points, rng):
        left, bottom, width, height = panel.box
        axes = figure.add_axes((left / SIZE[0], bottom / SIZE[1], width / SIZE[0], height / SIZE[1]))
        axes.set(xlim=(0, width), ylim=(0, height))
        axes.set_axis_off()
        draw_panel(axes, panel, points, place(panel, rng))
        axes.text(0.05, height + 0.36, panel.title, fontsize=14, weight="bold", color=INK, va="bottom")
        axes.text(0.05, height + 0.3, panel.subtitle, fontsize=10.5, color=MUTED, va="top")
    return figure


def write_intuition(folder: Path, seed: int = 0) -> None:
    """Write intuition.png and intuition.pdf."""
    save_figure(intuition_figure(seed), folder / "intuition", formats=("png", "pdf"))
    print(f"wrote {folder / 'intuition'}.png and .pdf")


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, draw."""
    parser = FlagParser(__doc__)
    graphics = PROJECT / "graphics"
    parser.add_argument("--output_dir", type=Path, default=graphics, help="folder of the figure [graphics]")
    parser.add_argument("--seed", type=non_negative_int, default=0, help="which point lies where in its ring [0]")
    arguments = parser.parse_args(argv)
    write_intuition(arguments.output_dir, arguments.seed)
    return 0


if __name__ == "__main__":
    run_script(main)
