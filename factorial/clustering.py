"""Factorial clustering of images: J clusterings of the same images whose centres add up. A led training starts from it.

It is the linear twin of MFCVAE, with the decoder replaced by a sum and without latents:

    c_j ~ Categorical(uniform over K_j),    f | c ~ Normal(sum_j M_j[c_j], s^2 I)

f (d,) are features of the pixels. With K_1 ... K_J symbols to describe an image, the best description is by J things
that vary independently, where there are such. The fit is variational EM with q(c | f) = prod_j q_j(c_j | f), known as
cooperative vector quantisation (Ghahramani, 1995), with s falling from a quarter of the largest variance on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from factorial.features import Features, HostImages, both_kinds, chunks, to_pixels
from factorial.fitting import additive_error, best_fit, codes_of
from factorial.gain import gain_of_sums
from factorial.views import FIGURE, SCENE, ViewFeatures, fit_views

N_IMAGES = 2_000
"""Training images that the centres are fitted to, drawn by the seed."""
N_STARTS, N_KEPT = 30, 10
"""Fits from different starts for each kind of features, and how many of all of them are cooled down."""


class FactorialClustering(NamedTuple):
    """What was found."""

    centres: list[np.ndarray]
    """J arrays (K_j, d): M_j."""
    features: Features | ViewFeatures
    """What f is."""
    rmse: float
    """Root mean squared error of the pixels, in [0, 1], each predicted by the best sum of a centre per facet."""
    subject: str
    """What its facets look at, in words."""

    def predict(self, images: HostImages) -> np.ndarray:
        """Clusters of images (M, C, H, W) uint8, also of others than it was fitted to: (M, J) int64."""
        return np.concatenate([codes_of(self.features(to_pixels(c)), self.centres) for c in chunks(images)])


class Candidate(NamedTuple):
    """Codes by one kind of features."""

    subject: str
    """What the facets look at, in words."""
    gain: float
    """log(what such codes leave of Gaussian clouds / what they leave of the images)."""
    features: Features | ViewFeatures
    centres: list[np.ndarray]


def factorial_clustering(images: HostImages, n_clusters: Sequence[int], seed: int) -> FactorialClustering:
    """Fit to images (N, C, H, W) uint8 with K_j = n_clusters[j]; nothing is random but by the seed.

    Either centres add up, or each facet clusters a view of its own: whichever gains most over chance.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(images))[:N_IMAGES])
    pixels = to_pixels(images[chosen])
    shape = tuple(images.shape[1:])
    found = [sums(pixels, n_clusters, rng, seed), *views(pixels.reshape(-1, *shape), n_clusters, rng, seed)]
    best = max(found, key=lambda candidate: candidate.gain)  # the first of equal ones
    codes = codes_of(best.features(pixels), best.centres)
    rmse = np.sqrt(additive_error(pixels, codes, n_clusters) / pixels.shape[1])
    return FactorialClustering(best.centres, best.features, float(rmse), best.subject)


def sums(pixels: np.ndarray, n_clusters: Sequence[int], rng: np.random.Generator, seed: int) -> Candidate:
    """Fit centres that add up to the features of pixels (N, P).

    Half of the starts look at the pixels, half at pixels over their standard deviation, where small parts count as much
    as large ones. All are judged by how well their codes tell the pixels.
    """
    kinds = both_kinds(pixels, seed)
    f = [features(pixels) for features in kinds]
    kind, centres = best_fit(f, n_clusters, rng, N_STARTS, N_KEPT)
    return Candidate("parts that add up", gain_of_sums(f[kind], centres, rng), kinds[kind], centres)


def views(images: np.ndarray, n_clusters: Sequence[int], rng: np.random.Generator, seed: int) -> Iterator[Candidate]:
    """Fit each kind of views that tells images (N, C, H, W) in [0, 1] and has a view for each facet."""
    for kind in (FIGURE, SCENE):
        features = ViewFeatures(kind, images, seed)
        if features.are_told and len(n_clusters) <= len(features.parts):
            found = fit_views(features.apart(images), n_clusters, kind.any_others, rng)
            names = ", ".join(features.names[v] for v in found.order)
            yield Candidate(
                f"views of a {kind.name}, in the order of facets: {names}", found.gain, features, found.centres
            )
