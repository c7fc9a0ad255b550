"""The table and the figure of facets.py's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.facet_results import Record
from plotting import COLOURS, DPI, INK, MUTED, RULE, SMALL_SIZE, TEXT_SIZE, TITLE_SIZE

MARKERS = "osD^vPX*"

# --- the table


def label_columns(records: Sequence[Record]) -> list[tuple[str, str]]:
    """(set, label) of every score, in the order of their first appearance."""
    return list(dict.fromkeys((r["set"], label) for r in records for label in r.get("labels", {})))


def ami_values(records: Sequence[Record], method: str, column: tuple[str, str]) -> np.ndarray:
    """(S,) of the seeds that were run, NaN where the method failed."""
    runs = [r for r in records if r["method"] == method and r["set"] == column[0]]
    return np.array([r["labels"][column[1]]["ami"] if "labels" in r else np.nan for r in runs])


def results_table(records: Sequence[Record], methods: Sequence[str]) -> str:
    """Markdown: AMI of held-out images, mean (sd) over seeds; a row per label, a column per method, the best bold."""
    columns = label_columns(records)
    values = {c: [ami_values(records, m, c) for m in methods] for c in columns}
    n_seeds = max((len(v) for row in values.values() for v in row), default=0)
    lines = ["| images: label | " + " | ".join(methods) + " |", "|---" * (len(methods) + 1) + "|"]
    for (name, label), row in values.items():
        best = max(map(_mean, row), default=-np.inf)
        lines.append(f"| {name}: {label} | " + " | ".join(_cell(v, n_seeds, best) for v in row) + " |")
    seconds = [np.mean([r["cpu_seconds"] for r in records if r["method"] == m] or np.nan) for m in methods]
    lines.append("| CPU seconds a run | " + " | ".join(f"{s:.1f}" for s in seconds) + " |")
    failures = [f"- {r['method']}, {r['set']}, seed {r['seed']}: {r['error']}" for r in records if "error" in r]
    note = f"AMI of held-out images: mean (sd) over {n_seeds} seeds, or as many as follow an x."
    return "\n".join([*lines, "", note, *(["", "Failed:", "", *failures] if failures else [])]) + "\n"


def _mean(values: np.ndarray) -> float:
    """Over the seeds that did not fail; below everything where there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else -np.inf


def _cell(values: np.ndarray, n_seeds: int, best: float) -> str:
    """'0.97 (0.01)', with the number of seeds where it is not n_seeds."""
    if len(values) == 0:
        return "–"
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return "failed"
    mean = round(values.mean(), 2) + 0.0  # no -0.00
    text = f"{mean:.2f} ({values.std():.2f})" + (f" x{len(values)}" if len(values) < n_seeds else "")
    return f"**{text}**" if mean == round(best, 2) > 0 else text


# --- the figure


def ami_figure(means: np.ndarray, sds: np.ndarray, rows: Sequence[str], methods: Sequence[str]) -> Figure:
    """A line per label, a marker per method: means and sds (R, M) over seeds, NaN where there is none."""
    if means.shape != (len(rows), len(methods)) or sds.shape != means.shape:
        raise ValueError(f"{len(rows)} rows and {len(methods)} methods, but means {means.shape} and sds {sds.shape}")
    figure = Figure(figsize=(7.5, 0.42 * len(rows) + 1.6), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    shifts = np.linspace(-0.3, 0.3, len(methods))
    for i, method in enumerate(methods):
        style: dict[str, Any] = {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
            "markersize": 4.5,
        }
        at = np.arange(len(rows)) + shifts[i]
        axes.errorbar(means[:, i], at, xerr=sds[:, i], linestyle="none", elinewidth=1, label=method, **style)
    axes.set_yticks(range(len(rows)), rows, fontsize=TEXT_SIZE)
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    for between in range(1, len(rows)):
        axes.axhline(between - 0.5, color=RULE, linewidth=0.6)
    axes.set_xlim(-0.06, 1.04)
    axes.set_xlabel("AMI on held-out images, mean ± sd over seeds", fontsize=TEXT_SIZE, color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines[:].set_color(MUTED)
    axes.tick_params(labelsize=SMALL_SIZE, color=MUTED, labelcolor=INK)
    axes.tick_params(axis="y", length=0, labelsize=TEXT_SIZE)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=SMALL_SIZE, labelcolor=INK)
    figure.suptitle(
        "How well held-out images are clustered by each label", fontsize=TITLE_SIZE, weight="bold", color=INK
    )
    return figure


def figure_of(records: Sequence[Record], methods: Sequence[str]) -> Figure:
    """The figure of a results file."""
    columns = label_columns(records)
    values = [[ami_values(records, m, c) for m in methods] for c in columns]
    finite = [[v[~np.isnan(v)] for v in row] for row in values]
    means = np.array([[v.mean() if len(v) else np.nan for v in row] for row in finite]).reshape(-1, len(methods))
    sds = np.array([[v.std() if len(v) else np.nan for v in row] for row in finite]).reshape(-1, len(methods))
    return ami_figure(means, sds, [f"{name}: {label}" for name, label in columns], methods)
