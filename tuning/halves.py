"""Images in two halves, and what two clusterings, each learned from one half, say about all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from datasets import DatasetSpec
from factorial.features import both_kinds, to_pixels
from factorial.fitting import best_fit, codes_of, least_squares
from readers.stored import StoredImages
from tuning.criterion import Judgement

MAX_IMAGES = 1_500
"""Images that settings are tried on: a pair of fits to them takes some seconds."""
MAX_FEATURES = 30
"""Principal components that a fit looks at, for the same reason; the factorial start of a training takes up to 100."""
N_STARTS, N_KEPT = 10, 3
"""Fits from different starts for each half and kind of features, and how many of all of them are cooled down."""


class Halves:
    """Images (N, C, H, W) uint8 with their features, and which of them belong to the first half by now."""

    def __init__(self, images: np.ndarray | StoredImages, spec: DatasetSpec, seed: int):
        """Draw at most MAX_IMAGES of the images by the seed. spec: that of the data set."""
        self.spec = spec
        self.chosen = np.random.default_rng(seed).permutation(len(images))[:MAX_IMAGES]  # (N,): which images of the set
        self.images = images[self.chosen]
        self.split(seed)
        pixels = to_pixels(self.images)
        self.kinds = [features(pixels)[:, :MAX_FEATURES] for features in both_kinds(pixels, seed)]
        self.f = self.kinds[0]  # (N, d)

    def split(self, seed: int) -> None:
        """Split the images into other halves, by the seed."""
        order = np.random.default_rng(seed).permutation(len(self.images))
        self.is_first = order < len(order) // 2  # (N,)

    def rows(self, half: int) -> np.ndarray:
        """Which images belong to half 0 or 1: (N,) bool."""
        return ~self.is_first if half else self.is_first

    def factorial_codes(self, half: int, n_clusters: Sequence[int], seed: int) -> np.ndarray:
        """The codes (N, J) of all images by a factorial clustering of one half: the best of some starts."""
        rng, rows = np.random.default_rng([seed, half]), self.rows(half)
        kind, centres = best_fit([f[rows] for f in self.kinds], n_clusters, rng, N_STARTS, N_KEPT)
        return codes_of(self.kinds[kind], centres)

    def judge(self, codes: Sequence[np.ndarray], n_clusters: Sequence[int]) -> Judgement:
        """Judge codes, (N, J) of all images, that were learned from half 0 or, where there are two, from each half."""
        errors = [self._held_out_error(c, self.rows(half), n_clusters) for half, c in enumerate(codes)]
        total = float(((self.f - self.f.mean(axis=0)) ** 2).sum(axis=1).mean())
        perplexities = [[float(np.exp(entropy(column))) for column in c.T] for c in codes]
        agreement = matched_ami(*codes) if len(codes) == 2 else np.ones(len(n_clusters))
        return Judgement(
            explained=max(0.0, 1 - float(np.mean(errors)) / max(total, 1e-12)),
            agreement=agreement.clip(0).tolist(),
            vocabulary=float(np.sum(np.mean(perplexities, axis=0))),
        )

    def _held_out_error(self, codes: np.ndarray, rows: np.ndarray, n_clusters: Sequence[int]) -> float:
        """Mean squared error on the other rows, of centres that are fitted to the images of these rows."""
        q = [np.eye(K, dtype=self.f.dtype)[codes[:, j]] for j, K in enumerate(n_clusters)]
        centres = least_squares(self.f[rows], [q_j[rows] for q_j in q])
        residuals = self.f[~rows] - np.concatenate(q, axis=1)[~rows] @ centres
        return float((residuals**2).sum(axis=1).mean())


def entropy(clusters: np.ndarray) -> float:
    """The entropy in nats of how often each cluster occurs in (N,)."""
    shares = np.bincount(clusters) / len(clusters)
    return float(-sum(share * np.log(share) for share in shares if share > 0))


def matched_ami(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Adjusted mutual information of columns of (N, J) and (N, L), matched one to one: one number per column of first.

    A column of first that finds no partner has 0, and so has a constant one.
    """
    table = np.array([[_ami(a, b) for b in second.T] for a in first.T])  # (J, L)
    i, j = linear_sum_assignment(table, maximize=True)
    matched = np.zeros(len(table))
    matched[i] = table[i, j]
    return matched


def _ami(a: np.ndarray, b: np.ndarray) -> float:
    """AMI of clusters a (N,) and b (N,); 0 where either is constant, also where both are."""
    from sklearn.metrics import adjusted_mutual_info_score  # takes a second to import

    return 0.0 if (a == a[0]).all() or (b == b[0]).all() else float(adjusted_mutual_info_score(a, b))
