"""Views of images, for what is no sum: each facet clusters one view alone, by k-means.

Where an ink fills a shape, or light falls on a sign, pixels are products. Two kinds of views take the factors apart:

    figure    mask, ink, ground    x = ground + mask (ink - ground), one ink and one ground an image
    scene     pattern, tint, light    local contrast of grey and shares of the channels, both in the middle; mean grey

Views of a kind stand side by side in f, and a centre of a facet is zero, which is the mean, in all but its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from factorial.features import Features
from factorial.fitting import k_means
from factorial.gain import N_CLOUDS, cloud_like, gain

N_STARTS, N_STARTS_OF_CHANCE = 10, 2
"""Of k-means, on a view of the images and on a Gaussian cloud."""
DARK = 0.05
"""Added to grey values and to contrasts that something is divided by or whose logarithm is taken, pixels in [0, 1]."""
FAINT = 1e-4
"""Variance below which a view of a scene is not blown up to 1."""
TOLD = 0.9
"""Share of the variance of the pixels that one ink on one ground has to tell."""
NEIGHBOURHOOD, MIDDLE = 0.28, 0.2
"""Width of what a contrast is local to, and standard deviation of the middle, as shares of the image's size."""

Views = dict[str, np.ndarray]
"""Name of each view of N images -> (N, Q_v)."""


class Kind(NamedTuple):
    """What is looked at."""

    name: str
    """What such an image is."""
    look: Callable[[np.ndarray], Views]
    """Images (N, C, H, W) in [0, 1] -> views."""
    scale: Callable[[Views], list[float]]
    """Views -> what each is multiplied by, so that errors in them count alike."""
    is_told: Callable[[np.ndarray, Views], bool]
    """Images (N, C, H, W) in [0, 1] and their views -> whether the views tell such images."""
    any_others: bool
    """Whether J facets may look at any J views, the first among them; else at the first J."""


class ViewFeatures:
    """Principal components of views of one kind, side by side."""

    def __init__(self, kind: Kind, images: np.ndarray, seed: int):
        """Find the components of the views of images (N, C, H, W) in [0, 1]."""
        self.kind, self.shape = kind, images.shape[1:]
        views = kind.look(images)
        self.names = list(views)
        self.are_told = kind.is_told(images, views)
        self.scales = kind.scale(views)
        self.parts = [Features(view * scale, seed) for view, scale in zip(views.values(), self.scales, strict=True)]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (N, P) -> features (N, d) float32."""
        return np.concatenate(self.apart(pixels), axis=1)

    def apart(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Pixels (N, P) -> features of each view (N, d_v)."""
        views = self.kind.look(pixels.reshape(-1, *self.shape)).values()
        return [part(view * scale) for part, view, scale in zip(self.parts, views, self.scales, strict=True)]


# --- figure


def figure_views(x: np.ndarray) -> Views:
    """Mask (N, H W), ink (N, C) and ground (N, C) of images x (N, C, H, W).

    The ground is the median of the border; the ink the mean of the pixels, weighted by their squared distance from it.
    """
    border = np.concatenate([x[:, :, 0], x[:, :, -1], x[:, :, 1:-1, 0], x[:, :, 1:-1, -1]], axis=2)
    ground = np.median(border, axis=2)  # (N, C)
    off = x - ground[:, :, None, None]
    weights = (off**2).sum(axis=1)  # (N, H, W)
    contrast = np.einsum("nhw,nchw->nc", weights, off) / (weights.sum(axis=(1, 2)) + 1e-3)[:, None]
    mask = np.einsum("nchw,nc->nhw", off, contrast) / ((contrast**2).sum(axis=1) + 1e-3)[:, None, None]
    return {"mask": mask.reshape(len(x), -1), "ink": ground + contrast, "ground": ground}


def figure_scales(views: Views) -> list[float]:
    """By how much the pixels change with each view, as dx = (ink - ground) dmask + mask dink + (1 - mask) dground."""
    mask, ink, ground = views.values()
    squares = ((ink - ground) ** 2, mask**2, (1 - mask) ** 2)
    return [float(np.sqrt(square.sum(axis=1).mean())) for square in squares]


def is_figure(x: np.ndarray, views: Views) -> bool:
    """Whether one ink on one ground tells images x (N, C, H, W) but for a TOLD share of their variance."""
    mask, ink, ground = views.values()
    drawn = ground[:, :, None] + (ink - ground)[:, :, None] * mask[:, None]  # (N, C, H W)
    rest = ((x.reshape(drawn.shape) - drawn) ** 2).mean()
    return bool(rest <= (1 - TOLD) * x.var(axis=0).mean())


