"""A sweep of Weights & Biases: its server shares the runs out. It offers the same four things as optuna_backend.py."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import yaml

from config import different_settings, portable_settings
from evaluation.metric_names import Metric
from interrupts import is_interruption
from settings.yaml_files import read_yaml
from sweeps.definition import RunResult, Sweep, describe_error, natural_order, read_result, report_failure
from sweeps.summary import write_summary
from tracking.run_folder import InUse, RunFolder
from tracking.weights_and_biases import (
    log_in,
    quiet_settings,
    requested_mode,
    resolve_wandb_mode,
    team_and_project,
    wandb_settings,
)
from utils import UserError, make_folder, write_atomically


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
        self.place = team_and_project(wandb_settings())
        if requested_mode(sweep.config) == "disabled":
            raise UserError("--wandb_mode disabled (or WANDB_MODE): wandb cannot share out runs; use --backend optuna")

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
            before = read_yaml(self.record)
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
            "metric": {"name": Metric("facet_acc_max").name, "goal": "maximize"},
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
            run = wandb.init(mode=mode, dir=self.sweep.folder, settings=quiet_settings())
        except Exception as error:  # refused, or out of reach: wandb raises errors of many kinds
            report_failure("wandb.init", error)
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
            if is_interruption(error):  # the next start goes on with it
                self.is_interrupted = True
                return
            report_failure(name, error)
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
        return sorted(known.values(), key=natural_order)
