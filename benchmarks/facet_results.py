"""What facets.py finds: scores of clusterings against labels, and the file that holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_mutual_info_score

from evaluation.scores import cluster_scores
from utils import UserError

Record = dict[str, Any]
"""One run: method, seed, set, and either labels (name -> scores) or error, a line that says why there are none."""
BEGINNING = '{"method": '
"""Of every line, as it is written."""


# --- scores


def matched_clusterings(ami: np.ndarray) -> list[int]:
    """Of each label the clustering that is its own: ami (C, L), C >= L -> the one-to-one choice of the highest sum."""
    clusterings, labels = linear_sum_assignment(ami, maximize=True)
    return [int(clusterings[labels == label][0]) for label in range(ami.shape[1])]


def label_scores(clusters: np.ndarray, labels: dict[str, np.ndarray], is_single: bool) -> dict[str, dict[str, float]]:
    """Label name -> the scores of the clustering that is its own, and which one that is.

    Args:
        clusters: (M, C), the cluster of each held-out image in each clustering.
        labels: label name -> (M,) classes.
        is_single: clustering i was made for label i; else they are matched one to one. A label that no clustering is
            left for, as a method may lose some, gets the scores of a single cluster.
    """
    n_missing = max(0, len(labels) - clusters.shape[1])
    clusters = np.pad(clusters, ((0, 0), (0, n_missing)))
    ami = np.array([[adjusted_mutual_info_score(y, column) for y in labels.values()] for column in clusters.T])
    chosen = range(len(labels)) if is_single else matched_clusterings(ami)
    scores = {}
    for i, (c, (name, y)) in enumerate(zip(chosen, labels.items(), strict=True)):
        score = cluster_scores(y, clusters[:, c])
        scores[name] = {
            "ami": float(ami[c, i]),
            "nmi": score.nmi,
            "accuracy": score.accuracy,
            "hungarian_accuracy": score.hungarian_accuracy,
            "clustering": c,
            "clusters_used": len(np.unique(clusters[:, c])),
        }
    return scores


# --- the file


def read_results(path: Path) -> list[Record]:
    """The runs of a results file, none where there is no file; a line that a kill cut off is taken out of it.

    Raises:
        UserError: it holds something else.
    """
    if not path.exists():
        return []
    *lines, cut_off = path.read_text().split("\n")
    try:
        records = [json.loads(line) for line in lines]
        if not all({"set", "method", "seed"} <= set(record) for record in records):
            raise ValueError("a line lacks set, method or seed")
        if not f"{BEGINNING}{cut_off[len(BEGINNING) :]}".startswith(cut_off):
            raise ValueError("its last line is not one of a run")
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is not a results file of this benchmark ({error}); choose another --results") from None
    if cut_off:
        path.write_text("".join(f"{line}\n" for line in lines))
    return records


def append_result(path: Path, record: Record) -> None:
    """One more line."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")
