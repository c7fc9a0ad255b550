"""How well does tune.py judge without labels? On labelled images: its value of every trial beside the labels' AMI.

    python -m benchmarks.tune_criterion --sets FILE.npz ... --seeds 0 1 --trials 50      # its first stage alone
    python -m benchmarks.tune_criterion --sets FILE.npz --searched results/FILE_tune/tune.db   # a whole run of tune.py

The AMI of a choice is the mean over the labels, facets assigned to labels one to one (a label that no facet is left for
counts 0), over both halves' clusterings of all images of the search, and over its trials. Beside the criterion stand
others that were tried, on the same trials. Of a whole run the trials of both stages count, without those that were
pruned; they kept their clusters.
"""

from __future__ import annotations

from interrupts import run_script

import argparse
import csv
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import optuna
import torch
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import spearmanr

from config import Config, load_config
from datasets import Dataset, load_dataset
from flags import FlagParser, non_negative_int, positive_int
from readers.disk_images import on_host
from sweeps.database import Database
from tuning.criterion import Judgement, first
from tuning.halves import Halves, drawn, matched_ami
from tuning.study import ClusterSearch, codes_found
from utils import UserError, make_folder

HERE = Path(__file__).resolve().parent
CRITERION = "(sum of sqrt(agreement * independence * explained))^2 * explained"
HEADER = "| set | seed | stage | criterion | trials | choices | Spearman | chosen K | AMI | best K | AMI | share |"
COLUMNS = ("set", "seed", "stage", "choice", "agreement", "independence", "explained", "value", "ami", "trials")

Criterion = Callable[[Judgement], float]


def root_sum(numbers: Sequence[float]) -> float:
    """The square of the sum of the roots."""
    return sum(map(math.sqrt, numbers)) ** 2


CRITERIA: dict[str, Criterion] = {
    CRITERION: lambda one: one.value,
    "the same without the last factor": lambda one: one.value / max(sum(one.explained), 1e-12),
    "without independence": lambda one: (
        root_sum([a * e for a, e in zip(one.agreement, one.explained, strict=True)]) * sum(one.explained)
    ),
    "sum of sqrt(agreement) * explained": lambda one: sum(map(math.sqrt, one.agreement)) * sum(one.explained),
    "mean agreement": lambda one: mean(one.agreement),
    "explained": lambda one: sum(one.explained),
}
"""What stands in docs/tune.md; the first is tune.py's."""


class UnprunedSearch(ClusterSearch):
    """The first stage as tune.py makes it, but that every trial comes to its end."""

    def least(self) -> float:
        """Every trial is of interest."""
        return 0.0


class Scored(NamedTuple):
    """A choice of one stage, over its trials."""

    name: str
    """K_j, and what else was chosen."""
    n_clusters: int
    """Of all facets."""
    judged: list[Judgement]
    ami: float
    """With the labels."""


def ami_of(trial: FrozenTrial, labels: np.ndarray) -> float:
    """How well a trial found labels (N, L): the mean over labels and halves."""
    return mean(float(matched_ami(labels, codes)[0].mean()) for codes in codes_found(trial))


def scored(study: optuna.Study, labels: np.ndarray) -> list[Scored]:
    """Every choice of a study that was tried to its end."""
    found: dict[str, list[FrozenTrial]] = {}
    for trial in study.get_trials(states=(TrialState.COMPLETE,)):
        found.setdefault(_name(trial.user_attrs["choice"], study.study_name), []).append(trial)
    return [
        Scored(
            name,
            sum(trials[0].user_attrs["choice"]["n_clusters"]),
            [Judgement(**trial.user_attrs["judged"]) for trial in trials],
            mean(ami_of(trial, labels) for trial in trials),
        )
        for name, trials in found.items()
    ]


def _name(choice: dict[str, object], study: str) -> str:
    """K_j; of trainings also D_j and the factor on sigma."""
    K, D = (str(choice[name]).strip("[]()") for name in ("n_clusters", "z_dims"))
    return f"{K}; D {D}; sigma x {choice['sigma_factor']}" if study.endswith("trainings") else K


