"""Which figures are drawn, of what, and when."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import tick_labels

from config import build_config
from datasets import DATASETS, Split
from evaluation.figures import are_due, class_figures, cluster_classes, cluster_label, split_figures
from evaluation.predictions import Observed, Predictions, RankedCluster
from mfcvae import MFCVAE


def toy_observed(clusters: np.ndarray, classes: np.ndarray, n_classes: int, **settings: object) -> Observed:
    """Clusters (N, 2) and classes (N,) of an untrained model."""
    names = tuple(f"class {i}" for i in range(n_classes))
    spec = dataclasses.replace(DATASETS["digits"], label_names=("id",), class_names=(names,))
    config = build_config({"dataset": "digits", "n_clusters_j_list": [6, 5], **settings})
    split = Split(torch.zeros(len(classes), *spec.image_shape, dtype=torch.uint8), torch.from_numpy(classes[:, None]))
    predictions = Predictions([np.zeros((len(classes), 5), np.float32)] * 2, clusters, np.ones(clusters.shape))
    return Observed(MFCVAE(config, spec), config, spec, split, "test", predictions)


def test_rows_say_how_much_of_a_cluster_its_majority_is():
    cluster = RankedCluster(4, np.array([0, 1, 3]), 0.5)
    label = cluster_label(cluster, {"digit": np.array(["7", "7", "1", "1"])})
    assert label == "cluster 4 · n 3 · conf 0.50 · digit 7 67%"


def test_few_classes_are_drawn_both_ways_and_many_beside_clusters_alone():
    y = np.arange(31)
    few, many = (toy_observed(np.stack([y % 5] * 2, axis=1), np.minimum(y, n - 1), n) for n in (30, 31))
    assert [name for name, _ in class_figures(few, 0, "id")] == ["confusion_id", "cluster_classes_id"]
    assert [name for name, _ in class_figures(many, 0, "id")] == ["cluster_classes_id"]


def test_clusters_of_one_majority_class_stand_together_and_empty_ones_are_left_out():
    table = np.array([[0, 3], [5, 0], [0, 0], [2, 1], [1, 9]])
    figure = cluster_classes(table, ["a", "b"], "title")
    assert tick_labels(figure, "y") == ["1", "3", "0", "4"]
    np.testing.assert_allclose(figure.axes[0].images[0].get_array()[:, 0], [1, 2 / 3, 0, 0.1])


def test_classes_beyond_the_most_frequent_ones_share_a_column():
    counts = np.arange(100)
    figure = cluster_classes(np.stack([counts, counts]), [f"c{i}" for i in range(100)], "title")
    names = tick_labels(figure, "x")
    assert names == [f"c{i}" for i in range(20, 100)] + ["20 others"]
    shares = figure.axes[0].images[0].get_array()
    assert shares[0, -1] == pytest.approx(sum(range(20)) / sum(range(100)))


@pytest.mark.parametrize(
    ("settings", "learned"),
    [
        ({}, [0, 1]),
        ({"fix_pi_p_c": True}, []),
        ({"fix_pi_p_c": True, "facet_to_fix_pi_p_c": "facet_0"}, [1]),
    ],
)
def test_mixture_weights_are_drawn_where_they_are_learned(settings, learned):
    y = np.arange(20)
    observed = toy_observed(np.stack([y % 6, y % 5], axis=1), y % 3, 3, **settings)
    names = {name for name, _ in split_figures(observed)}
    assert {name for name in names if name.endswith("_pi")} == {f"test_vis/facet_{j}_pi" for j in learned}
    kinds = ("examples", "reconstructions", "cluster_sizes", "confusion_id", "cluster_classes_id")
    assert {f"test_vis/facet_{j}_{kind}" for j in (0, 1) for kind in kinds} <= names


@pytest.mark.parametrize(
    ("last", "every", "due"),
    [
        (121, 40, [0, 40, 80, 121]),  # not 120, whose figures are those of 121
        (401, 50, [*range(0, 400, 50), 401]),
        (75, 50, [0, 50, 75]),
        (3, 1, [0, 1, 2, 3]),
        (4, 2, [0, 2, 4]),
        (10, 50, [0, 10]),
        (0, 50, [0]),
    ],
)
def test_figures_of_the_end_are_drawn_once(last, every, due):
    assert [epoch for epoch in range(last + 1) if are_due(epoch, last, every)] == due
