"""What a sweep is: runs of train.py that differ in the seed or in other settings, and the result of each.

A sweep owns `results/<sweep name>/`: a run's folder for each run, summary.csv and the stability figures. Which worker takes
which run is the business of optuna_backend.py or wandb_backend.py.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import train
from config import Config, load_config, parse_flags, read_settings
from datasets import load_dataset
from evaluation.metric_names import SCORES, Metric, metrics_in
from settings.yaml_files import read_yaml
from tracking.run_folder import RunFolder
from utils import UserError, one_line, resolve_device, shown

log = logging.getLogger(__name__)

PAPER_SEEDS = list(range(10))
OF_THE_SWEEP = ("config_args_path", "run_name", "results_dir", "overwrite", "dry_run")  # cannot differ between its runs
DISTRIBUTIONS = ("uniform", "int_uniform", "log_uniform_values")


class RunResult(NamedTuple):
    """One run of a sweep as its backend knows it."""

    name: str
    values: dict[str, Any]
    """The settings that the sweep chose for this run."""
    state: str
    """waiting, running, failed or finished; with wandb also interrupted."""
    numbers: dict[str, float] = {}
    """The metrics of the last epoch; empty unless finished."""
    curves: dict[str, list[list[float]]] = {}
    """Label -> [epoch, best accuracy of a facet] of every epoch; 'loss' where there are no labels."""
    error: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep. Every one is checked when the sweep is made, before any of them trains."""

    argv: tuple[str, ...]
    """Flags of train.py that hold for every run."""
    method: str
    """grid or random."""
    parameters: dict[str, dict[str, Any]]
    """What varies, in wandb's format."""
    run_cap: int | None
    """Number of runs of a random sweep; an upper limit for a grid."""
    chosen_name: str | None = None
    """Name of the sweep; by default <configuration or dataset>_sweep."""

    def __post_init__(self) -> None:
        if self.config.run_name:
            raise UserError("--run_name: a sweep names its runs itself; --sweep_name names the sweep")
        if self.config.overwrite:
            raise UserError(
                f"--overwrite: a sweep resumes; to train a failed run from its start, delete its folder in {self.folder}; "
                "to train all anew, choose another --sweep_name"
            )
        if self.chosen_name and not re.fullmatch(r"\w[\w.-]*", self.chosen_name):
            raise UserError(f"--sweep_name {self.chosen_name!r}: must be letters, digits, '_', '.' and '-'")
        for key in self.parameters:
            if key in OF_THE_SWEEP:
                raise UserError(
                    f"sweep parameter {key!r}: belongs to the sweep as a whole, give --{key} as a flag or not at all"
                )
        if fixed := [key for key in parse_flags(self.argv) if key in self.parameters]:
            hint = "write --seeds 3 for seed 3 alone" if fixed == ["seed"] else "leave out the flag"
            raise UserError(f"--{fixed[0]}: is what this sweep varies; {hint}")
        seen: dict[str, dict[str, Any]] = {}
        for values in self.runs:
            config, name = load_config(self.argv, values), self.run_name(values)
            settings, read = repr(config), repr(read_settings(config))
            if settings in seen:
                raise UserError(f"the sweep has the same run twice: {seen[settings]} and {values}")
            if name in seen:
                raise UserError(f"two runs of the sweep would be called {name}: {seen[name]} and {values}")
            if read in seen:
                log.warning("%s and %s will be the same run: such a run does not read what differs", seen[read], values)
            seen |= {settings: values, name: values, read: values}

    @cached_property
    def config(self) -> Config:
        """The settings that the runs share."""
        return load_config(self.argv)

    @property
    def name(self) -> str:
        return self.chosen_name or f"{self.config.origin}_sweep"

    @property
    def folder(self) -> Path:
        return Path(self.config.results_dir) / self.name

    def check_machine(self) -> None:
        """Whether this machine has the device and the data, by the first run's settings: before it takes any run."""
        config = load_config(self.argv, self.runs[0] if self.runs else None)
        resolve_device(config.device)
        load_dataset(config, torch.device("cpu"))

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        """The chosen values of every run: all combinations, or run_cap different draws that are the same each time."""
        if not self.parameters:
            return []
        if self.method == "grid":
            options = [_options(key, parameter) for key, parameter in self.parameters.items()]
            rows = [dict(zip(self.parameters, row, strict=True)) for row in itertools.product(*options)]
            return rows[: self.run_cap]
        rng = np.random.default_rng(0)
        rows = []
        for _ in range(100 * self.run_cap):
            row = {key: _draw(key, parameter, rng) for key, parameter in self.parameters.items()}
            rows += [row] if row not in rows else []
            if len(rows) == self.run_cap:
                return rows
        raise UserError(f"run_cap {self.run_cap}: the parameters allow about {len(rows)} different runs only")

    def run_name(self, values: Mapping[str, Any]) -> str:
        """<configuration>_<setting>_<value>_..._seed<seed>: a name for a folder."""
        words = [self.config.origin] + [f"{key}_{value}" for key, value in values.items() if key != "seed"]
        return f"{file_name(words)}_seed{values.get('seed', self.config.seed)}"

    def train(self, name: str, values: Mapping[str, Any]) -> RunResult:
        """Train the run of that name, or go on with it, in this process.

        Raises:
            KeyboardInterrupt: it was interrupted, and the state is saved.
            Exception: whatever training raised.
        """
        argv = [*self.argv, "--results_dir", str(self.folder), "--run_name", name]
        if train.main(argv, values) == train.INTERRUPTED:
            raise KeyboardInterrupt
        return read_result(self.folder / name, values)


