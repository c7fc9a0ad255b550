"""Reproduce a row of the README's results: train the seeds, draw the figures of the best one, and write the table.

    python reproduce.py mnist
    python reproduce.py 3dshapes_1 --seeds 3 4 --workers 2

Flags of start_sweep.py and train.py may follow. Run the same command again to go on where it stopped. The runs,
summary.csv, the stability figures, evaluation/ and table.md are in results/<experiment>_sweep/; images of 3DShapes that
are missing are rendered into the data folder.
"""

from __future__ import annotations

from interrupts import run_script

from sweeps.published import PUBLISHED, reproduce_parser

if __name__ == "__main__":
    reproduce_parser(__doc__).answer_help()  # what comes next takes seconds to be imported

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from config import file_settings, parse_flags, resolve
from evaluation.choices import PUBLISHED_CHOICES
from evaluation.opening import observe_model
from evaluation.writing import FigureFolder, evaluate_all
from rendering.hdf5_file import write_file
from sweeps.command import hide_address, sharing_of
from sweeps.definition import define_sweep
from sweeps.entries import start_sweep
from sweeps.request import Sharing, StartRequest
from sweeps.summary import Curves, read_curves
from sweeps.variation import seeds_from_words
from tracking.run_folder import RunFolder
from train import INTERRUPTED
from utils import PROJECT, UserError, write_atomically

REFUSED_FLAGS = (
    "--config_args_path", "--sweep_config", "--sweep_name", "--dataset", "--factors_variation_dict",
    "--factors_label_list", "--save_model", "--dry_run", "--summarise",
)  # fmt: skip
"""Flags that would make it another experiment, or none."""


@dataclass(frozen=True)
class Reproduction:
    """What is to be reproduced, and how."""

    experiment: str
    """A key of PUBLISHED."""
    data_dir: Path = Path("data")
    results_dir: Path = Path("results")
    seeds: tuple[int, ...] | None = None
    """None for the paper's ten."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Raw values of further settings, as flags of train.py name them."""
    sharing: Sharing = field(default_factory=Sharing)

    @property
    def folder(self) -> Path:
        """Where the runs, the table and the figures are."""
        return self.results_dir / f"{self.experiment}_sweep"

    @property
    def published_settings(self) -> dict[str, str]:
        """The published configuration, and where its data are."""
        path = PROJECT / "configs" / f"{self.experiment}.yml"
        return {"config_args_path": str(path), "data_dir": str(self.data_dir)}

    @property
    def sweep(self) -> StartRequest:
        """The sweep over the seeds."""
        settings = {**self.settings, **self.published_settings, "results_dir": str(self.results_dir)}
        return StartRequest(settings, self.seeds, None, self.folder.name, self.sharing)


def best_seed(curves: Curves) -> str:
    """The run with the highest accuracy at its end, averaged over the labels."""
    ends = {run: np.mean([runs[run][-1, 1] for runs in curves.values()]) for run in next(iter(curves.values()))}
    return max(ends, key=lambda run: ends[run])


def results_table(name: str, curves: Curves, seconds: Sequence[float]) -> str:
    """A table in Markdown with a row per label: published and reached accuracy in percent.

    seconds: what training and scoring of each run took.
    """
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


def reproduce(asked: Reproduction) -> int:
    """Train the seeds, write the table, draw the figures of the best one; the exit status of the sweep.

    Raises:
        UserError: what was asked for cannot work, which is told before anything is rendered or trained.
    """
    sweep = asked.sweep
    define_sweep(sweep.settings, sweep.seeds, sweep.sweep_config, sweep.sweep_name)
    render_missing_images(asked)
    status = start_sweep(sweep)
    if status == INTERRUPTED or not (asked.folder / "curves.csv").exists():
        return status
    curves = read_curves(asked.folder / "curves.csv")
    write_table(asked, curves)
    draw_best_run(asked, curves)
    return status


def render_missing_images(asked: Reproduction) -> None:
    """Render the images of 3DShapes that the experiment needs and the data folder does not have."""
    settings = asked.published_settings
    config = resolve(file_settings(settings), settings, {})
    if config.dataset == "fast_3dshapes":
        write_file(asked.data_dir / "Fast_3DShapes/raw/3dshapes.h5", config.factors_variation_dict)


def run_folder(asked: Reproduction, seed: str) -> RunFolder:
    """The folder of a run, by what curves.csv calls it: 'seed 3'."""
    return RunFolder(asked.folder / f"{asked.experiment}_{seed.replace(' ', '')}")


def write_table(asked: Reproduction, curves: Curves) -> None:
    """Write and print table.md. Times are those of the runs that this machine has trained."""
    runs = [run_folder(asked, seed) for seed in next(iter(curves.values()))]
    seconds = [sum(row["epoch_seconds"] for row in run.read_metrics()) for run in runs if run.metrics_path.exists()]
    table, path = results_table(asked.experiment, curves, seconds), asked.folder / "table.md"
    write_atomically(path, lambda temporary: temporary.write_text(table + "\n"))
    print(f"\n{table}\n\ntable: {path}")


def draw_best_run(asked: Reproduction, curves: Curves) -> None:
    """Draw the published figures of the best run, where this machine has its model."""
    seed = best_seed(curves)
    model = run_folder(asked, seed).model_path
    if not model.exists():
        script = f"eval_{asked.experiment}.sh"
        print(f"the best run, {seed}, is on another machine: its figures are made there, by {script}")
        return
    folder = asked.folder / "evaluation"
    observed = observe_model(model, data_dir=str(asked.data_dir))
    evaluate_all(observed, FigureFolder(folder), PUBLISHED_CHOICES[asked.experiment])
    print(f"wrote {folder}")


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, reproduce; the exit status is not 0 where a run failed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = reproduce_parser(__doc__)
    arguments, words = parser.parse_known_args(argv)
    hide_address(sys.argv)
    name = arguments.experiment
    if refused := [word for word in words if word.split("=")[0] in REFUSED_FLAGS]:
        raise UserError(f"{refused[0]}: not while {name} is reproduced; use start_sweep.py for other experiments")
    seeds, sharing = seeds_from_words(arguments.seeds), sharing_of(arguments)
    asked = Reproduction(
        name, arguments.data_dir, arguments.results_dir, seeds, parse_flags(words, parser.flags), sharing
    )
    return reproduce(asked)


if __name__ == "__main__":
    run_script(main)
