"""Who trains which run of a sweep: Optuna's data base (no account needed), or Weights & Biases.

Both backends offer the same four things: start (or go on with) a sweep, join one by its id, work until nothing is left to do,
and say how every run stands.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import logging
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
import yaml
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from config import different_settings, portable_settings
from sweep_summary import write_summary
from sweeps import RunResult, Sweep, describe_error, read_result
from tracking import InUse, RunFolder, log_in, resolve_wandb_mode, wandb_settings
from utils import UserError, make_folder, write_atomically

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
            _report_failure(name, error)
            trial.set_user_attr("error", describe_error(error))
            raise
        trial.set_user_attr("numbers", result.numbers)
        trial.set_user_attr("curves", result.curves)
        # Optuna takes what is not a number for a failure.
        return float(np.nan_to_num(result.numbers["test_metric/loss"]))

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
        return sorted((result for _, result in best.values()), key=_natural_order)


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
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise UserError(
            f"--storage {_shown(url)}: cannot be used ({reason}); check the address and the server"
        ) from error


class WandbSweep:
    """A sweep of Weights & Biases: its server hands the runs out, this machine's agent trains them.

    How the runs of this folder stand is kept in `<run>/sweep_run.json`, since the server does not say which have failed here.
    """

    name = "wandb"
    RECORD = "wandb_sweep.yml"

    def __init__(self, sweep: Sweep, sweep_id: str | None):
        self.sweep = sweep
        self.sweep_id = sweep_id
        self.is_interrupted = False
        self.record = sweep.folder / self.RECORD
        settings = wandb_settings()
        self.place = {"entity": settings.get("team_name"), "project": settings.get("project_name") or "mfcvae"}
        if sweep.config.wandb_mode == "disabled":
            raise UserError("--wandb_mode disabled: wandb cannot share out runs without it; use --backend optuna")

    @property
    def worker_flags(self) -> list[str]:
        return ["--sweep_name", self.sweep.name]

    @property
    def worker_environment(self) -> dict[str, str]:
        return {}

    def start(self) -> None:
        """Create the sweep on the server, or go on with the one that this folder knows; failed runs get another try."""
        import wandb

        log_in(self.sweep.config, wandb_settings())
        make_folder(self.sweep.folder)
        content = {
            "parameters": self.sweep.parameters,
            "method": self.sweep.method,
            "run_cap": self.sweep.run_cap,
            "settings": portable_settings(self.sweep.config),
        }
        if self.record.exists():
            before = yaml.safe_load(self.record.read_text())
            different = [key for key in ("parameters", "method", "run_cap") if before[key] != content[key]]
            different += [text] if (text := different_settings(before["settings"], self.sweep.config)) else []
            if different:
                raise UserError(
                    f"{self.sweep.folder} holds a wandb sweep with other settings: {', '.join(different)}; a wandb sweep "
                    "cannot be changed, use another --sweep_name"
                )
            self.sweep_id = before["sweep_id"]
            self._forget_failures()
            return
        definition = {
            "name": self.sweep.name,
            "method": self.sweep.method,
            "metric": {"name": "test_metric/facet_acc_max", "goal": "maximize"},
            "parameters": self.sweep.parameters,
        } | ({"run_cap": self.sweep.run_cap} if self.sweep.run_cap else {})
        try:
            self.sweep_id = wandb.sweep(definition, **self.place)
        except Exception as error:  # refused, out of reach, or no such team: wandb raises errors of many kinds
            raise UserError(
                f"wandb did not create the sweep ({describe_error(error)}); check configs/wandb.yml"
            ) from error
        text = yaml.safe_dump(content | {"sweep_id": self.sweep_id}, sort_keys=False)
        write_atomically(self.record, lambda path: path.write_text(text))

    def join(self) -> None:
        """Nothing to do before the agent asks the server for a run."""
        make_folder(self.sweep.folder)

    def work(self) -> None:
        """Finish the runs of this folder that were cut off, then train what the server hands out until it has no more."""
        import wandb

        log_in(self.sweep.config, wandb_settings())
        for result in self.results():
            if result.state == "interrupted":
                self._train(result.values)
        os.environ.setdefault("WANDB_DIR", str(self.sweep.folder))
        try:
            wandb.agent(self.sweep_id, function=self._run_of_agent, **self.place)
        except Exception as error:
            raise UserError(
                f"--sweep_id {self.sweep_id}: wandb's server does not hand out its runs ({describe_error(error)}); check the "
                "id, and team_name and project_name in configs/wandb.yml"
            ) from error
        if self.is_interrupted:
            raise KeyboardInterrupt

    def _run_of_agent(self) -> None:
        """What the agent calls for each run. It must not raise: after three failures the agent would give up the sweep."""
        import wandb

        mode = resolve_wandb_mode(self.sweep.config, wandb_settings())
        try:
            run = wandb.init(mode=mode, dir=self.sweep.folder, settings=wandb.Settings(silent=True, console="off"))
        except Exception as error:  # refused, or out of reach: wandb raises errors of many kinds
            _report_failure("wandb.init", error)
            return
        self._train({key: value for key, value in dict(run.config).items() if not key.startswith("_")})

    def _train(self, values: Mapping[str, Any]) -> None:
        """Train one run and note how it ended, here and on the server."""
        import wandb

        name = self.sweep.run_name(values)
        self._note(RunResult(name, dict(values), "running"))
        try:
            result = self.sweep.train(name, values)
        except InUse:  # another worker goes on with it, and will say how it ended
            return
        except Exception as error:
            if type(error) is Exception:  # how the agent stops a run at Ctrl-C; the next start goes on with it
                self.is_interrupted = True
                return
            _report_failure(name, error)
            result = RunResult(name, dict(values), "failed", error=describe_error(error))
            wandb.finish(exit_code=1)
        self._note(result)
        write_summary(self.sweep.folder, self.results())

    def _note(self, result: RunResult) -> None:
        """Write how a run stands beside its files."""
        path = make_folder(self.sweep.folder / result.name) / "sweep_run.json"
        write_atomically(path, lambda to: to.write_text(json.dumps(result._replace(numbers={}, curves={})._asdict())))

    def _forget_failures(self) -> None:
        for result in self.results():
            if result.state == "failed":
                self._note(result._replace(state="running", error=""))

    def results(self) -> list[RunResult]:
        """Every run that this folder knows. Runs of machines that do not share it are on wandb's page only."""
        known = {}
        for path in self.sweep.folder.glob("*/sweep_run.json"):
            result = RunResult(**json.loads(path.read_text()))
            if result.state == "finished":
                result = read_result(path.parent, result.values)
            elif result.state == "running" and not RunFolder(path.parent).is_in_use():
                result = result._replace(state="interrupted")
            known[result.name] = result
        for values in self.sweep.runs if self.sweep.method == "grid" else []:
            name = self.sweep.run_name(values)
            known.setdefault(name, RunResult(name, values, "waiting"))
        return sorted(known.values(), key=_natural_order)


def _natural_order(result: RunResult) -> list[Any]:
    """seed10 after seed9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", result.name)]


def _report_failure(name: str, error: Exception) -> None:
    """Say on the console what went wrong; a defect with its traceback."""
    if not isinstance(error, UserError):
        traceback.print_exception(error)
    print(f"error: {name}: {describe_error(error)}", file=sys.stderr, flush=True)
