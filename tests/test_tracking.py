"""The run's folder and Weights & Biases: what is logged can be read back, and nothing waits for a network."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
import wandb
import yaml
from conftest import assert_flips_are_noticed, offline_records
from matplotlib.figure import Figure
from test_train import HERE, NO_FIGURES, SMALL, metrics_of, run_small, start_in_background, wait_for_epochs
from torch import nn
from wandb_stub import serving

import load_model
import train
from config import build_config
from tracking import run_folder, weights_and_biases
from tracking.run_folder import RunFolder
from tracking.tracker import EpochProgress, Tracker
from tracking.weights_and_biases import WandbRun, resolve_wandb_mode, wandb_settings
from utils import UserError

TRAIN_LOSS = [
    "loss", "log_prob_p_x_z", "log_prob_E_p_z_c", "log_prob_E_p_c", "log_prob_E_q_z_x", "log_prob_E_q_c_x", "kl_z", "kl_c",
]  # fmt: skip
SCORES = [
    "facet_0_acc_max", "facet_1_acc_max", "n_clusters_present_0", "n_clusters_present_1", "facet_acc_max", "facet_acc_sum",
    "facet_acc_mean",
]  # fmt: skip
FIGURES = [
    f"facet_{j}_{kind}"
    for j in (0, 1)
    for kind in ("examples", "reconstructions", "pi", "cluster_sizes", "confusion_digit")
]


def history(folder: Path) -> list[dict]:
    """The history rows of the offline run in a folder."""
    (run,) = folder.glob("wandb/offline-run-*")
    return offline_records(run, "history")


@pytest.mark.slow
def test_an_offline_run_holds_every_published_name(tmp_path):
    """Of a process's second run, as a sweep's are."""
    argv = [*SMALL, "--results_dir", str(tmp_path), "--wandb_mode", "offline", "--run_name"]
    assert train.main([*argv, "first", *NO_FIGURES, "--n_epochs_per_progressive_step", "1", "1"]) == 0
    assert train.main([*argv, "run", "--vis_every_n_epochs", "2"]) == 0
    rows = history(tmp_path / "run")
    assert len(rows) == 4  # the page goes with the last epoch
    names = ["report", "epoch", "epoch_lr", "train_metric/loss", "test_metric/loss"]
    names += [f"train_loss/{name}" for name in TRAIN_LOSS]
    names += [f"{split}_metric/{name}" for split in ("train", "test") for name in SCORES]
    names += [f"{split}_vis/{name}" for split in ("train", "test") for name in FIGURES]
    names += ["sample_generation/facet_0", "sample_generation/facet_1", "gradients/prior.0.mean"]
    logged = {key for row in rows for key in row["item"]}  # an image or histogram is logged as name._type, ...
    assert [name for name in names if not {name, f"{name}._type"} & logged] == []


@pytest.mark.slow
def test_a_disabled_run_leaves_its_folder_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(load_model, "PROJECT", tmp_path)
    argv = [*SMALL, "--results_dir", str(tmp_path), "--run_name", "run", "--save_model", "true"]
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


def test_auto_is_offline_with_one_line_where_there_is_no_key(caplog):
    with caplog.at_level(logging.WARNING):
        assert resolve_wandb_mode(build_config({}), {}) == "offline"
    assert len(caplog.messages) == 1
    assert "no key found" in caplog.messages[0]


@pytest.mark.parametrize("place", ["environment", "netrc", "settings"])
def test_auto_is_online_where_a_key_is_found_and_the_server_answers(monkeypatch, tmp_path, place):
    monkeypatch.setattr(weights_and_biases, "_is_reachable", lambda url: True)
    settings = {}
    if place == "environment":
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    elif place == "netrc":
        (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "k" * 40)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    else:
        settings = {"login_key_2": "k" * 40}
    config = build_config({"user": "user2"} if place == "settings" else {})
    assert resolve_wandb_mode(config, settings) == "online"
    if place == "settings":
        assert resolve_wandb_mode(build_config({"user": "user1"}), settings) == "offline"


VARIABLES = {
    "WANDB_MODE=offline": "offline",
    "WANDB_MODE=dryrun": "offline",
    "WANDB_MODE=online": "online",
    "WANDB_MODE=disabled": "disabled",
    "WANDB_DISABLED=true": "disabled",
    "WANDB_DISABLED=false": "online",
    "WANDB_MODE=": "online",
}


@pytest.mark.parametrize(("variable", "mode"), VARIABLES.items())
def test_wandbs_own_variables_choose_the_mode_unless_a_flag_does(monkeypatch, variable, mode):
    monkeypatch.setattr(weights_and_biases, "_is_reachable", lambda url: True)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv(*variable.split("="))
    assert resolve_wandb_mode(build_config({}), {}) == mode
    for flag in ("online", "offline", "disabled"):
        assert resolve_wandb_mode(build_config({"wandb_mode": flag}), {}) == flag


def test_a_mode_that_wandb_does_not_know_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "of line")
    with pytest.raises(UserError, match="WANDB_MODE = 'of line': not known; use online, offline or disabled"):
        WandbRun.start(build_config({}), tmp_path)


def test_wandbs_own_variables_win_over_the_file_and_flags_over_them(monkeypatch, tmp_path):
    settings = {"team_name": "file", "project_name": "file", "login_key_1": "file", "login_key_2": "file"}
    for name in ("WANDB_ENTITY", "WANDB_PROJECT", "WANDB_NAME", "WANDB_API_KEY", "WANDB_SILENT"):
        monkeypatch.setenv(name, "false" if name == "WANDB_SILENT" else "variable")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    asked = Mock(wraps=lambda **arguments: SimpleNamespace(id="x"))
    monkeypatch.setattr(wandb, "init", asked)
    for flags, name, key in (({}, "variable", None), ({"run_name": "flag", "user": "user2"}, "flag", "file")):
        config = build_config(flags)
        weights_and_biases._new_run(config, tmp_path / "run", settings)
        given = asked.call_args.kwargs
        assert (given["entity"], given["project"], given["name"]) == ("variable", "variable", name)
        assert given["dir"] == str(tmp_path) and not given["settings"].silent
        assert weights_and_biases._login_key(config, settings) == key


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_a_key_without_a_network_is_offline_at_once(monkeypatch, caplog, mode):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there
    assert resolve_wandb_mode(build_config({"wandb_mode": mode}), {}) == "offline"
    assert "out of reach" in caplog.text


def test_local_wandb_settings_win(monkeypatch, tmp_path):
    monkeypatch.setattr(weights_and_biases, "PROJECT", tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/wandb.yml").write_text("login_key_1: ''\nproject_name: shared\nteam_name: us\n")
    (tmp_path / "configs/wandb.local.yml").write_text("login_key_1: abc\nproject_name: mine\n")
    assert wandb_settings() == {"login_key_1": "abc", "project_name": "mine", "team_name": "us"}


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


def test_a_refused_key_means_offline_with_one_line(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    wandb.teardown()  # its client remembers the server of its process
    with serving() as server, caplog.at_level(logging.WARNING):
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        WandbRun.start(build_config({"wandb_mode": "online"}), tmp_path).finish(0)
        assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1
        wandb.teardown()
    (message,) = [record.getMessage() for record in caplog.records if record.name == "tracking.weights_and_biases"]
    assert "login to" in message and "logged offline" in message


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


def test_wandb_goes_on_after_its_name_of_the_run_was_lost(tmp_path):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run_id").touch()
    WandbRun.start(build_config({"wandb_mode": "offline"}), tmp_path).finish(0)
    (run,) = tmp_path.glob("wandb/offline-run-*")
    assert (tmp_path / "wandb" / "run_id").read_text() == run.name.rpartition("-")[2]


class Failing:
    """A stand-in for wandb and for a run of it, of which one name raises an error; every other call is noted."""

    def __init__(self, name: str, error: BaseException):
        self._name, self._error, self.calls = name, error, []
        self.run, self.id = self if name == "update" else None, "name"

    def __getattr__(self, name: str):
        def call(*arguments, **named):
            self.calls.append(name)
            if name == self._name:
                raise self._error
            return self

        return self if name == "config" else call


ERRORS = [
    OSError(28, "No space left on device"),
    TypeError("Descriptors cannot be created"),
    Exception("?"),
    SystemExit(3),
]
CALLS = ["Settings", "init", "update", "log", "finish", "Image", "Histogram"]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("call", [*CALLS, "import", "teardown"])
def test_whatever_fails_at_wandb_is_one_warning(tmp_path, monkeypatch, caplog, call, error):
    failing = Failing(call, error)
    monkeypatch.setitem(sys.modules, "wandb", failing)
    if call == "import":
        monkeypatch.delitem(sys.modules, "wandb")
        package = tmp_path / "broken" / "wandb.py"
        package.parent.mkdir()
        package.write_text(f"raise {error!r}")
        monkeypatch.syspath_prepend(package.parent)
    elif call == "teardown":  # which is only asked for when something else has failed
        monkeypatch.setattr(failing, "log", Mock(side_effect=error), raising=False)
    tracker = Tracker(build_config({"wandb_mode": "offline"}), RunFolder(tmp_path))
    model = nn.Linear(2, 1)
    tracker.watch(model)
    model(torch.ones(1, 2)).sum().backward()
    for epoch in range(3):
        tracker.log(epoch, {"epoch": epoch}, [("figure", Figure())])
    tracker.finish(0)
    assert tracker.folder.read_metrics() == [{"epoch": 0}, {"epoch": 1}, {"epoch": 2}]
    (said,) = caplog.messages
    assert said.startswith("goes on without Weights & Biases, which failed: ") and type(error).__name__ in said
    assert failing.calls.count("log") == (1 if call == "log" else 3 if call == "finish" else 0)


def test_an_interruption_is_no_failure_of_wandb(tmp_path, monkeypatch):
    """Ctrl-C, or the bare Exception of wandb's agent, while wandb is at work."""
    for error in (KeyboardInterrupt(), Exception()):
        monkeypatch.setitem(sys.modules, "wandb", Failing("log", error))
        tracker = Tracker(build_config({"wandb_mode": "offline"}), RunFolder(tmp_path))
        with pytest.raises(type(error)):
            tracker.log(0, {"epoch": 0}, [])


