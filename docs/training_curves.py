"""Draw a run's loss and accuracy over the epochs beside the published code's own run of seed 3 on MNIST.

    python -m docs.training_curves --metrics results/mnist_seed3/metrics.jsonl

Writes results/mnist_seed3/curves.png.
"""

from __future__ import annotations

from interrupts import run_script

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from evaluation.metric_names import Metric
from flags import FlagParser, non_negative_int
from plotting import save_figure, training_curves
from tracking.run_folder import read_metrics
from utils import PROJECT, UserError

SHIPPED = PROJECT / "graphics/mnist_seed3_metrics.jsonl"
REFERENCE = PROJECT / "tests/fixtures/mnist_seed3.csv"
# panel -> (our logged name, the reference's column)
PANELS = {
    "training loss": (Metric("loss", "train").name, "train_loss"),
    "test loss": (Metric("loss").name, "test_loss"),
    "test accuracy, facet 1": (Metric("acc_max", facet=1).name, "test_accuracy_facet_1"),
    "test accuracy, facet 0": (Metric("acc_max", facet=0).name, "test_accuracy_facet_0"),
}


def column(rows: Sequence[Mapping[str, Any]], name: str, first_epoch: int) -> np.ndarray:
    """(n, 2) epoch and value of the rows, from an epoch on, that hold a value."""
    points = [(int(row["epoch"]), float(row[name])) for row in rows if row.get(name) not in (None, "")]
    return np.array([point for point in points if point[0] >= first_epoch]).reshape(-1, 2)


def compared_curves(metrics: Path = SHIPPED, reference: Path = REFERENCE, first_epoch: int = 5) -> Figure:
    """Loss and accuracy of a run, metrics.jsonl, and of the published one from an epoch on: both begin steeply."""
    try:
        if not (ours := read_metrics(metrics)):
            raise ValueError("no line of JSON in the former")
        with reference.open(newline="") as file:
            published = list(csv.DictReader(file))
        curves = {
            panel: {
                "published code": column(published, theirs, first_epoch),
                "this code": column(ours, name, first_epoch),
            }
            for panel, (name, theirs) in PANELS.items()
        }
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"cannot read {metrics} or {reference} as the epochs of a run: {error}") from None
    return training_curves(curves, "MNIST, beside the published code's run of seed 3")


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, draw."""
    parser = FlagParser(__doc__)
    parser.add_argument("--metrics", type=Path, default=SHIPPED, help="metrics.jsonl of a run [the shipped model's]")
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="the published run")
    output_help = "figure to write, .png, .pdf or .svg [curves.png beside the metrics]"
    parser.add_argument("--output", type=Path, help=output_help)
    parser.add_argument("--first_epoch", type=non_negative_int, default=5, help="leave out the steep start [5]")
    arguments = parser.parse_args(argv)
    metrics: Path = arguments.metrics
    output: Path = arguments.output or metrics.with_name(metrics.stem.removesuffix("metrics") + "curves.png")
    if output.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--output {output}: the name must end in .png, .pdf or .svg")
    save_figure(compared_curves(metrics, arguments.reference, arguments.first_epoch), output, (output.suffix[1:],))
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    run_script(main)
