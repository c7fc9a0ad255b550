"""What a run prints at its end: its scores beside those of guessing and of k-means, and the health of its facets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from config import Config
from datasets import DatasetSpec
from evaluation.health import complaints, health_of
from evaluation.metric_names import SCORES, Metric, metrics_in

HEADER = ("accuracy", "hungarian", "nmi", "ami", "ari", "confidence", "clusters used")
HEALTH_HEADER = ("effect", "kl", "confidence", "of a constant", "clusters used")
LONGEST_LABEL = 30
NOTHING = "-"
"""In place of a score that means nothing."""

Numbers = Mapping[str, float]
"""An epoch's numbers by their logged names."""


def report(numbers: Numbers, config: Config, spec: DatasetSpec) -> str:
    """Tables of an epoch's scores and health on the test split, and a line for all that is not as it should be.

    Numbers that an earlier version did not log are left out.
    """
    lines = [*score_table(numbers, config, spec), *facet_nmi_lines(numbers)] if spec.label_names else []
    lines += health_table(numbers, config)
    if not spec.label_names:
        lines += facet_nmi_lines(numbers)
    return "\n".join(lines + complaints(numbers, config, spec.likelihood))


# --- scores


def score_table(numbers: Numbers, config: Config, spec: DatasetSpec) -> list[str]:
    """A line per label and facet, and below them what k-means on pixels and guessing have for this label."""
    rows = []
    for label in spec.label_names:
        rows += [_facet_row(numbers, config, j, label) for j in range(config.J_n_mixtures)]
        rows += _baseline_rows(numbers, config, label)
    lines = _aligned([["test scores", "", *HEADER], *rows], n_left=2)
    for K, j in _distinct(config.n_clusters_j_list).items():
        if _was_compared(numbers, spec) and Metric("kmeans_n_clusters_present", facet=j).name not in numbers:
            shape = " x ".join(map(str, spec.image_shape))
            lines.append(f"{NOTHING}  k-means with {K} clusters is left out: images of {shape} take too long")
    for label in spec.label_names:
        if numbers.get(Metric("majority", label=label).name) == 1:
            lines.append(f"{NOTHING}  all test images are of one class of {_shown(label)}: every clustering is right")
    for j in range(config.J_n_mixtures):
        if _has_one_cluster(numbers, j):
            lines.append(f"{NOTHING}  facet {j} has one cluster: it shares no information with anything")
    return lines


def _facet_row(numbers: Numbers, config: Config, j: int, label: str) -> list[str]:
    """The scores of facet j for a label."""
    scores = [numbers.get(Metric(kind, facet=j, label=label).name) for kind in SCORES]
    confidence = f"{numbers[Metric('confidence', facet=j).name]:.2f}"
    n_clusters = numbers[Metric("n_clusters_present", facet=j).name]
    cells = _score_cells(scores, numbers.get(Metric("majority", label=label).name), n_clusters)
    return [f"facet {j}", _shown(label), *cells, confidence, f"{n_clusters:.0f} of {config.n_clusters_j_list[j]}"]


def _baseline_rows(numbers: Numbers, config: Config, label: str) -> list[list[str]]:
    """The scores of k-means with as many clusters as the facets have, and of naming the largest class always."""
    rows = []
    majority = numbers.get(Metric("majority", label=label).name)
    for K, j in _distinct(config.n_clusters_j_list).items():
        n_clusters = numbers.get(Metric("kmeans_n_clusters_present", facet=j).name)
        if n_clusters is not None:
            scores = [numbers.get(Metric(f"kmeans_{kind}", facet=j, label=label).name) for kind in SCORES]
            cells = _score_cells(scores, majority, n_clusters)
            rows.append(["k-means", _shown(label), *cells, NOTHING, f"{n_clusters:.0f} of {K}"])
    if majority is not None:
        share = f"{100 * majority:.2f} %"
        rows.append(["largest class", _shown(label), share, share, *[NOTHING] * 5])
    return rows


def _score_cells(scores: Sequence[float | None], majority: float | None, n_clusters: float) -> list[str]:
    """Accuracy, Hungarian accuracy, NMI, AMI and ARI, from scores in the order of SCORES.

    With one class all of them mean nothing; with one cluster the last three, and the accuracies are those of guessing.
    """
    named = dict(zip(SCORES, scores, strict=True))
    accuracies = [named["accuracy"], named["hungarian_accuracy"]]
    information = [named["nmi"], named["ami"], named["ari"]]
    if majority == 1:
        accuracies = [None] * 2
    if majority == 1 or n_clusters == 1:
        information = [None] * 3
    cells = [NOTHING if score is None else f"{100 * score:.2f} %" for score in accuracies]
    return cells + [NOTHING if score is None else f"{score:.3f}" for score in information]


def facet_nmi_lines(numbers: Numbers) -> list[str]:
    """A line for every two facets."""
    lines = []
    for metric, value in metrics_in(numbers).items():
        if metric.kind == "facet_nmi" and metric.split == "test":
            single = [j for j in (metric.facet, metric.other_facet) if j is not None and _has_one_cluster(numbers, j)]
            who = f"facet {single[0]} has" if len(single) == 1 else "both have"
            shown = f"{NOTHING}, as {who} one cluster only" if single else f"{value:.3f}"
            lines.append(f"NMI between facets {metric.facet} and {metric.other_facet}: {shown}")
    return lines


def _has_one_cluster(numbers: Numbers, j: int) -> bool:
    return numbers[Metric("n_clusters_present", facet=j).name] == 1


def _was_compared(numbers: Numbers, spec: DatasetSpec) -> bool:
    """Whether the epoch was compared with baselines."""
    return Metric("majority", label=spec.label_names[0]).name in numbers


def _distinct(n_clusters: Sequence[int]) -> dict[int, int]:
    """Every number of clusters once -> the first facet that has it."""
    return {K: n_clusters.index(K) for K in dict.fromkeys(n_clusters)}


# --- health


def health_table(numbers: Numbers, config: Config) -> list[str]:
    """A line per facet: what swapping it changes in the image, its KL in nats, and what its clusters tell."""
    rows = []
    for j, n_clusters in enumerate(config.n_clusters_j_list):
        health = health_of(numbers, j)
        measured = [NOTHING, NOTHING] if health is None else [f"{health.effect:.3f}", f"{health.kl:.2f}"]
        constant = NOTHING if health is None else f"{health.constant:.2f}"
        confidence = f"{numbers[Metric('confidence', facet=j).name]:.2f}"
        used = f"{numbers[Metric('n_clusters_present', facet=j).name]:.0f} of {n_clusters}"
        rows.append([f"facet {j}", *measured, confidence, constant, used])
    return _aligned([["health of facets", *HEALTH_HEADER], *rows], n_left=1)


# --- layout


def _shown(label: str) -> str:
    """A label as it can be printed: on one line, and not too long."""
    text = "".join(letter if letter.isprintable() else "?" for letter in label)
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 3]}..."


def _aligned(table: Sequence[Sequence[str]], n_left: int) -> list[str]:
    """Lines of a table: the first n_left columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sides = [str.ljust] * n_left + [str.rjust] * (len(widths) - n_left)
    return ["  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)) for row in table]
