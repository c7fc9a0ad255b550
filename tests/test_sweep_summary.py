"""What a sweep found: mean and spread over seeds, groups of a grid, curves."""

from __future__ import annotations

import csv
import math

import pytest

from sweeps.results import RunResult, accuracy_curves, best_facet
from sweeps.summary import read_curves, report_sweep, summarise_results, write_summary
from utils import UserError


def scores(j: int, label: str, accuracy: float, nmi: float = 0.5) -> dict[str, float]:
    """The logged scores of a facet against a label."""
    values = {
        "accuracy": accuracy,
        "weighted_accuracy": 0.1,
        "hungarian_accuracy": 0.2,
        "nmi": nmi,
        "ami": nmi - 0.1,
        "ari": 0.3,
    }
    return {f"test_metric/facet_{j}_label_{label}_{key}": value for key, value in values.items()}


def finished(seed: int, accuracy: float, loss: float, **values: float) -> RunResult:
    """A run whose facet 1 has the accuracy for 'shape', and facet 0 a lower one."""
    row = {"epoch": 1, "test_metric/loss": loss, "test_metric/facet_nmi_0_1": 0.04}
    row |= scores(0, "shape", accuracy / 2, nmi=0.9) | scores(1, "shape", accuracy, nmi=0.6)
    first = {"epoch": 0, "test_metric/loss": 9.0} | scores(0, "shape", 0.25) | scores(1, "shape", 0.2)
    return RunResult(f"x_seed{seed}", {"seed": seed, **values}, "finished", row, accuracy_curves([first, row]))


def test_mean_and_spread_are_over_seeds_of_the_best_facet():
    results = [finished(0, 0.8, 10.0), finished(1, 0.9, 14.0), RunResult("x_seed2", {"seed": 2}, "running")]
    rows = {(row.label, row.metric): row for row in summarise_results(results)}
    assert len(rows) == 8
    accuracy = rows["shape", "accuracy"]
    assert accuracy.n_runs == 2 and (accuracy.min, accuracy.max) == (0.8, 0.9)
    assert accuracy.mean == pytest.approx(0.85)
    assert accuracy.population_sd == pytest.approx(0.05)
    assert accuracy.sample_sd == pytest.approx(0.1 / math.sqrt(2))
    assert rows["shape", "nmi"].mean == pytest.approx(0.6)
    assert rows["shape", "ami"].mean == pytest.approx(0.5)
    assert rows["", "loss"].mean == 12.0
    assert rows["", "facet_nmi_0_1"].mean == pytest.approx(0.04)
    assert results[0].curves == {"shape": [[0, 0.25], [1, 0.8]]}


def test_facets_of_one_cluster_are_not_compared():
    """Two of them would have an NMI of 1."""
    results = []
    for seed, n_clusters in enumerate((1, 5, 7)):
        result = finished(seed, 0.8, 10.0)
        counts = {f"test_metric/n_clusters_present_{j}": float(n_clusters) for j in range(2)}
        nmi = {"test_metric/facet_nmi_0_1": 1.0 if n_clusters == 1 else 0.2}
        results.append(result._replace(numbers=result.numbers | counts | nmi))
    [row] = [row for row in summarise_results(results) if row.metric == "facet_nmi_0_1"]
    assert (row.n_runs, row.mean) == (2, pytest.approx(0.2))
    assert not any(row.metric == "facet_nmi_0_1" for row in summarise_results(results[:1]))


def test_runs_of_earlier_versions_are_summed_up_by_the_scores_that_they_have():
    new, old = finished(0, 0.8, 10.0), finished(1, 0.9, 10.0)
    old = old._replace(numbers={name: value for name, value in old.numbers.items() if not name.endswith("_ami")})
    rows = {(row.label, row.metric): row for row in summarise_results([new, old])}
    assert rows["shape", "nmi"].n_runs == 2 and ("shape", "ami") not in rows


def test_groups_of_a_grid_are_kept_apart():
    results = [finished(seed, 0.1 * z + 0.01 * seed, 1.0, z_dim=z) for z in (2, 3) for seed in (0, 1)]
    means = {row.group: row.mean for row in summarise_results(results) if row.metric == "accuracy"}
    assert means == {"z_dim=2": pytest.approx(0.205), "z_dim=3": pytest.approx(0.305)}


def test_the_summary_is_written_and_names_what_failed(tmp_path):
    results = [finished(0, 0.8, 10.0), RunResult("x_seed1", {"seed": 1}, "failed", error="no data")]
    write_summary(tmp_path, results)
    rows = list(csv.DictReader((tmp_path / "summary.csv").open()))
    assert rows[0]["label"] == "shape" and float(rows[0]["mean"]) == 0.8 and rows[0]["sample_sd"] == "nan"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "curves.csv",
        "stability_shape.pdf",
        "stability_shape.png",
        "summary.csv",
    ]
    report = report_sweep(results)
    assert "2 runs: 1 failed, 1 finished" in report and "failed: x_seed1: no data" in report


def test_curves_are_read_back_and_groups_are_not_mixed(tmp_path):
    results = [finished(seed, 0.8 + 0.1 * seed, 1.0, z_dim=2) for seed in (0, 1)]
    write_summary(tmp_path, results)
    curves = read_curves(tmp_path / "curves.csv")
    assert {run: points.tolist() for run, points in curves["shape"].items()} == {
        "seed 0": [[0, 0.25], [1, 0.8]],
        "seed 1": [[0, 0.25], [1, 0.9]],
    }
    write_summary(tmp_path, [*results, finished(0, 0.5, 1.0, z_dim=3)])
    with pytest.raises(UserError, match="curves.csv: must hold runs that differ in the seed only, but has 2 groups"):
        read_curves(tmp_path / "curves.csv")
    (tmp_path / "curves.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(UserError, match=r"cannot read .*curves.csv as the curves.csv of a sweep"):
        read_curves(tmp_path / "curves.csv")


def test_without_labels_the_loss_is_summarised(tmp_path):
    rows = [{"epoch": e, "test_metric/loss": 3.0 - e, "test_metric/facet_nmi_0_1": 0.5} for e in (0, 1)]
    result = RunResult("x_seed0", {"seed": 0}, "finished", rows[-1], accuracy_curves(rows))
    assert [(row.metric, row.mean) for row in summarise_results([result])] == [("loss", 2.0), ("facet_nmi_0_1", 0.5)]
    write_summary(tmp_path, [result])
    assert (tmp_path / "stability_loss.png").exists()


def test_nothing_is_written_before_a_run_has_finished(tmp_path):
    write_summary(tmp_path, [RunResult("x_seed0", {"seed": 0}, "waiting")])
    assert list(tmp_path.iterdir()) == [] and report_sweep([]) == "0 runs: "


def test_the_best_facet_is_chosen_by_accuracy():
    assert best_facet(scores(0, "a", 0.3) | scores(1, "a", 0.4, nmi=0.7) | scores(0, "b", 0.9), "a")["nmi"] == 0.7
