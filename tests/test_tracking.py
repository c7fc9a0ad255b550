"""The run's folder: who may write it, what it holds, what becomes of leftovers; and what an epoch says."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import closing
from unittest.mock import Mock

import pytest
import yaml
from conftest import assert_flips_are_noticed
from matplotlib.figure import Figure
from test_train import NO_FIGURES, SMALL

import load_model
import train
from config import build_config
from tracking import run_folder
from tracking.run_folder import RunFolder
from tracking.tracker import EpochProgress, Tracker
from utils import UserError


@pytest.mark.slow
def test_a_disabled_run_leaves_its_folder_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(load_model, "PROJECT", tmp_path)
    argv = [
        *SMALL,
        "--results_dir",
        str(tmp_path),
        "--run_name",
        "run",
        "--save_model",
        "true",
        "--do_vis_train",
        "false",
    ]
    assert train.main(argv) == 0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.yml", "metrics.jsonl", "checkpoint.pt", "save_dict.pt", "report.html", "figures", ".lock"}
    assert (tmp_path / "new_trained_models" / "run.pt").exists()
    settings = yaml.safe_load((tmp_path / "run" / "config.yml").read_text())
    assert build_config(settings).n_clusters_j_list == [6, 5]


def test_only_one_figure_is_held_at_a_time(tmp_path):
    config = build_config({"results_dir": str(tmp_path), "run_name": "run", "wandb_mode": "disabled"})
    before: list[Figure] = []

    def figures() -> Iterator[tuple[str, Figure]]:
        for name in ("a", "b", "c"):
            assert not any(figure.axes for figure in before)  # saved and emptied
            before.append(Figure())
            before[-1].subplots()
            yield name, before[-1]

    with closing(RunFolder.open(config)) as folder:
        Tracker(config, folder).log(0, {"epoch": 0}, figures())
        assert {path.name for path in (folder.path / "figures").rglob("*")} == {"epoch_0000", "a.png", "b.png", "c.png"}


def test_a_cut_off_line_of_metrics_is_forgotten(tmp_path):
    folder = RunFolder(tmp_path)
    folder.metrics_path.write_text('{"epoch": 0}\n{"epoch": 1}\n{"epoch": 2}\n{"epo')
    folder.forget_after(1)
    assert folder.read_metrics() == [{"epoch": 0}, {"epoch": 1}]


def test_a_flipped_bit_of_a_checkpoint_is_refused_or_without_effect(tmp_path):
    argv = [*SMALL, *NO_FIGURES, "--results_dir", str(tmp_path), "--run_name", "run"]
    assert train.main([*argv, "--n_epochs_per_progressive_step", "1", "1"]) == 0
    folder = RunFolder(tmp_path / "run")
    assert_flips_are_noticed(folder.checkpoint_path, folder.load_checkpoint)


def test_overwrite_deletes_only_the_runs_own_files(tmp_path):
    argv = [*SMALL, *NO_FIGURES, "--results_dir", str(tmp_path), "--run_name", "run"]
    assert train.main(argv) == 0
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert train.main([*argv, "--overwrite", "--seed", "5"]) == 0
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_refused_command_leaves_the_settings_of_the_run(tmp_path):
    argv = [*SMALL, *NO_FIGURES, "--results_dir", str(tmp_path), "--run_name", "run"]
    assert train.main(argv) == 0
    (tmp_path / "run" / "config.yml").unlink()
    with pytest.raises(UserError, match="checkpoint.pt belongs to a run with other settings: init_lr"):
        train.main([*argv, "--init_lr", "0.5"])
    assert train.main(argv) == 0
    assert yaml.safe_load((tmp_path / "run" / "config.yml").read_text())["init_lr"] == 5e-4


def test_overwriting_takes_the_figures_of_the_old_model_along(tmp_path):
    folder = tmp_path / "run" / "evaluation"
    folder.mkdir(parents=True)
    RunFolder.open(build_config({"results_dir": str(tmp_path), "run_name": "run", "overwrite": True})).close()
    assert not folder.exists()


def test_files_that_cannot_be_read_are_not_called_damaged(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.checkpoint_path.touch()
    folder.metrics_path.mkdir()

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run_folder.torch, "load", refuse)
    with pytest.raises(UserError, match="cannot read .*checkpoint.pt: Permission denied; allow it"):
        folder.load_checkpoint()
    with pytest.raises(UserError, match="cannot read .*metrics.jsonl: Is a directory"):
        folder.read_metrics()
    monkeypatch.setattr(run_folder.FileLock, "acquire", refuse)
    with pytest.raises(UserError, match=r"cannot write .*\.lock: Permission denied"):
        RunFolder.open(build_config({"results_dir": str(tmp_path), "run_name": "run"}))


def test_a_run_that_is_being_trained_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "PATIENCE_SECONDS", 0.1)
    config = build_config({"results_dir": str(tmp_path), "run_name": "run"})
    folder = RunFolder.open(config)
    assert folder.is_in_use()
    with pytest.raises(UserError, match="is in use: another process trains this run"):
        RunFolder.open(config)
    with pytest.raises(UserError, match="is in use"):  # even when it is told to delete it
        RunFolder.open(build_config({"results_dir": str(tmp_path), "run_name": "run", "overwrite": True}))
    folder.close()
    assert not folder.is_in_use()


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path):
    names = (".checkpoint.pt.123.tmp", "figures/epoch_0001/.a.png.1.2.tmp", "evaluation/.b.csv.1.2.tmp")
    leftovers = [tmp_path / "run" / name for name in names]
    for leftover in leftovers:
        leftover.parent.mkdir(parents=True, exist_ok=True)
        leftover.touch()
    RunFolder.open(build_config({"results_dir": str(tmp_path), "run_name": "run"})).close()
    assert not any(leftover.exists() for leftover in leftovers)


FOUR_EPOCHS = build_config({"do_progressive_training": False, "n_epochs": 4})


def test_the_best_accuracy_counts_from_epoch_1(capsys):
    """An untrained model may score well by chance; also when the run goes on later."""
    rows = [{"epoch": e, "test_metric/loss": 1.0, "test_metric/facet_acc_max": a} for e, a in ((0, 0.9), (1, 0.5))]
    progress = EpochProgress(FOUR_EPOCHS, 0, [])
    for row in rows:
        progress.update(row["epoch"], row)
    assert EpochProgress(FOUR_EPOCHS, 2, rows).best == progress.best == 0.5
    said = capsys.readouterr().out.splitlines()
    assert "acc 0.9000" in said[0] and "best" not in said[0]
    assert "acc 0.5000  best 0.5000" in said[1]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_line_is_said_beside_the_bar(monkeypatch, capsys, is_terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    progress = EpochProgress(FOUR_EPOCHS, 0, [])
    progress.say("facet 0 joins")
    progress.close()
    assert "facet 0 joins\n" in capsys.readouterr().out


LOCK_ERRORS = {
    "NFS without locks": (
        OSError(errno.ENOLCK, "No locks available"),
        "cannot lock .*No locks available; .*--results_dir",
    ),
    "not supported": (OSError(errno.EOPNOTSUPP, "Not supported"), "cannot lock .*Not supported; .*--results_dir"),
    "others' folder": (PermissionError(13, "Permission denied"), "Permission denied; .*--run_name or --results_dir"),
}


@pytest.mark.parametrize(("error", "words"), LOCK_ERRORS.values(), ids=LOCK_ERRORS)
def test_a_lock_that_is_refused_names_its_remedy(tmp_path, monkeypatch, error, words):
    monkeypatch.setattr(run_folder.FileLock, "acquire", Mock(side_effect=error))
    with pytest.raises(UserError, match=words) as caught:
        RunFolder.open(build_config({"results_dir": str(tmp_path), "run_name": "run"}))
    assert ("--run_name" in str(caught.value)) == isinstance(error, PermissionError)
