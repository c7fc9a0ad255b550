"""What a sweep found: mean and spread over seeds as a table and summary.csv, curves.csv and the stability figures."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from evaluation.metric_names import SCORES, Metric, metrics_in
from plotting import save_figure, seed_stability
from sweeps.definition import file_name
from sweeps.results import RunResult, best_facet
from utils import UserError, csv_cell, make_folder, write_atomically

Curves = dict[str, dict[str, np.ndarray]]
"""Label ('loss' without labels) -> name of a run -> (n, 2) epoch and accuracy of its best facet."""


class Row(NamedTuple):
    """One number of a group of runs that differ in the seed only."""

    group: str
    """The settings that the group has in common; empty where only the seed varies."""
    label: str
    """The label that a score is about; empty for the loss and the NMI between facets."""
    metric: str
    n_runs: int
    mean: float
    population_sd: float
    """Over n; the paper prints that over n - 1."""
    sample_sd: float
    """Over n - 1; not a number for a single run."""
    min: float
    max: float


def summarise_results(results: Sequence[RunResult]) -> list[Row]:
    """Mean and spread of every score on the test split at the last epoch, over the finished runs of each group.

    A run's score for a label is that of the facet with the highest accuracy for it.
    """
    rows: list[Row] = []
    for group, members in _groups(results).items():
        numbers = [member.numbers for member in members]
        for label in _labels(members):
            scores = [best_facet(row, label) for row in numbers]
            known = [score for score in SCORES if all(score in found for found in scores)]  # earlier versions had fewer
            rows += [_row(group, label, score, [found[score] for found in scores]) for score in known]
        rows.append(_row(group, "", "loss", [row[Metric("loss").name] for row in numbers]))
        rows += _facet_nmi_rows(group, numbers)
    return rows


def _facet_nmi_rows(group: str, numbers: Sequence[Mapping[str, float]]) -> list[Row]:
    """The NMI between every two facets over the runs in which both have several clusters: else it says nothing."""
    rows = []
    pairs = [metric for metric in metrics_in(numbers[0]) if metric.kind == "facet_nmi" and metric.split == "test"]
    for metric in pairs:
        counts = [Metric("n_clusters_present", facet=j).name for j in (metric.facet, metric.other_facet)]
        values = [row[metric.name] for row in numbers if metric.name in row and all(row.get(n, 2) > 1 for n in counts)]
        if values:
            rows.append(_row(group, "", f"facet_nmi_{metric.facet}_{metric.other_facet}", values))
    return rows


def _row(group: str, label: str, metric: str, values: Sequence[float]) -> Row:
    x = np.array(values, dtype=float)
    sample_sd = float(x.std(ddof=1)) if len(x) > 1 else float("nan")
    return Row(group, label, metric, len(x), float(x.mean()), float(x.std()), sample_sd, float(x.min()), float(x.max()))


def _groups(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """The finished runs by everything that was chosen for them but the seed."""
    groups: dict[str, list[RunResult]] = {}
    for result in results:
        if result.state == "finished":
            chosen = " ".join(f"{key}={value}" for key, value in result.values.items() if key != "seed")
            groups.setdefault(chosen, []).append(result)
    return groups


def _labels(results: Sequence[RunResult]) -> list[str]:
    """The labels that every run of a group was scored against."""
    return [label for label in _curves(results) if label != "loss"]


def report_sweep(results: Sequence[RunResult]) -> str:
    """The table for the console, and how many runs are in which state."""
    lines = []
    for group, rows in itertools.groupby(summarise_results(results), key=lambda row: row.group):
        head = ("n", "mean", "sd", "sd (n-1)", "min", "max")
        lines.append(f"{group or 'over seeds':28}" + "{:>4}{:>10}{:>10}{:>10}{:>10}{:>10}".format(*head))
        for row in rows:
            name = f"{row.label} {row.metric}".strip()
            lines.append(f"{name:28}{row.n_runs:4}" + "".join(f"{value:10.4f}" for value in row[4:]))
    counts = Counter(result.state for result in results)
    lines.append(f"{len(results)} runs: " + ", ".join(f"{n} {state}" for state, n in sorted(counts.items())))
    lines += [f"failed: {result.name}: {result.error}" for result in results if result.state == "failed"]
    return "\n".join(lines)


def write_summary(folder: Path, results: Sequence[RunResult]) -> None:
    """Write summary.csv, curves.csv and the stability figures; nothing before the first run has finished."""
    rows = summarise_results(results)
    if not rows:
        return
    groups = {group: _curves(members) for group, members in _groups(results).items()}
    make_folder(folder)
    _write_csv(folder / "summary.csv", Row._fields, rows)
    points = [
        (group, label, run, int(epoch), value)
        for group, curves in groups.items()
        for label, runs in curves.items()
        for run, curve in runs.items()
        for epoch, value in curve.tolist()
    ]
    _write_csv(folder / "curves.csv", CURVE_COLUMNS, points)
    for group, curves in groups.items():
        n_runs = max(map(len, curves.values()), default=0)
        if len(groups) > 1 and n_runs == 1:  # a grid or random sweep without seeds: a figure a run says little
            continue
        for label, runs in curves.items():
            title = " ".join(word for word in (folder.name, group) if word)
            name = file_name([word for word in ("stability", group, label) if word])
            save_figure(stability_figure(label, runs, title), folder / f"{name}.png", ("png", "pdf"))


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            cells = [[csv_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
            csv.writer(file, lineterminator="\n").writerows([header, *cells])

    write_atomically(path, write)


# --- accuracy over epochs

CURVE_COLUMNS = ("group", "label", "run", "epoch", "value")


def _curves(results: Sequence[RunResult]) -> Curves:
    """The curves of runs that share their labels."""
    labels = sorted(set.intersection(*[set(result.curves) for result in results]))
    return {
        label: {_seed_of(result): np.array(result.curves[label], dtype=float) for result in results} for label in labels
    }


def read_curves(path: Path) -> Curves:
    """The curves of a curves.csv whose runs differ in the seed only.

    Raises:
        UserError: it is not such a file.
    """
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    groups: set[str] = set()
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                point = float(row["epoch"]), float(row["value"])
                groups.add(row["group"])
                curves.setdefault(row["label"], {}).setdefault(row["run"], []).append(point)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"cannot read {path} as the curves.csv of a sweep: {error}") from None
    if len(groups) != 1:
        raise UserError(f"{path}: must hold runs that differ in the seed only, but has {len(groups)} groups of runs")
    return {label: {run: np.array(points) for run, points in runs.items()} for label, runs in curves.items()}


def stability_figure(label: str, runs: Mapping[str, np.ndarray], title: str) -> Figure:
    """Accuracy (or loss) of every run over the epochs, with mean and spread."""
    return seed_stability(dict(runs), title, "test loss" if label == "loss" else f"test accuracy, {label}")


def _seed_of(result: RunResult) -> str:
    """How the figure's legend calls a run."""
    return f"seed {result.values['seed']}" if "seed" in result.values else result.name
