"""Sweeps with real workers: nothing twice, nothing lost, whatever dies; by Optuna (SQLite, PostgreSQL) and by wandb's client."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import optuna
import pytest
import yaml
from conftest import offline_records
from optuna.trial import TrialState
from test_train import NO_FIGURES, UNSEEDED, metrics_of
from wandb_stub import KEY, serving

import start_sweep
import train
from config import parse_flags
from sweeps import database
from sweeps.definition import define_sweep
from sweeps.optuna_backend import OptunaSweep
from utils import UserError

HERE = Path(__file__).resolve().parent.parent
FLAGS = [*UNSEEDED, *NO_FIGURES]
LONG = ["--n_epochs_per_progressive_step", "20", "20", "--checkpoint_every_n_epochs", "1"]


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


def spawn(script: str, *flags: str, **options: object) -> subprocess.Popen:
    """A sweep script in a process of its own."""
    return subprocess.Popen([sys.executable, str(HERE / script), *FLAGS, *flags], text=True, **options)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    """Until something has happened while a process runs; it must not end before."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


# --- Optuna


@pytest.mark.slow
def test_two_workers_share_six_seeds_and_the_same_command_repeats_nothing(tmp_path, capsys):
    argv = [*FLAGS, *LONG, "--results_dir", str(tmp_path), "--seeds", "0", "..", "5", "--workers", "2"]
    folder, names = tmp_path / "digits_sweep", [f"digits_seed{seed}" for seed in range(6)]
    assert start_sweep.main(argv) == 0
    assert runs_by_state(f"sqlite:///{folder / 'sweep.db'}") == {TrialState.COMPLETE: names}
    assert [len(metrics_of(folder / name)) for name in names] == [40] * 6
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
    first = spawn("start_sweep.py", *flags, "--seeds", "0", "1", stdout=subprocess.DEVNULL)
    wait_until(lambda: (folder / "digits_seed0" / "checkpoint.pt").exists(), first)
    second = spawn("attach_sweep.py", *flags, "--sweep_id", "digits_sweep", stdout=subprocess.PIPE)
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
    first = spawn("start_sweep.py", *flags, "--seeds", "0", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_until(lambda: (folder / "digits_seed0" / "checkpoint.pt").exists(), first)
    first.send_signal(signal.SIGSTOP)
    second = spawn("attach_sweep.py", *flags, "--sweep_id", "digits_sweep", stdout=subprocess.DEVNULL)
    wait_until(lambda: TrialState.FAIL in runs_by_state(f"sqlite:///{folder / 'sweep.db'}"), second)
    first.send_signal(signal.SIGCONT)
    _, complaints = first.communicate(timeout=300)
    assert (first.returncode, second.wait(300)) == (0, 0) and "Traceback" not in complaints
    assert len(metrics_of(folder / "digits_seed0")) == 40


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
    parent = spawn("start_sweep.py", *flags, stdout=subprocess.DEVNULL)
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
    worker = spawn("start_sweep.py", *flags, stdout=subprocess.DEVNULL)
    wait_until(lambda: (folder / "digits_seed0" / "checkpoint.pt").exists(), worker)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(300) == train.INTERRUPTED
    assert TrialState.WAITING in runs_by_state(f"sqlite:///{folder / 'sweep.db'}")
    assert start_sweep.main([*FLAGS, *flags]) == 0
    assert len(metrics_of(folder / "digits_seed0")) == 40


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


# --- claims


def claimed_by_four(url: str, folder: Path) -> list[str]:
    """Names of the runs that four workers claim who come at the same moment."""
    sweep = define_sweep(parse_flags([*FLAGS, "--results_dir", str(folder)]), [0, 1, 2])
    OptunaSweep(sweep, url, 60).start()
    together, claimed = threading.Barrier(4), []

    def work(_: int) -> None:
        worker = OptunaSweep(sweep, url, 60)
        worker.join()
        together.wait()
        while trial := worker._claim():
            claimed.append(trial.user_attrs["run"])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    return claimed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_workers_that_come_at_the_same_moment_claim_each_run_once(tmp_path, request, kind):
    """SQLite has no SELECT ... FOR UPDATE: without a lock of our own, two workers take the same run in nearly every try."""
    for i in range(5):
        url = f"sqlite:///{tmp_path}/{i}.db" if kind == "sqlite" else request.getfixturevalue("postgresql")
        claimed = claimed_by_four(url, tmp_path / str(i))
        if kind == "postgresql":
            optuna.delete_study(study_name="digits_sweep", storage=url)
        assert sorted(claimed) == ["digits_seed0", "digits_seed1", "digits_seed2"]


def test_a_locked_data_base_is_said_after_a_while_and_waited_for(tmp_path, caplog, monkeypatch):
    assert database.SAY_AFTER_SECONDS <= 5
    sweep = OptunaSweep(define_sweep(parse_flags([*FLAGS, "--results_dir", str(tmp_path)]), [0]), None, 60)
    sweep.start()
    monkeypatch.setattr(database, "SAY_AFTER_SECONDS", 0.2)
    other = sqlite3.connect(tmp_path / "digits_sweep" / "sweep.db", check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(1.5, other.rollback).start()
    assert [result.state for result in sweep.results()] == ["waiting"]
    assert caplog.text.count("no answer for 0.2 s; another program may have locked it; waiting") == 1


# --- PostgreSQL, for several machines


class Server(NamedTuple):
    """A PostgreSQL server for tests."""

    address: str
    start: Callable[[], None]
    stop: Callable[[], None]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that lives as long as the tests of this file."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) + [Path(p).parent for p in [shutil.which("initdb")] if p]
    if not found:
        pytest.skip("no PostgreSQL server installed (Debian: apt-get install postgresql)")
    as_user = ["runuser", "-u", "postgres", "--"] if getpass.getuser() == "root" else []
    folder = Path("/tmp") / f"mfcvae_postgresql_{os.getpid()}"  # short: a socket's path has 100 characters at most
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)

    def call(program: str, *flags: str) -> None:
        command = [*as_user, str(found[0] / program), *flags]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    data, port = folder / "data", str(20000 + os.getpid() % 20000)
    call("initdb", "-D", str(data), "-U", "mfcvae", "--auth", "trust", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={folder} -c fsync=off"
    address = f"postgresql://mfcvae@127.0.0.1:{port}/postgres"
    start = partial(call, "pg_ctl", "-D", str(data), "-l", str(folder / "log"), "-o", options, "-w", "start")
    stop = partial(call, "pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    start()
    try:
        yield Server(address, start, stop)
    finally:
        stop()
        shutil.rmtree(folder)


@pytest.fixture
def postgresql(server) -> str:
    """The address of a data base on the server."""
    return server.address


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_a_server_that_stops_in_the_middle_is_one_line_and_the_same_command_goes_on(tmp_path, server, n_workers):
    flags = ["--results_dir", str(tmp_path), "--sweep_name", f"stopped{n_workers}", "--storage", server.address]
    flags += [*LONG, "--seeds", "0", "1", "--workers", n_workers, "--patience", "4"]
    first = spawn("start_sweep.py", *flags, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    folder = tmp_path / f"stopped{n_workers}"
    wait_until(lambda: (folder / "digits_seed0" / "checkpoint.pt").exists(), first)
    server.stop()
    try:
        said = first.communicate(timeout=300)[0]
    finally:
        server.start()
    logs = "".join(log.read_text() for log in folder.glob("worker_*.log"))
    assert first.returncode == 2, said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "cannot be used" in errors[0] and "give the same command again" in errors[0]
    assert "Traceback" not in said + logs
    again = spawn("start_sweep.py", *flags, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = again.communicate(timeout=300)[0]
    assert again.returncode == 0 and "2 runs: 2 finished" in said, said


@pytest.mark.slow
def test_two_clones_share_a_sweep_through_postgresql(tmp_path, postgresql):
    clones = [tmp_path / "one", tmp_path / "two"]
    for clone in clones:
        clone.mkdir()
    flags = [*LONG, "--storage", postgresql]
    names = [f"digits_seed{seed}" for seed in range(6)]
    first = spawn("start_sweep.py", *flags, "--seeds", "0", "..", "5", cwd=clones[0], stdout=subprocess.PIPE)
    wait_until(lambda: (clones[0] / "results" / "digits_sweep" / "digits_seed0" / "metrics.jsonl").exists(), first)
    second = spawn("attach_sweep.py", *flags, "--sweep_id", "digits_sweep", cwd=clones[1], stdout=subprocess.PIPE)
    said = [worker.communicate(timeout=600)[0] for worker in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert runs_by_state(postgresql) == {TrialState.COMPLETE: names}
    trained = [
        sorted(path.name for path in (clone / "results" / "digits_sweep").glob("digits_seed*")) for clone in clones
    ]
    assert sorted(trained[0] + trained[1]) == names and trained[0] and trained[1]
    assert all("6 runs: 6 finished" in text for text in said)  # each clone sums up the runs of both
    first_csv, second_csv = [(clone / "results" / "digits_sweep" / "summary.csv").read_text() for clone in clones]
    assert first_csv == second_csv and ",digit,accuracy,6," in first_csv


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_a_password_in_the_address_of_the_data_base_reaches_no_file(tmp_path, postgresql, n_workers):
    """wandb writes the command line of its process into its files, which 'wandb sync' uploads."""
    address = postgresql.replace("mfcvae@", "mfcvae:not-for-files@")
    name, places = f"secret{n_workers}", ("HOME", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "TMPDIR")
    flags = ["--results_dir", str(tmp_path), "--sweep_name", name, "--wandb_mode", "offline", "--workers", n_workers]
    with (tmp_path / "said").open("w") as said:
        worker = spawn(
            "start_sweep.py", *flags, "--seeds", "0", "1", "--storage", address, "--backend", "optuna",
            stdout=said, stderr=said, env=os.environ | dict.fromkeys(places, str(tmp_path)),
        )  # fmt: skip
        assert worker.wait(600) == 0
    contents = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    logs = [content for path, content in contents.items() if path.suffix == ".wandb"]
    assert len(logs) == 2 and all((b"--seeds" in log) == (n_workers == "1") for log in logs)  # where it would be
    assert [path for path, content in contents.items() if b"not-for-files" in content] == []


# --- Weights & Biases

AGENT = """
import sys
import wandb.agents.pyagent
wandb.agents.pyagent.Agent.HEARTBEAT_SLEEP_SECONDS = 0.2
sys.path.insert(0, {root!r})
import {module}
from interrupts import run_script
run_script(lambda: {module}.main(sys.argv[1:]))
"""


def spawn_agent(module: str, url: str, *flags: str) -> subprocess.Popen:
    """A sweep script in a process of its own, whose agent asks the server often."""
    code = AGENT.format(root=str(HERE), module=module)
    environment = os.environ | {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY}
    command = [sys.executable, "-c", code, *FLAGS, "--wandb_mode", "offline", "--backend", "wandb", *flags]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.slow
def test_two_agents_share_six_seeds_of_a_wandb_sweep(tmp_path):
    folder, flags = tmp_path / "digits_sweep", ["--results_dir", str(tmp_path)]
    with serving() as server:
        server.min_agents = 2
        first = spawn_agent("start_sweep", server.url, *flags, "--seeds", "0", "..", "5")
        wait_until(lambda: server.n_agents > 0, first)
        second = spawn_agent("attach_sweep", server.url, *flags, "--sweep_id", "swp1", "--sweep_name", "digits_sweep")
        said = [agent.communicate(timeout=600)[0] for agent in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert server.sweep["parameters"] == {"seed": {"values": [0, 1, 2, 3, 4, 5]}} and server.sweep["method"] == "grid"
    assert sorted(value for _, value in server.handed_out) == list(range(6))
    assert {agent for agent, _ in server.handed_out} == {"agent1", "agent2"}
    assert [len(metrics_of(folder / f"digits_seed{seed}")) for seed in range(6)] == [4] * 6
    assert "6 runs: 6 finished" in said[0]
    assert len(list(folder.glob("wandb/offline-run-*"))) == 6


@pytest.mark.slow
def test_a_wandb_sweep_marks_failures_and_goes_on_after_a_kill(tmp_path):
    folder = tmp_path / "mixed"
    sweep_yml = tmp_path / "sweep.yml"
    sweep_yml.write_text("parameters: {init_lr: {values: [1.0e+30, 1.0e-3, 2.0e-3, 3.0e-3]}}")
    flags = ["--results_dir", str(tmp_path), "--sweep_config", str(sweep_yml), "--sweep_name", "mixed", *LONG]
    with serving() as server:
        first = spawn_agent("start_sweep", server.url, *flags)
        third = folder / "digits_init_lr_0.002_seed6000"
        wait_until((third / "checkpoint.pt").exists, first)
        first.kill()
        first.communicate()
        assert json.loads((third / "sweep_run.json").read_text())["state"] == "running"
        second = spawn_agent("start_sweep", server.url, *flags)
        said, _ = second.communicate(timeout=600)
    assert second.returncode == 1
    assert server.operations.count("UpsertSweep") == 1  # the second start goes on with the same sweep
    assert [value for _, value in server.handed_out] == [1e30, 1e-3, 2e-3, 3e-3]
    assert f"resuming {third}" in said and len(metrics_of(third)) == 40
    assert "4 runs: 1 failed, 3 finished" in said and "the loss is nan" in said
    offline_runs = sorted(folder.glob("wandb/offline-run-*"))
    ends = [[end["exit_code"] for end in offline_records(run, "exit")] for run in offline_runs]
    assert ends == [[1], [0], [], [0]]  # one was killed
    record = yaml.safe_load((folder / "wandb_sweep.yml").read_text())
    assert record["sweep_id"] == "swp1" and KEY not in (folder / "wandb_sweep.yml").read_text()
