"""How much more codes tell of images than of a cloud without clusters: kinds of features are judged by it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from factorial.fitting import additive_error, best_fit, codes_of

N_CLOUDS, N_STARTS = 2, 2
"""Gaussian clouds that codes of images are compared with, and starts of a fit to each: more change nothing there."""
NOTHING = 1e-9
"""Least mean squared error that counts."""


def gain(chance: float, left: float) -> float:
    """Compare what codes leave of Gaussian clouds with what they leave of images: log(chance / left)."""
    return float(np.log(max(chance, NOTHING) / max(left, NOTHING)))


def cloud_like(f: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a Gaussian cloud of the variances of f (N, d), uncorrelated as principal components are: (N, d) float32."""
    return rng.standard_normal(f.shape, dtype=np.float32) * f.std(axis=0).astype(np.float32)


def gain_of_sums(f: np.ndarray, centres: list[np.ndarray], rng: np.random.Generator) -> float:
    """Judge centres that add up, J arrays (K_j, d), on the f (N, d) that they were fitted to."""
    n_clusters = [len(m) for m in centres]
    clouds = [cloud_like(f, rng) for _ in range(N_CLOUDS)]
    fits = [best_fit([cloud], n_clusters, rng, N_STARTS, N_STARTS)[1] for cloud in clouds]
    chance = np.mean([_left(cloud, fit, n_clusters) for cloud, fit in zip(clouds, fits, strict=True)])
    return gain(float(chance), _left(f, centres, n_clusters))


def _left(f: np.ndarray, centres: Sequence[np.ndarray], n_clusters: Sequence[int]) -> float:
    """Mean squared error of f (N, d) under its codes."""
    return additive_error(f, codes_of(f, centres), n_clusters)
