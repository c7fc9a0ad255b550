"""Sweeps whose runs a server shares out, PostgreSQL or Weights & Biases: nothing twice, nothing lost, whatever stops."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import threading
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
from programs import Program
from test_sweep_workers import FLAGS, HERE, LONG, N_LONG, runs_by_state, spawn, wait_until
from test_train import metrics_of
from wandb_stub import KEY, serving

from config import parse_flags
from sweeps.definition import define_sweep
from sweeps.optuna_backend import OptunaSweep
from utils import unsealed


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
    first = spawn("start_sweep.py", *flags)
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
    again = spawn("start_sweep.py", *flags)
    said = again.communicate(timeout=300)[0]
    assert again.returncode == 0 and "2 runs: 2 finished" in said, said


@pytest.mark.slow
def test_two_clones_share_a_sweep_through_postgresql(tmp_path, postgresql):
    clones = [tmp_path / "one", tmp_path / "two"]
    for clone in clones:
        clone.mkdir()
    flags = [*LONG, "--storage", postgresql]
    names = [f"digits_seed{seed}" for seed in range(6)]
    first = spawn("start_sweep.py", *flags, "--seeds", "0", "..", "5", cwd=clones[0])
    wait_until(lambda: (clones[0] / "results" / "digits_sweep" / "digits_seed0" / "metrics.jsonl").exists(), first)
    second = spawn("attach_sweep.py", *flags, "--sweep_id", "digits_sweep", cwd=clones[1])
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
    flags += [
        "--seeds",
        "0",
        "1",
        "--storage",
        address,
        "--backend",
        "optuna",
        "--n_epochs_per_progressive_step",
        "1",
        "1",
    ]
    with (tmp_path / "said").open("w") as said:  # Python started anew: its command line is its own
        command = [sys.executable, HERE / "start_sweep.py", *FLAGS, *flags]
        environment = os.environ | dict.fromkeys(places, str(tmp_path))
        done = subprocess.run(command, stdout=said, stderr=said, env=environment, check=False, timeout=600)
    assert done.returncode == 0
    contents = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    logs = [content for path, content in contents.items() if path.suffix == ".wandb"]
    assert len(logs) == 2 and all((b"--seeds" in log) == (n_workers == "1") for log in logs)  # where it would be
    assert [path for path, content in contents.items() if b"not-for-files" in content] == []


# --- Weights & Biases

AGENT = """
import sys
import wandb.agents.pyagent
wandb.agents.pyagent.Agent.HEARTBEAT_SLEEP_SECONDS = 0.2
import {module}
from interrupts import run_script
run_script({module}.main)
"""


@pytest.fixture
def spawn_agent(tmp_path) -> Callable[..., Program]:
    """A sweep script in a process of its own, whose agent asks the server often."""

    def start(module: str, url: str, *flags: str) -> Program:
        script = tmp_path / f"{module}_often.py"
        script.write_text(AGENT.format(module=module))
        flags = ("--results_dir", str(tmp_path), "--wandb_mode", "offline", "--backend", "wandb", *flags)
        return Program(script, *FLAGS, *flags, env={"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY})

    return start


@pytest.mark.slow
def test_two_agents_share_six_seeds_of_a_wandb_sweep(spawn_agent, tmp_path):
    folder = tmp_path / "digits_sweep"
    with serving() as server:
        server.min_agents = 2
        first = spawn_agent("start_sweep", server.url, "--seeds", "0", "..", "5")
        wait_until(lambda: server.n_agents > 0, first)
        second = spawn_agent("attach_sweep", server.url, "--sweep_id", "swp1", "--sweep_name", "digits_sweep")
        said = [agent.communicate(timeout=600)[0] for agent in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert server.sweep["parameters"] == {"seed": {"values": [0, 1, 2, 3, 4, 5]}} and server.sweep["method"] == "grid"
    assert sorted(value for _, value in server.handed_out) == list(range(6))
    assert {agent for agent, _ in server.handed_out} == {"agent1", "agent2"}
    assert [len(metrics_of(folder / f"digits_seed{seed}")) for seed in range(6)] == [4] * 6
    assert "6 runs: 6 finished" in said[0]
    assert len(list(folder.glob("wandb/offline-run-*"))) == 6


@pytest.mark.slow
def test_a_wandb_sweep_marks_failures_and_goes_on_after_a_kill(spawn_agent, tmp_path):
    folder = tmp_path / "mixed"
    sweep_yml = tmp_path / "sweep.yml"
    sweep_yml.write_text("parameters: {init_lr: {values: [1.0e+30, 1.0e-3, 2.0e-3, 3.0e-3]}}")
    flags = ["--sweep_config", str(sweep_yml), "--sweep_name", "mixed", *LONG]
    with serving() as server:
        first = spawn_agent("start_sweep", server.url, *flags)
        third = folder / "digits_init_lr_0.002_seed6000"
        wait_until((third / "checkpoint.pt").exists, first)
        first.kill()
        first.communicate()
        assert unsealed((third / "sweep_run.json").read_text())["state"] == "running"
        second = spawn_agent("start_sweep", server.url, *flags)
        said, _ = second.communicate(timeout=600)
    assert second.returncode == 1
    assert server.operations.count("UpsertSweep") == 1  # the second start goes on with the same sweep
    assert [value for _, value in server.handed_out] == [1e30, 1e-3, 2e-3, 3e-3]
    assert f"resuming {third}" in said and len(metrics_of(third)) == N_LONG
    assert "4 runs: 1 failed, 3 finished" in said and "the loss is nan" in said
    offline_runs = sorted(folder.glob("wandb/offline-run-*"))
    ends = [[end["exit_code"] for end in offline_records(run, "exit")] for run in offline_runs]
    assert ends == [[1], [0], [], [0]]  # one was killed
    record = yaml.safe_load((folder / "wandb_sweep.yml").read_text())
    assert record["sweep_id"] == "swp1" and KEY not in (folder / "wandb_sweep.yml").read_text()
