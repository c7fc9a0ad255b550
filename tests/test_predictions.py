"""Predictions, ranking, swapping, composing and sampling: for any J, without changing the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import ReferenceCase, random_states

from evaluation import decoding
from evaluation.decoding import (
    FacetClusters,
    Sampling,
    compose,
    decode,
    pair_members,
    reconstruct,
    sample_cluster_images,
)
from evaluation.predictions import (
    Predictions,
    RankedCluster,
    predict,
    predict_with_terms,
    rank_clusters,
    responsibilities,
)
from progressive import full_coefficients


@pytest.fixture(scope="module")
def three() -> ReferenceCase:
    return ReferenceCase("fc_vlae_j3_full")


def images(case: ReferenceCase, n: int = 16) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, *case.spec.image_shape), dtype=np.uint8))


def toy_predictions(clusters: list[int], confidences: list[float]) -> Predictions:
    return Predictions([], np.array(clusters)[:, None], np.array(confidences)[:, None])


def test_predictions_are_the_models_evaluation(case):
    model, x, J = case.model(), images(case), case.config.J_n_mixtures
    whole, terms = predict_with_terms(model, x, batch_size=16)
    with torch.no_grad():
        output = model(x / 255, sample=False)
    found = responsibilities(model, whole.means)
    for j in range(J):
        np.testing.assert_array_equal(whole.means[j], output.z[j])
        np.testing.assert_array_equal(found[j], output.terms.q_c_x[j])
        np.testing.assert_array_equal(whole.clusters[:, j], found[j].argmax(1))
        np.testing.assert_array_equal(whole.confidences[:, j], found[j].max(1))
    assert terms["loss"] == pytest.approx(float(output.terms.loss), rel=1e-5)
    assert terms["kl_z"] == pytest.approx(float(output.terms.kl_z.sum()), rel=1e-5)
    batched, batched_terms = predict_with_terms(model, x, full_coefficients(J), 7)
    np.testing.assert_allclose(batched.means[0], whole.means[0], rtol=1e-3, atol=1e-5)
    assert batched_terms["loss"] == pytest.approx(terms["loss"], rel=1e-4)


def test_without_terms_the_predictions_are_the_same(case):
    model, x = case.model(), images(case)
    (full, _), short = predict_with_terms(model, x, batch_size=9), predict(model, x, batch_size=9)
    for one, other in zip(full.means, short.means, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(full.clusters, short.clusters)
    np.testing.assert_array_equal(full.confidences, short.confidences)


def test_nothing_changes_and_no_graph_is_built(case):
    model, x = case.model().train(), images(case)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = random_states()
    means = predict(model, x, batch_size=9).means
    predict_with_terms(model, x, batch_size=9)
    responsibilities(model, means)
    reconstruct(model, means)
    sample_cluster_images(model, 0, Sampling(2, 1.0))
    compose(model, FacetClusters(0, [0, 1]), FacetClusters(1, [0]), [0] * case.config.J_n_mixtures)
    assert model.training
    assert random_states() == before
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_ranking_by_hand():
    ranked = rank_clusters(toy_predictions([4, 1, 4, 1, 7], [0.5, 0.9, 0.7, 0.8, 0.6]), 0)
    assert [cluster.cluster for cluster in ranked] == [1, 4, 7]  # means .85, .6, .6
    assert [list(cluster.members) for cluster in ranked] == [[1, 3], [2, 0], [4]]
    assert [cluster.confidence for cluster in ranked] == pytest.approx([0.85, 0.6, 0.6])


def test_pairs_of_members():
    a, b = RankedCluster(0, np.array([5, 3, 8, 1, 2]), 1.0), RankedCluster(1, np.array([7, 9]), 1.0)
    assert [list(side) for side in pair_members(a, b, 10)] == [[5, 3], [7, 9]]
    assert [list(side) for side in pair_members(a, b, 1)] == [[5], [7]]
    assert [list(side) for side in pair_members(a, a, 10)] == [[5, 8], [3, 1]]
    lonely = RankedCluster(2, np.array([4]), 1.0)
    assert [list(side) for side in pair_members(lonely, lonely, 10)] == [[], []]


@pytest.mark.parametrize("j", [0, 1, 2])
def test_swapping_exchanges_one_facet_and_twice_is_nothing(three, j):
    means = predict(three.model(), images(three)).means
    first, second = [m[:5] for m in means], [m[5:10] for m in means]
    one, other = decoding.swap_facet(first, second, j)
    for i in range(3):
        np.testing.assert_array_equal(one[i], (second if i == j else first)[i])
        np.testing.assert_array_equal(other[i], (first if i == j else second)[i])
    for side, original in zip(decoding.swap_facet(one, other, j), (first, second), strict=True):
        for z, z_original in zip(side, original, strict=True):
            np.testing.assert_array_equal(z, z_original)


def test_compositions_are_the_decoded_means(three):
    model = three.model()
    cells = compose(model, FacetClusters(2, [1, 0]), FacetClusters(0, [3, 2, 1]), [0, 2, 0])
    assert cells.shape == (2, 3, *three.spec.image_shape)
    rest = model.prior[1].mean[2]
    for r, k in enumerate([1, 0]):
        for q, c in enumerate([3, 2, 1]):
            z = [z[None].detach() for z in (model.prior[0].mean[c], rest, model.prior[2].mean[k])]
            np.testing.assert_allclose(cells[r, q], decode(model, z)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0])
def test_samples_have_the_mixtures_distribution(three, monkeypatch, temperature):
    """A row per cluster of the facet; of the others clusters by their weights, which differ here."""
    model, n = three.model(), 4_000
    monkeypatch.setattr(decoding, "decode", lambda model, z, coefficients: torch.cat(list(z), dim=1).numpy())
    with torch.no_grad():
        model.prior[0].pi_logits.copy_(torch.linspace(-2, 1, len(model.prior[0].pi)))
        samples = sample_cluster_images(model, 1, Sampling(n, temperature))
        first, second = np.split(samples, np.cumsum(three.config.z_j_dim_list)[:-1], axis=-1)[:2]  # (K_1, n, D_j)
        factor = torch.tril(model.prior[1].free_spread)
        factor.diagonal(dim1=1, dim2=2).copy_(model.prior[1].positive(factor.diagonal(dim1=1, dim2=2)))
        for k, z in enumerate(second):
            covariance = temperature**2 * factor[k] @ factor[k].T
            np.testing.assert_allclose(z.mean(0), model.prior[1].mean[k], atol=0.05)
            np.testing.assert_allclose(np.cov(z.T), covariance, rtol=0.1, atol=5e-3)
        mean = model.prior[0].pi @ model.prior[0].mean
        np.testing.assert_allclose(first.mean((0, 1)), mean, atol=0.05)


def test_decoding_takes_the_coefficients_into_account(three):
    model, means = three.model(), predict(three.model(), images(three)).means
    whole, without = (
        reconstruct(model, means, coefficients)
        for coefficients in (None, full_coefficients(3)._replace(alpha_dec=(0.0, 1.0, 1.0)))
    )
    assert np.abs(whole - without).max() > 1e-3


def test_samples_follow_their_seed(three):
    model = three.model()
    one, again, other = (sample_cluster_images(model, 1, Sampling(3, 0.5, seed)) for seed in (1, 1, 2))
    assert one.shape == (three.config.n_clusters_j_list[1], 3, *three.spec.image_shape)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
