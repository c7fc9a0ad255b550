"""Images that are sums of independent parts are taken apart; a run that is led starts, ends and resumes as it should."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import random_states
from sklearn.metrics import adjusted_mutual_info_score
from test_train import metrics_of, run_small, stop_small

import initialisation
from config import build_config
from datasets import DatasetSpec
from factorial import clustering
from factorial.clustering import factorial_clustering
from factorial.fitting import additive_error, codes_of
from initialisation import SMALLEST_SIGMA, factorial_start, latent_means
from load_model import load_model_from_save_dict
from mfcvae import MFCVAE
from progressive import full_coefficients
from utils import UserError

LED = [
    "--do_progressive_training", "false", "--n_epochs", "4", "--init_type_p_z_c", "factorial", "--guide_weight", "0.03",
    "--bottleneck", "0.9", "--sigma_multiplier_p_x_z", "data",
]  # fmt: skip


def parts(n: int, n_clusters: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 1, 8, 8) uint8, each the sum of one random part per facet and a little noise; and which (n, J)."""
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, K, n) for K in n_clusters], axis=1)
    images = sum(rng.uniform(0, 200 / len(n_clusters), (K, 1, 8, 8))[codes[:, j]] for j, K in enumerate(n_clusters))
    return (images + rng.uniform(0, 8, images.shape)).astype(np.uint8), codes


