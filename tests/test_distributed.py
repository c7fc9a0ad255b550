"""Two processes train one model: the numbers of one, one folder, one error; any of them may be killed."""

from __future__ import annotations

from interrupts import run_script

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from programs import Program
from test_train import HERE, NO_FIGURES, SMALL, metrics_of

import start_sweep
import train
from config import build_config
from factorial import clustering
from speed.distributed import Ranks, check_batches, own_device
from utils import UserError

CPU = torch.device("cpu")
EXACT = ["--precision", "fp32", "--device", "cpu", "--compile", "false", "--data_init"]
LADDERS = {
    "fc_vlae": ["--do_fc_batch_norm", "--init_type_p_z_c", "factorial", "--do_progressive_training", "false", "--n_epochs",
                "5", "--guide_weight", "0.5", "--checkpoint_every_n_epochs", "2"],
    "conv_vlae": ["--model_type", "conv_vlae", "--activation", "elu", "--cov_type_p_z_c", "full",
                  "--n_epochs_per_progressive_step", "1", "1"],
}  # fmt: skip
"""The last of the digits' batches has 157 images, which are not shared evenly."""


def words(results: Path, name: str, *flags: str) -> list[str]:
    return [*SMALL, *NO_FIGURES, *EXACT, "--results_dir", str(results), "--run_name", name, *flags]


