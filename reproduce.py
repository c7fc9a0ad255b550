"""Reproduce a row of the README's results: train the seeds, draw the figures of the best one, and write the table.

    python reproduce.py mnist
    python reproduce.py 3dshapes_1 --seeds 3 4 --workers 2

Flags of start_sweep.py and train.py may follow. Run the same command again to go on where it stopped. The runs,
summary.csv, the stability figures, evaluation/ and table.md are in results/<experiment>_sweep/; images of 3DShapes that
are missing are rendered into the data folder.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import start_sweep
from config import load_config
from evaluation.opening import observe_model
from evaluation.writing import PUBLISHED_CHOICES, FigureFolder, evaluate_all
from flags import FlagParser
from interrupts import run_script
from rendering.hdf5_file import write_file
from sweeps.summary import Curves, read_curves
from tracking.run_folder import RunFolder
from train import INTERRUPTED
from utils import PROJECT, UserError, write_atomically

OURS = (
    "--config_args_path", "--sweep_config", "--sweep_name", "--dataset", "--factors_variation_dict", "--factors_label_list",
    "--save_model", "--dry_run", "--summarise",
)  # fmt: skip
"""Flags that would make it another experiment, or none."""


class Published(NamedTuple):
    """Accuracy in percent over seeds 0 to 9, of the facet that fits the label best (paper, Section 4, with sd over n - 1)."""

    mean: float
    sd: float
    """Over n."""


PUBLISHED = {
    "mnist": {"digit": Published(92.02, 3.02)},
    "3dshapes_1": {"floor_hue": Published(99.46, 1.10), "shape": Published(88.47, 1.82)},
    "3dshapes_2": {"wall_hue": Published(100.00, 0.00), "shape": Published(90.05, 2.65)},
    "svhn": {"digit": Published(56.25, 0.88)},
}


def best_seed(curves: Curves) -> str:
    """The run with the highest accuracy at its end, averaged over the labels."""
    ends = {run: np.mean([runs[run][-1, 1] for runs in curves.values()]) for run in next(iter(curves.values()))}
    return max(ends, key=ends.get)


def results_table(name: str, curves: Curves, seconds: Sequence[float]) -> str:
    """A row per label, in Markdown: published and reached accuracy in percent. seconds: training and scoring of each run."""
    lines = [
        "| label | published: mean (sd) | here: mean (sd) | each seed | time of a run |",
        "|---|---|---|---|---|",
    ]
    for label, published in PUBLISHED[name].items():
        ends = {seed.removeprefix("seed "): 100 * points[-1, 1] for seed, points in curves[label].items()}
        values = np.array(list(ends.values()))
        sd = f"{values.std():.2f}" if len(values) > 1 else "one seed"
        each = ", ".join(f"{seed}: {value:.2f}" for seed, value in ends.items())
        lines.append(
            f"| {name}, {label} | {published.mean:.2f} ({published.sd:.2f}) | {values.mean():.2f} ({sd}) | {each} "
            f"| {median_time(seconds)} |"
        )
    return "\n".join(lines)


def median_time(seconds: Sequence[float]) -> str:
    """The median as hours and minutes."""
    if not seconds:
        return "not on this machine"
    hours, minutes = divmod(round(np.median(seconds) / 60), 60)
    return f"{hours} h {minutes:02} min"


def train_seeds(name: str, data_dir: Path, results_dir: Path, flags: Sequence[str]) -> int:
    """Render what is missing, and train; the exit status of the sweep."""
    settings = ["--config_args_path", str(PROJECT / "configs" / f"{name}.yml"), "--data_dir", str(data_dir)]
    sweep = [*flags, *settings, "--results_dir", str(results_dir), "--sweep_name", f"{name}_sweep"]
    with contextlib.redirect_stdout(io.StringIO()):
        start_sweep.main([*sweep, "--dry_run"])  # a wrong flag is told before anything is rendered
    config = load_config(settings)
    if config.dataset == "fast_3dshapes":
        write_file(data_dir / "Fast_3DShapes/raw/3dshapes.h5", config.factors_variation_dict)
    return start_sweep.main(sweep)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, write the table, draw. The exit status is not 0 where a run failed."""
    parser = FlagParser(__doc__)
    parser.add_argument("experiment", choices=PUBLISHED)
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="folder of the data sets [data]")
    parser.add_argument("--results_dir", type=Path, default=Path("results"), help="folder of the sweep [results]")
    arguments, flags = parser.parse_known_args(argv)
    name, folder = arguments.experiment, arguments.results_dir / f"{arguments.experiment}_sweep"
    if refused := [flag for flag in flags if flag.split("=")[0] in OURS]:
        raise UserError(f"{refused[0]}: not while {name} is reproduced; use start_sweep.py for other experiments")
    status = train_seeds(name, arguments.data_dir, arguments.results_dir, flags)
    if status == INTERRUPTED or not (folder / "curves.csv").exists():
        return status
    curves = read_curves(folder / "curves.csv")
    runs = {seed: RunFolder(folder / f"{name}_{seed.replace(' ', '')}") for seed in next(iter(curves.values()))}
    rows = [run.read_metrics() for run in runs.values() if run.metrics_path.exists()]  # others are on other machines
    table = results_table(name, curves, [sum(row["epoch_seconds"] for row in run) for run in rows])
    write_atomically(folder / "table.md", lambda path: path.write_text(table + "\n"))
    print(f"\n{table}\n\ntable: {folder / 'table.md'}")
    model = runs[best_seed(curves)].model_path
    if not model.exists():
        print(
            f"the best run, {best_seed(curves)}, is on another machine: its figures are made there, by eval_{name}.sh"
        )
        return status
    observed = observe_model(model, data_dir=str(arguments.data_dir))
    evaluate_all(observed, FigureFolder(folder / "evaluation"), PUBLISHED_CHOICES[name])
    print(f"wrote {folder / 'evaluation'}")
    return status


if __name__ == "__main__":
    run_script(main)
