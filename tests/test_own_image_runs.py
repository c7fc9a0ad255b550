"""Whole runs on own images: trained, resumed, evaluated, and met by a model that knows other ones."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from test_own_images import CLASSES, N, images, load, settings, two_labels, write_folder, write_npz

import datasets
import eval_all
import eval_sample_generation
import load_model
import predict
import train
from evaluation.metric_names import metrics_in
from evaluation.opening import warn_of_other_images
from load_model import export_published, load_model_from_save_dict
from utils import UserError

RUNS = {
    "JPEG class folders": (
        *(1, "fc_vlae", "folder", 1, ["class"]),
        lambda folder: write_folder(folder / "pets", 1, ".jpg", CLASSES),
    ),
    "a flat folder": (2, "conv_vlae", "folder", 3, [], lambda folder: write_folder(folder / "flat", 3, ".png")),
    "npz with two labels": (3, "fc_vlae", "npz", 3, ["kind", "size"], two_labels),
    "npz without labels": (
        *(2, "fc_per_facet_enc_shared_dec", "npz", 1, []),
        lambda folder: write_npz(folder / "none.npz", images=images(1)),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_runs(name, tmp_path, monkeypatch, capsys):
    J, model_type, dataset, channels, labels, write = RUNS[name]
    monkeypatch.setattr(load_model, "PROJECT", tmp_path)  # gets the copy of the finished model
    data = write(tmp_path)
    argv = [*settings(J, model_type), "--dataset", dataset, "--data_dir", str(data), "--image_size", "8"]
    argv += ["--results_dir", str(tmp_path / "results")]
    assert train.main([*argv, "--dry_run"]) == 0
    assert f"24 training and 6 test images ({channels}, 8, 8)" in capsys.readouterr().out
    assert train.main(argv) == 0
    report = capsys.readouterr().out
    assert train.main(argv) == 0  # finished: the same table again
    table = report[report.index("test scores" if labels else "health of facets") :]
    assert capsys.readouterr().out.endswith(table)
    assert ("accuracy" in report) == bool(labels)
    assert f"facet {J - 1}" in report
    run = tmp_path / "results" / f"{data.stem}_seed1"
    check_run(run, data, J, labels)
    shutil.move(data, tmp_path / "moved")
    check_evaluation(run / "save_dict.pt", tmp_path / "moved", J)


def check_run(run: Path, data: Path, J: int, labels: list[str]) -> None:
    """The files of a run: scores of the labels that there are, and of the clusters in any case."""
    assert (run / "config.yml").read_text().startswith(f"# data: 30 images of {data}, ")
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert {metric.label for metric in metrics_in(last) if metric.kind == "nmi"} == set(labels)
    assert ("test_metric/facet_acc_max" in last) == bool(labels)
    assert all(0 < last[f"test_metric/confidence_{j}"] <= 1 for j in range(J))
    assert all(last[f"test_metric/n_clusters_present_{j}"] >= 1 for j in range(J))
    assert ("test_metric/facet_nmi_0_1" in last) == (J > 1)
    figures = {path.stem for path in (run / "figures").rglob("*.png")}
    assert {f"test_vis_facet_{j}_examples" for j in range(J)} <= figures
    assert {name for name in figures if "facet_0_confusion" in name} == {
        f"test_vis_facet_0_confusion_{label}" for label in labels
    }


def check_evaluation(model: Path, data: Path, J: int) -> None:
    """The model needs its data for figures alone, wherever they are now."""
    loaded, config = load_model_from_save_dict(model)
    assert config.data_dir == "data"
    export_published(loaded, config, model.with_name("published.pt"))
    assert load_model_from_save_dict(model.with_name("published.pt"))[0].spec == loaded.spec
    figures = model.parent / "evaluation"
    few = ["--first_n_clusters_swapped_1", "1", "--first_n_clusters_swapped_2", "1"]
    flags = ["--model_path", str(model), "--results_dir", str(figures), *few]
    with pytest.raises(UserError, match="--data_dir: name the images of"):
        eval_all.main(flags)
    assert eval_all.main([*flags, "--data_dir", str(data)]) == 0
    wanted = {f"examples_top_10_facet_{j}_full.png" for j in range(J)} | {
        f"generations_facet_{j}.png" for j in range(J)
    }
    assert wanted <= {path.name for path in figures.glob("*.png")}
    table = model.with_name("clusters.csv")
    pictures = data if data.is_dir() else data.rename(data.with_suffix(".npz"))
    assert predict.main(["--model_path", str(model), "--images", str(pictures), "--output", str(table)]) == 0
    assert len(table.read_text().splitlines()) == 1 + N


NO_FIGURES = [
    "--do_vis_test", "false", "--do_vis_sample_generations_per_cluster", "false", "--save_model", "false",
]  # fmt: skip


@pytest.fixture
def run_on(tmp_path):
    """Trains for a moment on an .npz of the given images, the same run each time."""

    def run(x: np.ndarray, *flags: str) -> list[dict]:
        path = write_npz(tmp_path / "x.npz", images=x)
        argv = [*settings(2, "fc_vlae"), *NO_FIGURES, "--results_dir", str(tmp_path), *flags]
        assert train.main([*argv, "--dataset", "npz", "--data_dir", str(path)]) == 0
        rows = map(json.loads, (tmp_path / "x_seed1" / "metrics.jsonl").read_text().splitlines())
        return [{key: value for key, value in row.items() if key != "epoch_seconds"} for row in rows]

    return run


def test_a_run_does_not_go_on_with_other_images(run_on, tmp_path):
    """The same ones may have moved."""
    run_on(images(1))
    (tmp_path / "x.npz").rename(tmp_path / "y.npz")
    moved = ["--dataset", "npz", "--data_dir", str(tmp_path / "y.npz"), "--run_name", "x_seed1"]
    assert train.main([*settings(2, "fc_vlae"), *NO_FIGURES, "--results_dir", str(tmp_path), *moved]) == 0
    for others in (images(1)[:25], images(1)[::-1], images(1) ^ 1):
        with pytest.raises(UserError, match="checkpoint.pt belongs to a run on other images; use another --run_name"):
            run_on(others)
    run_on(images(1)[:25], "--overwrite")


def test_other_labels_are_other_data(tmp_path):
    path, checksums = tmp_path / "a.npz", []
    for labels in (np.arange(N) % 3, np.arange(N) % 3, np.arange(N) % 2):
        data = load("npz", write_npz(path, images=images(1), labels=labels))
        checksums.append(data.spec.checksum)
    assert checksums[0] == checksums[1] != checksums[2]


def test_a_checkpoint_without_a_checksum_goes_on(run_on, tmp_path):
    """As earlier versions wrote it."""
    rows = run_on(images(1))
    path = tmp_path / "x_seed1" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    del state["data_facts"]["checksum"]
    torch.save(state, path)
    assert run_on(images(1)) == rows


def test_images_on_the_host_give_the_same_metrics(run_on, monkeypatch, caplog):
    on_the_device = run_on(images(1))
    monkeypatch.setattr(datasets, "free_memory", lambda _: 1000)
    with caplog.at_level(logging.WARNING):
        assert run_on(images(1), "--overwrite") == on_the_device
    assert "stay in host memory" in caplog.text


def evaluation_of(tmp_path: Path) -> list[str]:
    """The command line for the model that run_on made."""
    return ["--model_path", str(tmp_path / "x_seed1" / "save_dict.pt"), "--results_dir", str(tmp_path / "figures")]


def test_a_model_meets_images_that_it_was_not_trained_on(run_on, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(load_model, "PROJECT", tmp_path)
    run_on(images(1), "--save_model", "true")
    for others, warned in ((images(1), False), (images(1)[::-1], True), (images(1)[:25], True)):
        caplog.clear()
        path = write_npz(tmp_path / "others.npz", images=others)
        eval_sample_generation.main([*evaluation_of(tmp_path), "--data_dir", str(path)])
        assert ("others: these are not the images, or not the labels, that" in caplog.text) == warned


def test_a_model_that_knows_no_checksum_compares_the_numbers_of_images(caplog):
    spec = datasets.DatasetSpec("a", (1, 8, 8), "normal", "sigmoid", 24, 6)
    for n_train, warned in ((24, False), (25, True)):
        caplog.clear()
        warn_of_other_images(spec, dataclasses.replace(spec, n_train=n_train, checksum=1), "model.pt")
        assert ("model.pt was trained on" in caplog.text) == warned


def test_a_model_meets_images_of_another_shape(run_on, tmp_path, monkeypatch):
    monkeypatch.setattr(load_model, "PROJECT", tmp_path)
    run_on(images(1), "--save_model", "true")
    colour = write_npz(tmp_path / "colour.npz", images=images(3))
    flags = evaluation_of(tmp_path)
    with pytest.raises(UserError, match=r"colour: images have .* \(3, 12, 12\), but .* a model of \(1, 12, 12\)"):
        eval_all.main([*flags, "--data_dir", str(colour)])
