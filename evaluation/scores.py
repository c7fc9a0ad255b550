"""Scores of a clustering against labels, and of clusterings against each other, from label vectors alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import entr

from evaluation.metric_names import Metric


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
    ami: float
    """Mutual information above that of chance, normalised likewise: 0 for clusters that know nothing of the classes."""
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


def adjusted_mutual_information(table: np.ndarray) -> float:
    """(I - E[I]) / (mean of H - E[I]) of counts (K, L), E[I] as chance gives it (Vinh, Epps and Bailey, 2010).

    As with scikit-learn, two equal partitions have 1, and a single cluster or class has 0 beside several ones.
    """
    from sklearn.metrics.cluster import expected_mutual_information  # takes a second to import

    table = table[table.any(axis=1)][:, table.any(axis=0)]
    if 1 in table.shape:
        return float(table.shape == (1, 1))
    h_both, h_clusters, h_classes = (_entropy(n) for n in (table.ravel(), table.sum(axis=1), table.sum(axis=0)))
    expected = expected_mutual_information(table, int(table.sum()))
    above_chance = (h_clusters + h_classes) / 2 - expected
    if above_chance < 1e-9:  # nobody shares a cluster or a class with another: chance is right, too
        return 1.0
    return (h_clusters + h_classes - h_both - expected) / above_chance


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


def matched(table: np.ndarray) -> int:
    """How many are right, by counts (K, L), when clusters and classes are matched one to one as well as can be."""
    return int(table[linear_sum_assignment(table, maximize=True)].sum())


def cluster_scores(y_true: np.ndarray, y_pred: np.ndarray) -> ClusterScores:
    """All scores of clusters y_pred (N,) against classes y_true (N,), both non-negative integers."""
    table = contingency(y_true, y_pred)
    class_sizes = table.sum(axis=0)  # (L,)
    correct = np.bincount(table.argmax(axis=1), weights=table.max(axis=1), minlength=len(class_sizes))  # (L,)
    present = class_sizes > 0
    return ClusterScores(
        accuracy=float(correct.sum() / len(y_true)),
        weighted_accuracy=float((correct[present] / class_sizes[present]).mean()),
        hungarian_accuracy=matched(table) / len(y_true),
        nmi=normalised_mutual_information(table),
        ami=adjusted_mutual_information(table),
        ari=adjusted_rand_index(table),
    )


def facet_nmi(clusters: np.ndarray) -> dict[Metric, float]:
    """NMI between every two facets of clusters (N, J): low means that they cluster by different things."""
    return {
        Metric("facet_nmi", facet=i, other_facet=j): normalised_mutual_information(
            contingency(clusters[:, i], clusters[:, j])
        )
        for i, j in itertools.combinations(range(clusters.shape[1]), 2)
    }


def clusters_present(clusters: np.ndarray) -> dict[Metric, float]:
    """The number of clusters that have members, of each facet of clusters (N, J)."""
    return {Metric("n_clusters_present", facet=j): float(len(np.unique(c))) for j, c in enumerate(clusters.T)}


def best_scores(short: str, scores: np.ndarray, labels: Sequence[str]) -> dict[Metric, float]:
    """The best label of each facet and the best facet of each label, and what they come to.

    Args:
        short: acc or weighted_acc.
        scores: (J, L), of each facet for each label.
        labels: L names. With one alone the best facet of a label is that of the whole run, and nothing is said of it.
    """
    of_facets = scores.max(axis=1).tolist()
    best = {Metric(f"{short}_max", facet=j): score for j, score in enumerate(of_facets)}
    best |= _max_sum_mean(f"facet_{short}", of_facets)
    if len(labels) == 1:
        return best
    of_labels = scores.max(axis=0).tolist()
    best |= {Metric(f"{short}_max", label=label): score for label, score in zip(labels, of_labels, strict=True)}
    return best | _max_sum_mean(f"label_{short}", of_labels)


def _max_sum_mean(name: str, values: Sequence[float]) -> dict[Metric, float]:
    """How good scores are altogether."""
    ways = {"max": max(values), "sum": sum(values), "mean": sum(values) / len(values)}
    return {Metric(f"{name}_{way}"): value for way, value in ways.items()}


def label_scores(clusters: np.ndarray, labels: Mapping[str, np.ndarray], weighted: bool) -> dict[Metric, float]:
    """Every score of every facet of clusters (N, J) against every label, at least one, and the best ones."""
    scores = [[cluster_scores(y, c) for y in labels.values()] for c in clusters.T]  # J lists of L
    metrics = {
        Metric(kind, facet=j, label=label): value
        for j, row in enumerate(scores)
        for label, score in zip(labels, row, strict=True)
        for kind, value in score._asdict().items()
    }
    metrics |= best_scores("acc", np.array([[score.accuracy for score in row] for row in scores]), list(labels))
    if weighted:
        weighted_scores = np.array([[score.weighted_accuracy for score in row] for row in scores])
        metrics |= best_scores("weighted_acc", weighted_scores, list(labels))
    return metrics


def summarise(
    split: str, clusters: np.ndarray, labels: Mapping[str, np.ndarray], weighted: bool = False
) -> dict[str, float]:
    """Every number that is logged about the clusters of a split, by its logged name.

    Args:
        split: train or test.
        clusters: (N, J), the cluster of each image in each facet.
        labels: label name -> (N,) classes; may be empty.
        weighted: whether the best weighted accuracies are logged too (classes are uneven).
    """
    metrics = clusters_present(clusters) | facet_nmi(clusters)
    if labels:
        metrics |= label_scores(clusters, labels, weighted)
    return {metric._replace(split=split).name: value for metric, value in metrics.items()}