# --- scene


def scene_views(x: np.ndarray) -> Views:
    """Pattern (N, H W), tint (N, C - 1), where there are colours, and light (N, 1) of images x (N, C, H, W)."""
    from scipy.ndimage import uniform_filter  # half a second to import

    N, C, H, W = x.shape
    middle = np.outer(*(np.exp(-(((np.arange(n) - (n - 1) / 2) / (MIDDLE * n)) ** 2) / 2) for n in (H, W)))
    middle = (middle / middle.sum()).astype(np.float32)  # (H, W)
    size = (0, max(3, round(NEIGHBOURHOOD * H)), max(3, round(NEIGHBOURHOOD * W)))
    grey = x.mean(axis=1)
    off = grey - uniform_filter(grey, size, mode="nearest")
    spread = np.sqrt(uniform_filter(off**2, size, mode="nearest").clip(0))
    pattern = off / (spread + DARK) * np.sqrt(middle * H * W)
    shares = (x + DARK) / (x + DARK).sum(axis=1, keepdims=True)
    tint = np.einsum("nchw,hw->nc", shares, middle)[:, : C - 1]
    light = np.log(grey.mean(axis=(1, 2)) + DARK)[:, None]
    return {"pattern": pattern.reshape(N, -1), **({"tint": tint} if C > 1 else {}), "light": light}


def equal_scales(views: Views) -> list[float]:
    """To a variance of 1 each."""
    return [float(1 / np.sqrt(max(view.var(axis=0).sum(), FAINT))) for view in views.values()]


FIGURE = Kind("figure", figure_views, figure_scales, is_figure, any_others=True)
SCENE = Kind("scene", scene_views, equal_scales, lambda x, views: True, any_others=False)


# --- the fit


class ViewClustering(NamedTuple):
    """A view for each facet."""

    gain: float
    """Over chance."""
    order: tuple[int, ...]
    """(J,): which view each facet clusters."""
    centres: list[np.ndarray]
    """J arrays (K_j, d), zero in all views but the facet's own."""


class ViewFit(NamedTuple):
    """k-means of one view with one K."""

    centres: np.ndarray
    """(K, d_v)"""
    left: float
    """Mean squared distance of images from the nearest centre."""
    chance: float
    """That of Gaussian clouds like the view, fitted in the same way."""


def fit_views(
    f: Sequence[np.ndarray], n_clusters: Sequence[int], any_others: bool, rng: np.random.Generator
) -> ViewClustering:
    """Let J facets cluster a view each, so that the gain over chance is largest.

    f: V >= J views, each (N, d_v). Some facet looks at the first. Views that a facet could have chosen and none did
    count whole.
    """
    J = len(n_clusters)
    seen = f if any_others else f[:J]
    fits = {(v, K): fit_view(view, K, rng) for v, view in enumerate(seen) for K in sorted(set(n_clusters))}
    spreads = [float(view.var(axis=0).sum()) for view in seen]

    def judge(order: tuple[int, ...]) -> float:
        chosen = [fits[v, K] for v, K in zip(order, n_clusters, strict=True)]
        unseen = sum(spread for v, spread in enumerate(spreads) if v not in order)
        return gain(unseen + sum(fit.chance for fit in chosen), unseen + sum(fit.left for fit in chosen))

    orders = [order for order in itertools.permutations(range(len(seen)), J) if 0 in order]
    best = max(orders, key=judge)
    bounds = np.cumsum([0, *(view.shape[1] for view in f)])
    centres = [np.zeros((K, bounds[-1]), dtype=np.float32) for K in n_clusters]
    for m, v, K in zip(centres, best, n_clusters, strict=True):
        m[:, bounds[v] : bounds[v + 1]] = fits[v, K].centres
    return ViewClustering(judge(best), best, centres)


def fit_view(f: np.ndarray, K: int, rng: np.random.Generator) -> ViewFit:
    """k-means of one view f (N, d), and of clouds like it."""
    found = k_means(f, K, rng, N_STARTS)
    clouds = [k_means(cloud_like(f, rng), K, rng, N_STARTS_OF_CHANCE) for _ in range(N_CLOUDS)]
    chance = float(np.mean([cloud.inertia_ for cloud in clouds]))
    return ViewFit(found.cluster_centers_, found.inertia_ / len(f), chance / len(f))
