"""What a page says about the clusters of each facet."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.predictions import Observed
from reporting.choosing import Card, Chosen

N_CLASSES = 5
"""The most frequent classes of a cluster."""
N_NEIGHBOURS = 6


def cluster_facts(observed: Observed, chosen: Chosen, j: int) -> list[dict[str, Any]]:
    """Of each cluster of facet j, those without members included, in order: what its card says and shows."""
    prior = observed.model.prior[j]
    pi, means = prior.pi.detach().cpu().numpy(), prior.mean.detach().cpu().numpy()
    members = {cluster.cluster: cluster for cluster in observed.ranked[j]}
    none = np.empty(0, np.int64)
    facts = []
    for k in range(len(pi)):
        card = chosen.cards[j].get(k, Card(none, none, none))
        found = members[k].members if k in members else none
        facts.append(
            {
                "size": len(found),
                "confidence": members[k].confidence if k in members else None,
                "pi": float(pi[k]),
                "classes": _classes(observed, found),
                "neighbours": _neighbours(means, k, [c for c in members if c != k]),
                **{part: getattr(card, part).tolist() for part in Card._fields},
            }
        )
    return facts


def _classes(observed: Observed, members: np.ndarray) -> list[list[list[int]]]:
    """Of each label: [class, number of members], the most frequent classes first."""
    tables = []
    for label in observed.labels.values() if len(members) else []:
        counts = np.bincount(label[members])
        order = np.argsort(-counts, kind="stable")[:N_CLASSES]
        tables.append([[int(c), int(counts[c])] for c in order if counts[c]])
    return tables


def _neighbours(means: np.ndarray, k: int, others: list[int]) -> list[int]:
    """The clusters among others whose means (K, D) are nearest to that of k, nearest first."""
    distances = np.linalg.norm(means[others] - means[k], axis=1)
    return [others[i] for i in np.argsort(distances, kind="stable")[:N_NEIGHBOURS]]
