"""What differs between the runs of a sweep: seeds, a grid, or random draws, in the format of wandb's sweeps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from settings.yaml_files import YamlError, read_yaml
from utils import UserError, one_line, shown

PAPER_SEEDS = range(10)
MAX_RUNS = 10_000
"""All runs of a sweep are checked before the first one trains; more of them would take minutes and gigabytes."""

MAX_DRAWS_PER_RUN = 100
"""A random sweep draws again where it drew a run that it has, but gives up at some point."""

DISTRIBUTIONS = ("uniform", "int_uniform", "log_uniform_values")


@dataclass(frozen=True)
class Variation:
    """What varies, and which of the possible runs are part of the sweep."""

    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Setting or grouped key -> {value: ...}, {values: [...]} or {min: ..., max: ..., distribution: ...}."""
    method: str = "grid"
    """grid or random."""
    run_cap: int | None = None
    """Number of runs of a random sweep; an upper limit for a grid."""

    def runs(self) -> list[dict[str, Any]]:
        """The chosen values of every run: all combinations, or run_cap different draws that are the same each time.

        Raises:
            UserError: a parameter is not understood, or there are too many runs, or too few.
        """
        if not self.parameters:
            return []
        if self.run_cap is None or self.method == "grid":
            return self._grid()
        return self._draws(self.run_cap)

    def _grid(self) -> list[dict[str, Any]]:
        options = [_options(key, parameter) for key, parameter in self.parameters.items()]
        n_runs = min(math.prod(map(len, options)), self.run_cap or math.inf)
        _check_number(n_runs, "use fewer values, or run_cap")
        rows = itertools.islice(itertools.product(*options), int(n_runs))
        return [dict(zip(self.parameters, row, strict=True)) for row in rows]

    def _draws(self, n_runs: int) -> list[dict[str, Any]]:
        possible = math.prod(_number_of_values(parameter) for parameter in self.parameters.values())
        if n_runs > possible:
            raise UserError(f"run_cap {shown(n_runs)}: the parameters allow {possible:.0f} different runs only")
        _check_number(n_runs, "use a smaller run_cap")
        rng = np.random.default_rng(0)
        rows: dict[Hashable, dict[str, Any]] = {}
        for _ in range(MAX_DRAWS_PER_RUN * n_runs):
            row = {key: _draw(key, parameter, rng) for key, parameter in self.parameters.items()}
            rows.setdefault(_hashable(row), row)
            if len(rows) == n_runs:
                return list(rows.values())
        raise UserError(f"run_cap {n_runs}: the parameters allow about {len(rows)} different runs only")


def read_variation(path: str) -> Variation:
    """The variation of a sweep.yml; what only wandb's site uses (name, metric) is ignored.

    Raises:
        UserError: it is not a file of that format.
    """
    where = f"sweep_config = {shown(path)}"
    try:
        content = read_yaml(path)
    except (OSError, YamlError, ValueError) as error:  # ValueError: NUL in a path
        raise UserError(f"{where}: cannot be read as YAML ({one_line(error)})") from None
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise UserError(f"{where}: needs 'parameters:' with settings below it, as in wandb's sweeps")
    method, run_cap = content.get("method", "grid"), content.get("run_cap")
    if method not in ("grid", "random"):
        raise UserError(f"{where}: method {shown(method)} is not known; use grid or random")
    if run_cap is not None and not (type(run_cap) is int and run_cap >= 1):
        raise UserError(f"{where}: run_cap {shown(run_cap)} must be a whole number of at least 1")
    if method == "random" and run_cap is None:
        raise UserError(f"{where}: method random needs run_cap, the number of runs")
    _check_format(content["parameters"], where)
    return Variation(content["parameters"], method, run_cap)


def _check_format(parameters: Mapping[Any, Any], where: str) -> None:
    """Every parameter has a name and a mapping.

    Raises:
        UserError: one has not.
    """
    for key, parameter in parameters.items():
        if not isinstance(key, str):
            raise UserError(f"{where}: parameter {shown(key)} must be the name of a setting")
        if not isinstance(parameter, dict):
            forms = "'value: ...', 'values: [...]' or 'min: ... max: ...'"
            raise UserError(f"{where}: parameter {shown(key)} must be {forms}")


