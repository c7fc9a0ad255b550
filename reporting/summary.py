"""The top of a page: what was trained on what, scores of every facet against every label, health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from config import Config
from evaluation.health import health_of, measure_health, settings_to_try
from evaluation.metric_names import Metric
from evaluation.predictions import Observed
from evaluation.scores import summarise

SCORES = ("accuracy", "hungarian_accuracy", "nmi", "ami", "ari")
LIKELIHOODS = {"bernoulli": "Bernoulli", "normal": "Normal"}


def measured(observed: Observed) -> dict[str, float]:
    """Scores and health of the split by the names that a run logs those of its test split by."""
    predictions = observed.predictions
    numbers = summarise("test", predictions.clusters, observed.labels)
    for j, confidence in enumerate(predictions.confidences.mean(axis=0).tolist()):
        numbers[Metric("confidence", facet=j).name] = confidence
    health = measure_health(observed.model, observed.split.images, observed.coefficients)
    return numbers | {metric.name: value for metric, value in health.items()}


def facts(observed: Observed, n_epochs: int | None) -> list[tuple[str, str]]:
    """What was trained, on what: pairs of words."""
    config, spec, model = observed.config, observed.spec, observed.model
    size = sum(parameter.numel() for parameter in model.parameters())
    channels, height, width = spec.image_shape
    colour = "grey" if channels == 1 else "in colour"
    facets = zip(config.n_clusters_j_list, config.z_j_dim_list, strict=True)
    n_trained = f"{n_epochs:,} epochs" if n_epochs else f"planned for {config.n_epochs:,} epochs"
    images = f"{spec.n_train:,} for training and {spec.n_test:,} for the test, {width} x {height} pixels, {colour}"
    return [
        ("Data", observed.source or spec.name),
        ("Images", images),
        ("Labels", ", ".join(spec.label_names) or "none: scores against labels are left out"),
        ("Facets", "; ".join(f"{j}: {K} clusters in {D} dimensions" for j, (K, D) in enumerate(facets))),
        ("Model", f"{config.model_type}, {size:,} parameters, {LIKELIHOODS[spec.likelihood]} likelihood"),
        ("Training", f"{n_trained}, seed {config.seed}, batches of {config.batch_size}, rate {config.init_lr:g}"),
    ]


def score_tables(
    observed: Observed, numbers: Mapping[str, float], baselines: Mapping[Metric, float]
) -> list[dict[str, Any]]:
    """Of each label: rows of scores of every facet, of k-means where it was measured, and of the largest class."""
    tables = []
    for label, y in observed.labels.items():
        rows: list[dict[str, Any]] = [
            {"facet": j, **{kind: numbers[Metric(kind, facet=j, label=label).name] for kind in SCORES}}
            for j in range(observed.config.J_n_mixtures)
        ]
        rows += [{"who": who, **row} for who, row in _kmeans_rows(observed.config, label, baselines).items()]
        share = float(np.bincount(y).max() / len(y))
        rows.append({"who": "largest class alone", "accuracy": share, "hungarian_accuracy": share})
        tables.append({"label": label, "rows": rows})
    return tables


def _kmeans_rows(config: Config, label: str, baselines: Mapping[Metric, float]) -> dict[str, dict[str, float | None]]:
    """Rows of k-means for a label, by what they are called; each number of clusters once."""
    rows: dict[str, dict[str, float | None]] = {}
    for j, K in enumerate(config.n_clusters_j_list):
        row = {kind: baselines.get(Metric(f"kmeans_{kind}", facet=j, label=label)) for kind in SCORES}
        if row["accuracy"] is not None:
            rows.setdefault(f"k-means on pixels, {K} clusters", row)
    return rows


def facet_facts(observed: Observed, numbers: Mapping[str, float], j: int) -> dict[str, Any]:
    """Health of facet j, the label it is closest to, and how much it shares with the others."""
    config, labels = observed.config, observed.labels
    health = health_of(numbers, j)
    closest = max(labels, key=lambda label: numbers[Metric("ami", facet=j, label=label).name], default=None)
    shared = {}
    for i in range(config.J_n_mixtures):
        if i != j:
            shared[i] = numbers[Metric("facet_nmi", facet=min(i, j), other_facet=max(i, j)).name]
    return {
        "confidence": numbers[Metric("confidence", facet=j).name],
        "n_used": int(numbers[Metric("n_clusters_present", facet=j).name]),
        "effect": None if health is None else health.effect,
        "kl": None if health is None else health.kl,
        "constant": None if health is None else health.constant,
        "complaint": "" if health is None else health.complaint,
        "tries": settings_to_try(config, health, observed.spec.likelihood) if health and health.complaint else [],
        "closest": closest,
        "closest_ami": None if closest is None else numbers[Metric("ami", facet=j, label=closest).name],
        "shared": shared,
        "is_pi_learned": not config.is_pi_fixed(j),
    }
