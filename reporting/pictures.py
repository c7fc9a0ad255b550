"""What a model decodes for a page: the mean of every cluster, samples of it, and combinations of two facets."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from evaluation.decoding import FacetClusters, Sampling, compose, sample_cluster_images
from evaluation.predictions import Observed
from reporting.atlases import Tiles, choose_encoding, from_floats, make_tiles

N_SAMPLES = 8
"""Images drawn from each cluster."""
TEMPERATURE = 0.5
MAX_SAMPLED = 4000
"""Images drawn from all clusters of a facet; where these are many, fewer of each."""
MAX_SIDE = 40
"""Clusters of a facet in a grid, the largest ones."""
N_COMPARED, N_COMPANIES = 16, 8
"""Clusters of a facet, and of another one, by which it is chosen beside what the facet is shown."""
NEARLY = 0.8
"""Of the largest difference: the largest cluster that reaches it is taken."""
ALONE = FacetClusters(-1, [0])
"""In place of a second facet: nothing else varies."""
MIN_CHROMA = 0.5
"""Of the decoded means of a facet of colour. Floors of ten hues were seen at 0.6 to 0.7, mixed clusters below 0.4."""
MAX_COMBINED = 6000
"""Combinations in all grids together."""


class Pictures(NamedTuple):
    """Decoded pictures, and which is which."""

    tiles: Tiles
    facets: list[dict[str, Any]]
    """Of each facet: where its means and samples begin, the number of samples, the clusters of all facets that the
    means are decoded beside, and the colours of its clusters, if it is one of colour."""
    pairs: list[dict[str, Any]]
    """Of every two facets: the clusters in rows and columns, and where their combinations begin."""


def decoded_pictures(observed: Observed) -> Pictures:
    """Decode everything that a page shows without computing."""
    model, n_facets = observed.model, observed.config.J_n_mixtures
    largest = [by_size(observed, j)[0] for j in range(n_facets)]
    parts: list[np.ndarray] = []
    facets, pairs = [], []

    def add(images: np.ndarray) -> int:
        """images: (..., C, H, W); where they begin among all of them."""
        place = sum(map(len, parts))
        parts.append(from_floats(images.reshape(-1, *images.shape[-3:])))
        return place

    for j in range(n_facets):
        n_clusters = len(model.prior[j].mean)
        held = telling_company(observed, j)
        means = compose(model, FacetClusters(j, range(n_clusters)), ALONE, held)
        n = max(1, min(N_SAMPLES, MAX_SAMPLED // n_clusters))
        samples = sample_cluster_images(model, j, Sampling(n, TEMPERATURE))
        colours = telling_colours(means[:, 0], by_size(observed, j))
        places = {"means": add(means), "samples": add(samples), "n_samples": n}
        facets.append({**places, "held": held, "colours": colours})
    for i, j in itertools.combinations(range(n_facets), 2):
        side = _longest_side(n_facets)
        rows, columns = sorted(by_size(observed, i)[:side]), sorted(by_size(observed, j)[:side])
        images = compose(model, FacetClusters(i, rows), FacetClusters(j, columns), largest)
        pairs.append({"rows": i, "columns": j, "row_clusters": rows, "column_clusters": columns, "first": add(images)})
    pictures = np.concatenate(parts)
    quality = choose_encoding(pictures[:: max(1, len(pictures) // 500)], len(pictures)).quality
    return Pictures(make_tiles(lambda rows: pictures[rows], len(pictures), quality), facets, pairs)


def telling_company(observed: Observed, j: int) -> list[int]:
    """A large cluster of every facet beside which the clusters of facet j look different.

    Beside a thin stroke style hardly shows. The other facets take their largest clusters in turn.
    """
    held = [by_size(observed, i)[0] for i in range(observed.config.J_n_mixtures)]
    rows = FacetClusters(j, by_size(observed, j)[:N_COMPARED])
    for i in range(len(held)):
        if i != j:
            columns = FacetClusters(i, by_size(observed, i)[:N_COMPANIES])
            images = compose(observed.model, rows, columns, held)  # (R, Q, C, H, W)
            spread = images.std(axis=0).mean(axis=(1, 2, 3))  # (Q,)
            held[i] = columns.clusters[int(np.argmax(spread >= NEARLY * spread.max()))]
    return held


def telling_colours(means: np.ndarray, used: list[int]) -> list[str] | None:
    """The colours of clusters as #rrggbb, where colour is what differs between their decoded means; else None.

    means: (K, C, H, W), pixels about [0, 1]. The more a pixel differs between the clusters used, the more it counts.
    """
    weights = means[used].var(axis=0).sum(axis=0)  # (H, W)
    if means.shape[1] != 3 or not weights.any():
        return None
    colours = np.clip((means * weights / weights.sum()).sum(axis=(2, 3)), 0, 1)  # (K, 3)
    chroma = colours[used] - colours[used].mean(axis=1, keepdims=True)
    if np.sqrt(((chroma - chroma.mean(axis=0)) ** 2).sum(axis=1).mean()) < MIN_CHROMA:
        return None
    return ["#" + bytes(colour).hex() for colour in np.rint(255 * colours).astype(np.uint8)]


def by_size(observed: Observed, j: int) -> list[int]:
    """The clusters of facet j that have members, largest first."""
    return [c.cluster for c in sorted(observed.ranked[j], key=lambda c: (-len(c.members), c.cluster))]


def _longest_side(n_facets: int) -> int:
    """Clusters that a side of a grid may have, so that the grids of all pairs stay small."""
    n_pairs = max(1, n_facets * (n_facets - 1) // 2)
    return max(2, min(MAX_SIDE, int((MAX_COMBINED / n_pairs) ** 0.5)))
