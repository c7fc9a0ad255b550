"""Health of facets: hand-made models of which it is known what each facet carries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import random_states
from torch.distributions import Independent, Normal

from config import Config, build_config
from datasets import DatasetSpec
from evaluation.health import FacetHealth, complaints, describe_health, health_of, measure_health, settings_to_try
from evaluation.metric_names import Metric
from evaluation.predictions import predict
from evaluation.scores import summarise
from mfcvae import MFCVAE
from progressive import full_coefficients

K = 4
SPREAD = 0.002
"""Variance of the clusters, and of q(z | x)."""


def made_config(J: int, **settings) -> Config:
    return build_config(
        {
            "dataset": "digits", "model_type": "fc_shared", "J_n_mixtures": J, "z_j_dim_list": [1] * J,
            "n_clusters_j_list": [K] * J, "n_epochs_per_progressive_step": [1] * J, **settings,
        }
    )  # fmt: skip


class HandMade(MFCVAE):
    """A model without weights: facet j's latent is `read[j]` of pixel j, and `drawn[j]` times it is drawn there."""

    def __init__(self, read: list, drawn: list[float], centres: list[list[float]]):
        J = len(read)
        super().__init__(made_config(J), DatasetSpec("made", (1, 1, J), "normal", None, 0))
        self.read, self.drawn = read, torch.tensor(drawn)
        with torch.no_grad():
            for prior, means in zip(self.prior, centres, strict=True):
                prior.mean.copy_(torch.tensor(means)[:, None])
                prior.free_spread.fill_(prior.inverse_positive(torch.tensor(SPREAD)))

    def encode(self, x, coefficients=None):
        """From the J pixels (B, 1, 1, J)."""
        means = [read(x[:, 0, 0, j : j + 1]) for j, read in enumerate(self.read)]
        return [Independent(Normal(m, torch.full_like(m, SPREAD**0.5)), 1) for m in means]

    def likelihood(self, z, coefficients=None):
        """A pixel of each facet."""
        return Independent(Normal((torch.cat(list(z), 1) * self.drawn)[:, None, None], 0.1), 3)


def identity(x):
    return x


def constant(x):
    return torch.zeros_like(x)


CLUSTERS = [0.0, 1 / 3, 2 / 3, 1.0]
MODEL = HandMade(
    [identity, constant, identity, identity],
    [1.0, 1.0, 1.0, 0.0],
    [CLUSTERS, [0.0] * K, [0.5, 9.0, 9.0, 9.0], CLUSTERS],
)
"""Facet 0 is alive; 1 dead; 2 draws what it reads, but has one cluster; 3 has all four clusters and draws nothing."""


def images(n: int, J: int = 4) -> torch.Tensor:
    """(n, 1, 1, J) uint8 with the four brightnesses 0 to 255, which are the clusters of living facets."""
    return (torch.randint(0, K, (n, 1, 1, J), generator=torch.Generator().manual_seed(1)) * 85).to(torch.uint8)


def numbers_of(model: MFCVAE, x: torch.Tensor) -> dict[str, float]:
    """What an epoch logs of them."""
    predictions = predict(model, x)
    metrics = {Metric("confidence", facet=j): float(c.mean()) for j, c in enumerate(predictions.confidences.T)}
    metrics |= measure_health(model, x)
    return summarise("test", predictions.clusters, {}) | {metric.name: value for metric, value in metrics.items()}


def test_each_facet_is_told_for_what_it_is():
    numbers = numbers_of(MODEL, images(400))
    alive, dead, continuous, silent = (health_of(numbers, j) for j in range(4))
    assert alive.complaint == ""
    assert dead.complaint.startswith("carries nothing: all images in one cluster, and swapping it")
    assert continuous.complaint.startswith("clusters nothing: all images in one cluster, only its continuous part")
    assert silent.complaint.startswith("does not show: its 4 clusters make no difference")
    lines = complaints(numbers, made_config(4), "normal")
    assert [line.split(";")[0].split(":")[0] for line in lines] == [
        "facet 1 carries nothing", "facet 2 clusters nothing", "facet 3 does not show",
    ]  # fmt: skip
    assert all("; try " in line and "\n" not in line for line in lines)


def test_what_is_measured_by_hand():
    """Facets 0 and 2 draw a pixel each, so that swapping both changes what swapping one and the other do."""
    x = images(400)
    health = measure_health(MODEL, x)
    effects = [health[Metric("health_effect", facet=j)] for j in range(4)]
    assert effects[1] == effects[3] == 0
    assert effects[0] + effects[2] == pytest.approx(1, abs=1e-5)
    assert effects[0] == pytest.approx(0.5, abs=0.05)
    assert health[Metric("health_change")] == pytest.approx(0.5, abs=0.05)  # two of four pixels that vary
    assert [health[Metric("health_constant", facet=j)] for j in range(4)] == pytest.approx([1 / K] * 4)
    kl = [health[Metric("health_kl", facet=j)] for j in range(4)]
    assert kl[1] == pytest.approx(0, abs=1e-4)  # q(z | x) is the prior
    assert kl[0] == pytest.approx(np.log(K), abs=0.02)  # of four equal clusters it names one, and nothing within it
    alive = health_of(numbers_of(MODEL, x), 0)
    assert (alive.n_clusters, alive.constant) == (K, pytest.approx(1 / K))
    assert alive.confidence > 0.99


