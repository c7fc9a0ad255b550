"""Reproduce a row of the README's results: train the seeds, draw the figures of the best one, and write the table.

    python reproduce.py mnist
    python reproduce.py 3dshapes_1 --seeds 3 4 --workers 2

Flags of start_sweep.py and train.py may follow. Run the same command again to go on where it stopped. All is written to
results/<experiment>_sweep/: the runs, summary.csv, the stability figures, evaluation/ and table.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import start_sweep
from config import load_config
from flags import FlagParser
from render_3dshapes import write_file
from sweep_summary import Curves, read_curves
from tracking import RunFolder
from train import INTERRUPTED
from utils import run, write_atomically

HERE = Path(__file__).resolve().parent


class Published(NamedTuple):
    """Accuracy in percent over seeds 0 to 9, of the facet that fits the label best (paper, Section 4)."""

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
    """A row per label, in Markdown: published and reached accuracy in percent. seconds: what each run took."""
    lines = ["| label | published: mean (sd) | here: mean (sd) | each seed | a run took |", "|---|---|---|---|---|"]
    for label, published in PUBLISHED[name].items():
        ends = {seed.removeprefix("seed "): 100 * points[-1, 1] for seed, points in curves[label].items()}
        values = np.array(list(ends.values()))
        each = ", ".join(f"{seed}: {value:.2f}" for seed, value in ends.items())
        hours, minutes = divmod(round(np.median(seconds) / 60), 60)
        lines.append(
            f"| {name}, {label} | {published.mean:.2f} ({published.sd:.2f}) | {values.mean():.2f} ({values.std():.2f}) "
            f"| {each} | {hours} h {minutes:02} min |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Render, train, summarise, draw. The exit status is that of the sweep."""
    parser = FlagParser(__doc__)
    parser.add_argument("experiment", choices=PUBLISHED)
    parser.add_argument("--data_dir", default="data", help="folder of the data sets [data]")
    parser.add_argument("--results_dir", default="results", help="folder that everything is written to [results]")
    arguments, flags = parser.parse_known_args(argv)
    name, data_dir = arguments.experiment, Path(arguments.data_dir)
    folder = Path(arguments.results_dir) / f"{name}_sweep"
    settings = ["--config_args_path", str(HERE / "configs" / f"{name}.yml"), "--data_dir", str(data_dir)]
    config = load_config(settings)
    if config.dataset == "fast_3dshapes":
        write_file(data_dir / "Fast_3DShapes/raw/3dshapes.h5", config.factors_variation_dict)
    settings += ["--results_dir", arguments.results_dir, "--sweep_name", folder.name]
    status = start_sweep.main([*flags, *settings])
    if status == INTERRUPTED or not (folder / "curves.csv").exists():
        return status
    curves = read_curves(folder / "curves.csv")
    runs = [folder / f"{name}_{seed.replace(' ', '')}" for seed in next(iter(curves.values()))]
    seconds = [sum(row["epoch_seconds"] for row in RunFolder(path).read_metrics()) for path in runs]
    table = results_table(name, curves, seconds)
    write_atomically(folder / "table.md", lambda path: path.write_text(table + "\n"))
    model = folder / f"{name}_{best_seed(curves).replace(' ', '')}" / "save_dict.pt"
    script = HERE / "shell_scripts" / f"eval_{name}.sh"
    paths = ["--data_dir", str(data_dir.resolve()), "--results_dir", str((folder / "evaluation").resolve())]
    subprocess.run([script, model, *paths], env=os.environ | {"PYTHON": sys.executable}, check=True)
    print(f"\n{table}\nfigures of the best seed: {folder / 'evaluation'}; table: {folder / 'table.md'}")
    return status


if __name__ == "__main__":
    run(main)