def agreement(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Adjusted mutual information of each facet found with each true one: (J, J)."""
    return np.array([[adjusted_mutual_info_score(t, f) for t in true.T] for f in found.T])


@pytest.fixture
def few_starts(monkeypatch):
    """Enough where it does not matter how good the fit is."""
    monkeypatch.setattr(clustering, "N_STARTS", 3)
    monkeypatch.setattr(clustering, "N_KEPT", 2)


@pytest.mark.parametrize("n_clusters", [[4], [3, 3], [5, 2], [3, 3, 2]])
def test_images_are_taken_apart(n_clusters):
    images, true = parts(600, n_clusters)
    found = factorial_clustering(images, n_clusters, seed=1)
    codes = found.predict(images)
    best = agreement(codes, true).max(axis=1)
    assert codes.shape == true.shape and [len(m) for m in found.centres] == n_clusters
    assert best == pytest.approx(1, abs=1e-6)
    assert 0.005 < found.rmse < 0.02  # of the noise: 8 / sqrt(12) of 255


@pytest.mark.usefixtures("few_starts")
def test_combinations_that_are_too_many_to_be_listed():
    images, _ = parts(200, [3, 3])
    assert factorial_clustering(images, [25, 25, 25, 25], seed=0).predict(images).max() < 25


@pytest.mark.usefixtures("few_starts")
def test_the_seed_decides_and_the_global_generators_are_left_alone():
    images, _ = parts(100, [3, 3])
    np.random.seed(5)
    before = random_states()
    first, again, other = (factorial_clustering(images, [4, 4], seed).predict(images) for seed in (1, 1, 2))
    assert random_states() == before
    assert (first == again).all() and (first != other).any()


@pytest.mark.usefixtures("few_starts")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0, 255])
def test_images_without_any_difference_have_codes(value):
    found = factorial_clustering(np.full((50, 1, 4, 4), value, np.uint8), [3, 2], seed=0)
    assert np.isfinite(found.rmse) and all(np.isfinite(m).all() for m in found.centres)


def test_codes_are_the_nearest_sum_of_centres():
    centres = [np.array([[0.0, 0], [10, 0]]), np.array([[0.0, 0], [0, 10], [0, 20]])]
    codes = np.array([[0, 2], [1, 1], [1, 0]])
    f = centres[0][codes[:, 0]] + centres[1][codes[:, 1]] + 0.1
    assert codes_of(f, centres).tolist() == codes.tolist()


def test_the_error_of_codes_is_that_of_the_best_sum_of_centres():
    """By hand: 1 and 11 tell the pairs (0, 2) and (10, 12) to within 1; the wrong pairs (0, 10) and (2, 12) to within 5."""
    f = np.array([[0.0], [2.0], [10.0], [12.0]] * 5)
    pairs, mixed = np.array([[0], [0], [1], [1]] * 5), np.array([[0], [1], [0], [1]] * 5)
    assert additive_error(f, pairs, [2]) == pytest.approx(1, rel=1e-3)
    assert additive_error(f, mixed, [2]) == pytest.approx(25, rel=1e-3)
    assert additive_error(f, np.hstack([pairs, mixed]), [2, 2]) == pytest.approx(0, abs=1e-3)  # 0 or 10, plus 0 or 2


def test_latent_means_keep_what_tells_centres_apart():
    torch.manual_seed(0)
    centres = np.array([[0.0, 0, 0], [8, 0, 0], [0, 1, 0], [8, 1, 0]])
    means = latent_means(centres, 5)
    assert means.shape == (4, 5) and (means**2).mean() == pytest.approx(1, abs=0.1)
    far, near = np.linalg.norm(means[0] - means[1]), np.linalg.norm(means[0] - means[2])
    assert far > 4 * near > 0


def small_model(**settings: object) -> MFCVAE:
    sizes = {"dataset": "digits", "n_clusters_j_list": [3, 4], "z_j_dim_list": [2, 2], "do_progressive_training": False}
    config = build_config(sizes | {"init_type_p_z_c": "factorial"} | settings)
    return MFCVAE(config, DatasetSpec("any", (1, 8, 8), "normal", "sigmoid", 0)), config


@pytest.mark.usefixtures("few_starts")
@pytest.mark.parametrize(("noise", "sigma"), [(255, None), (0, SMALLEST_SIGMA)])
def test_sigma_comes_from_the_data_where_asked(noise, sigma, caplog):
    caplog.set_level("INFO")
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, noise + 1, (60, 1, 8, 8)).astype(np.uint8))
    model, config = small_model(sigma_multiplier_p_x_z="data")
    codes = factorial_start(model, images, config)
    assert codes.shape == (60, 2) and codes.dtype == torch.int64
    assert caplog.messages[0].startswith("facets start from ")
    assert model.sigma_x == (sigma or pytest.approx(0.27, abs=0.03))  # 255 / sqrt(12) of 255, less what is explained
    model, config = small_model(sigma_multiplier_p_x_z=0.3)
    factorial_start(model, images, config)
    assert model.sigma_x == 0.3


def test_the_bottleneck_hands_on_the_mean_of_the_clusters():
    model, _ = small_model(bottleneck=0.5)
    z = [torch.randn(6, 2), torch.randn(6, 2)]
    assert model.through_bottleneck(z, None) is z
    half = model.through_bottleneck(z, full_coefficients(2)._replace(bottleneck=(0.5, 0.0)))
    centres = model.responsibilities(z)[0] @ model.prior[0].mean
    torch.testing.assert_close(half[0], (z[0] + centres) / 2)
    torch.testing.assert_close(half[1], z[1])


def test_the_guide_is_the_cross_entropy_of_the_codes():
    model, _ = small_model(fixed_var_init=1.0)
    z, codes = [torch.randn(6, 2), torch.randn(6, 2)], torch.tensor([[0, 3]] * 6)
    q = model.responsibilities(z)
    expected = -2 * q[0][:, 0].log().mean() - 3 * q[1][:, 3].log().mean()
    actual = model.guidance(z, codes, full_coefficients(2)._replace(guide=(2.0, 3.0)))
    torch.testing.assert_close(actual, 64 * expected, rtol=1e-4, atol=1e-4)  # of 8 x 8 pixels


@pytest.mark.usefixtures("few_starts")
@pytest.mark.slow
def test_a_led_run_resumes_to_the_same_numbers_and_its_model_says_its_sigma(tmp_path, monkeypatch):
    whole = run_small(tmp_path, "whole", *LED, "--save_model", "true")
    stop_small(tmp_path, "stopped", 2, *LED)
    monkeypatch.setattr(initialisation, "factorial_start", lambda *_: pytest.fail("started anew"))
    assert run_small(tmp_path, "stopped", *LED) == whole
    assert metrics_of(tmp_path / "stopped")[-1]["test_metric/loss"] == whole[-1]["test_metric/loss"]
    model, config = load_model_from_save_dict(tmp_path / "whole" / "save_dict.pt")
    assert config.sigma_multiplier_p_x_z == model.sigma_x and 0.05 < model.sigma_x < 0.5


BAD = {
    "progressive": (
        {"init_type_p_z_c": "factorial"},
        "starts all facets together; give --do_progressive_training false",
    ),
    "sigma": ({"sigma_multiplier_p_x_z": "data"}, "it is what the factorial start leaves unexplained"),
    "word": ({"sigma_multiplier_p_x_z": "guess"}, "sigma_multiplier_p_x_z"),
    "share": ({"bottleneck": 1.5}, "bottleneck = 1.5"),
    "weight": ({"guide_weight": -1}, "guide_weight = -1"),
}


@pytest.mark.parametrize("name", BAD)
def test_settings_that_do_not_go_together_are_refused(name):
    settings, words = BAD[name]
    with pytest.raises(UserError, match=words):
        build_config(settings)


def test_published_models_are_led_by_nothing():
    assert (
        dataclasses.asdict(build_config({}))["bottleneck"] == dataclasses.asdict(build_config({}))["guide_weight"] == 0
    )