def test_the_effect_is_a_mean_over_pairs_of_images():
    """Half of the images are black, half white: of all pairs half differ, by 1."""
    x = (torch.arange(1000) % 2 * 255).to(torch.uint8).reshape(-1, 1, 1, 1)
    model = HandMade([identity], [0.25], [CLUSTERS])
    health = measure_health(model, x)
    assert health[Metric("health_effect", facet=0)] == pytest.approx(1)  # it is the only one
    assert health[Metric("health_change")] == pytest.approx(0.25)  # it draws in grey what was white


def test_a_model_that_has_collapsed_as_a_whole_is_dead():
    """Beside nothing, next to nothing is everything: the effect is also compared with the images' own differences."""
    x = images(300, 2)
    model = HandMade([identity, identity], [1e-4, 1e-4], [CLUSTERS, CLUSTERS])
    health = measure_health(model, x)
    assert health[Metric("health_effect", facet=0)] > 0.4
    assert [health_of(numbers_of(model, x), j).shows for j in range(2)] == [False, False]


def test_clusters_of_which_nothing_is_sure_tell_nothing():
    health = FacetHealth(0, effect=0.5, kl=1.0, n_clusters=7, confidence=0.07, constant=0.05)
    assert health.complaint.startswith("clusters nothing: its 7 clusters tell nothing, only its continuous part")
    assert health._replace(confidence=0.3).complaint == ""
    assert health._replace(confidence=0.6, constant=0.58).complaint  # a constant would be as sure
    assert health._replace(confidence=1.0, constant=1.0).complaint


def test_measuring_leaves_everything_as_it_was():
    model = MFCVAE(made_config(2), DatasetSpec("made", (1, 1, 2), "normal", None, 0)).train()
    before = random_states()
    weights = [weight.clone() for weight in model.state_dict().values()]
    first, second = measure_health(model, images(50, 2)), measure_health(model, images(50, 2))
    assert first == second
    assert model.training
    assert random_states() == before
    assert all(torch.equal(a, b) for a, b in zip(weights, model.state_dict().values(), strict=True))
    assert all(weight.grad is None for weight in model.parameters())


def test_batches_make_no_difference():
    one, many = (measure_health(MODEL, images(103), batch_size=size) for size in (1000, 10))
    for metric in one:
        assert many[metric] == pytest.approx(one[metric], abs=1e-4)


def test_one_image_alone_cannot_be_swapped():
    numbers = numbers_of(MODEL, images(1))
    assert health_of(numbers, 0) is None
    assert complaints(numbers, made_config(4), "normal") == []
    assert describe_health(numbers, full_coefficients(4)) == ""


def test_images_that_are_all_the_same_carry_nothing():
    assert measure_health(MODEL, images(1).repeat(20, 1, 1, 1))[Metric("health_change")] == 0


def test_what_is_said_as_training_goes_on():
    numbers = numbers_of(MODEL, images(300))
    joining = full_coefficients(4)._replace(alpha_dec=(0.0, 0.3, 1.0, 1.0))
    said = describe_health(numbers, joining).split("; ")
    assert said[0] == "facet 0 has yet to join"
    assert said[1].startswith("facet 1 is fading in (effect 0.000, KL ") and "1 cluster," in said[1]
    assert said[2].startswith("facet 2 clusters nothing (")
    assert "4 clusters" in said[3] and "of a constant 0.25" in said[3]
    assert describe_health(numbers, full_coefficients(4)).startswith("facet 0 is alive (effect 0.")


def test_settings_to_try_are_those_that_can_help():
    dead, continuous = (FacetHealth(0, effect, 0.0, 1, 0.3, 0.25) for effect in (0.0, 0.5))
    config = made_config(2, sigma_multiplier_p_x_z=0.6)
    tries = settings_to_try(config, dead, "normal")
    assert len(tries) == 3 and "configs/folder.yml" in tries[0]
    assert tries[1] == "a smaller sigma_multiplier_p_x_z (now 0.6)"
    assert tries[2] == "fewer dimensions of facet 1 (z_j_dim_list, now 1)"
    assert not any("sigma" in words for words in settings_to_try(config, dead, "bernoulli"))
    assert any("fewer dimensions of its own" in words for words in settings_to_try(config, continuous, "normal"))
    led = made_config(
        2, init_type_p_z_c="factorial", sigma_multiplier_p_x_z="data", do_progressive_training=False, n_epochs=5
    )
    for health in (dead, continuous, dead._replace(facet=1)):
        tries = settings_to_try(led, health, "normal")
        assert tries[0] == "fewer clusters in each facet (n_clusters_j_list, now 4, 4)"
        assert not any("folder.yml" in words or "sigma" in words or "another" in words for words in tries)
