"""What a sweep found: mean and spread over seeds as a table, summary.csv and the stability figures."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metrics import ClusterScores
from plotting import save_figure, seed_stability
from sweeps import RunResult, best_facet, file_name
from utils import make_folder, write_atomically

FACET_NMI = re.compile(r"test_metric/(facet_nmi_\d+_\d+)")


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
    """Over n, as the paper reports it."""
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
            rows += [_row(group, label, score, [found[score] for found in scores]) for score in ClusterScores._fields]
        rows.append(_row(group, "", "loss", [row["test_metric/loss"] for row in numbers]))
        for key in [key for key in numbers[0] if FACET_NMI.fullmatch(key)]:
            rows.append(_row(group, "", FACET_NMI.fullmatch(key)[1], [row[key] for row in numbers if key in row]))
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
    shared = set.intersection(*[set(result.curves) for result in results])
    return sorted(shared - {"loss"})


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
    """summary.csv and a stability figure per label in the sweep's folder; nothing before the first run has finished."""
    rows = summarise_results(results)
    if not rows:
        return

    def write(path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            writer.writerows(rows)

    write_atomically(make_folder(folder) / "summary.csv", write)
    groups = _groups(results)
    for group, members in groups.items():
        if len(groups) > 1 and len(members) == 1:  # a grid or random sweep without seeds: a figure a run says little
            continue
        for curve in sorted(set.intersection(*[set(member.curves) for member in members])):
            title = " ".join(word for word in (folder.name, group) if word)
            ylabel = "test loss" if curve == "loss" else f"test accuracy, {curve}"
            seeds = {_seed_of(member): np.array(member.curves[curve], dtype=float) for member in members}
            name = file_name([word for word in ("stability", group, curve) if word])
            save_figure(seed_stability(seeds, title, ylabel), folder / f"{name}.png", ("png", "pdf"))


def _seed_of(result: RunResult) -> Any:
    """How the figure's legend calls a run."""
    return f"seed {result.values['seed']}" if "seed" in result.values else result.name
