"""Factorial clustering of images: J clusterings of the same images whose centres add up. A led training starts from it.

It is the linear twin of MFCVAE, with the decoder replaced by a sum and without latents:

    c_j ~ Categorical(uniform over K_j),    f | c ~ Normal(sum_j M_j[c_j], s^2 I)

f (d,) are features of the pixels. With K_1 ... K_J symbols to describe an image, the best description is by J things
that vary independently, where there are such. The fit is variational EM with q(c | f) = prod_j q_j(c_j | f), known as
cooperative vector quantisation (Ghahramani, 1995), with s falling from a quarter of the largest variance on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from factorial.features import Features, HostImages, both_kinds, chunks, to_pixels
from factorial.fitting import additive_error, best_fit, codes_of
from factorial.gain import gain_of_sums
from factorial.views import FIGURE, SCENE, Kind, ViewFeatures, fit_views

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


class Codes(NamedTuple):
    """Codes by one kind of features."""

    gain: float
    """log(what such codes leave of Gaussian clouds / what they leave of the images)."""
    kind: int | Kind
    """Which kind of features of sums, or the kind of views."""
    centres: list[np.ndarray]
    """J arrays (K_j, d)."""
    order: tuple[int, ...] = ()
    """Which view each facet clusters; empty for sums."""


def factorial_clustering(images: HostImages, n_clusters: Sequence[int], seed: int) -> FactorialClustering:
    """Fit to images (N, C, H, W) uint8 with K_j = n_clusters[j]; nothing is random but by the seed."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(images))[:N_IMAGES])
    pixels = to_pixels(images[chosen])
    sums, views = both_kinds(pixels, seed), told_views(pixels.reshape(-1, *images.shape[1:]), seed)
    apart = {kind: features.apart(pixels) for kind, features in views.items()}
    best = best_codes([features(pixels) for features in sums], apart, n_clusters, rng, (N_STARTS, N_KEPT))
    features: Features | ViewFeatures
    if isinstance(best.kind, int):
        features, subject = sums[best.kind], "parts that add up"
    else:
        features = views[best.kind]
        names = ", ".join(features.names[v] for v in best.order)
        subject = f"views of a {best.kind.name}, in the order of facets: {names}"
    codes = codes_of(features(pixels), best.centres)
    rmse = np.sqrt(additive_error(pixels, codes, n_clusters) / pixels.shape[1])
    return FactorialClustering(best.centres, features, float(rmse), subject)


def told_views(images: np.ndarray, seed: int) -> dict[Kind, ViewFeatures]:
    """The kinds of views that tell images (N, C, H, W) in [0, 1], and their features."""
    found = {kind: ViewFeatures(kind, images, seed) for kind in (FIGURE, SCENE)}
    return {kind: features for kind, features in found.items() if features.are_told}


def best_codes(
    sums: Sequence[np.ndarray],
    views: Mapping[Kind, Sequence[np.ndarray]],
    n_clusters: Sequence[int],
    rng: np.random.Generator,
    starts: tuple[int, int],
) -> Codes:
    """Either centres add up, or each facet clusters a view of its own: whichever gains most over chance.

    Half of the starts of sums look at the pixels, half at pixels over their standard deviation, where small parts count
    as much as large ones; all are judged by how well their codes tell the pixels.

    Args:
        sums: features of N images, each (N, d).
        views: those of each kind, each (N, d_v). A kind with fewer views than facets is left out.
        n_clusters: K_j.
        rng: draws the starts and the clouds.
        starts: fits of sums for each kind of features, and how many of all of them are cooled down.
    """
    kind, centres = best_fit(sums, n_clusters, rng, *starts)
    enough = {kind: parts for kind, parts in views.items() if len(parts) >= len(n_clusters)}
    found = [Codes(gain_of_sums(sums[kind], centres, rng) if enough else 0.0, kind, centres)]
    for view, parts in enough.items():
        fitted = fit_views(parts, n_clusters, view.any_others, rng)
        found.append(Codes(fitted.gain, view, fitted.centres, fitted.order))
    return max(found, key=lambda codes: codes.gain)  # the first of equal ones