@pytest.mark.slow
def test_a_run_outlives_wandbs_process(tmp_path, monkeypatch):
    """It is killed after a few epochs: one warning, no traceback, also not when Python ends."""
    monkeypatch.delenv("WANDB_SERVICE", raising=False)  # the process of earlier tests
    run = start_in_background(tmp_path, "run", "--wandb_mode", "offline")
    wait_for_epochs(tmp_path, "run", 5)
    children = [
        int(pid) for path in Path(f"/proc/{run.pid}/task").glob("*/children") for pid in path.read_text().split()
    ]
    if not children:
        pytest.skip("only Linux says which processes belong to another")
    (core,) = [pid for pid in children if b"wandb-core" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(core, signal.SIGKILL)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    assert output.count("goes on without Weights & Biases") == 1
    assert "Traceback" not in output and "rror:" not in output.replace("ConnectionResetError:", "")
    assert len(metrics_of(tmp_path / "run")) == 40


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list[dict]:
    """What the small run reaches when nothing is in its way."""
    return run_small(tmp_path_factory.mktemp("whole"), "whole")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.parametrize("kilobytes", [40, 400, 640, 880])
def test_a_full_disk_is_one_line_or_a_finished_run(tmp_path, whole, kilobytes):
    """With and without Weights & Biases; once there is room again, the run goes on to the same numbers."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    argv = [
        *SMALL,
        "--wandb_mode",
        "offline",
        "--run_name",
        "run",
        "--vis_every_n_epochs",
        "1",
        "--do_vis_train",
        "false",
    ]
    argv += ["--do_vis_test", "false"]
    command = [sys.executable, str(HERE / "train.py"), *argv, "--results_dir", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        shown = done.stderr.splitlines()
        assert "Traceback" not in done.stderr and done.returncode in (0, 2), done.stderr
        assert len([line for line in shown if line.startswith("error: ")]) == (done.returncode == 2), done.stderr
        assert len([line for line in shown if "goes on without Weights & Biases" in line]) <= 1, done.stderr
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        again = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert again.returncode == 0, again.stderr
        assert metrics_of(disk / "run") == whole
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_is_on_the_way_to_the_server(monkeypatch, scheme):
    asked = []
    for name in ("http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        weights_and_biases.socket, "create_connection", lambda address, _: asked.append(address) or Mock()
    )
    monkeypatch.setenv("https_proxy", f"{scheme}proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    for url in ("https://api.wandb.ai", "https://inside.example", "http://api.wandb.ai"):
        assert weights_and_biases._is_reachable(url)
    assert asked == [("proxy.example", 3128), ("inside.example", 443), ("api.wandb.ai", 80)]
    monkeypatch.setenv("https_proxy", f"{scheme}proxy.example:99999")
    assert not weights_and_biases._is_reachable("https://api.wandb.ai")


def test_a_run_that_is_being_trained_is_left_alone(tmp_path):
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


def test_a_user_without_a_home_has_no_key(monkeypatch):
    monkeypatch.delenv("NETRC")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does for one without an entry
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError("Could not determine home directory.")))
    assert not weights_and_biases.has_wandb_key(build_config({}), {})
