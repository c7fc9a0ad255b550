"""Draw a run's loss and accuracy over the epochs beside the published code's own run of seed 3 on MNIST.

python plot_training_curves.py --metrics results/mnist_seed3/metrics.jsonl
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flags import FlagParser
from plotting import save_figure, training_curves
from utils import UserError, run

HERE = Path(__file__).resolve().parent

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
    shipped = HERE / "graphics/mnist_seed3_metrics.jsonl"
    parser.add_argument("--metrics", type=Path, default=shipped, help="metrics.jsonl of a run [the shipped model's]")
    parser.add_argument("--reference", type=Path, default=HERE / "tests/fixtures/mnist_seed3.csv", help="published run")
    parser.add_argument("--output", type=Path, default=HERE / "graphics/mnist_seed3_curves.png", help="figure to write")
    parser.add_argument("--first_epoch", type=int, default=5, help="leave out the steep start")
    args = parser.parse_args(argv)
    try:
        ours = [json.loads(line) for line in args.metrics.read_text().splitlines()]
        published = list(csv.DictReader(args.reference.open()))
        curves = {
            panel: {
                "published code": column(published, theirs, args.first_epoch),
                "this code": column(ours, name, args.first_epoch),
            }
            for panel, (name, theirs) in PANELS.items()
        }
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot read {args.metrics} or {args.reference} as the epochs of a run: {error}") from None
    save_figure(training_curves(curves, "MNIST, seed 3"), args.output)
    print(f"written: {args.output}")
    return 0


if __name__ == "__main__":
    run(main)
