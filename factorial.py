"""Factorial clustering of images: J clusterings of the same images whose centres add up. A led training starts from it.

It is the linear twin of MFCVAE, with the decoder replaced by a sum and without latents:

    c_j ~ Categorical(uniform over K_j),    f | c ~ Normal(sum_j M_j[c_j], s^2 I)

f (d,) are features of the pixels. With K_1 ... K_J symbols to describe an image, the best description is by J things
that vary independently, where there are such. The fit is variational EM with q(c | f) = prod_j q_j(c_j | f), known as
cooperative vector quantisation (Ghahramani, 1995), with s falling from a quarter of the largest variance on.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

N_IMAGES = 2_000
"""Training images that the centres are fitted to, drawn by the seed."""
N_STARTS, N_KEPT = 30, 10
"""Fits from different starts for each kind of features, and how many of all of them are cooled down."""
CHUNK = 5_000
"""Images whose features are in memory at a time."""
CHUNK_PIXELS = 2**26
"""And how many pixel values, of four bytes each."""
EXPLAINED, MAX_FEATURES = 0.99, 100
"""Share of the variance that the features keep, and how many there are at most."""
SMALLEST_SPREAD = 0.1
"""Added to every pixel's standard deviation before it is divided by it, pixels being in [0, 1]."""
FALLING, COLD = np.geomspace(0.25, 0.02, 12), np.full(25, 0.01)
"""s^2 in every iteration of a start, and of what is kept, as a share of the largest variance of a feature."""
RIDGE = 1e-3
"""Keeps centres of clusters without members finite, as a share of the mean size of a cluster."""


class HostImages(Protocol):
    """Images (N, C, H, W) uint8: an array, or a file that is read by index as an array is."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: Any) -> np.ndarray: ...


class FactorialClustering(NamedTuple):
    """What was found."""

    centres: list[np.ndarray]
    """J arrays (K_j, d): M_j."""
    features: Features
    """What f is."""
    rmse: float
    """Root mean squared error of the pixels, in [0, 1], where each is predicted by the sum of its facets' centres."""

    def predict(self, images: HostImages) -> np.ndarray:
        """Clusters of images (M, C, H, W) uint8, also of others than it was fitted to: (M, J) int64."""
        return np.concatenate([codes_of(self.features(to_pixels(c)), self.centres) for c in chunks(images)])


def factorial_clustering(images: HostImages, n_clusters: Sequence[int], seed: int) -> FactorialClustering:
    """Fit to images (N, C, H, W) uint8 with K_j = n_clusters[j]; nothing is random but by the seed.

    Half of the starts look at the pixels, half at pixels over their standard deviation, where small parts count as much
    as large ones. All are judged by how well their codes tell the pixels.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(images))[:N_IMAGES])
    pixels = to_pixels(images[chosen])
    plain, even = Features(pixels, seed), Features(pixels, seed, smallest_spread=SMALLEST_SPREAD)

    def error(found: tuple[Features, list[np.ndarray]]) -> float:
        features, centres = found
        return additive_error(plain(pixels), codes_of(features(pixels), centres), n_clusters)

    starts = [
        (features, fit(f, residual_start(f, n_clusters, rng), FALLING))
        for features, f in ((plain, plain(pixels)), (even, even(pixels)))
        for _ in range(N_STARTS)
    ]
    kept = sorted(starts, key=error)[:N_KEPT]
    cooled = [(features, fit(features(pixels), centres, COLD)) for features, centres in kept]
    features, centres = min(cooled, key=error)
    rmse = np.sqrt(additive_error(pixels, codes_of(features(pixels), centres), n_clusters) / pixels.shape[1])
    return FactorialClustering(centres, features, float(rmse))


def chunks(images: HostImages) -> Iterator[np.ndarray]:
    """Yield the images in order, some thousand at a time, fewer where they are large."""
    n = max(1, min(CHUNK, CHUNK_PIXELS // math.prod(images.shape[1:])))
    return (images[first : first + n] for first in range(0, len(images), n))


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) uint8 -> (N, P) float32 in [0, 1], P = C H W."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


class Features:
    """Principal components of pixels, or of pixels over their standard deviation."""

    def __init__(self, pixels: np.ndarray, seed: int, smallest_spread: float | None = None):
        """Find the components of pixels (N, P), which are divided by their standard deviation + smallest_spread."""
        from sklearn.decomposition import PCA  # takes a second to import

        self.scale = np.float32(1) if smallest_spread is None else 1 / (pixels.std(axis=0) + smallest_spread)  # (P,)
        n = min(MAX_FEATURES, *pixels.shape)
        with np.errstate(invalid="ignore"):  # shares of no variance at all
            self.pca = PCA(n, random_state=seed).fit(pixels * self.scale)
        total = max(float((pixels * self.scale).var(axis=0, ddof=1).sum()), 1e-12)
        self.n = min(int(np.searchsorted(self.pca.explained_variance_.cumsum() / total, EXPLAINED)) + 1, n)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (N, P) -> features (N, d) float32."""
        return self.pca.transform(pixels * self.scale)[:, : self.n]


def fit(f: np.ndarray, centres: list[np.ndarray], temperatures: np.ndarray) -> list[np.ndarray]:
    """Variational EM on f (N, d) from centres, J arrays (K_j, d), one temperature after another -> better centres."""
    J, bounds = len(centres), np.cumsum([len(m) for m in centres])[:-1]
    q = [np.eye(len(m), dtype=f.dtype)[code] for m, code in zip(centres, codes_of(f, centres).T, strict=True)]
    for s2 in temperatures * max(f.var(axis=0).max(), 1e-12):
        for j in range(J):
            others = sum((q[i] @ centres[i] for i in range(J) if i != j), np.zeros_like(f))
            logits = ((f - others) @ centres[j].T - (centres[j] ** 2).sum(axis=1) / 2) / s2  # (N, K_j)
            q[j] = np.exp(logits - logits.max(axis=1, keepdims=True))
            q[j] /= q[j].sum(axis=1, keepdims=True)
        centres = np.split(least_squares(f, q), bounds)
    return centres


def residual_start(f: np.ndarray, n_clusters: Sequence[int], rng: np.random.Generator) -> list[np.ndarray]:
    """k-means of one facet after another, in a random order, each of what is left of f (N, d): J arrays (K_j, d)."""
    from sklearn.cluster import KMeans  # takes a second to import
    from sklearn.exceptions import ConvergenceWarning

    centres, rest = [np.empty(0)] * len(n_clusters), f
    for j in rng.permutation(len(n_clusters)):
        seed = int(rng.integers(2**31))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different images than clusters
            found = KMeans(n_clusters[j], n_init=1, max_iter=20, random_state=seed).fit(rest)
        centres[j] = found.cluster_centers_
        rest = rest - centres[j][found.labels_]
    return centres


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


def additive_error(f: np.ndarray, codes: np.ndarray, n_clusters: Sequence[int]) -> float:
    """Mean squared error of predicting f (N, d) by the best sum of one centre per facet, given codes (N, J)."""
    q = [np.eye(K, dtype=f.dtype)[codes[:, j]] for j, K in enumerate(n_clusters)]
    return float(((f - np.concatenate(q, axis=1) @ least_squares(f, q)) ** 2).sum(axis=1).mean())