def report(name: str, seed: int, stage: str, choices: Sequence[Scored], start: int = 0) -> str:
    """A line of the table for every criterion. Trainings are the choices from `start` on; one of them is taken.

    As in tune.py, the value of a training is the mean of its own and of that of its clusters before.
    """
    amis, lines = np.array([one.ami for one in choices]), []
    best, n_trials = int(amis.argmax()), sum(len(one.judged) for one in choices)
    for criterion, worth in CRITERIA.items():
        values = [mean(map(worth, one.judged)) for one in choices]
        before = {one.name: value for one, value in zip(choices[:start], values, strict=False)}
        for i in range(start, len(choices) if start else 0):
            values[i] = (values[i] + before[choices[i].name.partition(";")[0]]) / 2
        chosen = start + first(values[start:], [one.n_clusters for one in choices[start:]])
        rank = spearmanr(values, amis)[0] if np.ptp(amis) > 0 else math.nan
        numbers = f"{rank:.2f} | {choices[chosen].name} | {amis[chosen]:.2f} | {choices[best].name} | {amis[best]:.2f}"
        share = amis[chosen] / amis[best]
        lines.append(
            f"| {name} | {seed} | {stage} | {criterion} | {n_trials} | {len(choices)} | {numbers} | {share:.2f} |"
        )
    return "\n".join(lines)


def search(config: Config, dataset: Dataset, n_trials: int, database: Database) -> None:
    """The first stage, of so many trials."""
    halves = Halves(on_host(dataset.train.images), dataset.spec, config.seed)
    found = UnprunedSearch(config, halves, database, 3, 25)
    for i in range(n_trials):
        found.step(config.seed + 1000 * i)


def studies(database: Database) -> list[optuna.Study]:
    """Those of a data base.

    Raises:
        UserError: there is none.
    """
    with database.asked():
        names = optuna.get_all_study_names(database.address) if database.file and database.file.exists() else []
    if not names:
        raise UserError(f"{database.shown}: no search is in it; name the tune.db of a run of tune.py")
    return [optuna.load_study(study_name=name, storage=database.address) for name in names]


def rows(name: str, seed: int, stage: str, choices: Sequence[Scored]) -> list[tuple[object, ...]]:
    """A line of the CSV file for every choice."""
    lines: list[tuple[object, ...]] = []
    for one in choices:
        lists = ([mean(of_facet) for of_facet in zip(*kind, strict=True)] for kind in zip(*one.judged, strict=True))
        facets = (" ".join(f"{number:.4f}" for number in numbers) for numbers in lists)
        value = mean(judged.value for judged in one.judged)
        lines.append((name, seed, stage, one.name, *facets, f"{value:.4f}", f"{one.ami:.4f}", len(one.judged)))
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, search every set with every seed or read a search, and write results/tune_criterion.csv."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    arguments = parse_arguments(argv)
    lines: list[tuple[object, ...]] = []
    print(f"{HEADER}\n{'|---' * (HEADER.count('|') - 1)}|")
    for path in map(Path, arguments.sets):
        for seed in arguments.seeds:
            words = ["--config_args_path", str(HERE.parent / "configs" / "folder.yml"), "--dataset", "npz"]
            config = load_config([*words, "--image_size", "none", "--data_dir", str(path), "--seed", str(seed)])
            dataset, started = load_dataset(config, torch.device("cpu")), time.process_time()
            labels = dataset.train.labels.numpy()[drawn(len(dataset.train), seed)]
            with TemporaryDirectory() as folder:
                database = Database.of_file(arguments.searched or Path(folder) / "tune.db")
                if not arguments.searched:
                    search(config, dataset, arguments.trials, database)
                    logging.warning("%s, seed %d: %.0f CPU s", path.stem, seed, time.process_time() - started)
                found = {study.study_name.rpartition("_")[2]: scored(study, labels) for study in studies(database)}
            for stage, choices in found.items():
                print(report(path.stem, seed, stage, choices), flush=True)
                lines += rows(path.stem, seed, stage, choices)
            if "trainings" in found:
                both = found["clusters"] + found["trainings"]
                print(report(path.stem, seed, "both", both, start=len(found["clusters"])), flush=True)
    make_folder(arguments.output.absolute().parent)
    with arguments.output.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *lines])
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags, by their names."""
    parser = FlagParser(__doc__)
    parser.add_argument(
        "--sets", nargs="+", required=True, metavar="NPZ", help="labelled images, as --dataset npz reads"
    )
    parser.add_argument("--seeds", nargs="+", type=non_negative_int, default=[0], help="[0]")
    parser.add_argument("--trials", type=positive_int, default=50, help="trials a set and seed [50]")
    parser.add_argument("--searched", type=Path, metavar="DB", help="data base of a run of tune.py on the one set")
    parser.add_argument(
        "--output", type=Path, default=Path("results/tune_criterion.csv"), help="every choice [%(default)s]"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_script(main)
