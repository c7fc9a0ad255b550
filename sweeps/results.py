"""How the runs of a sweep stand and what they reached."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.metric_names import SCORES, Metric, metrics_in
from tracking.run_folder import RunFolder
from utils import UserError, one_line


class RunResult(NamedTuple):
    """One run of a sweep as its backend knows it."""

    name: str
    values: dict[str, Any]
    """The settings that the sweep chose for this run."""
    state: str
    """waiting, running, failed or finished; with wandb also interrupted."""
    numbers: dict[str, float] = {}
    """The metrics of the last epoch; empty unless finished."""
    curves: dict[str, list[list[float]]] = {}
    """Label -> [epoch, best accuracy of a facet] of every epoch; 'loss' where there are no labels."""
    error: str = ""
    """Why it failed."""


def read_result(folder: Path, values: Mapping[str, Any]) -> RunResult:
    """The result of a run that has trained to its end.

    Raises:
        UserError: its metrics.jsonl is gone or damaged.
    """
    rows = RunFolder(folder).read_metrics()
    if not rows:
        raise UserError(f"{folder / 'metrics.jsonl'} holds no epoch of this run, which had finished; put it back")
    return RunResult(folder.name, dict(values), "finished", rows[-1], accuracy_curves(rows))


def accuracy_curves(rows: Sequence[Mapping[str, float]]) -> dict[str, list[list[float]]]:
    """Logged epochs -> label -> [epoch, accuracy of the best facet]; 'loss' -> [epoch, test loss] without labels."""
    curves = {
        label: [[row["epoch"], round(best_facet(row, label)["accuracy"], 5)] for row in rows if label in scored(row)]
        for label in scored(rows[-1])
    }
    loss = Metric("loss").name
    return curves or {"loss": [[row["epoch"], row[loss]] for row in rows if loss in row]}


def scored(row: Mapping[str, float]) -> list[str]:
    """The labels that an epoch was evaluated against, in alphabetical order."""
    found = {metric.label for metric in metrics_in(row) if metric.split == "test" and metric.kind == "accuracy"}
    return sorted(label for label in found if label is not None)


def best_facet(row: Mapping[str, float], label: str) -> dict[str, float]:
    """The scores (accuracy, nmi, ...) of the facet with the highest accuracy for a label."""
    facets: dict[int | None, dict[str, float]] = {}
    for metric, value in metrics_in(row).items():
        if metric.split == "test" and metric.label == label and metric.kind in SCORES:
            facets.setdefault(metric.facet, {})[metric.kind] = value
    return max(facets.values(), key=lambda scores: scores["accuracy"])


def natural_order(result: RunResult) -> list[tuple[int, int, str]]:
    """A key for sorting by name: seed10 comes after seed9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", result.name)]


def describe_error(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = one_line(error, 500)
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def report_failure(name: str, error: Exception) -> None:
    """Say on the console what went wrong; a defect with its traceback."""
    if not isinstance(error, UserError):
        traceback.print_exception(error)
    print(f"error: {name}: {describe_error(error)}", file=sys.stderr, flush=True)