def file_name(words: Sequence[str]) -> str:
    """Words as part of a file's name, of 120 characters at most."""
    text = re.sub(r"[^\w.-]+", "-", "_".join(words))
    return text if len(text) <= 120 else f"{text[:110]}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def read_result(folder: Path, values: Mapping[str, Any]) -> RunResult:
    """The result of a run that has trained to its end."""
    rows = RunFolder(folder).read_metrics()
    return RunResult(folder.name, dict(values), "finished", rows[-1], accuracy_curves(rows))


def accuracy_curves(rows: Sequence[Mapping[str, float]]) -> dict[str, list[list[float]]]:
    """Logged epochs -> label -> [epoch, accuracy of the best facet]; the test loss under 'loss' where none is labelled."""
    curves = {
        label: [[row["epoch"], round(best_facet(row, label)["accuracy"], 5)] for row in rows if label in scored(row)]
        for label in scored(rows[-1])
    }
    loss = Metric("loss").name
    return curves or {"loss": [[row["epoch"], row[loss]] for row in rows if loss in row]}


def scored(row: Mapping[str, float]) -> list[str]:
    """The labels that an epoch was evaluated against, in alphabetical order."""
    found = {metric.label for metric in metrics_in(row) if metric.split == "test" and metric.kind == "accuracy"}
    return sorted(label for label in found if label is not None)


def best_facet(row: Mapping[str, float], label: str) -> dict[str, float]:
    """The scores (accuracy, nmi, ...) of the facet with the highest accuracy for a label."""
    facets: dict[int | None, dict[str, float]] = {}
    for metric, value in metrics_in(row).items():
        if metric.split == "test" and metric.label == label and metric.kind in SCORES:
            facets.setdefault(metric.facet, {})[metric.kind] = value
    return max(facets.values(), key=lambda scores: scores["accuracy"])


# --- from flags to a sweep


def define_sweep(argv: Sequence[str], seeds: Sequence[int] | None, sweep_config: str | None, name: str | None) -> Sweep:
    """The sweep of a command line: a file in wandb's format, seeds, or both; the paper's ten seeds by default.

    Raises:
        UserError: the file is not a sweep, a parameter is not a setting, or the grid is empty.
    """
    content = _read_sweep_config(sweep_config) if sweep_config else {}
    parameters = dict(content.get("parameters") or {})
    if seeds is not None or not sweep_config:
        parameters["seed"] = {"values": list(PAPER_SEEDS if seeds is None else seeds)}
    sweep = Sweep(tuple(argv), content.get("method", "grid"), parameters, content.get("run_cap"), name)
    if not sweep.runs:
        raise UserError(f"{sweep_config or '--seeds'}: no runs; name at least one parameter with at least one value")
    return sweep


