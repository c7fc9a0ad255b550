"""Names of logged numbers: the one place where they are put together and taken apart.

`Metric(kind, split, facet, label).name` is what metrics.jsonl and Weights & Biases call a number, `Metric.parse` is the
inverse: every name says one thing only, whatever the labels are called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

SCORES = ("accuracy", "weighted_accuracy", "hungarian_accuracy", "nmi", "ami", "ari")
"""Kinds of a facet against a label: the fields of scores.ClusterScores."""
KMEANS_SCORES = tuple(f"kmeans_{score}" for score in SCORES)
"""The same of k-means on pixels with as many clusters as the facet has."""
BEST_SCORES = ("acc_max", "weighted_acc_max")
"""Kinds of a facet at its best label, and of a label at its best facet."""
SPREADS = ("max", "sum", "mean")
"""How the best scores of all facets, or of all labels, are summed up."""

FORMS = {
    "facet_{facet}_label_{label}_{kind}": SCORES + KMEANS_SCORES,
    "facet_{facet}_{kind}": BEST_SCORES,
    "label_{label}_{kind}": (*BEST_SCORES, "majority"),
    "{kind}_{facet}": (
        "n_clusters_present",
        "confidence",
        "health_effect",
        "health_kl",
        "health_constant",
        "kmeans_n_clusters_present",
    ),
    "{kind}_{facet}_{other_facet}": ("facet_nmi",),
    "{kind}": (
        "loss",
        "health_change",
        *(
            f"{of}_{short}_{spread}"
            for of in ("facet", "label")
            for short in ("acc", "weighted_acc")
            for spread in SPREADS
        ),
    ),
}
"""How names are written after '<split>_metric/', and the kinds that are written so."""

OF_LABELS = {kind for form, kinds in FORMS.items() if "{label}" in form for kind in kinds}
BEGINNINGS = sorted(
    {kind.removesuffix(f"_{end}") for kind in OF_LABELS for end in OF_LABELS if kind.endswith(f"_{end}")}
)
"""'weighted', 'hungarian', 'kmeans', ...: at the end of a label's name they would turn a kind into another one."""
AMBIGUOUS = re.compile(rf"(?:.*_)?(?:{'|'.join(BEGINNINGS)})_*", re.DOTALL)
PARTS = {"facet": "(?P<facet>[0-9]+)", "other_facet": "(?P<other_facet>[0-9]+)", "label": "(?P<label>.+?)"}


class Metric(NamedTuple):
    """What one logged number is."""

    kind: str
    split: str = "test"
    """train or test."""
    facet: int | None = None
    label: str | None = None
    other_facet: int | None = None
    """The second facet of a number about two."""

    @property
    def name(self) -> str:
        """The logged name, in which a label that ends in 'weighted', 'hungarian' or 'kmeans' has a '_' behind it.

        Otherwise the accuracy for `a_weighted` would have the name of the weighted accuracy for `a`.

        Raises:
            ValueError: there is no number of this kind about that.
        """
        given = self._asdict() | {"label": None if self.label is None else _escaped(self.label)}
        fields = {field for field in PARTS if given[field] is not None}
        for form, kinds in FORMS.items():
            if self.kind in kinds and fields == {field for field in PARTS if f"{{{field}}}" in form}:
                return f"{self.split}_metric/{form.format(**given)}"
        raise ValueError(f"no number is logged as {self}")

    @classmethod
    def parse(cls, name: str) -> Metric | None:
        """What a logged name says; None where it is no name of a metric."""
        return _parse(name)


@cache
def _parse(name: str) -> Metric | None:
    """Read a name by every form; the one that was meant writes the same name again."""
    for form, kinds in FORMS.items():
        pattern = form.format(kind=f"(?P<kind>{'|'.join(kinds)})", **PARTS)
        if match := re.fullmatch(f"(?P<split>train|test)_metric/{pattern}", name, re.DOTALL):
            found: dict[str, Any] = match.groupdict()
            found |= {field: int(found[field]) for field in ("facet", "other_facet") if field in found}
            if "label" in found:
                found["label"] = _unescaped(found["label"])
            metric = Metric(**found)
            if metric.name == name:
                return metric
    return None


def _escaped(label: str) -> str:
    """The label as it stands in a name."""
    return f"{label}_" if AMBIGUOUS.fullmatch(label) else label


def _unescaped(written: str) -> str:
    """The label that stands in a name."""
    return written[:-1] if written.endswith("_") and AMBIGUOUS.fullmatch(written) else written


def metrics_in(numbers: Mapping[str, float]) -> dict[Metric, float]:
    """Those of an epoch's numbers that are metrics, by what they are."""
    return {metric: value for name, value in numbers.items() if (metric := Metric.parse(name))}


def loss_term_name(term: str) -> str:
    """The logged name of the mean of one of the loss's terms (ElboTerms) over an epoch of training."""
    return f"train_loss/{term}"
