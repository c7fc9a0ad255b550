"""Training curves of a run for its page, from the epochs that it logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.metric_names import Metric, metrics_in

MAX_POINTS = 500
"""Epochs of a curve; of longer runs every second, third, ... one is shown."""

Rows = Sequence[Mapping[str, float]]


def training_curves(rows: Rows) -> dict[str, Any] | None:
    """Charts of an epoch's numbers: {epochs, charts: [{title, series: [{name, values}]}]}; None without epochs."""
    if len(rows) < 2:
        return None
    step = -(-len(rows) // MAX_POINTS)
    shown = [*rows[:-1:step], rows[-1]]  # the last epoch is always there
    names: dict[str, dict[str, str]] = {}
    for key in dict.fromkeys(key for row in shown for key in row):
        if placed := _chart_and_series(key):
            names.setdefault(placed[0], {})[placed[1]] = key
    charts = [
        {
            "title": title,
            "series": [{"name": name, "values": [row.get(key) for row in shown]} for name, key in series.items()],
        }
        for title, series in sorted(names.items(), key=lambda item: ORDER.index(item[0]))
    ]
    return {"epochs": [row["epoch"] for row in shown], "charts": charts}


LOSS = "Loss (negative ELBO; lower is better)"
ORDER = (LOSS, "Accuracy (test)", "Normalised mutual information (test)", "Confidence (test)", "Clusters used (test)")


def _chart_and_series(name: str) -> tuple[str, str] | None:
    """Which chart a logged number belongs to, and what it is called there."""
    metric = next(iter(metrics_in({name: 0.0})), None)
    if metric is None:
        return None
    facet = f"facet {metric.facet}"
    if metric.kind == "loss":
        return LOSS, "training" if metric.split == "train" else "test"
    if metric.split != "test":
        return None
    places = {
        "accuracy": ("Accuracy (test)", f"{facet}, {metric.label}"),
        "nmi": ("Normalised mutual information (test)", f"{facet}, {metric.label}"),
        "confidence": ("Confidence (test)", facet),
        "n_clusters_present": ("Clusters used (test)", facet),
    }
    return places.get(metric.kind)


def last_baselines(rows: Rows) -> dict[Metric, float]:
    """What k-means on pixels reached on the test split, as the last epoch has it."""
    metrics = metrics_in(rows[-1]) if rows else {}
    return {metric: value for metric, value in metrics.items() if metric.kind.startswith("kmeans_")}
