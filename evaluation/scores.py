"""Scores of a clustering against labels, and of clusterings against each other, from label vectors alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.special import entr


class ClusterScores(NamedTuple):
    """Scores of one facet against one label, each at most 1."""

    accuracy: float
    """Majority vote: every cluster predicts the class that most of its members have (also called purity)."""
    weighted_accuracy: float
    """Mean over the classes present of the recall of that prediction."""
    hungarian_accuracy: float
    """Accuracy under the best one-to-one matching of clusters and classes."""
    nmi: float
    """Normalised mutual information, arithmetic mean."""
    ari: float
    """Adjusted Rand index."""


def contingency(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int | None = None) -> np.ndarray:
    """Counts (K, L) of cluster k and class l, from two vectors (N,) of non-negative integers."""
    if len(y_true) != len(y_pred) or len(y_true) == 0:
        raise ValueError(f"need two vectors of one length, at least 1; got {len(y_true)} and {len(y_pred)}")
    n_classes = n_classes or int(y_true.max()) + 1
    n_clusters = int(y_pred.max()) + 1
    joint = y_pred.astype(np.int64) * n_classes + y_true
    return np.bincount(joint, minlength=n_clusters * n_classes).reshape(n_clusters, n_classes)


def confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int | None = None) -> np.ndarray:
    """Counts (L, L): rows are the predicted class, the majority class of the cluster, columns the true class."""
    table = contingency(y_true, y_pred, n_classes)
    matrix = np.zeros((table.shape[1], table.shape[1]), dtype=np.int64)
    np.add.at(matrix, table.argmax(axis=1), table)
    return matrix


def normalised_mutual_information(table: np.ndarray) -> float:
    """I(k; l) over the mean of H(k) and H(l), from counts (K, L); 1 where there is one cluster and one class.

    scikit-learn's number, but from the table: it would sort the 60,000 labels anew for every score.
    """
    h_both, h_clusters, h_classes = (_entropy(n) for n in (table.ravel(), table.sum(axis=1), table.sum(axis=0)))
    if h_clusters == h_classes == 0:
        return 1.0
    return max(0.0, 2 * (h_clusters + h_classes - h_both) / (h_clusters + h_classes))


def _entropy(counts: np.ndarray) -> float:
    """Nats, of the distribution that counts (n,) are in proportion to."""
    return float(entr(counts / counts.sum()).sum())


def adjusted_rand_index(table: np.ndarray) -> float:
    """Rand index of counts (K, L) above that of chance (Hubert and Arabie, 1985); 1 where both partitions are equal."""
    both, clusters, classes = (_n_pairs(counts) for counts in (table.ravel(), table.sum(axis=1), table.sum(axis=0)))
    if both == clusters == classes:
        return 1.0
    expected = clusters * classes / _n_pairs(table.sum(keepdims=True))
    return (both - expected) / ((clusters + classes) / 2 - expected)


def _n_pairs(counts: np.ndarray) -> int:
    """Pairs of members within the groups of these sizes."""
    return int((counts * (counts - 1) // 2).sum())


def best_matching(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clusters and classes, two arrays (min(K, L),), matched one to one so that counts (K, L) sum to the most.

    By scipy.sparse, as importing scipy.optimize takes another 12 MiB. One more everywhere, as zeros would count as not to
    be matched: every matching gains the same.
    """
    return min_weight_full_bipartite_matching(csr_array(table + 1), maximize=True)


def cluster_scores(y_true: np.ndarray, y_pred: np.ndarray) -> ClusterScores:
    """All scores of clusters y_pred (N,) against classes y_true (N,), both non-negative integers."""
    table = contingency(y_true, y_pred)
    class_sizes = table.sum(axis=0)  # (L,)
    correct = np.bincount(table.argmax(axis=1), weights=table.max(axis=1), minlength=len(class_sizes))  # (L,)
    present = class_sizes > 0
    return ClusterScores(
        accuracy=float(correct.sum() / len(y_true)),
        weighted_accuracy=float((correct[present] / class_sizes[present]).mean()),
        hungarian_accuracy=float(table[best_matching(table)].sum() / len(y_true)),
        nmi=normalised_mutual_information(table),
        ari=adjusted_rand_index(table),
    )


def facet_nmi(clusters: np.ndarray) -> dict[str, float]:
    """NMI between every two facets of clusters (N, J): low means that they cluster by different things."""
    J = clusters.shape[1]
    pairs = [(i, j) for i in range(J) for j in range(i + 1, J)]
    tables = {(i, j): contingency(clusters[:, i], clusters[:, j]) for i, j in pairs}
    return {f"facet_nmi_{i}_{j}": normalised_mutual_information(table) for (i, j), table in tables.items()}


def summarise(
    clusters: np.ndarray, labels: Mapping[str, np.ndarray], n_clusters: Sequence[int], weighted: bool
) -> dict[str, float]:
    """Every logged number about one split, under its logged name without the split's prefix.

    Args:
        clusters: (N, J), the cluster of each image in each facet.
        labels: label name -> (N,) classes; may be empty.
        n_clusters: K_j of each facet.
        weighted: whether to log weighted accuracy too (classes are uneven).
    """
    J = clusters.shape[1]
    numbers: dict[str, float] = {}
    for j in range(J):
        numbers[f"n_clusters_present_{j}"] = float(
            np.count_nonzero(np.bincount(clusters[:, j], minlength=n_clusters[j]))
        )
    numbers |= facet_nmi(clusters)
    if not labels:
        return numbers
    scores = {(j, name): cluster_scores(y, clusters[:, j]) for j in range(J) for name, y in labels.items()}
    for (j, name), score in scores.items():
        numbers |= {f"facet_{j}_label_{name}_{key}": value for key, value in score._asdict().items()}
    kinds = {"acc": "accuracy"} | ({"weighted_acc": "weighted_accuracy"} if weighted else {})
    for short, kind in kinds.items():
        best = [max(getattr(scores[j, name], kind) for name in labels) for j in range(J)]
        numbers |= {f"facet_{j}_{short}_max": value for j, value in enumerate(best)}
        numbers |= _max_sum_mean(f"facet_{short}", best)
        if len(labels) > 1:
            best = [max(getattr(scores[j, name], kind) for j in range(J)) for name in labels]
            numbers |= {f"label_{name}_{short}_max": value for name, value in zip(labels, best, strict=True)}
            numbers |= _max_sum_mean(f"label_{short}", best)
    return numbers


def _max_sum_mean(name: str, values: Sequence[float]) -> dict[str, float]:
    return {f"{name}_max": max(values), f"{name}_sum": sum(values), f"{name}_mean": sum(values) / len(values)}
