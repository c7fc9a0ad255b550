"""Factorial clustering of images: J clusterings of the same images whose centres add up. A led training starts from it.

It is the linear twin of MFCVAE, with the decoder replaced by a sum and without latents:

    c_j ~ Categorical(uniform over K_j),    f | c ~ Normal(sum_j M_j[c_j], s^2 I)

f (d,) are features of the pixels. With K_1 ... K_J symbols to describe an image, the best description is by J things
that vary independently, where there are such. The fit is variational EM with q(c | f) = prod_j q_j(c_j | f), known as
cooperative vector quantisation (Ghahramani, 1995), with s falling from a quarter of the largest variance on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

N_IMAGES = 2_000
"""Training images that the centres are fitted to, drawn by the seed; all of them get codes."""
N_STARTS = 30
"""Fits from different starts, of which the best is kept."""
CHUNK = 5_000
"""Images whose features are in memory at a time."""
EXPLAINED, MAX_FEATURES = 0.99, 100
"""Share of the variance that the features keep, and how many there are at most."""
SMALLEST_SPREAD = 0.1
"""Added to every pixel's standard deviation before it is divided by it, pixels being in [0, 1]."""
TEMPERATURES = np.concatenate([np.geomspace(0.25, 0.02, 12), np.full(25, 0.01)])
"""s^2 in every iteration, as a share of the largest variance of a feature."""
RIDGE = 1e-3
"""Keeps centres of clusters without members finite, as a share of the mean size of a cluster."""


class FactorialClustering(NamedTuple):
    """What was found."""

    codes: np.ndarray
    """(N, J) int64: the cluster of every image in every facet."""
    centres: list[np.ndarray]
    """J arrays (K_j, d): M_j."""
    rmse: float
    """Root mean squared error of the pixels, in [0, 1], where each is predicted by the sum of its facets' centres."""


def factorial_clustering(images: np.ndarray, n_clusters: Sequence[int], seed: int) -> FactorialClustering:
    """Fit to images (N, C, H, W) uint8 with K_j = n_clusters[j]; nothing random but by the seed."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(images))[:N_IMAGES])
    features = Features(images[chosen])
    f = features(images[chosen])
    fits = [fit(f, n_clusters, rng) for _ in range(N_STARTS)]
    centres = min(fits, key=lambda found: error(f, codes_of(f, found), found))
    codes = np.concatenate([codes_of(features(chunk), centres) for chunk in chunks(images)])
    return FactorialClustering(codes, centres, pixel_error(images[chosen], codes[chosen], n_clusters))


def chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the images in order, some thousand at a time."""
    return (images[first : first + CHUNK] for first in range(0, len(images), CHUNK))


class Features:
    """Principal components of pixels that were divided by their standard deviation, so that small parts count too."""

    def __init__(self, images: np.ndarray):
        """Find the components of images (N, C, H, W) uint8."""
        pixels = to_pixels(images)
        self.scale = 1 / (pixels.std(axis=0) + SMALLEST_SPREAD)  # (P,)
        self.mean = (pixels * self.scale).mean(axis=0)  # (P,)
        _, spreads, directions = np.linalg.svd(pixels * self.scale - self.mean, full_matrices=False)
        explained = np.cumsum(spreads**2) / max((spreads**2).sum(), 1e-12)
        n = min(int(np.searchsorted(explained, EXPLAINED)) + 1, MAX_FEATURES, len(spreads))
        self.directions = directions[:n]  # (d, P)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Images (N, C, H, W) uint8 -> features (N, d) float32."""
        return (to_pixels(images) * self.scale - self.mean) @ self.directions.T


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) uint8 -> (N, C H W) float32 in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def fit(f: np.ndarray, n_clusters: Sequence[int], rng: np.random.Generator) -> list[np.ndarray]:
    """Variational EM from one start: k-means of what the facets before leave unexplained, in a random order of facets.

    f: (N, d) -> J arrays (K_j, d).
    """
    J, bounds = len(n_clusters), np.cumsum(n_clusters)[:-1]
    q, centres = residual_start(f, n_clusters, rng)
    for s2 in TEMPERATURES * f.var(axis=0).max():
        for j in rng.permutation(J):
            others = sum((q[i] @ centres[i] for i in range(J) if i != j), np.zeros_like(f))
            logits = ((f - others) @ centres[j].T - (centres[j] ** 2).sum(axis=1) / 2) / max(s2, 1e-12)  # (N, K_j)
            q[j] = np.exp(logits - logits.max(axis=1, keepdims=True))
            q[j] /= q[j].sum(axis=1, keepdims=True)
        centres = np.split(least_squares(f, q), bounds)
    return centres


