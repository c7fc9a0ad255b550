"""Which images a page shows, and in which order: those that its first view needs come first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evaluation.predictions import Observed, RankedCluster

N_EACH = 8
"""Most confident, random and least confident members on the card of a cluster."""
N_UNSURE = 24
"""Images of a facet that the model is least sure of."""
MAX_FEATURED = 6000
"""Images of all cards together; where clusters are many, a card shows fewer."""


class Card(NamedTuple):
    """Members of a cluster that its card shows, as indices (m,)."""

    sure: np.ndarray
    random: np.ndarray
    unsure: np.ndarray


class Chosen(NamedTuple):
    """What a page shows of a split."""

    shown: np.ndarray
    """(n,) indices into the split: page image i is image shown[i]."""
    cards: list[dict[int, Card]]
    """Of each facet: cluster -> its card, in page images."""
    unsure: list[np.ndarray]
    """Of each facet: the page images of least confidence, lowest first."""


def choose_images(observed: Observed, n_fitting: int, seed: int = 0) -> Chosen:
    """Choose at most about n_fitting images; those on cards are always among them.

    seed: of the random members, and of the images that are left out where there are too many.
    """
    rng = np.random.default_rng(seed)
    n_clusters = sum(map(len, observed.ranked))
    n_each = max(1, min(N_EACH, MAX_FEATURED // (3 * n_clusters)))
    cards = [{c.cluster: _card(c, n_each, rng) for c in ranked} for ranked in observed.ranked]
    unsure = [np.argsort(confidence, kind="stable")[:N_UNSURE] for confidence in observed.predictions.confidences.T]
    featured = np.concatenate([*unsure, *(part for facet in cards for card in facet.values() for part in card)])
    first = np.unique(featured, return_index=True)[1]
    index = _with_others(featured[np.sort(first)], len(observed.split), n_fitting, rng)
    place = np.zeros(len(observed.split), np.int64)
    place[index] = np.arange(len(index))
    moved = [{k: Card(*(place[part] for part in card)) for k, card in facet.items()} for facet in cards]
    return Chosen(index, moved, [place[indices] for indices in unsure])


def _card(cluster: RankedCluster, n: int, rng: np.random.Generator) -> Card:
    members = cluster.members
    return Card(members[:n], rng.choice(members, min(n, len(members)), replace=False), members[::-1][:n])


def _with_others(featured: np.ndarray, n_images: int, n_fitting: int, rng: np.random.Generator) -> np.ndarray:
    """Add those of the other images that fit, in the order of the split."""
    others = np.setdiff1d(np.arange(n_images), featured, assume_unique=True)
    n_others = min(len(others), max(0, n_fitting - len(featured)))
    if n_others < len(others):
        others = np.sort(rng.choice(others, n_others, replace=False))
    return np.concatenate([featured, others])
