"""Weights & Biases: what is logged can be read back, nothing waits for a network, and no failure of it ends a run."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
import wandb
from conftest import offline_records
from matplotlib.figure import Figure
from programs import Program
from test_train import HERE, N_LONG, NO_FIGURES, SMALL, metrics_of, run_small, start_in_background, wait_for_epochs
from torch import nn
from wandb_stub import serving

import train
from config import build_config
from tracking import weights_and_biases
from tracking.run_folder import RunFolder
from tracking.tracker import Tracker
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list[dict]:
    """What the small run reaches when nothing is in its way."""
    return run_small(tmp_path_factory.mktemp("whole"), "whole")


@pytest.mark.slow
def test_an_offline_run_holds_every_published_name_and_the_metrics_of_a_plain_one(tmp_path, whole):
    """Of a process's second run, as a sweep's are. Figures and Weights & Biases only observe."""
    argv = [*SMALL, "--results_dir", str(tmp_path), "--wandb_mode", "offline", "--run_name"]
    assert train.main([*argv, "first", *NO_FIGURES, "--n_epochs_per_progressive_step", "1", "1"]) == 0
    assert train.main([*argv, "run", "--vis_every_n_epochs", "2"]) == 0
    assert metrics_of(tmp_path / "run") == whole
    assert len(list((tmp_path / "run" / "figures" / "epoch_0002").glob("*.png"))) == 26
    rows = history(tmp_path / "run")
    assert len(rows) == 4  # the page goes with the last epoch
    names = ["report", "epoch", "epoch_lr", "train_metric/loss", "test_metric/loss"]
    names += [f"train_loss/{name}" for name in TRAIN_LOSS]
    names += [f"{split}_metric/{name}" for split in ("train", "test") for name in SCORES]
    names += [f"{split}_vis/{name}" for split in ("train", "test") for name in FIGURES]
    names += ["sample_generation/facet_0", "sample_generation/facet_1", "gradients/prior.0.mean"]
    logged = {key for row in rows for key in row["item"]}  # an image or histogram is logged as name._type, ...
    assert [name for name in names if not {name, f"{name}._type"} & logged] == []


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
    assert len(metrics_of(tmp_path / "run")) == N_LONG


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
    argv += ["--do_vis_test", "false", "--results_dir", str(disk)]
    try:
        done = Program(HERE / "train.py", *argv)
        said, _ = done.communicate(timeout=200)
        assert "Traceback" not in said and done.returncode in (0, 2), said
        assert len([line for line in said.splitlines() if line.startswith("error: ")]) == (done.returncode == 2), said
        assert said.count("goes on without Weights & Biases") <= 1, said
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        again = Program(HERE / "train.py", *argv)
        said, _ = again.communicate(timeout=200)
        assert again.returncode == 0, said
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


def test_a_user_without_a_home_has_no_key(monkeypatch):
    monkeypatch.delenv("NETRC")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does for one without an entry
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError("Could not determine home directory.")))
    assert not weights_and_biases.has_wandb_key(build_config({}), {})
