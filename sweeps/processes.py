"""Several workers on one machine: processes that join a sweep and share its cores and GPUs."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from sweeps.definition import Backend
from sweeps.request import JoinRequest
from utils import PROJECT, UserError, make_folder

POLL_SECONDS = 2.0


def run_workers(backend: Backend, request: JoinRequest, n_workers: int) -> None:
    """Start processes that join the sweep, each with its share of the machine; wait until all have ended."""
    folder = make_folder(backend.sweep.folder)
    with _workers(request, folder, n_workers) as processes:
        print(f"{n_workers} workers write to {folder / 'worker_*.log'}", flush=True)
        reported = {result.name for result in backend.results() if result.state == "finished"}
        while any(process.poll() is None for process in processes):
            time.sleep(POLL_SECONDS)
            _report_news(backend, reported)
    for worker, process in enumerate(processes):
        if process.returncode not in (0, 1):  # 1: a run failed, which the summary says
            lines = _log(folder, worker).read_text(errors="replace").splitlines()
            print(f"worker {worker} ended with status {process.returncode}: {lines[-1] if lines else ''}")


@contextmanager
def _workers(request: JoinRequest, folder: Path, n_workers: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that end with this one: interrupted, they save their state, and are waited for.

    Where this process is killed, they notice that their standard input is closed.
    """
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for worker in range(n_workers):
            processes.append(_start(request, _log(folder, worker), _environment(worker, n_workers)))
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()
            if process.stdin:
                process.stdin.close()


def _start(request: JoinRequest, log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A worker that is told by its standard input what to do: others may read command lines, but not passwords."""
    with log.open("ab") as output:
        command = [sys.executable, "-P", "-m", "sweeps.worker"]  # -P: modules of this folder only
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment)
    assert process.stdin is not None
    try:
        process.stdin.write(pickle.dumps(request))
        process.stdin.flush()
    except BrokenPipeError:  # it has ended already: its log says why
        pass
    return process


def _log(folder: Path, worker: int) -> Path:
    """What a worker says."""
    return folder / f"worker_{worker}.log"


def _report_news(backend: Backend, reported: set[str]) -> None:
    """Print the runs that have ended since the last time."""
    try:
        results = backend.results()
    except UserError as error:  # the workers may do better
        print(error, file=sys.stderr, flush=True)
        return
    for result in results:
        if result.state in ("finished", "failed") and result.name not in reported:
            reported.add(result.name)
            print(f"{result.state}: {result.name} {result.error}", flush=True)


def _environment(worker: int, n_workers: int) -> dict[str, str]:
    """Threads for a worker's share of the cores, its GPU where the machine has several, and where the code is."""
    environment = dict(os.environ)
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment.setdefault("OMP_NUM_THREADS", str(max(1, n_cores // n_workers)))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    if len(gpus) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[worker % len(gpus)]
    return environment
