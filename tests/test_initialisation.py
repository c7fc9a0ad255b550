"""The mixtures that a run's clusters start from."""

from __future__ import annotations

import numpy as np
import pytest

from initialisation import mixture_means
from utils import UserError

CENTRES = np.array([[5, 0, 0], [0, 5, 0], [0, 0, 5], [-5, 0, 0]], dtype=np.float32)


def encodings(n_clusters: int, D: int) -> np.ndarray:
    """50 encodings around each of the first centres, of the first D dimensions."""
    noise = np.random.default_rng(0).normal(0, 0.01, (50 * n_clusters, D))
    return (np.repeat(CENTRES[:n_clusters, :D], 50, axis=0) + noise).astype(np.float32)


def test_the_means_of_every_facet_are_those_of_its_clusters():
    means = mixture_means([encodings(4, 3), encodings(2, 2)], [4, 2], seed=0)
    assert sorted(means[0].round().tolist()) == sorted(CENTRES.tolist())
    assert sorted(means[1].round().tolist()) == sorted(CENTRES[:2, :2].tolist())


def test_equal_seeds_give_equal_means():
    m = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    first, again, other = (mixture_means([m], [5], seed)[0] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_what_cannot_be_fitted_is_an_error_of_the_user():
    with pytest.raises(UserError, match=r"n_clusters_j_list = \[3\] cannot be fitted .*n_samples >= n_components"):
        mixture_means([np.eye(2)], [3], seed=0)
