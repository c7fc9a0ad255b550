"""What a sweep is: runs of train.py that differ in the seed or in other settings.

A sweep owns `results/<sweep name>/`: a run's folder for each run, summary.csv and the stability figures. Which worker
takes which run is the business of optuna_backend.py or wandb_backend.py.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

import train
from config import Config, file_settings, read_settings, resolve
from datasets import load_dataset
from settings.unread import unread_settings
from sweeps.request import BackendName
from sweeps.results import RunResult, read_result
from sweeps.variation import PAPER_SEEDS, Variation, read_variation
from utils import UserError, resolve_device, shown

log = logging.getLogger(__name__)

OF_THE_WHOLE_SWEEP = ("config_args_path", "run_name", "results_dir", "overwrite", "dry_run")
"""Settings that cannot differ between its runs."""


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep. Nothing is read before it is asked for; check_sweep looks at every run."""

    settings: Mapping[str, Any]
    """Raw values of the settings that hold for every run, as flags name them."""
    variation: Variation
    chosen_name: str | None = None
    """Name of the sweep; by default <configuration or dataset>_sweep."""

    @cached_property
    def _file(self) -> dict[str, Any]:
        """The settings of the file that config_args_path names."""
        return file_settings(self.settings)

    @cached_property
    def config(self) -> Config:
        """The settings that the runs share."""
        return resolve(self._file, self.settings, {})

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        """The chosen values of every run."""
        return self.variation.runs()

    @property
    def name(self) -> str:
        """What the folder and, with Optuna, the study are called."""
        return self.chosen_name or f"{self.config.origin}_sweep"

    @property
    def folder(self) -> Path:
        """Where the sweep's files are."""
        return Path(self.config.results_dir) / self.name

    def run_name(self, values: Mapping[str, Any]) -> str:
        """<configuration>_<setting>_<value>_..._seed<seed>: a name for a folder."""
        words = [self.config.origin] + [f"{key}_{value}" for key, value in values.items() if key != "seed"]
        return f"{file_name(words)}_seed{values.get('seed', self.config.seed)}"

    def run_config(self, values: Mapping[str, Any]) -> Config:
        """All settings of the run with these values, but for its name and folder."""
        return resolve(self._file, self.settings, values)

    def train(self, name: str, values: Mapping[str, Any]) -> RunResult:
        """Train the run of that name, or go on with it, in this process.

        Raises:
            KeyboardInterrupt: it was interrupted, and the state is saved.
            Exception: whatever training raised.
        """
        place = {"results_dir": str(self.folder), "run_name": name}
        if train.train(resolve(self._file, {**self.settings, **place}, values)) == train.INTERRUPTED:
            raise KeyboardInterrupt
        return read_result(self.folder / name, values)


class Backend(Protocol):
    """Who shares out the runs of a sweep."""

    name: BackendName
    """As --backend has it."""
    sweep: Sweep

    @property
    def sweep_id(self) -> str:
        """How others name the sweep to join it; once it is started or joined."""

    def start(self) -> None:
        """Create the sweep, or go on with it: what has failed gets another try."""

    def join(self) -> None:
        """Attach to a sweep that was started elsewhere."""

    def work(self) -> None:
        """Train runs until none is left."""

    def results(self) -> list[RunResult]:
        """How every run stands."""


def define_sweep(
    settings: Mapping[str, Any],
    seeds: Sequence[int] | None = None,
    sweep_config: str | None = None,
    name: str | None = None,
) -> Sweep:
    """A sweep, checked: of a file in wandb's format, of seeds, or of both; of the paper's ten seeds by default.

    Args:
        settings: raw values of what holds for every run, as flags name them.
        seeds: seeds to train; None for those of the file, or the paper's.
        sweep_config: a file of parameters in wandb's format.
        name: name of the sweep and of its folder.

    Raises:
        UserError: the file is not a sweep, a run has settings that cannot work, or there is none.
    """
    variation = read_variation(sweep_config) if sweep_config else Variation()
    if seeds is not None or not sweep_config:
        chosen = {"seed": {"values": list(PAPER_SEEDS if seeds is None else seeds)}}
        variation = replace(variation, parameters={**variation.parameters, **chosen})
    sweep = Sweep(settings, variation, name)
    check_sweep(sweep)
    if not sweep.runs:
        raise UserError(f"{sweep_config or '--seeds'}: no runs; name at least one parameter with at least one value")
    return sweep


def check_sweep(sweep: Sweep) -> None:
    """The sweep's name, what it varies and every run are as they should be: before any of them trains.

    Raises:
        UserError: something is not.
    """
    check_name(sweep)
    for key in sweep.variation.parameters:
        if key in OF_THE_WHOLE_SWEEP:
            raise UserError(
                f"sweep parameter {key!r}: belongs to the sweep as a whole, give --{key} as a flag or not at all"
            )
    if fixed := [key for key in sweep.settings if key in sweep.variation.parameters]:
        hint = "write --seeds 3 for seed 3 alone" if fixed == ["seed"] else "leave out the flag"
        raise UserError(f"--{fixed[0]}: is what this sweep varies; {hint}")
    _check_runs(sweep)


def check_name(sweep: Sweep) -> None:
    """Sweep and runs have names that folders can have, and nothing is deleted.

    Raises:
        UserError: a flag stands against it.
    """
    if sweep.config.run_name:
        raise UserError("--run_name: a sweep names its runs itself; --sweep_name names the sweep")
    if sweep.config.overwrite:
        raise UserError(
            f"--overwrite: a sweep resumes; to train a failed run from its start, delete its folder in {sweep.folder}; "
            "to train all anew, choose another --sweep_name"
        )
    if sweep.chosen_name and not re.fullmatch(r"\w[\w.-]*", sweep.chosen_name):
        raise UserError(f"--sweep_name {shown(sweep.chosen_name)}: must be letters, digits, '_', '.' and '-'")


def _check_runs(sweep: Sweep) -> None:
    """Every run has settings that can work, and differs from the others in its settings and its name.

    Raises:
        UserError: two are the same, or one cannot work.
    """
    seen: dict[str, Mapping[str, Any]] = {}
    unread = dict.fromkeys(sweep.settings, "")
    for values in sweep.runs:
        config, name = sweep.run_config(values), sweep.run_name(values)
        unread = {key: reason for key, reason in unread_settings(config).items() if key in unread}
        settings, read = repr(config), repr(read_settings(config))
        if settings in seen:
            raise UserError(f"the sweep has the same run twice: {shown(seen[settings])} and {shown(values)}")
        if name in seen:
            raise UserError(f"two runs of the sweep would be called {name}: {shown(seen[name])} and {shown(values)}")
        if read in seen:
            log.warning(
                "%s and %s will be the same run: such a run does not read what differs",
                shown(seen[read]),
                shown(values),
            )
        seen |= {settings: values, name: values, read: values}
    for key, reason in unread.items() if sweep.runs else ():
        log.warning("--%s has no effect: %s", key, reason)


def check_machine(sweep: Sweep) -> None:
    """This machine has the device and the data, by the first run's settings: before it takes any run.

    Raises:
        UserError: it has not.
    """
    config = sweep.run_config(sweep.runs[0] if sweep.runs else {})
    resolve_device(config.device)
    load_dataset(config, torch.device("cpu"))


def file_name(words: Sequence[str]) -> str:
    """Words as part of a file's name, of 120 characters at most."""
    text = re.sub(r"[^\w.-]+", "-", "_".join(words))
    return text if len(text) <= 120 else f"{text[:110]}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
