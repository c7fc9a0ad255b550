"""What scores are compared with: the largest class, and k-means on pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import random_states
from sklearn.cluster import KMeans

from config import build_config
from datasets import load_dataset
from evaluation import baselines as module
from evaluation.baselines import baselines, kmeans_clusters
from evaluation.metric_names import Metric
from evaluation.scores import cluster_scores

CONFIG = build_config({"dataset": "digits", "n_clusters_j_list": [25, 10], "z_j_dim_list": [5, 5], "seed": 0})
DIGITS = load_dataset(CONFIG, torch.device("cpu"))


def test_k_means_is_scikit_learns_on_the_training_images():
    clusters = kmeans_clusters(DIGITS.train.images, DIGITS.test.images, 10, seed=0)
    pixels, order = DIGITS.train.images.numpy().reshape(-1, 64) / np.float32(255), np.random.default_rng(0)
    fitted = KMeans(10, n_init=1, max_iter=30, random_state=0).fit(pixels[order.permutation(len(pixels))])
    expected = fitted.predict(DIGITS.test.images.numpy().reshape(-1, 64) / np.float32(255))
    y = DIGITS.test.labels[:, 0].numpy()
    assert cluster_scores(expected, clusters).ari > 0.99  # on several threads a mean may differ in its last bit
    numbers = baselines(CONFIG, DIGITS.train, DIGITS.test, DIGITS.spec)
    for kind, value in cluster_scores(y, clusters)._asdict().items():
        assert numbers[Metric(f"kmeans_{kind}", facet=1, label="digit").name] == value
    assert numbers[Metric("kmeans_accuracy", facet=0, label="digit").name] > 0.85
    assert numbers[Metric("kmeans_n_clusters_present", facet=0).name] == 25
    assert numbers[Metric("majority", label="digit").name] == np.bincount(y).max() / 360


def test_the_same_seed_gives_the_same_baselines_and_the_global_generators_stay():
    before = random_states()
    first = baselines(CONFIG, DIGITS.train, DIGITS.test, DIGITS.spec)
    assert first == baselines(CONFIG, DIGITS.train, DIGITS.test, DIGITS.spec)
    assert random_states() == before


@pytest.mark.parametrize(("work", "is_fitted"), [(64 * 10 * 49, False), (64 * 10 * 50, True)])
def test_large_images_are_left_out(monkeypatch, work, is_fitted):
    """Fewer than five images a cluster would be left."""
    monkeypatch.setattr(module, "MAX_WORK", work)
    assert (kmeans_clusters(DIGITS.train.images, DIGITS.test.images, 10, seed=0) is not None) == is_fitted
    numbers = baselines(CONFIG, DIGITS.train, DIGITS.test, DIGITS.spec)
    assert Metric("majority", label="digit").name in numbers
    assert Metric("kmeans_n_clusters_present", facet=0).name not in numbers  # of 25 clusters


def test_images_that_are_all_the_same_are_one_cluster(recwarn):
    blank = torch.zeros(30, 1, 4, 4, dtype=torch.uint8)
    assert set(kmeans_clusters(blank, blank, 3, seed=0)) == {0}
    assert not recwarn.list
