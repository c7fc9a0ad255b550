"""The fit of centres that add up: starts, variational EM with a falling temperature, codes and their error."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

FALLING, COLD = np.geomspace(0.25, 0.02, 12), np.full(25, 0.01)
"""s^2 in every iteration of a start, and of what is kept, as a share of the largest variance of a feature."""
RIDGE = 1e-3
"""Keeps centres of clusters without members finite, as a share of the mean size of a cluster."""


def best_fit(
    kinds: Sequence[np.ndarray], n_clusters: Sequence[int], rng: np.random.Generator, n_starts: int, n_kept: int
) -> tuple[int, list[np.ndarray]]:
    """Which kind of features tells the images best, and its centres, J arrays (K_j, d): the best of many fits.

    All are judged by how well their codes tell the features of the first kind.

    Args:
        kinds: features of the same images, each (N, d).
        n_clusters: K_j.
        rng: draws the starts.
        n_starts: fits from different starts for each kind.
        n_kept: how many of all of them are cooled down.
    """

    def error(found: tuple[int, list[np.ndarray]]) -> float:
        kind, centres = found
        return additive_error(kinds[0], codes_of(kinds[kind], centres), n_clusters)

    starts = [
        (kind, fit(f, residual_start(f, n_clusters, rng), FALLING))
        for kind, f in enumerate(kinds)
        for _ in range(n_starts)
    ]
    kept = sorted(starts, key=error)[:n_kept]
    return min(((kind, fit(kinds[kind], centres, COLD)) for kind, centres in kept), key=error)


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
    centres, rest = [np.empty(0)] * len(n_clusters), f
    for j in rng.permutation(len(n_clusters)):
        found = k_means(rest, n_clusters[j], rng)
        centres[j] = found.cluster_centers_
        rest = rest - centres[j][found.labels_]
    return centres


def k_means(f: np.ndarray, K: int, rng: np.random.Generator, n_starts: int = 1) -> KMeans:
    """Fit scikit-learn's k-means to f (N, d): the best of some starts, each of 20 iterations at most."""
    from sklearn.cluster import KMeans  # takes a second to import
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different images than clusters
        return KMeans(K, n_init=n_starts, max_iter=20, random_state=int(rng.integers(2**31))).fit(f)


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