def start(script: Path, *argv: str) -> subprocess.Popen:
    """Two processes of a script by torchrun, with a thread each."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        str(script),
        *argv,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def by_two(script: Path, *argv: str, status: int = 0) -> str:
    """What two processes of a script say until they end, which are told by variables what torchrun tells its own."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = str(place.getsockname()[1])
    told = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [Program(script, *argv, env=told | {"RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    said = "".join(rank.communicate(timeout=300)[0] for rank in ranks)
    assert [rank.returncode for rank in ranks] == [status] * 2, said
    return said


def quick_script(folder: Path, waits: bool = False) -> Path:
    """A script that trains from a short factorial start.

    Where it waits, each process writes down its number before epoch 4, and the first goes no further.
    """
    script = folder / "quick.py"
    script.write_text(
        f"""
import os, time, torch, train
torch.set_num_threads(1)
from factorial import clustering
clustering.N_STARTS = clustering.N_KEPT = 1
train_epoch = train.train_epoch
def waiting(training, dataset, epoch):
    if epoch == 4:
        with open({str(folder / "pids")!r}, "a") as file:
            file.write(f"{{os.environ['RANK']}} {{os.getpid()}}\\n")
        if os.environ["RANK"] == "0":
            time.sleep(600)
    return train_epoch(training, dataset, epoch)
if {waits}:
    train.train_epoch = waiting
train.run_script(train.main)
"""
    )
    return script


@pytest.fixture(scope="module", params=LADDERS)
def ladder(request, tmp_path_factory) -> tuple[Path, list[str]]:
    """The results of a run by two processes, named two, and its flags."""
    results, flags = tmp_path_factory.mktemp("ladder"), LADDERS[request.param]
    said = by_two(quick_script(results), *words(results, "two", *flags))
    assert said.count("starting") == said.count("finished:") == 1
    assert "in fp32, in 2 processes" in said
    return results, flags


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(ladder, monkeypatch):
    results, flags = ladder
    monkeypatch.setattr(clustering, "N_STARTS", 1)
    monkeypatch.setattr(clustering, "N_KEPT", 1)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert train.main(words(results, "one", *flags)) == 0
    finally:
        torch.set_num_threads(n_threads)
    one, two = (metrics_of(results / name) for name in ("one", "two"))
    assert [set(row) for row in one] == [set(row) for row in two]
    for row, other in zip(one, two, strict=True):
        losses = [name for name in row if "loss" in name]
        assert [other[name] for name in losses] == pytest.approx([row[name] for name in losses], rel=1e-4)
        scores = [name for name in row if name.startswith("train") and "accuracy" in name]
        assert [other[name] for name in scores] == pytest.approx([row[name] for name in scores], abs=0.01)
    assert all("train_metric/loss" in row for row in one[1:])


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "kill"), [("0", signal.SIGKILL), ("1", signal.SIGTERM)])
@pytest.mark.parametrize("ladder", ["fc_vlae"], indirect=True)
def test_where_a_process_is_killed_all_end_and_the_run_goes_on(ladder, tmp_path, victim, kill):
    """To the same metrics and weights to the bit, from the last checkpoint or, where there was time, the last epoch."""
    results, flags = ladder
    argv = words(tmp_path, "two", *flags)
    with start(quick_script(tmp_path, waits=True), *argv) as run:
        pids = tmp_path / "pids"
        deadline = time.monotonic() + 300
        while not pids.exists() or len(pids.read_text().splitlines()) < 2:
            assert time.monotonic() < deadline and run.poll() is None, "the run does not get on"
            time.sleep(0.02)
        os.kill(int(dict(line.split() for line in pids.read_text().splitlines())[victim]), kill)
        said, _ = run.communicate(timeout=300)
    assert run.returncode != 0, said
    assert len(metrics_of(tmp_path / "two")) < 5
    said = by_two(quick_script(tmp_path), *argv)
    assert "resuming" in said
    assert metrics_of(tmp_path / "two") == metrics_of(results / "two")
    states = [torch.load(path / "two" / "checkpoint.pt", weights_only=True)["model"] for path in (tmp_path, results)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.slow
def test_processes_that_see_different_images_are_refused(tmp_path):
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
        np.save(tmp_path / str(rank) / "images.npy", np.full((40, 4, 4), rank, np.uint8))
    script = tmp_path / "apart.py"
    script.write_text(
        "import os, sys, train\n"
        f"sys.argv += ['--data_dir', {str(tmp_path)!r} + '/' + os.environ['RANK']]\n"
        "train.run_script(train.main)\n"
    )
    said = by_two(script, *words(tmp_path, "run", "--dataset", "npy", "--image_size", "4"), status=2)
    assert said.count("error: ") == 1
    assert "the processes see different images: number 1 has 32 for training and 8 for the test with checksum" in said


# --- without a second process


def test_the_parts_of_a_batch_are_the_batch():
    for n in (2, 3, 7, 157):
        parts = [Ranks(CPU, rank, 3).own(torch.arange(n)) for rank in range(3)]
        assert torch.cat(parts).tolist() == list(range(n))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    places = [list(Ranks(CPU, rank, 2).places(10, 4)) for rank in range(2)]
    assert places == [[slice(0, 2), slice(4, 6), slice(8, 9)], [slice(2, 4), slice(6, 8), slice(9, 10)]]


@pytest.mark.parametrize(("batch_size", "n_train", "words"), [
    (2, 40, "batch_size = 2: a batch of 2 of the 40 training images is smaller than the 4 processes; use 4,"),
    (13, 40, "batch_size = 13: a batch of 1 of the 40 training images is smaller than the 4 processes; use 14,"),
])  # fmt: skip
def test_a_batch_smaller_than_the_processes(batch_size, n_train, words):
    config = build_config({"dataset": "digits", "batch_size": batch_size})
    with pytest.raises(UserError, match=words):
        check_batches(config, n_train, 4)
    check_batches(build_config({"dataset": "digits", "batch_size": 14}), n_train, 4)


def test_the_first_process_of_a_machine_says_what_is_wrong(monkeypatch, capsys):
    for rank, said in (("0", "error: no such setting\n"), ("1", "")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SystemExit) as end:
            run_script(Mock(side_effect=UserError("no such setting")))
        assert (end.value.code, capsys.readouterr().err) == (2, said)


def test_more_processes_than_gpus_and_sweeps_by_torchrun_are_refused(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("speed.distributed.resolve_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="4 processes, but this machine has 2 GPUs; start one for each"):
        own_device("cuda")
    with pytest.raises(UserError, match="device = cuda:1: 4 processes on one GPU; use --device cuda"):
        own_device("cuda:1")
    with pytest.raises(UserError, match=r"torchrun trains one model .*; a sweep has --workers instead"):
        start_sweep.main(["--dataset", "digits"])
