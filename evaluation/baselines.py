"""What the scores of a run are to be compared with: guessing, and k-means on the pixels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from config import Config
from datasets import DatasetSpec, Images, Split, split_labels
from evaluation.metric_names import Metric
from evaluation.scores import cluster_scores

MAX_IMAGES = 10_000
"""Training images that k-means is fitted to."""
MAX_WORK = 10**9
"""Products of one of its iterations, images times pixels times clusters: what keeps it within a few seconds."""
MIN_PER_CLUSTER = 5
"""Images a cluster that a fit within MAX_WORK must leave, or there is none."""


def baselines(config: Config, train: Split, test: Split, spec: DatasetSpec) -> dict[str, float]:
    """Scores on the test split of guessing and of k-means, by their logged names; none where there are no labels.

    The share of the largest class is what a single cluster would have. k-means is fitted once for every number of
    clusters that a facet has, and left out where the images are too large.
    """
    labels = split_labels(test, spec)
    metrics = {Metric("majority", label=label): float(np.bincount(y).max() / len(y)) for label, y in labels.items()}
    for K in dict.fromkeys(config.n_clusters_j_list) if labels else []:
        clusters = kmeans_clusters(train.images, test.images, K, config.seed)
        if clusters is not None:
            for j in [j for j, n_clusters in enumerate(config.n_clusters_j_list) if n_clusters == K]:
                metrics |= _kmeans_scores(clusters, labels, j)
    return {metric.name: value for metric, value in metrics.items()}


def _kmeans_scores(clusters: np.ndarray, labels: Mapping[str, np.ndarray], j: int) -> dict[Metric, float]:
    """The scores of clusters (N,) against every label, as those beside which facet j stands."""
    metrics = {Metric("kmeans_n_clusters_present", facet=j): float(len(np.unique(clusters)))}
    for label, y in labels.items():
        for kind, value in cluster_scores(y, clusters)._asdict().items():
            metrics[Metric(f"kmeans_{kind}", facet=j, label=label)] = value
    return metrics


def kmeans_clusters(train: Images, test: Images, n_clusters: int, seed: int) -> np.ndarray | None:
    """Fit k-means to the pixels of training images; the cluster of every test image, (N,).

    It has one thread, and so gives the same clusters every time.

    Args:
        train: (M, C, H, W) uint8, of which MAX_IMAGES are drawn by the seed, fewer where the images are large.
        test: (N, C, H, W) uint8.
        n_clusters: K, at most M.
        seed: of the images that are drawn, and of the fit.

    Returns:
        None where so few images are left that a fit would say nothing.
    """
    from sklearn.cluster import KMeans  # takes a second to import
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    n_images = min(len(train), MAX_IMAGES, MAX_WORK // (math.prod(train.shape[1:]) * n_clusters))
    if n_images < min(len(train), MIN_PER_CLUSTER * n_clusters):
        return None
    index = np.random.default_rng(seed).permutation(len(train))[:n_images]
    kmeans = KMeans(n_clusters, n_init=1, max_iter=30, random_state=seed, copy_x=False)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of images that are fewer than they seem, or all the same
        kmeans.fit(_pixels(train[index.tolist()]))
        return np.concatenate([kmeans.predict(_pixels(images)) for images in test.split(1000)])


def _pixels(images: Tensor) -> np.ndarray:
    """(N, C, H, W) uint8 -> (N, C H W) float32 in [0, 1], on the host."""
    return (images.flatten(1).cpu().float() / 255).numpy()
