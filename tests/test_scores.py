"""Cluster scores against published numbers and hand-worked label vectors."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
from conftest import FIXTURES
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score

from evaluation.metric_names import Metric
from evaluation.scores import cluster_scores, confusion_matrix, contingency, facet_nmi, matched, summarise

#                  cluster 0: classes 0 0 1;  cluster 1: 1 1;  cluster 2: 1
Y_TRUE = np.array([0, 0, 1, 1, 1, 1])
Y_PRED = np.array([0, 0, 0, 1, 1, 2])


def test_scores_equal_the_published_ones():
    case = json.loads((FIXTURES / "cluster_metrics.json").read_text())
    y_true, y_pred = np.array(case["y_true"]), np.array(case["y_pred"])
    scores = cluster_scores(y_true, y_pred)
    assert scores.accuracy == case["accuracy"]
    assert scores.weighted_accuracy == pytest.approx(case["weighted_accuracy"], rel=1e-14)
    np.testing.assert_array_equal(confusion_matrix(y_true, y_pred), case["confusion_matrix"])


def test_hand_worked_scores():
    scores = cluster_scores(Y_TRUE, Y_PRED)
    assert scores.accuracy == pytest.approx(5 / 6)
    assert scores.weighted_accuracy == pytest.approx((2 / 2 + 3 / 4) / 2)
    assert scores.hungarian_accuracy == pytest.approx(4 / 6)  # 0 -> 0 (2 right), 1 -> 1 (2 right)
    np.testing.assert_array_equal(confusion_matrix(Y_TRUE, Y_PRED), [[2, 1], [0, 3]])


def test_a_perfect_clustering_scores_one_whatever_its_numbers():
    scores = cluster_scores(Y_TRUE, 7 - 3 * Y_TRUE)
    assert scores == pytest.approx((1.0,) * 6)


def test_a_clustering_that_knows_nothing_scores_zero_information():
    scores = cluster_scores(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))
    assert scores.nmi == pytest.approx(0, abs=1e-12)
    assert scores.accuracy == 0.5
    assert scores.ari < 0.01


@pytest.mark.parametrize("n", [1, 2, 10, 1000, 60_000])
def test_information_and_rand_index_are_those_of_scikit_learn(n):
    rng = np.random.default_rng(n)
    for n_classes, n_clusters, share in [
        (10, 25, 0.5),
        (4, 60, 0.0),
        (1, 5, 0.0),
        (5, 1, 0.0),
        (1, 1, 0.0),
        (9, 9, 1.0),
    ]:
        y_true, noise = rng.integers(0, n_classes, n), rng.integers(0, n_clusters, n)
        y_pred = np.where(rng.random(n) < share, y_true, noise)
        scores = cluster_scores(y_true, y_pred)
        assert scores.nmi == pytest.approx(normalized_mutual_info_score(y_true, y_pred), abs=1e-12)
        assert scores.ami == pytest.approx(adjusted_mutual_info_score(y_true, y_pred), abs=1e-9)
        assert scores.ari == pytest.approx(adjusted_rand_score(y_true, y_pred), abs=1e-12)


def test_empty_clusters_and_missing_classes_do_no_harm():
    scores = cluster_scores(np.array([0, 2, 2]), np.array([1, 4, 4]))
    assert scores == pytest.approx((1.0,) * 6)
    assert contingency(np.array([0, 2]), np.array([1, 4]), n_classes=5).shape == (5, 5)


def test_vectors_of_different_length_are_refused():
    with pytest.raises(ValueError, match="one length"):
        cluster_scores(np.zeros(3, int), np.zeros(2, int))


def test_facet_nmi_is_one_for_equal_and_zero_for_independent_facets():
    equal, other = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    nmi = facet_nmi(np.stack([equal, 1 - equal, other], axis=1))
    assert [nmi[Metric("facet_nmi", facet=i, other_facet=j)] for i, j in ((0, 1), (0, 2), (1, 2))] == pytest.approx(
        [1, 0, 0], abs=1e-12
    )


def test_summary_names_the_best_label_of_a_facet_and_the_best_facet_of_a_label():
    shape, hue = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    numbers = summarise("test", np.stack([shape, hue], axis=1), {"shape": shape, "hue": hue}, weighted=True)
    assert numbers["test_metric/facet_0_acc_max"] == numbers["test_metric/label_hue_acc_max"] == 1.0
    assert numbers["test_metric/facet_0_label_hue_accuracy"] == 0.5
    assert numbers["test_metric/facet_acc_sum"] == 2.0
    assert numbers["test_metric/n_clusters_present_0"] == 2
    names = ("facet_weighted_acc_max", "label_shape_weighted_acc_max", "label_weighted_acc_mean")
    assert {f"test_metric/{name}" for name in names} <= numbers.keys()


def test_summary_of_uneven_classes_by_hand():
    """Facet 0 has one cluster, facet 1 is right: class 0 has three members, class 1 one."""
    y = np.array([0, 0, 0, 1])
    numbers = summarise("test", np.stack([np.zeros(4, int), y], axis=1), {"y": y}, weighted=True)
    assert (numbers["test_metric/facet_0_acc_max"], numbers["test_metric/facet_0_weighted_acc_max"]) == (0.75, 0.5)
    assert (
        numbers["test_metric/facet_acc_max"],
        numbers["test_metric/facet_acc_sum"],
        numbers["test_metric/facet_acc_mean"],
    ) == (1, 1.75, 0.875)
    assert numbers["test_metric/facet_weighted_acc_mean"] == 0.75


def test_summary_without_labels_keeps_what_needs_none():
    numbers = summarise("train", np.array([[0, 1], [1, 1]]), {})
    assert set(numbers) == {
        f"train_metric/{name}" for name in ("n_clusters_present_0", "n_clusters_present_1", "facet_nmi_0_1")
    }


def test_chance_is_not_taken_for_information():
    """Two clusterings of 266 images that know nothing of each other: an NMI of a third, an AMI of nothing."""
    rng = np.random.default_rng(0)
    scores = cluster_scores(rng.integers(0, 25, 266), rng.integers(0, 25, 266))
    assert scores.nmi > 0.3
    assert abs(scores.ami) < 0.05


def test_images_that_share_no_cluster_are_a_perfect_clustering_of_themselves():
    assert cluster_scores(np.arange(5), np.arange(5)[::-1]).ami == 1.0


def test_the_matching_is_the_best_of_all():
    n_classes, rng = 4, np.random.default_rng(3)
    for n_clusters in (2, 4, 6):
        table = rng.integers(0, 50, (n_clusters, n_classes))
        wide = table if n_clusters >= n_classes else table.T  # every permutation of the longer side
        best = max(
            sum(wide[row, i] for i, row in enumerate(rows)) for rows in permutations(range(len(wide)), wide.shape[1])
        )
        assert matched(table) == best
