"""One command trains the seeds, draws the best one and writes the table; and goes on where it stopped."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import write_svhn

import reproduce
from config import load_config
from reproduce import PUBLISHED, best_seed, results_table
from utils import UserError

HERE = Path(__file__).resolve().parent.parent


def curve(*values: float) -> np.ndarray:
    return np.array(list(enumerate(values)), dtype=float)


CURVES = {
    "floor_hue": {"seed 3": curve(0.1, 0.9), "seed 10": curve(0.2, 1.0)},
    "shape": {"seed 3": curve(0.9, 0.88), "seed 10": curve(0.9, 0.8)},
}


def test_the_best_seed_has_the_highest_accuracy_over_all_labels_at_the_end():
    assert best_seed(CURVES) == "seed 10"


def test_table_by_hand():
    rows = results_table("3dshapes_1", CURVES, [3600.0, 7200.0, 6960.0]).splitlines()[2:]
    assert rows == [
        "| 3dshapes_1, floor_hue | 99.46 (1.10) | 95.00 (5.00) | 3: 90.00, 10: 100.00 | 1 h 56 min |",
        "| 3dshapes_1, shape | 88.47 (1.82) | 84.00 (4.00) | 3: 88.00, 10: 80.00 | 1 h 56 min |",
    ]


def test_the_spread_of_one_seed_is_not_stated():
    table = results_table("mnist", {"digit": {"seed 3": curve(0.5, 0.9)}}, [60.0])
    assert table.endswith("| mnist, digit | 92.02 (3.02) | 90.00 (one seed) | 3: 90.00 | 0 h 01 min |")


def test_runs_of_other_machines_have_no_time_here():
    table = results_table("mnist", {"digit": {"seed 3": curve(0.5, 0.9)}}, [])
    assert table.endswith("| 3: 90.00 | not on this machine |")


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_experiment_has_its_configuration_labels_and_scripts(name):
    config = load_config(["--config_args_path", str(HERE / "configs" / f"{name}.yml")])
    labels = config.factors_label_list if config.dataset == "fast_3dshapes" else ["digit"]
    assert set(PUBLISHED[name]) == set(labels)
    assert (HERE / "shell_scripts" / f"eval_{name}.sh").exists()


def test_an_unknown_experiment_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="choose from.*3dshapes_1"):
        reproduce.main(["3dshapes"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--dataset", "digits"], "--dataset: not while 3dshapes_1 is reproduced; use start_sweep.py"),
        (["--sweep_name=x"], "--sweep_name=x: not while"),
        (["--seeds", "x"], "'x' is not a seed"),
        (["--bacth_size", "3"], "did you mean '--batch_size'"),
    ],
)
def test_wrong_flags_are_told_before_anything_is_rendered(flags, words, tmp_path):
    with pytest.raises(UserError, match=words):
        reproduce.main(["3dshapes_1", "--data_dir", str(tmp_path), *flags])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_from_seeds_to_table_and_figures_on_generated_svhn_images(tmp_path, capsys, monkeypatch):
    """The published configuration but for its length, number of clusters and training figures."""
    monkeypatch.chdir(tmp_path)
    write_svhn(tmp_path / "data", 200, 40)
    command = [
        "svhn", "--data_dir", "data", "--results_dir", "r", "--seeds", "0", "1", "--n_epochs_per_progressive_step", "1", "1",
        "--n_clusters_j_list", "6", "2", "--wandb_mode", "disabled", "--do_vis_train", "false", "--do_vis_test", "false",
        "--do_vis_sample_generations_per_cluster", "false",
    ]  # fmt: skip
    assert reproduce.main(command) == 0
    folder = tmp_path / "r" / "svhn_sweep"
    table = (folder / "table.md").read_text()
    assert "| svhn, digit | 56.25 (0.88) | " in table and table.strip() in capsys.readouterr().out
    ends = {row["run"]: float(row["value"]) for row in csv.DictReader((folder / "curves.csv").open())}
    assert f"0: {100 * ends['seed 0']:.2f}, 1: {100 * ends['seed 1']:.2f}" in table
    written = {path.name for path in (folder / "evaluation").iterdir()}
    assert {"examples_top_10_facet_0_full.png", "generations_facet_1.png"} <= written
    best = max(("seed 0", "seed 1"), key=ends.get).replace(" ", "")
    (folder / f"svhn_{best}").rename(tmp_path / "elsewhere")  # as if another machine had trained it
    assert reproduce.main(command) == 0
    assert "is on another machine" in capsys.readouterr().out
    (tmp_path / "elsewhere").rename(folder / f"svhn_{best}")
    metrics = (folder / "svhn_seed0" / "metrics.jsonl").read_bytes()
    assert reproduce.main(command) == 0
    out = capsys.readouterr().out
    assert "starting" not in out and "resuming" not in out
    assert (folder / "svhn_seed0" / "metrics.jsonl").read_bytes() == metrics
