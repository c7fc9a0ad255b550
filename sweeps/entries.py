"""The three things to do with a sweep: start it, join it, sum it up. Each returns an exit status."""

from __future__ import annotations

from interrupts import signals_as_interrupt

import dataclasses
from collections.abc import Callable

from sweeps.definition import Backend, Sweep, check_machine, check_name, define_sweep
from sweeps.processes import run_workers
from sweeps.request import BackendName, JoinRequest, Sharing, StartRequest
from sweeps.summary import report_sweep, write_summary
from sweeps.variation import Variation
from sweeps.wandb_backend import WandbSweep
from tracking.weights_and_biases import has_wandb_key, requested_mode, wandb_settings
from train import INTERRUPTED
from utils import UserError, needed


def start_sweep(request: StartRequest) -> int:
    """Start a sweep, or go on with it, work on it, and report; with dry_run only list its runs.

    Returns:
        0, or 1 where a run failed or is not finished, or INTERRUPTED.

    Raises:
        UserError: what was asked for cannot work.
    """
    sweep = _sweep_of(request)
    if sweep.config.dry_run:
        print("\n".join([f"{sweep.folder}: {len(sweep.runs)} runs", *map(sweep.run_name, sweep.runs)]))
        return 0
    backend = _open_backend(sweep, request.sharing)
    return _work(backend, backend.start, request)


def join_sweep(request: JoinRequest) -> int:
    """Work on a sweep that was started elsewhere, and report; returns and raises as start_sweep does."""
    # With Optuna a sweep's id is its name; wandb's ids say nothing.
    sweep = Sweep(request.settings, Variation(), request.sweep_name or request.sweep_id)
    if _backend_kind(sweep, request.sharing) == "wandb":
        sweep = dataclasses.replace(sweep, chosen_name=request.sweep_name)
    check_name(sweep)
    if sweep.config.dry_run:
        raise UserError("--dry_run: only start_sweep.py knows the runs before it asks for them")
    backend = _open_backend(sweep, request.sharing, request.sweep_id)
    return _work(backend, backend.join, request)


def summarise_sweep(request: StartRequest) -> int:
    """Write and print the summary of an earlier sweep; returns and raises as start_sweep does."""
    sweep = _sweep_of(request)
    if not sweep.folder.exists():
        raise UserError(f"--summarise: there is no sweep in {sweep.folder}")
    backend = _open_backend(sweep, request.sharing)
    backend.join()
    return _report(backend)


def _sweep_of(request: StartRequest) -> Sweep:
    """The sweep that is asked for, checked."""
    return define_sweep(request.settings, request.seeds, request.sweep_config, request.sweep_name)


def _work(backend: Backend, attach: Callable[[], None], request: StartRequest | JoinRequest) -> int:
    """Attach to the sweep, train until no run is left, and report."""
    sweep, n_workers = backend.sweep, request.sharing.workers
    check_machine(sweep)
    attach()
    name = backend.sweep_id
    print(f"sweep {name} ({backend.name}) in {sweep.folder}; others join it by --sweep_id {name}", flush=True)
    try:
        with signals_as_interrupt():
            if n_workers > 1:
                run_workers(backend, _request_of_workers(backend, request), n_workers)
            else:
                backend.work()
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on")
        return INTERRUPTED
    return _report(backend)


def _request_of_workers(backend: Backend, request: StartRequest | JoinRequest) -> JoinRequest:
    """What each of several workers is asked for."""
    sharing = dataclasses.replace(request.sharing, backend=backend.name, workers=1)
    return JoinRequest(request.settings, backend.sweep_id, backend.sweep.name, sharing)


def _report(backend: Backend) -> int:
    """Write and print the summary; the exit status."""
    folder, results = backend.sweep.folder, backend.results()
    write_summary(folder, results)
    print(f"\n{report_sweep(results)}")
    if (folder / "summary.csv").exists():
        print(f"summary: {folder / 'summary.csv'}")
    return 0 if all(result.state == "finished" for result in results) else 1


# --- which backend


def _backend_kind(sweep: Sweep, sharing: Sharing) -> BackendName:
    """The one asked for; else the one that the sweep's folder was started with; else wandb where a key is found."""
    if sharing.backend != "auto":
        return sharing.backend
    if (sweep.folder / WandbSweep.RECORD).exists():
        return "wandb"
    is_asked_for = requested_mode(sweep.config) not in ("offline", "disabled")
    if sharing.storage or (sweep.folder / "sweep.db").exists() or not is_asked_for:
        return "optuna"
    return "wandb" if has_wandb_key(sweep.config, wandb_settings()) else "optuna"


def _open_backend(sweep: Sweep, sharing: Sharing, sweep_id: str = "") -> Backend:
    """The backend of a sweep, not yet started or joined."""
    if _backend_kind(sweep, sharing) == "optuna":
        with needed("optuna", "--backend optuna"):
            from sweeps.optuna_backend import OptunaSweep
        backend = OptunaSweep(sweep, sharing.storage, sharing.patience)
        if sharing.workers > 1 and backend.database.is_in_memory:
            raise UserError("--storage: a data base in memory, which no other worker sees; name a file or a server")
        return backend
    if sharing.storage:
        raise UserError("--storage: belongs to --backend optuna; wandb keeps its sweeps itself")
    return WandbSweep(sweep, sweep_id)
