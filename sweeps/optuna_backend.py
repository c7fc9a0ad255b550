"""A sweep by Optuna's data base: no account is needed, and any number of machines may take part.

Like wandb_backend.py it offers four things: start (or go on with) a sweep, join one by its id, work until nothing is
left to do, and say how every run stands.
"""

from __future__ import annotations

import json
import logging
import time
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from evaluation.metric_names import Metric
from flags import did_you_mean
from settings.comparing import different_settings, portable_settings
from sweeps.database import Database
from sweeps.definition import Sweep
from sweeps.heartbeats import Heartbeats
from sweeps.request import BackendName
from sweeps.results import RunResult, describe_error, natural_order, report_failure
from sweeps.summary import write_summary
from tracking.run_folder import InUse, RunFolder
from utils import UserError, make_folder

log = logging.getLogger(__name__)

STATES = {
    TrialState.FAIL: "failed",
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "finished",
}
"""How a trial's run stands, the best state last. Pruned trials are about runs that another trial is about too."""


class OptunaSweep:
    """A sweep whose runs are the trials of an Optuna study: any worker that reaches the data base takes part.

    Every run is queued once. Workers send signs of life; the run of a silent one goes back into the queue.
    """

    name: BackendName = "optuna"

    def __init__(self, sweep: Sweep, storage: str | None, patience: int):
        self.sweep = sweep
        self.database = Database(storage) if storage else Database.of_file(sweep.folder / "sweep.db")
        self.patience = patience
        self.storage: RDBStorage
        self.study: optuna.Study
        optuna.logging.set_verbosity(optuna.logging.ERROR)

    @property
    def sweep_id(self) -> str:
        """The name of the study."""
        return self.sweep.name

    def start(self) -> None:
        """Queue every run that is neither finished, nor running, nor queued."""
        make_folder(self.sweep.folder)
        with self.database.asked():
            self.study = self._create_study()
        self._check_same_settings()
        with self.database.asked():
            self.study.set_user_attr("settings", portable_settings(self.sweep.config))
        self._give_up_silent_runs()
        known = {result.name for result in self.results() if result.state != "failed"}
        for values in self.sweep.runs:
            if (name := self.sweep.run_name(values)) not in known:
                known_by = {"run": name, "values": dict(values)}
                with self.database.asked():
                    self.study.enqueue_trial({}, user_attrs=known_by | {"checksum": _checksum(known_by)})

    def _create_study(self, n_tries: int = 3) -> optuna.Study:
        """The study, new or not. Two machines that start at the same moment may be in each other's way once."""
        try:
            self.storage = self.database.open(self.patience)
            return optuna.create_study(
                study_name=self.sweep.name, storage=self.storage, direction="minimize", load_if_exists=True
            )
        except (sqlalchemy.exc.DBAPIError, optuna.exceptions.StorageInternalError) as error:
            text = str(error) + str(error.__cause__)
            if n_tries == 1 or not ("already exists" in text or "UNIQUE" in text.upper()):
                raise
            time.sleep(1)
            return self._create_study(n_tries - 1)

    def join(self) -> None:
        """Attach to the study of another worker."""
        if (file := self.database.file) and not file.exists():
            raise UserError(
                f"no sweep at {file}; give the --storage of start_sweep.py, and its --results_dir if it had one"
            )
        with self.database.asked():
            self.storage = self.database.open(self.patience)
            names = optuna.get_all_study_names(self.storage)
        if self.sweep.name not in names:
            hint = did_you_mean(self.sweep.name, names, otherwise=f"it has {', '.join(sorted(names)) or 'none yet'}")
            raise UserError(f"--sweep_id: no sweep {self.sweep.name!r} in {self.database.shown}; {hint}")
        with self.database.asked():
            self.study = optuna.load_study(study_name=self.sweep.name, storage=self.storage)
        self._check_same_settings()

    def _check_same_settings(self) -> None:
        """The sweep of that name was started with these settings.

        Raises:
            UserError: it has others, or is no sweep.
        """
        with self.database.asked():
            before, directions = self.study.user_attrs.get("settings"), self.study.directions
        if directions != [StudyDirection.MINIMIZE] or not isinstance(before, dict | None):
            raise UserError(
                f"{self.sweep.name!r} in {self.database.shown} is not a sweep; use another --sweep_name or --storage"
            )
        if before is not None and (different := different_settings(before, self.sweep.config)):
            raise UserError(
                f"the sweep {self.sweep.name!r} in {self.database.shown} has other settings: {different}; use its "
                "settings or another --sweep_name"
            )

    # --- the queue

    def work(self) -> None:
        """Train queued runs until every run of the sweep is over; wait for those of other workers, in case they die."""
        is_waiting = False
        while unfinished := self._trials(TrialState.WAITING, TrialState.RUNNING):
            if trial := self._claim():
                self._train(trial)
            else:
                if not is_waiting:
                    log.info("waiting for %d runs of other workers", len(unfinished))
                time.sleep(min(5, self.patience / 4))
                self._give_up_silent_runs()
            is_waiting = trial is None

    def _claim(self) -> FrozenTrial | None:
        """A queued trial that is this worker's alone from now on; None where there is none."""
        self._give_up_silent_runs()
        for trial in self._trials(TrialState.WAITING):
            with self.database.asked():
                self.storage.record_heartbeat(self._id(trial))  # before: a worker that dies at once is missed too
                try:
                    is_ours = self.storage.set_trial_state_values(self._id(trial), TrialState.RUNNING)
                except UpdateFinishedTrialError:  # another was faster in all of it
                    is_ours = False
            if is_ours:
                return trial
        return None

    def _train(self, trial: FrozenTrial) -> None:
        """Train the run of a claimed trial, and note how it ended."""
        name, values = trial.user_attrs["run"], trial.user_attrs["values"]
        if self._is_taken(name, trial.number):  # it was queued twice, by machines that started at the same moment
            self._end(trial, TrialState.PRUNED)
            return
        try:
            with Heartbeats(lambda: self.storage.record_heartbeat(self._id(trial)), self._beat_seconds) as heartbeats:
                result = self._train_alone(name, values)
        except KeyboardInterrupt:
            self._end(trial, TrialState.WAITING)
            raise
        except Exception as error:
            report_failure(name, error)
            result = RunResult(name, values, "failed", error=describe_error(error))
        if not self._note(trial, result):
            log.warning(
                "%s: another worker has taken it up, as nothing was heard of this one for %.0f s",
                name,
                heartbeats.silence,
            )
        write_summary(self.sweep.folder, self.results())

    def _train_alone(self, name: str, values: Mapping[str, Any]) -> RunResult:
        """Train the run; where another process has its folder, when that one lets go of it."""
        is_waiting = False
        while True:
            while RunFolder(self.sweep.folder / name).is_in_use():
                if not is_waiting:
                    log.info("%s is in use by another process; waiting", name)
                is_waiting = True
                time.sleep(1)
            try:
                return self.sweep.train(name, values)
            except InUse:
                continue

    def _note(self, trial: FrozenTrial, result: RunResult) -> bool:
        """Write the result of a trial into the data base; whether it was still this worker's."""
        if result.state == "failed":
            return self._end(trial, TrialState.FAIL, {"error": result.error})
        loss = float(np.nan_to_num(result.numbers[Metric("loss").name]))  # data bases know no nan
        found = {"numbers": result.numbers, "curves": result.curves}
        return self._end(trial, TrialState.COMPLETE, found | {"checksum_found": _checksum(found)}, [loss])

    def _end(
        self,
        trial: FrozenTrial,
        state: TrialState,
        attributes: Mapping[str, Any] | None = None,
        losses: list[float] | None = None,
    ) -> bool:
        """Let go of a trial in this state; whether it was still this worker's."""
        with self.database.asked():
            try:
                for key, value in (attributes or {}).items():
                    self.storage.set_trial_user_attr(self._id(trial), key, value)
                return self.storage.set_trial_state_values(self._id(trial), state, losses)
            except UpdateFinishedTrialError:  # it was given up
                return False

    def _is_taken(self, name: str, number: int) -> bool:
        """Whether an earlier trial is about the same run, and was neither given up nor has failed."""
        live = self._trials(TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
        return any(other.user_attrs["run"] == name and other.number < number for other in live)

    def _give_up_silent_runs(self) -> None:
        """Put the runs of workers that are not heard of any more back into the queue."""
        with self.database.asked():
            optuna.storages.fail_stale_trials(self.study)

    @property
    def _beat_seconds(self) -> float:
        """Time between two signs of life; it does not depend on this worker's patience alone, as others have theirs."""
        return min(10, max(1, self.patience / 4))

    def _id(self, trial: FrozenTrial) -> int:
        """The data base's number of a trial."""
        study = self.storage.get_study_id_from_name(self.sweep.name)
        return self.storage.get_trial_id_from_study_id_trial_number(study, trial.number)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in these states that are about a run.

        Raises:
            UserError: the data base cannot be used, or what it says of a run is not what was written.
        """
        with self.database.asked():
            trials = self.study.get_trials(deepcopy=False, states=states)
        for trial in trials:
            if not _is_whole(trial.user_attrs):
                raise UserError(
                    f"--storage {self.database.shown}: damaged, run {trial.number} does not have its checksum; put a "
                    "copy in its place, or use another --sweep_name"
                )
        return [trial for trial in trials if isinstance(trial.user_attrs.get("values"), dict)]

    def results(self) -> list[RunResult]:
        """Every run once: its finished trial if it has one, else the one that runs, waits, or failed last."""
        best: dict[str, FrozenTrial] = {}
        ranks = list(STATES)
        for trial in self._trials(*STATES):
            before = best.setdefault(trial.user_attrs["run"], trial)
            if ranks.index(trial.state) >= ranks.index(before.state):
                best[trial.user_attrs["run"]] = trial
        return sorted(map(_result, best.values()), key=natural_order)


def _checksum(attributes: Mapping[str, Any]) -> int:
    """Sum up attributes as a data base gives them back."""
    return zlib.crc32(json.dumps(attributes).encode())


def _is_whole(found: Mapping[str, Any]) -> bool:
    """Whether the attributes of a trial have their checksums; earlier versions wrote none."""
    parts = {"checksum": ("run", "values"), "checksum_found": ("numbers", "curves")}
    return all(
        found[name] == _checksum({key: found.get(key) for key in keys}) for name, keys in parts.items() if name in found
    )


def _result(trial: FrozenTrial) -> RunResult:
    """How the run of a trial stands."""
    found = trial.user_attrs
    error = found.get("error", "its workers died") if trial.state == TrialState.FAIL else ""
    numbers, curves = found.get("numbers", {}), found.get("curves", {})
    return RunResult(found["run"], found["values"], STATES[trial.state], numbers, curves, error)
