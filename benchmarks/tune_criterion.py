"""How well does tune.py judge without labels? On labelled images: its value of every trial beside the labels' AMI.

    python -m benchmarks.tune_criterion --sets FILE.npz ... --seeds 0 1 --trials 60

Runs the first stage of tune.py without pruning. The AMI of a trial is the mean over the labels, facets assigned to
labels one to one (a label that no facet is left for counts 0), and over both clusterings, on all images of the search.
"""

from __future__ import annotations

from interrupts import run_script

import csv
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy.stats import spearmanr

from config import Config, load_config
from datasets import load_dataset
from flags import FlagParser, non_negative_int, positive_int
from sweeps.database import Database
from tuning.halves import Halves, matched_ami
from tuning.study import ClusterSearch, Tried
from tuning.trained import Choice
from utils import make_folder

HERE = Path(__file__).resolve().parent
HEADER = "| set | seed | choices | Spearman | chosen K | AMI | best K | AMI | share | CPU s |"
COLUMNS = ("set", "seed", "n_clusters", "value", "ami", "agreement", "explained", "vocabulary")


class LabelledSearch(ClusterSearch):
    """The search as tune.py makes it, but for pruning; the labels' AMI of every trial is noted, and seen by nobody."""

    labels: np.ndarray
    """(N, L)"""

    def learn(self, choice: Choice, half: int, seed: int) -> tuple[np.ndarray, dict[str, float]]:
        """Note the AMI of one half's clustering."""
        codes, _ = super().learn(choice, half, seed)
        return codes, {"ami": float(matched_ami(self.labels, codes).mean())}

    def least(self) -> float:
        """Every trial is tried to its end."""
        return 0.0


def search(config: Config, n_trials: int) -> tuple[list[Tried], float]:
    """Every choice of a search, the best first, and its CPU seconds."""
    dataset, started = load_dataset(config, torch.device("cpu")), time.process_time()
    halves = Halves(dataset.train.images.numpy(), dataset.spec, config.seed)
    with TemporaryDirectory() as folder:
        found = LabelledSearch(config, halves, Database.of_file(Path(folder) / "tune.db"), 3, 25)
        found.labels = dataset.train.labels.numpy()[halves.chosen]
        for i in range(n_trials):
            found.step(config.seed + 1000 * i)
        return found.tried(), time.process_time() - started


def report(name: str, seed: int, tried: Sequence[Tried], seconds: float) -> str:
    """One line of the result's table."""
    values, amis = np.array([[one.value, one.facts["ami"]] for one in tried]).T
    chosen, best = tried[0], tried[int(amis.argmax())]
    K_chosen, K_best = (", ".join(map(str, one.choice.n_clusters)) for one in (chosen, best))
    numbers = f"{len(tried)} | {spearmanr(values, amis)[0]:.2f} | {K_chosen} | {amis[0]:.2f} | {K_best}"
    return f"| {name} | {seed} | {numbers} | {amis.max():.2f} | {amis[0] / amis.max():.2f} | {seconds:.0f} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, search every set with every seed, and write results/tune_criterion.csv."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    parser = FlagParser(__doc__)
    parser.add_argument(
        "--sets", nargs="+", required=True, metavar="NPZ", help="labelled images, as --dataset npz reads"
    )
    parser.add_argument("--seeds", nargs="+", type=non_negative_int, default=[0], help="[0]")
    parser.add_argument("--trials", type=positive_int, default=60, help="trials a set and seed [60]")
    parser.add_argument(
        "--output", default="results/tune_criterion.csv", help="every trial [results/tune_criterion.csv]"
    )
    arguments = parser.parse_args(argv)
    rows: list[tuple[object, ...]] = []
    print(f"{HEADER}\n|---|---|---|---|---|---|---|---|---|---|")
    for path in map(Path, arguments.sets):
        for seed in arguments.seeds:
            words = ["--config_args_path", str(HERE.parent / "configs" / "folder.yml"), "--dataset", "npz"]
            words += ["--image_size", "none", "--data_dir", str(path), "--seed", str(seed)]
            tried, seconds = search(load_config(words), arguments.trials)
            print(report(path.stem, seed, tried, seconds), flush=True)
            for choice, judged, value, facts in tried:
                K = " ".join(map(str, choice.n_clusters))
                numbers = (value, facts["ami"], np.mean(judged.agreement), judged.explained, judged.vocabulary)
                rows.append((path.stem, seed, K, *(round(float(number), 4) for number in numbers)))
    output = Path(arguments.output)
    make_folder(output.absolute().parent)
    with output.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return 0


if __name__ == "__main__":
    run_script(main)
