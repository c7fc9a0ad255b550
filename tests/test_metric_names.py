"""Names of metrics: the published ones stay, every name is read back, and no label takes another one's place."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from evaluation.metric_names import BEST_SCORES, FORMS, SCORES, Metric, metrics_in
from evaluation.scores import ClusterScores, summarise
from sweeps.results import accuracy_curves, best_facet

LABELS = [
    "digit", "floor_hue", "a", "a_weighted", "a_weighted_", "a_weighted__", "weighted", "weighted_", "hungarian", "a_hungarian",
    "x_weighted_hungarian", "_weighted", "aweighted", "a_nmi", "nmi", "accuracy", "weighted_accuracy", "acc", "acc_max",
    "a_acc_max", "weighted_acc_max", "label_a", "a_label_b", "facet_0", "0", "{kind}", "{", "%s", "a/b", "../x", "a b", " ",
    "_", "__", "a\nb", "a\tb_weighted", "weighted\n", "größe", "色", "🙂", "a.b*(c)[d]?", "\\d+", "'", '"', "\x00", "\udcff",
]  # fmt: skip


def test_published_names_are_written_as_they_were():
    assert Metric("accuracy", "test", facet=0, label="digit").name == "test_metric/facet_0_label_digit_accuracy"
    assert Metric("acc_max", "train", facet=11).name == "train_metric/facet_11_acc_max"
    assert Metric("weighted_acc_max", "test", facet=1).name == "test_metric/facet_1_weighted_acc_max"
    assert Metric("acc_max", "test", label="floor_hue").name == "test_metric/label_floor_hue_acc_max"
    assert Metric("n_clusters_present", "train", facet=0).name == "train_metric/n_clusters_present_0"
    assert Metric("confidence", facet=1).name == "test_metric/confidence_1"
    assert Metric("facet_nmi", facet=0, other_facet=2).name == "test_metric/facet_nmi_0_2"
    for kind in ("loss", "facet_acc_max", "facet_acc_sum", "label_acc_mean", "facet_weighted_acc_mean"):
        assert Metric(kind).name == f"test_metric/{kind}"


def every_metric() -> list[Metric]:
    """One of each form and kind, with every label."""
    metrics = []
    for form, kinds in FORMS.items():
        for kind, label in itertools.product(kinds, LABELS if "{label}" in form else [None]):
            facets = {"facet": 3 if "{facet}" in form else None, "other_facet": 4 if "{other_facet}" in form else None}
            metrics.append(Metric(kind, "train", label=label, **facets))
    return metrics


def test_every_name_says_one_thing_and_is_read_back():
    metrics = every_metric()
    names = [metric.name for metric in metrics]
    assert len(set(names)) == len(names) > 5 * len(LABELS)
    assert [Metric.parse(name) for name in names] == metrics


@pytest.mark.parametrize(
    "name", ["epoch", "epoch_seconds", "train_loss/kl_z", "test_metric/", "test_metric/facet_0_label_a"]
)
def test_what_is_no_metric_is_not_read_as_one(name):
    assert Metric.parse(name) is None


def test_a_number_that_nobody_logs_has_no_name():
    for wrong in (Metric("accuracy"), Metric("nmi", facet=0), Metric("loss", facet=0), Metric("acc_max"), Metric("x")):
        with pytest.raises(ValueError, match="no number is logged as"):
            _ = wrong.name


def test_the_kinds_are_those_of_the_scores():
    assert ClusterScores._fields == SCORES
    assert {"acc_max", "weighted_acc_max"} == set(BEST_SCORES)


@pytest.mark.parametrize("taken", ["a_weighted", "a_hungarian", "a_nmi", "a_weighted_", "weighted"])
def test_a_label_does_not_take_over_the_scores_of_another(taken):
    """`a` is found, the other one is not: each keeps its own numbers."""
    a, other = np.array([0, 0, 0, 1]), np.array([0, 1, 0, 1])
    labels = {"a": a, taken: other}
    numbers = summarise("test", np.stack([a, np.zeros(4, int)], axis=1), labels, weighted=True)
    alone = {name: summarise("test", a[:, None], {name: y}, weighted=True) for name, y in labels.items()}
    for label in labels:
        for kind in SCORES:
            name = Metric(kind, facet=0, label=label).name
            assert numbers[name] == alone[label][name]
    assert numbers[Metric("weighted_acc_max", label="a").name] == 1.0
    assert numbers[Metric("acc_max", label=taken).name] == 0.75
    assert best_facet(numbers, "a")["accuracy"] == 1.0
    assert best_facet(numbers, taken)["accuracy"] == 0.75
    assert set(accuracy_curves([{"epoch": 0} | numbers])) == set(labels)


def test_numbers_are_sorted_out_by_what_they_are():
    numbers = {"epoch": 3, "test_metric/facet_0_label_a_nmi": 0.5, "train_loss/kl_z": 2.0}
    assert metrics_in(numbers) == {Metric("nmi", "test", 0, "a"): 0.5}
