"""Images in two halves, and what two clusterings, each learned from one half, say about all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from datasets import DatasetSpec
from factorial.clustering import best_codes, told_views
from factorial.features import both_kinds, to_pixels
from factorial.fitting import codes_of, least_squares
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
        self.images = images[drawn(len(images), seed)]
        self.split(seed)
        pixels = to_pixels(self.images)
        self.kinds = [features(pixels)[:, :MAX_FEATURES] for features in both_kinds(pixels, seed)]
        self.f = self.kinds[0]  # (N, d)
        views = told_views(pixels.reshape(self.images.shape), seed)
        self.views = {kind: [f[:, :MAX_FEATURES] for f in v.apart(pixels)] for kind, v in views.items()}

    def split(self, seed: int) -> None:
        """Split the images into other halves, by the seed."""
        order = np.random.default_rng(seed).permutation(len(self.images))
        self.is_first = order < len(order) // 2  # (N,)

    def rows(self, half: int) -> np.ndarray:
        """Which images belong to half 0 or 1: (N,) bool."""
        return ~self.is_first if half else self.is_first

    def factorial_codes(self, half: int, n_clusters: Sequence[int], seed: int) -> np.ndarray:
        """The codes (N, J) of all images by a factorial clustering of one half, as a training starts from."""
        rng, rows = np.random.default_rng([seed, half]), self.rows(half)
        views = {kind: [part[rows] for part in parts] for kind, parts in self.views.items()}
        best = best_codes([f[rows] for f in self.kinds], views, n_clusters, rng, (N_STARTS, N_KEPT))
        kind = best.kind
        f = self.kinds[kind] if isinstance(kind, int) else np.concatenate(self.views[kind], axis=1)
        return codes_of(f, best.centres)

    def judge(self, codes: Sequence[np.ndarray], n_clusters: Sequence[int]) -> Judgement:
        """Judge codes, (N, J) of all images, that were learned from half 0 or, where there are two, from each half.

        With one there is nothing to agree with: what the choice may come to at best.
        """
        explained = [self._explained(c, self.rows(half), n_clusters) for half, c in enumerate(codes)]
        independence = [1 - _overlaps(c) for c in codes]
        agreement = np.ones(len(n_clusters))
        if len(codes) == 2:
            agreement, partners = matched_ami(*codes)
            explained[1], independence[1] = explained[1][partners], independence[1][partners]
        lists = (agreement, np.mean(independence, axis=0), np.mean(explained, axis=0))
        return Judgement(*(numbers.clip(0).tolist() for numbers in lists))

    def _explained(self, codes: np.ndarray, rows: np.ndarray, n_clusters: Sequence[int]) -> np.ndarray:
        """The share of the variance that each facet explains, (J,), of the other rows; centres are fitted to these."""
        q = [np.eye(K, dtype=self.f.dtype)[codes[:, j]] for j, K in enumerate(n_clusters)]
        centres = np.split(least_squares(self.f[rows], [q_j[rows] for q_j in q]), np.cumsum(n_clusters)[:-1])
        rest = self.f[~rows] - self.f[~rows].mean(axis=0)
        covariances = [float((q_j[~rows] @ m * rest).sum()) for q_j, m in zip(q, centres, strict=True)]
        return np.array(covariances) / max(float((rest**2).sum()), 1e-12)


def drawn(n_images: int, seed: int) -> np.ndarray:
    """Which images of a set are searched: (N,)."""
    return np.random.default_rng(seed).permutation(n_images)[:MAX_IMAGES]


def matched_ami(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Adjusted mutual information of columns of (N, J) and (N, L), matched one to one.

    Returns one number per column of first, and the column of second that it was matched with, -1 for none. A column
    that finds no partner has 0, and so has a constant one.
    """
    table = np.array([[_ami(a, b) for b in second.T] for a in first.T])  # (J, L)
    i, j = linear_sum_assignment(table, maximize=True)
    matched, partners = np.zeros(len(table)), np.full(len(table), -1)
    matched[i], partners[i] = table[i, j], j
    return matched, partners


def _overlaps(codes: np.ndarray) -> np.ndarray:
    """How much each facet of codes (N, J) has in common with another: the largest AMI, (J,)."""
    facets = list(enumerate(codes.T))
    return np.array([max((_ami(a, b) for j, b in facets if j != i), default=0.0) for i, a in facets]).clip(0)


def _ami(a: np.ndarray, b: np.ndarray) -> float:
    """AMI of clusters a (N,) and b (N,); 0 where either is constant, also where both are."""
    from sklearn.metrics import adjusted_mutual_info_score  # takes a second to import

    return 0.0 if (a == a[0]).all() or (b == b[0]).all() else float(adjusted_mutual_info_score(a, b))