def _check_number(n_runs: float, advice: str) -> None:
    """A sweep has so many runs that all of them can be looked at.

    Raises:
        UserError: it has more.
    """
    if n_runs > MAX_RUNS:
        raise UserError(f"the sweep has {_written(n_runs)} runs, and {MAX_RUNS:,} are the most; {advice}")


def _written(n: float) -> str:
    """A number of runs for a message, however large it is."""
    return f"{n:,}" if n < 10**15 else "more than 10^15"


def _options(key: str, parameter: Mapping[str, Any]) -> list[Any]:
    """All values of a parameter of a grid."""
    if "value" in parameter:
        return [parameter["value"]]
    if isinstance(parameter.get("values"), list):
        return parameter["values"]
    given = shown(dict(parameter))
    raise UserError(f"sweep parameter {shown(key)}: a grid needs 'value' or a list of 'values'; got {given}")


def _number_of_values(parameter: Mapping[str, Any]) -> float:
    """How many different values a parameter can take; inf for a range of numbers that are not whole.

    Also for what _draw refuses.
    """
    if "value" in parameter:
        return 1
    values, low, high = parameter.get("values"), parameter.get("min"), parameter.get("max")
    if isinstance(values, list) and values:
        return len({_hashable(value) for value in values})
    if isinstance(low, int) and isinstance(high, int) and low <= high and _kind(parameter) == "int_uniform":
        return high - low + 1 if high - low < 2**62 else math.inf
    return math.inf


def _kind(parameter: Mapping[str, Any]) -> Any:
    """How a parameter with bounds is distributed: as it says, else by what its bounds are."""
    is_whole = isinstance(parameter.get("min"), int) and isinstance(parameter.get("max"), int)
    return parameter.get("distribution", "int_uniform" if is_whole else "uniform")


def _draw(key: str, parameter: Mapping[str, Any], rng: np.random.Generator) -> Any:
    """One value of a parameter of a random sweep."""
    if "value" in parameter or "values" in parameter:
        options = _options(key, parameter)
        if not options:
            raise UserError(f"sweep parameter {shown(key)}: 'values' is empty")
        return options[rng.integers(len(options))]
    low, high, kind = parameter.get("min", math.nan), parameter.get("max", math.nan), _kind(parameter)
    numbers = all(type(bound) in (int, float) and abs(bound) < 2**62 for bound in (low, high))  # and not infinite
    if not numbers or low > high or kind not in DISTRIBUTIONS or (kind == "log_uniform_values" and low <= 0):
        forms = f"'value', 'values', or min <= max with distribution {', '.join(DISTRIBUTIONS)} (above 0 for the last)"
        raise UserError(f"sweep parameter {shown(key)}: {shown(dict(parameter))} is not understood; use {forms}")
    if kind == "int_uniform":
        return int(rng.integers(low, high + 1))
    if kind == "log_uniform_values":
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return float(rng.uniform(low, high))


def _hashable(value: Any) -> Hashable:
    """A value as a key that equals those of equal values."""
    if isinstance(value, dict):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return value if isinstance(value, Hashable) else repr(value)


def seeds_from_words(words: Sequence[str] | None) -> tuple[int, ...] | None:
    """Seeds as they are written: 0 1 2, or 0 .. 9 for a range, both ends included.

    Raises:
        UserError: a word is no seed, or there are none, or too many.
    """
    if words is None:
        return None
    seeds: list[int] = []
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        if _is_seed(word):
            seeds.append(int(word))
        elif word == ".." and _is_seed(before) and _is_seed(after) and int(before) < int(after):
            _check_number(int(after) - int(before) + len(seeds), "name fewer seeds")
            seeds += range(int(before) + 1, int(after))
        else:
            text = one_line(" ".join(words))
            raise UserError(f"--seeds {text}: {shown(word)} is not a seed; write 0 1 2, or 0 .. 9 for a range")
    if not seeds:
        raise UserError("--seeds: name at least one, as in --seeds 0 1 2, or 0 .. 9 for a range")
    return tuple(seeds)


def _is_seed(word: str) -> bool:
    """Whether a word is a whole number; those of the right size are told from the others with all settings."""
    return word.isdecimal() and len(word) <= 20
