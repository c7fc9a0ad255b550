"""A sweep by Optuna's data base: no account is needed, and any number of machines may take part.

Like wandb_backend.py it offers four things: start (or go on with) a sweep, join one by its id, work until nothing is left to
do, and say how every run stands.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from config import different_settings, portable_settings
from evaluation.metric_names import Metric
from sweeps.definition import RunResult, Sweep, describe_error, natural_order, report_failure
from sweeps.summary import write_summary
from tracking.run_folder import RunFolder
from utils import UserError, make_folder, one_line

log = logging.getLogger(__name__)

STORAGE_VARIABLE = "MFCVAE_SWEEP_STORAGE"  # the default of --storage


class OptunaSweep:
    """A sweep whose runs are the trials of an Optuna study: any worker that reaches the data base takes part.

    Every run is queued once. Workers send a heartbeat; the run of one that has fallen silent goes back into the queue.
    """

    name = "optuna"

    def __init__(self, sweep: Sweep, storage: str | None, patience: int):
        self.sweep = sweep
        file = sqlalchemy.URL.create("sqlite", database=str(sweep.folder / "sweep.db"))
        self.url = storage or file.render_as_string()
        self.patience = patience
        self.study: optuna.Study
        self.interrupted: tuple[str, dict[str, Any]] | None = None
        optuna.logging.set_verbosity(optuna.logging.ERROR)

    @property
    def sweep_id(self) -> str:
        return self.sweep.name

    @property
    def worker_flags(self) -> list[str]:
        return ["--patience", str(self.patience)]

    @property
    def worker_environment(self) -> dict[str, str]:
        """The address, which may hold a password, is not for everybody who can list processes."""
        return {STORAGE_VARIABLE: self.url}

    def start(self) -> None:
        """Queue every run that is neither finished, nor running, nor queued."""
        make_folder(self.sweep.folder)
        with _using(self.url):
            self.study = self._create_study()
            self._check_same_settings()
            self.study.set_user_attr("settings", portable_settings(self.sweep.config))
            optuna.storages.fail_stale_trials(self.study)
            known = {result.name for result in self.results() if result.state != "failed"}
            for values in self.sweep.runs:
                if (name := self.sweep.run_name(values)) not in known:
                    self._queue(name, values)

    def _create_study(self, n_tries: int = 3) -> optuna.Study:
        """The study, new or not. Two machines that start at the same moment may be in each other's way once."""
        try:
            return optuna.create_study(
                study_name=self.sweep.name, storage=self._storage(), direction="minimize", load_if_exists=True
            )
        except (sqlalchemy.exc.DBAPIError, optuna.exceptions.StorageInternalError) as error:
            text = str(error) + str(error.__cause__)
            if n_tries == 1 or not ("already exists" in text or "UNIQUE" in text.upper()):
                raise
            time.sleep(1)
            return self._create_study(n_tries - 1)

    def join(self) -> None:
        """Attach to the study of another worker."""
        with _using(self.url):
            path = sqlalchemy.make_url(self.url).database if self.url.startswith("sqlite") else None
            if path and not Path(path).exists():
                raise UserError(
                    f"no sweep at {path}; give the --storage of start_sweep.py, and its --results_dir if it had one"
                )
            storage = self._storage()
            names = optuna.get_all_study_names(storage)
            if self.sweep.name not in names:
                close = difflib.get_close_matches(self.sweep.name, names, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(names)) or 'none yet'}"
                raise UserError(f"--sweep_id: no sweep {self.sweep.name!r} in {_shown(self.url)}; {hint}")
            self.study = optuna.load_study(study_name=self.sweep.name, storage=storage)
            self._check_same_settings()

    def _check_same_settings(self) -> None:
        before = self.study.user_attrs.get("settings")
        if before is not None and (different := different_settings(before, self.sweep.config)):
            raise UserError(
                f"the sweep {self.sweep.name!r} in {_shown(self.url)} has other settings: {different}; use its settings or "
                "another --sweep_name"
            )

    def _storage(self) -> RDBStorage:
        """The data base, with heartbeats; a run whose worker died is tried again up to three times."""
        return RDBStorage(
            self.url,
            engine_kwargs={"pool_pre_ping": True, "connect_args": _connect_args(self.url)},
            heartbeat_interval=max(1, self.patience // 4),
            grace_period=self.patience,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=3),
        )

    def _queue(self, name: str, values: Mapping[str, Any]) -> None:
        self.study.enqueue_trial({}, user_attrs={"run": name, "values": dict(values)})

    def work(self) -> None:
        """Train queued runs until every run of the sweep is over; wait for those of other workers, in case they die."""
        is_waiting = False
        with _using(self.url):
            while True:
                states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
                if TrialState.WAITING in states:
                    is_waiting = False
                    self._take_one()
                elif TrialState.RUNNING in states:
                    if not is_waiting:
                        log.info("waiting for %d runs of other workers", states.count(TrialState.RUNNING))
                    is_waiting = True
                    time.sleep(min(5, self.patience / 4))
                    optuna.storages.fail_stale_trials(self.study)
                else:
                    return

    def _take_one(self) -> None:
        """Train the next queued run."""
        try:
            self.study.optimize(self._objective, n_trials=1, catch=(Exception,))
        except KeyboardInterrupt:
            if self.interrupted:
                self._queue(*self.interrupted)
            raise
        except ValueError:  # what the run itself raises is caught; Optuna refuses to end a trial that has ended
            log.warning("a run was given to another worker: nothing was heard of this one for %d s", self.patience)
        write_summary(self.sweep.folder, self.results())

    def _objective(self, trial: optuna.Trial) -> float:
        """Train the run of a trial; its test loss."""
        name, values = trial.user_attrs.get("run"), trial.user_attrs.get("values")
        if name is None or self._is_taken(name, trial.number):
            raise optuna.TrialPruned  # another worker was faster: at the last queued run, or at queueing it
        try:
            while RunFolder(self.sweep.folder / name).is_in_use():  # its worker was silent, but is alive
                time.sleep(1)
            result = self.sweep.train(name, values)
        except KeyboardInterrupt:
            self.interrupted = (name, values)
            raise
        except Exception as error:
            report_failure(name, error)
            trial.set_user_attr("error", describe_error(error))
            raise
        trial.set_user_attr("numbers", result.numbers)
        trial.set_user_attr("curves", result.curves)
        # Optuna takes what is not a number for a failure.
        return float(np.nan_to_num(result.numbers[Metric("loss").name]))

    def _is_taken(self, name: str, number: int) -> bool:
        """Whether an earlier trial is about the same run, and was neither given up nor has failed."""
        live = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
        trials = self.study.get_trials(deepcopy=False, states=live)
        return any(other.user_attrs.get("run") == name and other.number < number for other in trials)

    def results(self) -> list[RunResult]:
        """Every run once: its finished trial if it has one, else the one that runs, waits, or failed last."""
        states = {
            TrialState.FAIL: "failed",
            TrialState.WAITING: "waiting",
            TrialState.RUNNING: "running",
            TrialState.COMPLETE: "finished",
        }
        best: dict[str, tuple[int, RunResult]] = {}
        with _using(self.url):
            trials = self.study.get_trials(deepcopy=False)
        for trial in trials:
            attrs = trial.user_attrs
            if trial.state not in states or "run" not in attrs:
                continue
            rank = list(states).index(trial.state)
            error = attrs.get("error", "its workers died") if trial.state == TrialState.FAIL else ""
            result = RunResult(
                attrs["run"],
                attrs["values"],
                states[trial.state],
                attrs.get("numbers", {}),
                attrs.get("curves", {}),
                error,
            )
            if attrs["run"] not in best or rank >= best[attrs["run"]][0]:
                best[attrs["run"]] = (rank, result)
        return sorted((result for _, result in best.values()), key=natural_order)


def _connect_args(url: str) -> dict[str, Any]:
    """How long to wait, in seconds: for a file that another worker is writing to, or for a server."""
    if url.startswith("sqlite"):
        return {"timeout": 60}
    return {"connect_timeout": 10} if url.startswith(("postgresql", "mysql")) else {}


def _shown(url: str) -> str:
    """The address of a data base without its password."""
    return sqlalchemy.make_url(url).set(query={}).render_as_string(hide_password=True)


@contextlib.contextmanager
def _using(url: str) -> Iterator[None]:
    """Turn what a data base raises into one line; heartbeats count as experimental in Optuna, which need not be said."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError):
        raise UserError(
            "--storage: not the address of a data base; write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        ) from None
    except UnboundLocalError:  # how Optuna's own loop ends when the data base stops answering
        raise UserError(
            f"--storage {_shown(url)}: stopped answering; nothing is lost, the same command goes on"
        ) from None
    except ImportError:
        raise UserError(
            f"--storage {_shown(url)}: the driver of this data base is not installed; for PostgreSQL: pip install "
            "'psycopg[binary]'"
        ) from None
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = one_line(error.__cause__ or error)
        raise UserError(
            f"--storage {_shown(url)}: cannot be used ({reason}); check the address and the server"
        ) from error
