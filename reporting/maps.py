"""Maps: the latents of a facet as points in the plane."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

Method = Literal["pca", "tsne"]
MAX_TSNE = 5000
"""Images of a t-SNE map: 16 seconds of a core for each facet; 10,000 took 48."""


class Map(NamedTuple):
    """Points in the plane, and how they came there."""

    points: np.ndarray
    """(m, 2)."""
    words: str
    images: np.ndarray | None = None
    """(m,): which of the images they are; all of them where there is nothing."""


def make_map(means: np.ndarray, method: Method) -> Map:
    """A map of latents m_j(x), (n, D), of all of them or of those that t-SNE has time for."""
    n, D = means.shape
    if D == 1:
        heights = np.random.default_rng(0).uniform(-0.5, 0.5, n) * max(float(np.ptp(means)), 1e-6) / 3
        return Map(np.column_stack([means[:, 0], heights]), "its only dimension; heights are random")
    if method == "tsne" and n > 3:
        return _tsne(means)
    if D == 2:
        return Map(means, "its two dimensions")
    return _pca(means)


def _pca(means: np.ndarray) -> Map:
    from sklearn.decomposition import PCA  # takes a second to import

    pca = PCA(min(2, *means.shape), svd_solver="covariance_eigh").fit(means)
    points = pca.transform(means)
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    share = float(np.nan_to_num(pca.explained_variance_ratio_).sum())
    return Map(points, f"PCA: its first two principal components, {share:.0%} of the variance")


def _tsne(means: np.ndarray) -> Map:
    from sklearn.manifold import TSNE

    images = np.sort(np.random.default_rng(0).permutation(len(means))[:MAX_TSNE])
    perplexity = min(30.0, (len(images) - 1) / 3)
    points = TSNE(2, perplexity=perplexity, init="pca", max_iter=500, random_state=0).fit_transform(means[images])
    drawn = " drawn at random" if len(images) < len(means) else ""
    words = f"a t-SNE map of {len(images):,} images{drawn}: near ones belong together, how far groups are says little"
    return Map(points, words, images)