def _read_sweep_config(path: str) -> dict[str, Any]:
    """A sweep.yml: method, parameters and, for random, run_cap. What only wandb's site uses (name, metric) is ignored."""
    try:
        content = read_yaml(path)
    except (OSError, ValueError) as error:
        raise UserError(f"sweep_config = {path!r}: cannot be read as YAML ({one_line(error)})") from None
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise UserError(f"sweep_config = {path!r}: needs 'parameters:' with settings below it, as in wandb's sweeps")
    method, run_cap = content.get("method", "grid"), content.get("run_cap")
    if method not in ("grid", "random"):
        raise UserError(f"sweep_config = {path!r}: method {shown(method)} is not known; use grid or random")
    if run_cap is not None and not (type(run_cap) is int and run_cap >= 1):
        raise UserError(f"sweep_config = {path!r}: run_cap {shown(run_cap)} must be a whole number of at least 1")
    if method == "random" and run_cap is None:
        raise UserError(f"sweep_config = {path!r}: method random needs run_cap, the number of runs")
    for key, parameter in content["parameters"].items():
        if not isinstance(key, str):
            raise UserError(f"sweep_config = {path!r}: parameter {shown(key)} must be the name of a setting")
        if not isinstance(parameter, dict):
            raise UserError(
                f"sweep_config = {path!r}: parameter {shown(key)} must be 'value: ...', 'values: [...]' or 'min: ... max: ...'"
            )
    return content


def _options(key: str, parameter: Mapping[str, Any]) -> list[Any]:
    """All values of a parameter of a grid."""
    if "value" in parameter:
        return [parameter["value"]]
    if isinstance(parameter.get("values"), list):
        return parameter["values"]
    raise UserError(
        f"sweep parameter {key!r}: a grid needs 'value' or a list of 'values'; got {shown(dict(parameter))}"
    )


def _draw(key: str, parameter: Mapping[str, Any], rng: np.random.Generator) -> Any:
    """One value of a parameter of a random sweep."""
    if "value" in parameter or "values" in parameter:
        options = _options(key, parameter)
        if not options:
            raise UserError(f"sweep parameter {key!r}: 'values' is empty")
        return options[rng.integers(len(options))]
    low, high = parameter.get("min"), parameter.get("max")
    is_whole = isinstance(low, int) and isinstance(high, int)
    kind = parameter.get("distribution", "int_uniform" if is_whole else "uniform")
    numbers = all(type(bound) in (int, float) and abs(bound) < 2**62 for bound in (low, high))  # and not infinite
    if not numbers or low > high or kind not in DISTRIBUTIONS or (kind == "log_uniform_values" and low <= 0):
        raise UserError(
            f"sweep parameter {key!r}: {shown(dict(parameter))} is not understood; use 'value', 'values', or min <= max with "
            f"distribution {', '.join(DISTRIBUTIONS)} (above 0 for the last)"
        )
    if kind == "int_uniform":
        return int(rng.integers(low, high + 1))
    if kind == "log_uniform_values":
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return float(rng.uniform(low, high))


def seeds_from_words(words: Sequence[str] | None) -> list[int] | None:
    """0 1 2, or 0 .. 9 for a range, both ends included."""
    if words is None:
        return None
    seeds: list[int] = []
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        if word.isdecimal():
            seeds.append(int(word))
        elif word == ".." and before.isdecimal() and after.isdecimal() and int(before) < int(after):
            seeds += range(int(before) + 1, int(after))
        else:
            raise UserError(f"--seeds {' '.join(words)}: {word!r} is not a seed; write 0 1 2, or 0 .. 9 for a range")
    if not seeds:
        raise UserError("--seeds: name at least one, as in --seeds 0 1 2, or 0 .. 9 for a range")
    return seeds


def describe_error(error: BaseException) -> str:
    """One line about what went wrong."""
    text = one_line(error, 500)
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def natural_order(result: RunResult) -> list[Any]:
    """seed10 after seed9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", result.name)]


def report_failure(name: str, error: Exception) -> None:
    """Say on the console what went wrong; a defect with its traceback."""
    if not isinstance(error, UserError):
        traceback.print_exception(error)
    print(f"error: {name}: {describe_error(error)}", file=sys.stderr, flush=True)
