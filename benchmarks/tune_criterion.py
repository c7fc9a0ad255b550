"""How well does tune.py judge without labels? On labelled images: its value of every trial beside the labels' AMI.

    python -m benchmarks.tune_criterion --sets FILE.npz ... --seeds 0 1 --trials 50

Runs the first stage of tune.py without pruning. The AMI of a trial is the mean over the labels, facets assigned to
labels one to one (a label that no facet is left for counts 0), and over both clusterings, on all images of the search.
Beside the criterion stand others that were tried, on the same trials.
"""

from __future__ import annotations

from interrupts import run_script

import csv
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy.stats import spearmanr

from config import Config, load_config
from datasets import load_dataset
from flags import FlagParser, non_negative_int, positive_int
from readers.disk_images import on_host
from sweeps.database import Database
from tuning.criterion import Judgement, thrift, value
from tuning.halves import Halves, matched_ami
from tuning.study import ClusterSearch, Tried
from tuning.trained import Choice
from utils import make_folder

HERE = Path(__file__).resolve().parent
CRITERION = "sum of sqrt(agreement) * explained * thrift"
HEADER = "| set | seed | criterion | choices | Spearman | chosen K | AMI | best K | AMI | share | CPU s |"
COLUMNS = ("set", "seed", "n_clusters", "agreement", "value", "ami", "explained", "vocabulary")

Criterion = Callable[[Judgement, Sequence[Judgement]], float]


def gain_over_one_facet(judged: Judgement, others: Sequence[Judgement]) -> float:
    """How much less of the variance is left than one facet leaves with as many clusters: a difference of logarithms.

    What one facet leaves is a line through the trials of one facet, log(left) over log(vocabulary).
    """
    single = [other for other in others if len(other.agreement) == 1]
    left = [math.log(max(1 - one.explained, 1e-3)) for one in (judged, *single)]
    if len(single) < 2:
        return -left[0]
    slope, offset = np.polyfit([math.log(one.vocabulary) for one in single], left[1:], 1)
    return float(offset + slope * math.log(judged.vocabulary)) - left[0]


CRITERIA: dict[str, Criterion] = {
    CRITERION: value,
    "J * sqrt(mean agreement) * explained * thrift": lambda judged, others: (
        math.sqrt(len(judged.agreement) * sum(judged.agreement)) * judged.explained * thrift(judged, others)
    ),
    "sum of agreement * explained * thrift": lambda judged, others: (
        sum(judged.agreement) * judged.explained * thrift(judged, others)
    ),
    "sum of agreement * explained": lambda judged, others: sum(judged.agreement) * judged.explained,
    "mean agreement": lambda judged, others: sum(judged.agreement) / len(judged.agreement),
    "explained / log(1 + vocabulary)": lambda judged, others: judged.explained / math.log1p(judged.vocabulary),
    "gain over one facet": gain_over_one_facet,
}
"""What stands in docs/tune.md; the first is tune.py's."""


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
    halves = Halves(on_host(dataset.train.images), dataset.spec, config.seed)
    with TemporaryDirectory() as folder:
        found = LabelledSearch(config, halves, Database.of_file(Path(folder) / "tune.db"), 3, 25)
        found.labels = dataset.train.labels.numpy()[halves.chosen]
        for i in range(n_trials):
            found.step(config.seed + 1000 * i)
        return found.tried(), time.process_time() - started


def report(name: str, seed: int, tried: Sequence[Tried], seconds: float) -> str:
    """A line of the result's table for every criterion."""
    judged, amis = [one.judged for one in tried], np.array([one.facts["ami"] for one in tried])
    K = [", ".join(map(str, one.choice.n_clusters)) for one in tried]
    best, lines = int(amis.argmax()), []
    for criterion, worth in CRITERIA.items():
        values = [one.value for one in tried] if worth is value else [worth(one, judged) for one in judged]
        chosen, rank = int(np.argmax(values)), spearmanr(values, amis)[0]
        numbers = f"{rank:.2f} | {K[chosen]} | {amis[chosen]:.2f} | {K[best]} | {amis[best]:.2f}"
        share = amis[chosen] / amis[best]
        lines.append(f"| {name} | {seed} | {criterion} | {len(tried)} | {numbers} | {share:.2f} | {seconds:.0f} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, search every set with every seed, and write results/tune_criterion.csv."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    parser = FlagParser(__doc__)
    parser.add_argument(
        "--sets", nargs="+", required=True, metavar="NPZ", help="labelled images, as --dataset npz reads"
    )
    parser.add_argument("--seeds", nargs="+", type=non_negative_int, default=[0], help="[0]")
    parser.add_argument("--trials", type=positive_int, default=50, help="trials a set and seed [50]")
    parser.add_argument(
        "--output", default="results/tune_criterion.csv", help="every trial [results/tune_criterion.csv]"
    )
    arguments = parser.parse_args(argv)
    rows: list[tuple[object, ...]] = []
    print(f"{HEADER}\n{'|---' * 11}|")
    for path in map(Path, arguments.sets):
        for seed in arguments.seeds:
            words = ["--config_args_path", str(HERE.parent / "configs" / "folder.yml"), "--dataset", "npz"]
            words += ["--image_size", "none", "--data_dir", str(path), "--seed", str(seed)]
            tried, seconds = search(load_config(words), arguments.trials)
            print(report(path.stem, seed, tried, seconds), flush=True)
            for choice, judged, worth, facts, _ in tried:
                K, agreement = (" ".join(f"{n:.4g}" for n in many) for many in (choice.n_clusters, judged.agreement))
                numbers = (f"{n:.4f}" for n in (worth, facts["ami"], judged.explained, judged.vocabulary))
                rows.append((path.stem, seed, K, agreement, *numbers))
    output = Path(arguments.output)
    make_folder(output.absolute().parent)
    with output.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return 0


if __name__ == "__main__":
    run_script(main)
