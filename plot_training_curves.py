"""Draw a run's loss and accuracy over the epochs beside the published code's own run of seed 3 on MNIST.

    python plot_training_curves.py --metrics results/mnist_seed3/metrics.jsonl

Writes results/mnist_seed3/curves.png.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flags import FlagParser
from interrupts import run_script
from plotting import save_figure, training_curves
from tracking.run_folder import read_metrics
from utils import PROJECT, UserError, make_folder

# panel -> (our logged name, the reference's column)
PANELS = {
    "training loss": ("train_metric/loss", "train_loss"),
    "test loss": ("test_metric/loss", "test_loss"),
    "test accuracy, facet 1": ("test_metric/facet_1_acc_max", "test_accuracy_facet_1"),
    "test accuracy, facet 0": ("test_metric/facet_0_acc_max", "test_accuracy_facet_0"),
}


def column(rows: Sequence[dict], name: str, first_epoch: int) -> np.ndarray:
    """(n, 2) epoch and value of the rows, from an epoch on, that hold a value."""
    points = [(int(row["epoch"]), float(row[name])) for row in rows if row.get(name) not in (None, "")]
    return np.array([point for point in points if point[0] >= first_epoch]).reshape(-1, 2)


def main(argv: Sequence[str] | None = None) -> int:
    parser = FlagParser(__doc__)
    shipped = PROJECT / "graphics/mnist_seed3_metrics.jsonl"
    parser.add_argument("--metrics", type=Path, default=shipped, help="metrics.jsonl of a run [the shipped model's]")
    parser.add_argument(
        "--reference", type=Path, default=PROJECT / "tests/fixtures/mnist_seed3.csv", help="published run"
    )
    parser.add_argument(
        "--output", type=Path, help="figure to write, .png, .pdf or .svg [curves.png beside the metrics]"
    )
    parser.add_argument("--first_epoch", type=int, default=5, help="leave out the steep start")
    args = parser.parse_args(argv)
    output = args.output or args.metrics.with_name(args.metrics.stem.removesuffix("metrics") + "curves.png")
    if output.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--output {output}: the name must end in .png, .pdf or .svg")
    try:
        if not (ours := read_metrics(args.metrics)):
            raise ValueError("no line of JSON in the former")
        published = list(csv.DictReader(args.reference.open()))
        curves = {
            panel: {
                "published code": column(published, theirs, args.first_epoch),
                "this code": column(ours, name, args.first_epoch),
            }
            for panel, (name, theirs) in PANELS.items()
        }
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"cannot read {args.metrics} or {args.reference} as the epochs of a run: {error}") from None
    make_folder(output.parent)
    save_figure(
        training_curves(curves, "MNIST, beside the published code's run of seed 3"), output, (output.suffix[1:],)
    )
    print(f"written: {output}")
    return 0


if __name__ == "__main__":
    run_script(main)