def residual_start(
    f: np.ndarray, n_clusters: Sequence[int], rng: np.random.Generator
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """k-means of one facet after another, each of what is left of f (N, d): q_j (N, K_j) 0 or 1, and M_j (K_j, d)."""
    from sklearn.cluster import KMeans  # takes a second to import
    from sklearn.exceptions import ConvergenceWarning

    q, centres, rest = [np.empty(0)] * len(n_clusters), [np.empty(0)] * len(n_clusters), f
    for j in rng.permutation(len(n_clusters)):
        seed = int(rng.integers(2**31))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different images than clusters
            found = KMeans(n_clusters[j], n_init=1, max_iter=20, random_state=seed).fit(rest)
        q[j] = np.eye(n_clusters[j], dtype=f.dtype)[found.labels_]
        centres[j] = found.cluster_centers_
        rest = rest - centres[j][found.labels_]
    return q, centres


def least_squares(f: np.ndarray, q: Sequence[np.ndarray]) -> np.ndarray:
    """The centres of all facets, (sum_j K_j, d), that fit f (N, d) best under q, J arrays (N, K_j)."""
    stacked = np.concatenate(q, axis=1)
    products = stacked.T @ stacked  # E[n n'] but on the blocks of a facet, where one cluster excludes another
    first = 0
    for q_j in q:
        block = slice(first, first := first + q_j.shape[1])
        products[block, block] = np.diag(q_j.sum(axis=0))
    ridge = RIDGE * len(f) / len(products) * np.eye(len(products), dtype=f.dtype)
    return np.linalg.solve(products + ridge, stacked.T @ f)


def codes_of(f: np.ndarray, centres: Sequence[np.ndarray], n_rounds: int = 10) -> np.ndarray:
    """The clusters whose centres add up to nearest f (N, d), facet by facet in turn: (N, J) int64."""
    codes = np.zeros((len(f), len(centres)), dtype=np.int64)
    chosen = [np.broadcast_to(m.mean(axis=0), f.shape) for m in centres]
    for _ in range(n_rounds):
        before = codes.copy()
        for j, m in enumerate(centres):
            rest = f - sum((chosen[i] for i in range(len(centres)) if i != j), np.zeros_like(f))
            codes[:, j] = (rest @ m.T - (m**2).sum(axis=1) / 2).argmax(axis=1)
            chosen[j] = m[codes[:, j]]
        if (codes == before).all():
            break
    return codes


def error(f: np.ndarray, codes: np.ndarray, centres: Sequence[np.ndarray]) -> float:
    """How badly codes (N, J) tell what f (N, d) is: mean squared errors, to be compared between starts.

    The first is that of the sum of the centres. Where combinations of clusters have five members or more on average, a
    second is added, of predicting each image by the mean of the others of its combination: it asks nothing of how
    facets add up, and so prefers combinations that are alike.
    """
    additive = float(((f - sum(m[codes[:, j]] for j, m in enumerate(centres))) ** 2).sum(axis=1).mean())
    if np.prod([len(m) for m in centres], dtype=float) > len(f) / 5:
        return additive
    _, cell, sizes = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), f.shape[1]), dtype=f.dtype)
    np.add.at(sums, cell, f)
    n = sizes[cell]
    of_others = (sums[cell] - f) / np.maximum(n - 1, 1)[:, None]  # 0, the mean of all, where there are no others
    return additive + float(((f - of_others) ** 2).sum(axis=1).mean())


def pixel_error(images: np.ndarray, codes: np.ndarray, n_clusters: Sequence[int]) -> float:
    """Root mean squared error of the best additive prediction of images (N, C, H, W) uint8 from codes (N, J)."""
    pixels = to_pixels(images)
    q = [np.eye(K, dtype=np.float32)[codes[:, j]] for j, K in enumerate(n_clusters)]
    return float(np.sqrt(((pixels - np.concatenate(q, axis=1) @ least_squares(pixels, q)) ** 2).mean()))
