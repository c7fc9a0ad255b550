"""The mixtures that a run's clusters start from, and how fast its layers learn."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from config import load_config
from datasets import dataset_spec
from initialisation import WIDEST, learning_rates, mixture_means
from mfcvae import MFCVAE
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


@pytest.mark.parametrize("name", ["mnist", "svhn", "3dshapes_1", "3dshapes_2", "digits", "demo"])
def test_every_layer_of_the_published_models_learns_at_the_same_rate(name):
    config = load_config(["--config_args_path", f"configs/{name}.yml"])
    model = MFCVAE(config, dataset_spec(config))
    (group,) = learning_rates(model, 1e-3)
    assert group["lr"] == 1e-3
    assert all(one is other for one, other in zip(group["params"], model.parameters(), strict=True))


def test_a_layer_of_many_inputs_moves_its_outputs_as_one_of_the_widest():
    """Adam's first step moves every weight by its learning rate: an output at ones moves by their sum."""
    model = nn.Sequential(nn.Linear(10 * WIDEST, 3), nn.Linear(3, WIDEST), nn.Linear(WIDEST, 1))
    others, slow = learning_rates(model, 1e-3)
    assert [p.shape for p in slow["params"]] == [(3, 10 * WIDEST)] and len(others["params"]) == 5
    assert slow["lr"] * model[0].in_features == pytest.approx(others["lr"] * WIDEST)
