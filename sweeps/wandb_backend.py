"""A sweep of Weights & Biases: its server shares the runs out. It offers the same four things as optuna_backend.py."""

from __future__ import annotations

from interrupts import is_interruption

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from evaluation.metric_names import Metric
from settings.comparing import different_settings, portable_settings
from settings.yaml_files import YamlError, read_yaml
from sweeps.definition import Sweep
from sweeps.request import BackendName
from sweeps.results import RunResult, describe_error, natural_order, read_result, report_failure
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
from utils import UserError, make_folder, one_line, sealed, unsealed, write_atomically


class WandbSweep:
    """A sweep of Weights & Biases: its server hands the runs out, this machine's agent trains them.

    How the runs of this folder stand is kept in `<run>/sweep_run.json`, since the server does not say which have failed
    here.
    """

    name: BackendName = "wandb"
    RECORD = "wandb_sweep.yml"
    """File in the sweep's folder that says which sweep of the server it belongs to."""

    def __init__(self, sweep: Sweep, sweep_id: str = ""):
        self.sweep = sweep
        self.sweep_id = sweep_id
        self.is_interrupted = False
        self.place = team_and_project(wandb_settings())
        if requested_mode(sweep.config) == "disabled":
            raise UserError("--wandb_mode disabled (or WANDB_MODE): wandb cannot share out runs; use --backend optuna")

    @property
    def _record(self) -> Path:
        return self.sweep.folder / self.RECORD

    def start(self) -> None:
        """Create the sweep on the server, or go on with the one that this folder knows; what failed is tried again."""
        log_in(self.sweep.config, wandb_settings())
        make_folder(self.sweep.folder)
        if self._record.exists():
            self._go_on()
            return
        self.sweep_id = self._create()
        text = yaml.safe_dump(self._content() | {"sweep_id": self.sweep_id}, sort_keys=False)
        write_atomically(self._record, lambda path: path.write_text(text))

    def _content(self) -> dict[str, Any]:
        """What has to be the same whenever the sweep goes on."""
        return self._varied() | {"settings": portable_settings(self.sweep.config)}

    def _varied(self) -> dict[str, Any]:
        """What the sweep varies, in wandb's format."""
        variation = self.sweep.variation
        return {
            "parameters": {key: dict(parameter) for key, parameter in variation.parameters.items()},
            "method": variation.method,
            "run_cap": variation.run_cap,
        }

    def _go_on(self) -> None:
        """Take up the sweep of this folder.

        Raises:
            UserError: it has other settings.
        """
        before = self._read_record()
        different = [key for key, value in self._varied().items() if before[key] != value]
        different += [text] if (text := different_settings(before["settings"], self.sweep.config)) else []
        if different:
            raise UserError(
                f"{self.sweep.folder} holds a wandb sweep with other settings: {', '.join(different)}; a wandb sweep "
                "cannot be changed, use another --sweep_name"
            )
        self.sweep_id = before["sweep_id"]
        for result in self.results():
            if result.state == "failed":
                self._note(result._replace(state="running", error=""))

    def _read_record(self) -> dict[str, Any]:
        """What start wrote down.

        Raises:
            UserError: it is not that any more.
        """
        try:
            before = read_yaml(self._record)
        except (OSError, YamlError) as error:
            raise UserError(f"cannot read {self._record}: {one_line(error)}; use another --sweep_name") from None
        if not isinstance(before, dict) or not {*self._varied(), "settings", "sweep_id"} <= before.keys():
            raise UserError(f"{self._record} is not the record of a wandb sweep; use another --sweep_name")
        return before

    def _create(self) -> str:
        """Have the server make the sweep; its id there."""
        import wandb

        metric = {"name": Metric("facet_acc_max").name, "goal": "maximize"}
        definition = {"name": self.sweep.name, "metric": metric}
        definition |= {key: value for key, value in self._varied().items() if value is not None}
        try:
            return wandb.sweep(definition, **self.place)
        except Exception as error:  # refused, out of reach, or no such team: wandb raises errors of many kinds
            reason = describe_error(error)
            raise UserError(f"wandb did not create the sweep ({reason}); check configs/wandb.yml") from error

    def join(self) -> None:
        """Make the folder; nothing else is needed before the agent asks the server for a run."""
        make_folder(self.sweep.folder)

    def work(self) -> None:
        """Finish this folder's runs that were cut off, then train what the server hands out until it has no more."""
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
                f"--sweep_id {self.sweep_id}: wandb's server does not hand out its runs ({describe_error(error)}); "
                "check the id, and team_name and project_name in configs/wandb.yml"
            ) from error
        if self.is_interrupted:
            raise KeyboardInterrupt

    def _run_of_agent(self) -> None:
        """Train what the server chose; called by the agent for each run.

        It must not raise: after three failures the agent would give up the sweep.
        """
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
        write_atomically(path, lambda to: to.write_text(sealed(result._replace(numbers={}, curves={})._asdict())))

    def results(self) -> list[RunResult]:
        """Every run that this folder knows. Runs of machines that do not share it are on wandb's page only."""
        known = {}
        for path in self.sweep.folder.glob("*/sweep_run.json"):
            result = _noted(path)
            if result.state == "finished":
                result = read_result(path.parent, result.values)
            elif result.state == "running" and not RunFolder(path.parent).is_in_use():
                result = result._replace(state="interrupted")
            known[result.name] = result
        for values in self.sweep.runs if self.sweep.variation.method == "grid" else []:
            name = self.sweep.run_name(values)
            known.setdefault(name, RunResult(name, values, "waiting"))
        return sorted(known.values(), key=natural_order)


def _noted(path: Path) -> RunResult:
    """How a run stands by its sweep_run.json.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return TypeAdapter(RunResult).validate_python(unsealed(path.read_bytes()), strict=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({one_line(error)}); delete it, and the run goes on when the server hands it out"
        ) from None
