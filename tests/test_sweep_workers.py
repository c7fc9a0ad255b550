"""Sweeps with real workers and no server: nothing twice, nothing lost, whatever dies."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from programs import Program
from test_train import NO_FIGURES, UNSEEDED, metrics_of

import start_sweep
import train
from config import parse_flags
from sweeps import database
from sweeps.definition import define_sweep
from sweeps.optuna_backend import OptunaSweep
from utils import UserError

HERE = Path(__file__).resolve().parent.parent
FLAGS = [*UNSEEDED, *NO_FIGURES]
N_LONG = 20
LONG = ["--n_epochs_per_progressive_step", "10", "10", "--checkpoint_every_n_epochs", "1"]
"""N_LONG epochs, so that a run can be stopped on the way."""


def trials(url: str, name: str = "digits_sweep") -> list[optuna.trial.FrozenTrial]:
    """The trials that are about a run."""
    study = optuna.load_study(study_name=name, storage=url)
    return [trial for trial in study.get_trials() if "run" in trial.user_attrs]


def runs_by_state(url: str) -> dict[TrialState, list[str]]:
    """State -> names of the runs in it, in order."""
    found: dict[TrialState, list[str]] = {}
    for trial in trials(url):
        found.setdefault(trial.state, []).append(trial.user_attrs["run"])
    return {state: sorted(names) for state, names in found.items()}


def spawn(script: str, *flags: str, **options: Any) -> Program:
    """A sweep script in a process of its own."""
    return Program(HERE / script, *FLAGS, *flags, **options)


def wait_until(condition: Callable[[], bool], process: Program) -> None:
    """Until something has happened while a process runs; it must not end before."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_two_workers_share_six_seeds_and_the_same_command_repeats_nothing(tmp_path, capsys):
    argv = [*FLAGS, *LONG, "--results_dir", str(tmp_path), "--seeds", "0", "..", "5", "--workers", "2"]
    folder, names = tmp_path / "digits_sweep", [f"digits_seed{seed}" for seed in range(6)]
    assert start_sweep.main(argv) == 0
    assert runs_by_state(f"sqlite:///{folder / 'sweep.db'}") == {TrialState.COMPLETE: names}
    assert [len(metrics_of(folder / name)) for name in names] == [N_LONG] * 6
    said = capsys.readouterr().out
    assert "6 runs: 6 finished" in said and "finished: digits_seed3" in said
    assert (folder / "summary.csv").exists() and (folder / "stability_digit.png").exists()
    logs = [(folder / f"worker_{worker}.log").read_text() for worker in (0, 1)]
    assert sum(log.count("starting") for log in logs) == 6 and all("starting" in log for log in logs)

    before = {path: path.stat().st_mtime_ns for path in folder.glob("digits_seed*/metrics.jsonl")}
    assert start_sweep.main([*argv[:-2], "--summarise"]) == 0
    assert start_sweep.main(argv[:-2]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(trials(f"sqlite:///{folder / 'sweep.db'}")) == 6


@pytest.mark.slow
def test_the_seed_of_a_killed_worker_is_finished_by_another_to_the_same_numbers(tmp_path):
    flags = [*LONG, "--results_dir", str(tmp_path), "--patience", "4"]
    folder = tmp_path / "digits_sweep"
    first = spawn("start_sweep.py", *flags, "--seeds", "0", "1")
    wait_until(lambda: (folder / "digits_seed0" / "checkpoint.pt").exists(), first)
    second = spawn("attach_sweep.py", *flags, "--sweep_id", "digits_sweep")
    first.kill()
    said, _ = second.communicate(timeout=600)
    assert second.returncode == 0
    states = runs_by_state(f"sqlite:///{folder / 'sweep.db'}")
    assert states == {TrialState.COMPLETE: ["digits_seed0", "digits_seed1"], TrialState.FAIL: ["digits_seed0"]}
    assert f"resuming {folder / 'digits_seed0'}" in said and "2 runs: 2 finished" in said
    alone = [*FLAGS, *LONG, "--results_dir", str(tmp_path), "--run_name", "alone", "--seed", "0"]
    assert train.main(alone) == 0
    assert metrics_of(folder / "digits_seed0") == metrics_of(tmp_path / "alone")


@pytest.mark.slow
def test_a_worker_that_was_silent_for_a_while_keeps_its_run(tmp_path):
    flags = [*LONG, "--results_dir", str(tmp_path), "--patience", "3"]
    folder = tmp_path / "digits_sweep"
    first = spawn("start_sweep.py", *flags, "--seeds", "0")
    wait_until(lambda: (folder / "digits_seed0" / "checkpoint.pt").exists(), first)
    first.send_signal(signal.SIGSTOP)
    second = spawn("attach_sweep.py", *flags, "--sweep_id", "digits_sweep")
    wait_until(lambda: TrialState.FAIL in runs_by_state(f"sqlite:///{folder / 'sweep.db'}"), second)
    first.send_signal(signal.SIGCONT)
    said, _ = first.communicate(timeout=300)
    assert (first.returncode, second.wait(300)) == (0, 0) and "Traceback" not in said
    assert len(metrics_of(folder / "digits_seed0")) == N_LONG


def is_alive(process: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find the workers")
def test_workers_end_with_a_parent_that_is_killed_and_give_their_runs_back(tmp_path):
    folder = tmp_path / "digits_sweep"
    runs = ["digits_seed0", "digits_seed1"]
    flags = [*LONG, "--results_dir", str(tmp_path), "--seeds", "0", "1", "--workers", "2"]
    parent = spawn("start_sweep.py", *flags)
    wait_until(lambda: all((folder / run / "checkpoint.pt").exists() for run in runs), parent)
    workers = [int(word) for word in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]
    assert len(workers) == 2
    parent.kill()
    deadline = time.monotonic() + 60
    while any(map(is_alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert runs_by_state(f"sqlite:///{folder / 'sweep.db'}") == {TrialState.WAITING: runs}


@pytest.mark.slow
def test_an_interrupted_worker_gives_its_run_back_at_once(tmp_path):
    folder = tmp_path / "digits_sweep"
    flags = [*LONG, "--results_dir", str(tmp_path), "--seeds", "0"]
    worker = spawn("start_sweep.py", *flags)
    wait_until(lambda: (folder / "digits_seed0" / "checkpoint.pt").exists(), worker)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(300) == train.INTERRUPTED
    assert TrialState.WAITING in runs_by_state(f"sqlite:///{folder / 'sweep.db'}")
    assert start_sweep.main([*FLAGS, *flags]) == 0
    assert len(metrics_of(folder / "digits_seed0")) == N_LONG


@pytest.mark.slow
def test_a_run_that_was_queued_twice_is_trained_once(tmp_path, monkeypatch):
    """As by two machines that start the same sweep at the same moment."""
    known = OptunaSweep.results
    monkeypatch.setattr(OptunaSweep, "results", lambda sweep: [])
    argv = [*FLAGS, "--results_dir", str(tmp_path), "--seeds", "0"]
    queued = OptunaSweep(define_sweep(parse_flags(argv[:-2]), [0]), None, 60)
    queued.start()
    queued.start()
    monkeypatch.setattr(OptunaSweep, "results", known)
    assert start_sweep.main(argv) == 0
    states = runs_by_state(f"sqlite:///{tmp_path / 'digits_sweep' / 'sweep.db'}")
    assert states == {TrialState.COMPLETE: ["digits_seed0"], TrialState.PRUNED: ["digits_seed0"]}


@pytest.mark.slow
def test_a_sweep_does_not_go_on_with_other_settings(tmp_path):
    argv = [*FLAGS, "--results_dir", str(tmp_path), "--seeds", "0"]
    assert start_sweep.main(argv) == 0
    with pytest.raises(UserError, match="has other settings: init_lr"):
        start_sweep.main([*argv, "--init_lr", "0.5"])


@pytest.mark.slow
def test_a_failing_run_is_marked_and_the_others_finish(tmp_path, capsys):
    path = tmp_path / "sweep.yml"
    path.write_text("parameters: {init_lr: {values: [1.0e+30, 1.0e-3]}, seed: {values: [0, 1]}}")
    argv = [*FLAGS, "--results_dir", str(tmp_path), "--sweep_config", str(path), "--sweep_name", "mixed"]
    assert start_sweep.main(argv) == 1
    said = capsys.readouterr()
    assert "4 runs: 2 failed, 2 finished" in said.out
    assert "failed: digits_init_lr_1e-30_seed0: the loss is nan" in said.out.replace("1e+30", "1e-30")
    assert "error: digits_init_lr_1e-30_seed1" in said.err and "Traceback" not in said.err
    summary = (tmp_path / "mixed" / "summary.csv").read_text()
    assert "init_lr=0.001,digit,accuracy,2," in summary and "e+30" not in summary
    assert start_sweep.main(argv) == 1  # another try for those that failed
    assert "4 runs: 2 failed, 2 finished" in capsys.readouterr().out


def test_a_locked_data_base_is_said_after_a_while_and_waited_for(tmp_path, caplog, monkeypatch):
    assert database.SAY_AFTER_SECONDS <= 5
    sweep = OptunaSweep(define_sweep(parse_flags([*FLAGS, "--results_dir", str(tmp_path)]), [0]), None, 60)
    sweep.start()
    monkeypatch.setattr(database, "SAY_AFTER_SECONDS", 0.2)
    other = sqlite3.connect(tmp_path / "digits_sweep" / "sweep.db", check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.6, other.rollback).start()
    assert [result.state for result in sweep.results()] == ["waiting"]
    assert caplog.text.count("no answer for 0.2 s; another program may have locked it; waiting") == 1
