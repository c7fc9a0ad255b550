"""What start_sweep.py and attach_sweep.py share: flags, the choice of a backend, workers, and the report at the end."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from flags import FlagParser, positive_int
from interrupts import signals_as_interrupt
from sweeps.definition import Sweep, define_sweep, seeds_from_words
from sweeps.optuna_backend import STORAGE_VARIABLE, OptunaSweep
from sweeps.summary import report_sweep, write_summary
from sweeps.wandb_backend import WandbSweep
from tracking.weights_and_biases import has_wandb_key, requested_mode, wandb_settings
from train import INTERRUPTED
from utils import PROJECT, UserError, make_folder

POLL_SECONDS = 2.0

Backend = OptunaSweep | WandbSweep


def main_of_sweep(description: str, argv: Sequence[str] | None, is_new: bool) -> int:
    """Start a sweep (is_new) or join one, work on it, and report. Exit status 1 where a run failed or is not finished."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments, flags = _sweep_parser(description, is_new).parse_known_args(argv)
    if is_new:
        seeds = seeds_from_words(arguments.seeds)
        sweep = define_sweep(flags, seeds, arguments.sweep_config, arguments.sweep_name)
    else:
        # With Optuna a sweep's id is its name; wandb's ids say nothing.
        sweep = Sweep(tuple(flags), "grid", {}, None, arguments.sweep_name or arguments.sweep_id)
        if _backend_kind(arguments, sweep) == "wandb":
            sweep = dataclasses.replace(sweep, chosen_name=arguments.sweep_name)
    if sweep.config.dry_run:
        if not is_new:
            raise UserError("--dry_run: only start_sweep.py knows the runs before it asks for them")
        print("\n".join([f"{sweep.folder}: {len(sweep.runs)} runs", *map(sweep.run_name, sweep.runs)]))
        return 0
    backend = _open_backend(arguments, sweep)
    if is_new and arguments.summarise:
        if not sweep.folder.exists():
            raise UserError(f"--summarise: there is no sweep in {sweep.folder}")
        backend.join()
        return _report(backend)
    sweep.check_machine()
    backend.start() if is_new else backend.join()
    print(
        f"sweep {backend.sweep_id} ({backend.name}) in {sweep.folder}; others join it by --sweep_id {backend.sweep_id}"
    )
    try:
        with signals_as_interrupt():
            _run_workers(backend, arguments.workers) if arguments.workers > 1 else backend.work()
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on")
        return INTERRUPTED
    return _report(backend)


def _report(backend: Backend) -> int:
    """Write and print the summary; the exit status."""
    folder, results = backend.sweep.folder, backend.results()
    write_summary(folder, results)
    print(f"\n{report_sweep(results)}")
    if (folder / "summary.csv").exists():
        print(f"summary: {folder / 'summary.csv'}")
    return 0 if all(result.state == "finished" for result in results) else 1


# --- flags and backend


def _sweep_parser(description: str, is_new: bool) -> FlagParser:
    parser = FlagParser(description)
    if is_new:
        parser.add_argument("--seeds", nargs="*", metavar="SEED", help="0 1 2, or 0 .. 9 for a range [0 .. 9]")
        parser.add_argument(
            "--sweep_config", metavar="YAML", help="method and parameters in the format of wandb's sweeps"
        )
        parser.add_argument(
            "--summarise", action="store_true", help="only write and print the summary of an earlier sweep"
        )
    else:
        parser.add_argument("--sweep_id", required=True, help="as start_sweep.py printed it")
    parser.add_argument("--sweep_name", help="folder below results [<configuration>_sweep]")
    parser.add_argument(
        "--backend", choices=("auto", "wandb", "optuna"), default="auto",
        help="who shares out the runs; auto: wandb where a key is found, else Optuna [auto]",
    )  # fmt: skip
    parser.add_argument(
        "--storage",
        metavar="URL",
        default=os.environ.get(STORAGE_VARIABLE),
        help=f"Optuna's data base [{STORAGE_VARIABLE}, else sqlite:///<folder of the sweep>/sweep.db]",
    )
    parser.add_argument(
        "--workers", type=positive_int, default=1, help="processes; they share this machine's cores [1]"
    )
    parser.add_argument(
        "--patience", type=positive_int, default=120, metavar="SECONDS",
        help="a worker that is not heard of for this long is given up, and another takes its run (Optuna) [120]",
    )  # fmt: skip
    return parser


def _backend_kind(arguments: argparse.Namespace, sweep: Sweep) -> str:
    """The one asked for; else the one that the sweep's folder was started with; else wandb where a key is found."""
    if arguments.backend != "auto":
        return arguments.backend
    if (sweep.folder / WandbSweep.RECORD).exists():
        return "wandb"
    is_asked_for = requested_mode(sweep.config) not in ("offline", "disabled")
    if arguments.storage or (sweep.folder / "sweep.db").exists() or not is_asked_for:
        return "optuna"
    return "wandb" if has_wandb_key(sweep.config, wandb_settings()) else "optuna"


def _open_backend(arguments: argparse.Namespace, sweep: Sweep) -> Backend:
    if _backend_kind(arguments, sweep) == "optuna":
        return OptunaSweep(sweep, arguments.storage, arguments.patience)
    if arguments.storage:
        raise UserError("--storage: belongs to --backend optuna; wandb keeps its sweeps itself")
    return WandbSweep(sweep, getattr(arguments, "sweep_id", None))


# --- several workers on one machine


def _run_workers(backend: Backend, n_workers: int) -> None:
    """Processes that join the sweep, each with its share of the cores (and one of the GPUs); wait until all are done."""
    folder, processes = make_folder(backend.sweep.folder), []
    command = [
        sys.executable, str(PROJECT / "attach_sweep.py"), "--backend", backend.name, "--sweep_id", backend.sweep_id,
        *backend.worker_flags, *backend.sweep.argv,
    ]  # fmt: skip
    with _children_end_with_us(processes):
        for worker in range(n_workers):
            with (folder / f"worker_{worker}.log").open("a") as output:
                processes.append(
                    subprocess.Popen(
                        command,
                        stdout=output,
                        stderr=output,
                        env=_environment(worker, n_workers) | backend.worker_environment,
                    )
                )
        print(f"{n_workers} workers write to {folder / 'worker_*.log'}", flush=True)
        reported = {result.name for result in backend.results() if result.state == "finished"}
        while any(process.poll() is None for process in processes):
            time.sleep(POLL_SECONDS)
            try:
                results = backend.results()
            except UserError as error:  # the workers may do better
                print(error, file=sys.stderr, flush=True)
                continue
            for result in results:
                if result.state in ("finished", "failed") and result.name not in reported:
                    reported.add(result.name)
                    print(f"{result.state}: {result.name} {result.error}", flush=True)
    for worker, process in enumerate(processes):
        if process.returncode not in (0, 1):  # 1: a run failed, which the summary says
            lines = (folder / f"worker_{worker}.log").read_text().splitlines()
            print(f"worker {worker} ended with status {process.returncode}: {lines[-1] if lines else ''}")


@contextmanager
def _children_end_with_us(processes: list[subprocess.Popen]) -> Iterator[None]:
    """Whatever ends this process interrupts its workers, which save their state, and waits for them."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()


def _environment(worker: int, n_workers: int) -> dict[str, str]:
    """Threads for a worker's share of the cores, and its GPU where the machine has several."""
    environment = dict(os.environ)
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment.setdefault("OMP_NUM_THREADS", str(max(1, n_cores // n_workers)))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    if len(gpus) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[worker % len(gpus)]
    return environment
